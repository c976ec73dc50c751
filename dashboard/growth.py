"""How the active users of a month grew by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate

from metering.limits import LimitUse
from sinks.clickhouse.counts import ActiveDay


@dataclass(frozen=True, slots=True)
class Growth:
    """Active users of a scope. Each is counted on the day of their first activity, so that the days add up."""

    number: str
    """Empty = the whole account."""
    rule: str
    days: tuple[date, ...]
    """From the month's 1st up to today, or its last."""
    new: tuple[int, ...]
    so_far: tuple[int, ...]
    package: LimitUse | None


def grown(
    active: Iterable[ActiveDay], number: str, rule: str, month: date, last: date, package: LimitUse | None
) -> Growth:
    """Return the growth of one scope by one rule, from the 1st of ``month`` to ``last``."""
    users: dict[date, int] = defaultdict(int)
    for row in active:
        if row.number == number and row.rule == rule:
            users[row.day] += row.users
    days = tuple(month + timedelta(days=offset) for offset in range((last - month).days + 1))
    new = tuple(users[day] for day in days)
    return Growth(number, rule, days, new, tuple(accumulate(new)), package)
