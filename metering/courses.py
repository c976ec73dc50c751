"""How the months before went: which share of its number each had reached at which point.

Owns which of them say something of a whole month, and the time of a business, by which months are compared. Arithmetic
on counts by day, like ``metering.forecast``, which draws the conclusions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, pairwise
from math import floor
from statistics import median, median_low
from typing import Final

from metering.calendar import days_of, month_before

DailyCounts = Mapping[date, int]
"""By local day. Users are counted on the day of their first activity, so that sums grow to the month's number."""

_LATE_DAYS_MAX: Final = 2
"""Days by which a first month may begin later than this one and still be whole."""
_BEGINNING: Final = 0.02
"""Share of a month's number with which it begins; who came before tried things out."""
_MISSED_MIN: Final = 3.0
"""Users or units that an even pace would have brought before a late beginning; if fewer, it is chance."""
_WEEK_SMOOTHING: Final = 2.0
"""New users or units of a day that speak for a week in which all days are alike."""
_DAY_MIN: Final = 0.02
"""Never nothing: a holiday may be worked on."""


class Clock:
    """The time of a business: a Sunday may be shorter than a Monday."""

    def __init__(self, month: date, week: Sequence[float]) -> None:
        """Take a month (its 1st) and how long each weekday is."""
        self._ends = [0.0, *accumulate(week[day.weekday()] for day in days_of(month))]

    def point(self, days: float) -> float:
        """Return the point (0 to 1) that a month has come to after some days of it; a day by itself is even."""
        whole = min(floor(days), len(self._ends) - 1)
        at = self._ends[whole]
        if whole < len(self._ends) - 1:
            at += (days - whole) * (self._ends[whole + 1] - at)
        return at / self._ends[-1]


class Course:
    """The course of a month that was, in the time of its business."""

    def __init__(self, counts: DailyCounts, month: date, week: Sequence[float]) -> None:
        """Take the counts of a month (its 1st), at least one, and how long each weekday is."""
        days = days_of(month)
        self.total = sum(counts.values())
        shares = accumulate(counts.get(day, 0) / self.total for day in days)
        clock = Clock(month, week)
        self._points = [(0.0, 0.0), *((clock.point(end), share) for end, share in enumerate(shares, 1))]

    def share(self, point: float) -> float:
        """Return the share of the month's number that was reached at a point of its time (0 to 1); days are even."""
        for (begin, low), (end, high) in pairwise(self._points):
            if point <= end:
                return low + (high - low) * max(0.0, point - begin) / (end - begin)
        return 1.0


@dataclass(frozen=True, slots=True)
class Past:
    """The months before that say how a whole one goes, the newest first."""

    courses: list[Course]
    week: Sequence[float]


def past(earlier: Sequence[DailyCounts], month: date, began: int) -> Past:
    """Return the months before that say how a whole one goes.

    An account that began, or came back, within a month shows a few days of it, which say nothing of a whole one. It is
    known by what it follows, a month without anything, and by its late beginning: as late as that of this month is how
    the account always begins.

    Args:
        earlier: counts of the months before, the newest first; before the last of them nothing is known.
        month: the 1st of this month.
        began: the days of this month that passed before its beginning.
    """
    months: list[tuple[date, DailyCounts]] = []
    first = month
    for counts in earlier:
        first = month_before(first)
        months.append((first, {day: counts.get(day, 0) for day in days_of(first)}))
    whole: list[tuple[date, DailyCounts]] = []
    follows_nothing = True
    for first, counts in reversed(months):
        # Corrections may take away more than there is here yet.
        has_any = sum(counts.values()) > 0
        if has_any and not (follows_nothing and _is_late(counts, first, began)):
            whole.insert(0, (first, counts))
        follows_nothing = not has_any
    week = _week(whole)
    return Past([Course(counts, first, week) for first, counts in whole], week)


def _is_late(counts: DailyCounts, first: date, began: int) -> bool:
    late, days = days_before(counts, first) - began, days_of(first)
    return late > _LATE_DAYS_MAX and sum(counts.values()) * late / len(days) >= _MISSED_MIN


def days_before(counts: DailyCounts, first: date) -> int:
    """Return how many days of a month, which has counts, passed before its beginning."""
    enough = sum(counts.values()) * _BEGINNING
    sums = accumulate(counts.get(day, 0) for day in days_of(first))
    return next(place for place, reached in enumerate(sums) if reached >= enough)


def _week(months: Sequence[tuple[date, DailyCounts]]) -> tuple[float, ...]:
    """Return how much each weekday brings, 1 = as much as the days around it.

    Each day is compared with the week around it, as a month brings less and less. The middle one counts, of that week
    and of a weekday's days, and of two the lesser: campaigns on two Mondays of four make no Monday.
    """
    found: list[list[float]] = [[] for _ in range(7)]
    for first, counts in months:
        days = days_of(first)
        for place in range(3, len(days) - 3):
            around = median(counts.get(day, 0) for day in days[place - 3 : place + 4])
            own = counts.get(days[place], 0)
            found[days[place].weekday()].append((own + _WEEK_SMOOTHING) / (around + _WEEK_SMOOTHING))
    return tuple(max(_DAY_MIN, median_low(each)) if each else 1.0 for each in found)
