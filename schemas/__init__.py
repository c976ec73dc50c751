"""The contracts: events, records, topics, rows, rules data. Owns no behaviour beyond encoding and parsing."""
