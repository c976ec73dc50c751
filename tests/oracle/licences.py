"""Licence periods, day by day and straight from the spec (metering.md §8): the slow way.

Walks through the calendar from the activation on and never skips a month.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction

from schemas.plans import Plan


def days_of(first: date) -> int:
    """Return how many days the month of a day has, by counting them."""
    day, count = first.replace(day=1), 0
    while day.month == first.month:
        day, count = day + timedelta(days=1), count + 1
    return count


def periods(plan: Plan, last: date) -> Iterator[tuple[date, date, Fraction]]:
    """Yield (first day, last day, share of the price that is charged) of one plan's licence that begin up to a day."""
    months = 1 if plan.licence == "monthly" else 12
    day, months_in, first = plan.activated, 1, plan.activated
    while first <= last:
        following = day + timedelta(days=1)
        if following.day == 1:
            if months_in == months:
                share = Fraction(1)
                if first == plan.activated:
                    left = Fraction(days_of(first) - first.day + 1, days_of(first))
                    share = left if months == 1 else (11 + left) / 12
                yield first, day, share
                first, months_in = following, 0
            months_in += 1
        day = following
