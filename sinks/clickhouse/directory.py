"""Reads which accounts there are, what there is to choose from, and when the totals have changed.

Owns these small questions of a dashboard. The totals themselves are ``sinks.clickhouse.reader``'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date

from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.reader import named_query, within_dates


@dataclass(frozen=True, slots=True)
class Choices:
    """What of an account there are counts for."""

    numbers: tuple[str, ...]
    """Sorted, like the countries."""
    countries: tuple[str, ...]
    first_day: date | None
    last_day: date | None


@dataclass(frozen=True, slots=True)
class DayCount:
    """What was counted on one day of an account."""

    account: str
    day: date
    messages: int
    delivered: int
    read: int
    not_delivered: int
    incoming: int


def account_names(client: ClickHouse) -> list[str]:
    """Return the accounts that were ever counted, sorted."""
    return [account for (account,) in client.query(named_query("account-names"))]


def account_choices(client: ClickHouse, account: str) -> Choices:
    """Return the numbers, countries and days of an account."""
    rows = client.query(named_query("account-choices"), {"accounts": [account]})
    return Choices(
        numbers=tuple(sorted({row[0] for row in rows})),
        countries=tuple(sorted({row[1] for row in rows})),
        first_day=min((row[2] for row in rows), default=None),
        last_day=max((row[3] for row in rows), default=None),
    )


def recent_days(client: ClickHouse, first_day: date) -> list[DayCount]:
    """Return what was counted since a day, by account and day."""
    rows = client.query(named_query("recent-days"), {"first_day": within_dates(first_day)})
    return [DayCount(*row) for row in rows]


def totals_version(client: ClickHouse) -> str:
    """Return a text that changes whenever a flush is complete, or another generation becomes the live one.

    Rows come before the mark that says they are complete. So what is read after this is never older than it says.
    """
    marks = client.query(
        "SELECT generation, partition, max(sequence), max(flushed_at) FROM flush_progress"
        " GROUP BY generation, partition"
        " ORDER BY generation, partition"
    )
    live = client.query("SELECT generation, live, version FROM generations FINAL ORDER BY generation")
    return hashlib.sha256(repr((marks, live)).encode()).hexdigest()[:20]
