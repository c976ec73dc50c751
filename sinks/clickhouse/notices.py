"""Reads the notices that were given about limits."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import msgspec

from schemas.alerts import Cause, Level, LimitName, NoticeKind
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.reader import named_query

ROWS_MAX = 10_000
SORT_KEYS = 3
"""How many texts ``sort_key`` has."""


class NoticesAsked(msgspec.Struct, frozen=True):
    """Which notices are asked for; empty = all."""

    month: date | None = None
    """The 1st."""
    accounts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    """ "" = about whole accounts."""
    rows_max: int = ROWS_MAX
    after: tuple[str, ...] = ()
    """Only those behind the notice with this ``sort_key``."""


class NoticeRow(msgspec.Struct, frozen=True):
    """A notice as it stands in ClickHouse; see ``schemas.alerts.Notice``."""

    id: str
    month: str
    account: str
    number: str
    limit_name: LimitName
    threshold: str
    threshold_count: int
    n: int
    kind: NoticeKind
    level: Level
    level_before: Level
    limit: int
    used: int
    cause: Cause
    is_past: bool
    received_until: datetime
    """UTC, like the following."""
    noticed_at: datetime


def sort_key(row: NoticeRow) -> tuple[str, ...]:
    """Return what notices are sorted by, the greatest first, as the texts that the query compares.

    The time alone does not do: several thresholds are crossed at once, and of those the highest comes first.
    """
    noticed_at = row.noticed_at.astimezone(UTC).replace(tzinfo=None)
    return noticed_at.isoformat(" ", "milliseconds"), f"{row.threshold_count:020d}", row.id


def read_notices(client: ClickHouse, asked: NoticesAsked) -> list[NoticeRow]:
    """Return notices, the newest first.

    Raises:
        ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
    """
    rows = client.query(
        named_query("alerts"),
        {
            "months": [asked.month] if asked.month else [],
            "accounts": list(asked.accounts),
            "numbers": list(asked.numbers),
            "after": list(asked.after),
            "rows_max": asked.rows_max,
        },
    )
    return [_row(*values) for values in rows]


def _row(*values: Any) -> NoticeRow:
    *parts, is_past, received_until, noticed_at = values
    return NoticeRow(*(*parts, bool(is_past), _utc(received_until), _utc(noticed_at)))


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
