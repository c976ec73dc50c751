"""How much of a monthly limit is used, and where the month is heading.

Owns the projection: what is expected by the month's end, between which bounds, and by which method. It is arithmetic on
counts by day; nothing that is charged depends on it. Does not own what the limits are. ``docs/guides/forecast.md`` has
its errors.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import accumulate, pairwise
from math import ceil, floor, log2, sqrt
from typing import Final, Literal

from metering.calendar import month_before

Method = Literal["complete", "earlier_months", "last_month", "growth_curve", "straight_line", "too_early"]
"""How a projection was made: the month is over; by the course of several months before, or of one; by a curve that
flattens; an even pace; not at all."""
Kind = Literal["users", "units"]
"""What is counted: users, each once a month, so that new ones come ever more slowly; or units, of which any
day brings as many."""

DailyCounts = Mapping[date, int]
"""By local day. Users are counted on the day of their first activity, so that sums grow to the month's number."""

EARLIER_MONTHS_MAX: Final = 3
_SECONDS_A_DAY: Final = 86_400
_EVEN_DAYS_MIN: Final = 1.0
"""Days of a month before an even pace says anything."""
_CURVE_DAYS_MIN: Final = 2.0
_CURVE_USERS_MIN: Final = 5
"""Below these the first days of a month say nothing of how it flattens."""
_MONTH_WEIGHTS: Final = (5.0, 2.0, 1.0)
"""Newest month first."""
_WEEK_SMOOTHING: Final = 30.0
"""New users or units that speak for a week in which all days are alike."""

# The following were set by ``python -m bench.forecast --tune``, on months that its error table does not contain.
_TOTAL_WEIGHT: Final = 10.0
"""Users by which the number of the months before speaks for that of this one."""
_FLATTENING: Final = 0.72
"""New users of the second half of the time so far, as a share of the first half's, before anything is known."""
_FLATTENING_WEIGHT: Final = 40.0
"""Users by which that counts."""
_SPREAD: Final = 2.5
"""Variance of what is still to come, as a multiple of what chance alone would give."""
_CURVE_ERROR: Final = 0.2
"""Relative error of a curve at the beginning of a month; in proportion less as the month goes on."""
_BOUND: Final = 1.28
"""Standard deviations to either bound: four of five months are to end between them."""


@dataclass(frozen=True, slots=True)
class BurnDown:
    """How much of a limit is used, and what is to be expected by the end of the month."""

    limit: int
    used: int
    left: int
    projected: int | None
    """At the month's end, rounded half-up; None = too early to say."""
    projected_low: int | None
    """Four of five months are to end between this and the following."""
    projected_high: int | None
    exhausted_on: date | None
    """Local day on which the last of it was or, as projected, will be used; None = not in this month."""
    exhausted_from: date | None
    """The same if the month comes to its high bound."""
    exhausted_to: date | None
    """The same if it comes to its low bound."""
    method: Method


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What is expected of a month that is under way."""

    method: Method
    expected: float
    low: float
    high: float
    share: Callable[[float], float]
    """Gives the share of the month's number that is reached after some days of it."""


def burn_down(
    limit: int,
    current: DailyCounts,
    earlier: Sequence[DailyCounts],
    month: date,
    now: datetime,
    kind: Kind = "users",
) -> BurnDown:
    """Return how a limit of a month is being used up.

    Args:
        limit: how many are in the package, allotment or tier.
        current: counts of the month by day.
        earlier: counts of the months before by day, the newest first; one without any count is as good as none.
        month: the 1st of the month.
        now: local time of the account, without a zone.
        kind: of what is counted.
    """
    used, length = sum(current.values()), _length(month)
    elapsed, left, reached = _elapsed_days(month, now), max(0, limit - used), _reached_on(current, limit)
    if elapsed >= length:
        return BurnDown(limit, used, left, used, used, used, reached, reached, reached, "complete")
    outlook = _outlook(current, earlier, month, elapsed, kind)
    if outlook is None:
        return BurnDown(limit, used, left, None, None, None, reached, reached, reached, "too_early")
    projected, low, high = ends = _whole(outlook)
    on, to, since = (reached or _will_reach_on(end, used, outlook, limit, month, elapsed) for end in ends)
    return BurnDown(limit, used, left, projected, low, high, on, since, to, outlook.method)


def _whole(outlook: _Outlook) -> tuple[int, int, int]:
    """Return what is expected, the low and the high bound as they are shown; days are told from these alone."""
    expected = floor(outlook.expected + 0.5)
    return expected, min(floor(outlook.low), expected), max(ceil(outlook.high), expected)


