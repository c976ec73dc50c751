"""Kafka: connection, topics, the worker's log, and Faust's transport."""
