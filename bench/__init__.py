"""Benchmarks; each is run as a module and prints its figures as JSON."""
