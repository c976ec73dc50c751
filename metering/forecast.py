"""How much of a monthly limit is used, and where the month is heading.

Owns the projection. It is arithmetic on counts by day and says by which method it was made; nothing that is charged
depends on it. Does not own what the limits are.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Literal

from metering.calendar import month_before

Method = Literal["complete", "last_month", "straight_line", "too_early"]
"""How a projection was made: the month is over; the curve of the month before; an even pace; not at all."""

_SECONDS_A_DAY = 86_400
_ELAPSED_MIN = Fraction(1)
"""Days of a month before an even pace says anything."""

DailyCounts = Mapping[date, int]
"""By local day. Users are counted on the day of their first activity, so that sums grow to the month's number."""


@dataclass(frozen=True, slots=True)
class BurnDown:
    """How much of a limit is used, and what is to be expected by the end of the month."""

    limit: int
    used: int
    left: int
    projected: int | None
    """At the month's end, rounded half-up; None = too early to say."""
    exhausted_on: date | None
    """Local day on which the last of it was or, as projected, will be used; None = not in this month."""
    method: Method


def burn_down(
    limit: int, current: DailyCounts, previous: DailyCounts, month: date, now: datetime
) -> BurnDown:
    """Return how a limit of a month is being used up.

    The projection takes the share of last month's number that was reached by the same point of that month, and supposes
    the same share now: active users come fast in the first days and slowly later, so that an even pace says too
    much. Without a month before, it supposes an even pace, from the end of the first day on.

    Args:
        limit: how many are in the package, allotment or tier.
        current: counts of the month by day.
        previous: counts of the month before by day; empty = nothing is known.
        month: the 1st of the month.
        now: local time of the account, without a zone.
    """
    used = sum(current.values())
    elapsed, length = _elapsed_days(month, now), _length(month)
    if elapsed >= length:
        return BurnDown(limit, used, max(0, limit - used), used, _reached_on(current, limit), "complete")
    # The curve's share at the same point of the month: its end is the end of a shorter or longer month, too.
    curve = _curve_before(previous, month)
    pace = curve if curve is not None and curve.share(elapsed / length) else _EvenPace()
    left, reached = max(0, limit - used), _reached_on(current, limit)
    if pace.method == "straight_line" and elapsed < _ELAPSED_MIN:
        return BurnDown(limit, used, left, None, reached, "too_early")
    projected = Fraction(used) / pace.share(elapsed / length)
    if reached is None and projected >= limit > used:
        reached = _will_reach_on(projected, pace, limit, month, now.date())
    return BurnDown(limit, used, left, floor(projected + Fraction(1, 2)), reached, pace.method)


class _EvenPace:
    """Every moment of a month brings as much as any other."""

    method: Method = "straight_line"

    def share(self, point: Fraction) -> Fraction:
        """Return the share of a month's number that is reached at a point of it (0 to 1)."""
        return point


class _Curve(_EvenPace):
    """A month that was. Within a day it is taken as even."""

    method: Method = "last_month"

    def __init__(self, counts: DailyCounts, month: date) -> None:
        self._days = [counts.get(month + timedelta(days=day), 0) for day in range(_length(month))]
        self._total = sum(self._days)

    def share(self, point: Fraction) -> Fraction:
        """See ``_EvenPace``."""
        days = point * len(self._days)
        whole = min(floor(days), len(self._days))
        reached = Fraction(sum(self._days[:whole]))
        if whole < len(self._days):
            reached += (days - whole) * self._days[whole]
        return reached / self._total


def _curve_before(previous: DailyCounts, month: date) -> _Curve | None:
    return _Curve(previous, month_before(month)) if sum(previous.values()) > 0 else None


def _length(month: date) -> int:
    return monthrange(month.year, month.month)[1]


def _elapsed_days(month: date, now: datetime) -> Fraction:
    """Return how many days of the month have passed, between 0 and its length."""
    seconds = int((now - datetime(month.year, month.month, 1)).total_seconds())  # noqa: DTZ001 - both are local
    return max(Fraction(0), min(Fraction(seconds, _SECONDS_A_DAY), Fraction(_length(month))))


def _reached_on(counts: DailyCounts, limit: int) -> date | None:
    """Return the day on which the counts reached the limit."""
    total = 0
    for day in sorted(counts):
        total += counts[day]
        if limit > 0 and total >= limit:
            return day
    return None


def _will_reach_on(projected: Fraction, pace: _EvenPace, limit: int, month: date, today: date) -> date:
    """Return the first day from today on at whose end the projection has come to the limit."""
    length = _length(month)
    for day in range(1, length + 1):
        end = month + timedelta(days=day - 1)
        if end >= today and projected * pace.share(Fraction(day, length)) >= limit:
            return end
    return month + timedelta(days=length - 1)