def _outlook(
    current: DailyCounts, earlier: Sequence[DailyCounts], month: date, elapsed: float, kind: Kind
) -> _Outlook | None:
    used = sum(current.values())
    past = _past(earlier, month)
    if past.curves:
        outlook = _by_earlier_months(used, past, month, elapsed)
        if outlook is not None:
            return outlook
    if kind == "units":
        return _evenly(used, month, elapsed)
    return _by_growth(current, used, month, elapsed)


# By the months before


class _Clock:
    """The time of a business: a Sunday may be shorter than a Monday."""

    def __init__(self, month: date, week: Sequence[float]) -> None:
        self._ends = [0.0, *accumulate(week[day.weekday()] for day in _days(month))]

    def point(self, days: float) -> float:
        """Return the point (0 to 1) that a month has come to after some days of it; a day by itself is even."""
        whole = min(floor(days), len(self._ends) - 1)
        at = self._ends[whole]
        if whole < len(self._ends) - 1:
            at += (days - whole) * (self._ends[whole + 1] - at)
        return at / self._ends[-1]


class _Curve:
    """The course of a month that was, in the time of its business."""

    def __init__(self, counts: DailyCounts, month: date, week: Sequence[float]) -> None:
        days = _days(month)
        self.total = sum(counts.values())
        shares = accumulate(counts.get(day, 0) / self.total for day in days)
        clock = _Clock(month, week)
        self._points = [(0.0, 0.0), *((clock.point(end), share) for end, share in enumerate(shares, 1))]

    def share(self, point: float) -> float:
        """Return the share of the month's number that was reached at a point of its time (0 to 1); days are even."""
        for (begin, low), (end, high) in pairwise(self._points):
            if point <= end:
                return low + (high - low) * max(0.0, point - begin) / (end - begin)
        return 1.0


@dataclass(frozen=True, slots=True)
class _Past:
    """The months before, the newest first."""

    curves: list[_Curve]
    week: Sequence[float]


def _past(earlier: Sequence[DailyCounts], month: date) -> _Past:
    months: list[tuple[date, DailyCounts]] = []
    first = month
    for counts in earlier[:EARLIER_MONTHS_MAX]:
        first = month_before(first)
        months.append((first, {day: counts.get(day, 0) for day in _days(first)}))
    known = [(first, counts) for first, counts in months if sum(counts.values()) > 0]
    # Of one month alone, four Mondays say little.
    week = _week(known) if len(known) > 1 else (1.0,) * 7
    return _Past([_Curve(counts, first, week) for first, counts in known], week)


def _week(months: Sequence[tuple[date, DailyCounts]]) -> tuple[float, ...]:
    """Return how much each weekday brings, 1 = as much as the days around it.

    Each day is compared with the week around it, as a month brings less and less.
    """
    own, around = [_WEEK_SMOOTHING] * 7, [_WEEK_SMOOTHING] * 7
    for first, counts in months:
        days = _days(first)
        for place in range(3, len(days) - 3):
            own[days[place].weekday()] += counts.get(days[place], 0)
            near = days[place - 3 : place + 4]
            around[days[place].weekday()] += sum(counts.get(day, 0) for day in near) / 7
    # Never nothing: a holiday may be worked on.
    return tuple(max(0.02, one / mean) for one, mean in zip(own, around, strict=True))


def _by_earlier_months(used: int, past: _Past, month: date, elapsed: float) -> _Outlook | None:
    curves, clock = past.curves, _Clock(month, past.week)
    weights = _MONTH_WEIGHTS[: len(curves)]

    def share(days: float) -> float:
        point = clock.point(days)
        # Sums of shares can come out above the whole by the last bit.
        return min(1.0, _mean([curve.share(point) for curve in curves], weights))

    reached = share(elapsed)
    if not reached:
        return None
    usual = _mean([float(curve.total) for curve in curves], weights)
    # What the months before came to speaks too, as long as little has come of this one.
    whole = (used + _TOTAL_WEIGHT) / (reached + _TOTAL_WEIGHT / usual)
    rest = whole * (1 - reached)
    apart = _mean([(curve.share(clock.point(elapsed)) - reached) ** 2 for curve in curves], weights)
    usual_error = (_CURVE_ERROR * (1 - reached)) ** 2
    error = (len(curves) * apart / reached**2 + 2 * usual_error) / (len(curves) + 2)
    spread = _BOUND * sqrt(_SPREAD * rest + error * (used + rest) ** 2)
    method: Method = "earlier_months" if len(curves) > 1 else "last_month"
    return _Outlook(method, used + rest, used + max(0.0, rest - spread), used + rest + spread, share)


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)


