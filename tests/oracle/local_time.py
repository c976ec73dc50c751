"""The account's calendar: local days and months of UTC instants. Owns no zone table, that is the caller's."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

_FIRST_DAY = date(1970, 1, 1)


def local_date(instant: int, zone: str) -> date:
    """Return the calendar date that a clock in ``zone`` (IANA name) shows at ``instant`` (UTC seconds)."""
    return datetime.fromtimestamp(instant, ZoneInfo(zone)).date()


def local_day(instant: int, zone: str) -> int:
    """Return the local date as days since 1970-01-01."""
    return (local_date(instant, zone) - _FIRST_DAY).days


def local_month(instant: int, zone: str) -> tuple[int, int]:
    """Return the local (year, month)."""
    day = local_date(instant, zone)
    return (day.year, day.month)
