"""ClickHouse, embedded (chDB) or a server: client, migrations, writer of absolute counters, reader of the totals."""