# Without them


def _by_growth(current: DailyCounts, used: int, month: date, elapsed: float) -> _Outlook | None:
    """Project by how much slower new users came in the second half of the time so far than in the first.

    Two curves flatten so: that of a finite number of people who come at some rate each (it ends), and that of people
    who come ever more rarely (a power, which does not). Months lie between them.
    """
    if elapsed < _CURVE_DAYS_MIN or used < _CURVE_USERS_MIN:
        return None
    first = _until(current, month, elapsed / 2)
    second = max(0.0, used - first)
    ratio = (second + _FLATTENING_WEIGHT * _FLATTENING) / (first + _FLATTENING_WEIGHT)
    error = sqrt(_SPREAD * ratio * (1 + ratio) / (first + _FLATTENING_WEIGHT))
    longer = _length(month) / elapsed
    expected = sqrt(_finite(ratio, longer) * _power(ratio, longer)) * used
    low = _finite(max(0.01, ratio - _BOUND * error), longer) * used
    high = _power(ratio + _BOUND * error, longer) * used
    chance = _BOUND * sqrt(_SPREAD * max(0.0, expected - used))

    def share(days: float) -> float:
        past = max(days, 1e-9) / elapsed
        return sqrt(_finite(ratio, past) * _power(ratio, past)) * used / expected

    return _Outlook(
        "growth_curve",
        expected,
        max(float(used), min(low, expected - chance)),
        max(high, expected + chance),
        share,
    )


def _finite(ratio: float, longer: float) -> float:
    """Return what a finite number of people come to in a multiple of the time, as a multiple of those so far."""
    base = min(ratio, 0.9999)
    return float((1 - base ** (2 * longer)) / (1 - base**2))


def _power(ratio: float, longer: float) -> float:
    """Return the same of a power of time, at most even: more than everybody is new cannot be."""
    power: float = longer ** min(log2(1 + ratio), 1.0)
    return power


def _until(counts: DailyCounts, month: date, days: float) -> float:
    """Return the counts of the first days of a month; within a day they are taken as even."""
    whole = floor(days)
    reached = float(sum(counts.get(month + timedelta(days=day), 0) for day in range(whole)))
    return reached + (days - whole) * counts.get(month + timedelta(days=whole), 0)


def _evenly(used: int, month: date, elapsed: float) -> _Outlook | None:
    if elapsed < _EVEN_DAYS_MIN or not used:
        return None
    expected = used * _length(month) / elapsed
    rest = expected - used
    error = _CURVE_ERROR * (1 - elapsed / _length(month))
    spread = _BOUND * sqrt(_SPREAD * rest + (error * expected) ** 2)
    low = used + max(0.0, rest - spread)
    return _Outlook("straight_line", expected, low, used + rest + spread, _even(month))


def _even(month: date) -> Callable[[float], float]:
    return lambda days: days / _length(month)


# Days


def _days(month: date) -> list[date]:
    return [month + timedelta(days=day) for day in range(_length(month))]


def _length(month: date) -> int:
    return monthrange(month.year, month.month)[1]


def _elapsed_days(month: date, now: datetime) -> float:
    """Return how many days of the month have passed, between 0 and its length."""
    seconds = (now - datetime(month.year, month.month, 1)).total_seconds()  # noqa: DTZ001 - both are local
    return max(0.0, min(seconds / _SECONDS_A_DAY, float(_length(month))))


def _reached_on(counts: DailyCounts, limit: int) -> date | None:
    """Return the day on which the counts reached the limit."""
    total = 0
    for day in sorted(counts):
        total += counts[day]
        if limit > 0 and total >= limit:
            return day
    return None


def _will_reach_on(
    end: int, used: int, outlook: _Outlook, limit: int, month: date, elapsed: float
) -> date | None:
    """Return the first day from today on at whose end the course to ``end`` has come to the limit."""
    if limit <= 0 or end < limit:
        return None
    now = outlook.share(elapsed)
    length = _length(month)
    for day in range(min(floor(elapsed) + 1, length), length):
        gone = (outlook.share(day) - now) / (1 - now) if now < 1 else 1.0
        if used + (end - used) * gone >= limit:
            return month + timedelta(days=day - 1)
    return month + timedelta(days=length - 1)
