"""Which local days a view covers: the durations of the dashboard's filter, and the period each is compared with.

Owns the names and the arithmetic of days. Does not own what "today" is: that is the account's, and an argument.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final


class Duration(StrEnum):
    """The choices of the duration filter, as they stand in a URL."""

    YESTERDAY = "yesterday"
    LAST_7_DAYS = "last-7-days"
    THIS_MONTH = "this-month"
    LAST_30_DAYS = "last-30-days"
    LAST_90_DAYS = "last-90-days"
    CUSTOM = "custom"


TITLES: Final = {
    Duration.YESTERDAY: "Yesterday",
    Duration.LAST_7_DAYS: "Last 7 Days",
    Duration.THIS_MONTH: "This Month",
    Duration.LAST_30_DAYS: "Last 30 Days",
    Duration.LAST_90_DAYS: "Last 90 Days",
    Duration.CUSTOM: "Custom range",
}
DEFAULT: Final = Duration.LAST_7_DAYS
_LENGTHS_DAYS: Final = {Duration.LAST_7_DAYS: 7, Duration.LAST_30_DAYS: 30, Duration.LAST_90_DAYS: 90}
_FIRST_DAY: Final = date(1970, 1, 1)
_LAST_DAY: Final = date(2149, 6, 6)
"""The range of days that are kept."""


class PeriodFault(ValueError):
    """A range that cannot be shown; says why, for the person who chose it."""


@dataclass(frozen=True, slots=True)
class Period:
    """Local days, both included."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        """Return every day."""
        return [self.first + timedelta(days=offset) for offset in range(self.length_days)]

    @property
    def length_days(self) -> int:
        """Return how many days they are."""
        return (self.last - self.first).days + 1


def period_of(duration: Duration, today: date) -> Period:
    """Return the days of a named duration; Last N Days include today, This Month ends with it.

    Raises:
        ValueError: a custom range has no days by itself.
    """
    if duration is Duration.CUSTOM:
        raise ValueError("a custom range says its own days")
    if duration is Duration.YESTERDAY:
        yesterday = today - timedelta(days=1)
        return Period(yesterday, yesterday)
    if duration is Duration.THIS_MONTH:
        return Period(today.replace(day=1), today)
    return Period(today - timedelta(days=_LENGTHS_DAYS[duration] - 1), today)


def custom_period(first: str, last: str, today: date, length_max_days: int) -> Period:
    """Return the days that somebody wrote, "YYYY-MM-DD" each.

    Raises:
        PeriodFault: not two days, in the wrong order, in the future, or too many.
    """
    begin, end = _day(first, "From"), _day(last, "To")
    if begin > end:
        raise PeriodFault(f"From ({begin}) is after To ({end})")
    if end > today:
        raise PeriodFault(f"To ({end}) is in the future; today is {today}")
    period = Period(begin, end)
    if period.length_days > length_max_days:
        raise PeriodFault(f"the range has {period.length_days} days; at most {length_max_days} can be shown")
    return period


def _day(text: str, name: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise PeriodFault(f"{name} must be a day, YYYY-MM-DD") from None
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise PeriodFault(f"{name} must lie between {_FIRST_DAY} and {_LAST_DAY}")
    return day


def previous_period(duration: Duration, period: Period) -> Period | None:
    """Return the days to compare with: as many right before, or for This Month the same days of the month before.

    March 31st has no like in February: then that month is taken whole. None = they lie before all time.
    """
    if period.first <= _FIRST_DAY + timedelta(days=period.length_days):
        return None
    before = period.first - timedelta(days=1)
    if duration is not Duration.THIS_MONTH:
        return Period(period.first - timedelta(days=period.length_days), before)
    length = calendar.monthrange(before.year, before.month)[1]
    return Period(before.replace(day=1), before.replace(day=min(period.last.day, length)))


def days_text(period: Period) -> str:
    """Return the days as people write them, such as "13 Nov 2026" and "19 Nov 2026" with a dash between."""
    if period.first == period.last:
        return day_text(period.first)
    return f"{day_text(period.first)} – {day_text(period.last)}"  # noqa: RUF001 - an en dash is meant


def day_text(day: date) -> str:
    """Return a day as people write it, in no order that could be mistaken."""
    return f"{day.day} {day:%b} {day.year}"
