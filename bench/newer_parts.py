"""The current month as it is while it is written to: several parts, which hold the same rows in newer versions.

The oldest part has all rows; then come ever newer and smaller ones. They are not merged while it is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from sinks.clickhouse.client import ClickHouse

_NEWER = ((8, 1), (2, 1), (1, 1), (1, 2), (1, 8), (1, 32))
"""The further parts of this month, from old to new: newer versions of how many days up to today, and of one row in how
many. Late statuses reach back a week; most of what changes is of today, and the last flushes change little of it."""
_COLUMNS_OF = (
    "SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{}' ORDER BY position"
)
_PARTS_OF = (
    "SELECT count() FROM system.parts WHERE database = currentDatabase() AND table = '{}' AND partition = '{}'"
    " AND active"
)


def write_newer(client: ClickHouse, tables: Mapping[str, int], today: date) -> dict[str, int]:
    """Write newer versions of this month's rows in further parts; return how many parts the month has by table."""
    parts = {}
    for table in tables:
        client.command(f"SYSTEM STOP MERGES {table}")
        columns = [name for (name,) in client.query(_COLUMNS_OF.format(table))]
        assert columns[-1] == "version"
        for version, (days, one_in) in enumerate(_NEWER, 2):
            client.command(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(columns[:-1])}, {version}"
                f" FROM {table} WHERE version = 1 AND day > toDate('{today}') - {days} AND day <= toDate('{today}')"
                f" AND cityHash64(account, number, country, partition) % {one_in} = 0"
            )
        parts[table] = int(client.query(_PARTS_OF.format(table, f"{today:%Y%m}"))[0][0])
    return parts
