"""How much of a monthly limit is used, and where the month is heading.

Owns the projection: what is expected by the month's end, between which bounds, and by which method. It is arithmetic on
counts by day; nothing that is charged depends on it. Does not own what the limits are, nor how the months before went
(``metering.courses``). ``docs/guides/forecast.md`` has its errors.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil, exp, floor, log2, sqrt
from typing import Final, Literal

from metering.courses import Clock, DailyCounts, Past, days_before, past

Method = Literal["complete", "earlier_months", "last_month", "growth_curve", "straight_line", "too_early"]
"""How a projection was made: the month is over; by the course of several months before, or of one; by a curve that
flattens; an even pace; not at all."""
Kind = Literal["users", "units"]
"""What is counted: users, each once a month, so that new ones come ever more slowly; or units, of which any
day brings as many."""

EARLIER_MONTHS_MAX: Final = 3
_SECONDS_A_DAY: Final = 86_400
_EVEN_DAYS_MIN: Final = 1.0
"""Days of a month before an even pace says anything."""
_CURVE_DAYS_MIN: Final = 2.0
_CURVE_USERS_MIN: Final = 5
"""Below these the first days of a month say nothing of how it flattens."""
_MONTH_WEIGHTS: Final = (5.0, 2.0, 1.0)
"""Newest month first."""

# The following were set by ``python -m bench.forecast --tune``, on months that its error table does not contain.
_TOTAL_WEIGHT: Final = 10.0
"""Users by which the number of the months before speaks for that of this one."""
_FLATTENING: Final = 0.8
"""New users of the second half of the time so far, as a share of the first half's, before anything is known: at the
beginning, when few have been counted already."""
_FLATTENING_DAYS: Final = 20.0
"""After so many days it is a third of that (1/e)."""
_FLATTENING_WEIGHT: Final = 20.0
"""Users by which that counts."""
_SPREAD: Final = 2.5
"""Variance of what is still to come, as a multiple of what chance alone would give."""
_SHARE_ERROR: Final = 0.08
"""Relative error of what follows from a course of which half is reached; see ``_share_error``."""
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
    # Corrections may take away more than there is here yet.
    used, length = max(0, sum(current.values())), _length(month)
    elapsed, left, reached = _elapsed_days(month, now), max(0, limit - used), _reached_on(current, limit)
    if elapsed >= length:
        return BurnDown(limit, used, left, used, used, used, reached, reached, reached, "complete")
    outlook = _outlook(used, current, earlier, month, elapsed, kind)
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
    used: int,
    current: DailyCounts,
    earlier: Sequence[DailyCounts],
    month: date,
    elapsed: float,
    kind: Kind,
) -> _Outlook | None:
    began = days_before(current, month) if used else floor(elapsed)
    before = past(earlier[:EARLIER_MONTHS_MAX], month, began)
    if before.courses:
        outlook = _by_earlier_months(used, before, month, elapsed)
        if outlook is not None:
            return outlook
    if kind == "units":
        return _evenly(used, month, elapsed)
    return _by_growth(current, used, month, elapsed)


# By the months before


def _by_earlier_months(used: int, before: Past, month: date, elapsed: float) -> _Outlook | None:
    courses, clock = before.courses, Clock(month, before.week)
    weights = _MONTH_WEIGHTS[: len(courses)]

    def share(days: float) -> float:
        point = clock.point(days)
        # Sums of shares can come out above the whole by the last bit.
        return min(1.0, _mean([course.share(point) for course in courses], weights))

    reached = share(elapsed)
    if not reached:
        return None
    usual = _mean([float(course.total) for course in courses], weights)
    # What the months before came to speaks too, as long as little has come of this one.
    whole = (used + _TOTAL_WEIGHT) / (reached + _TOTAL_WEIGHT / usual)
    rest = whole * (1 - reached)
    point = clock.point(elapsed)
    error = _course_error([course.share(point) for course in courses], reached)
    # One more may always come, as long as time is left.
    spread = _BOUND * sqrt(_SPREAD * (rest + 1 - point) + (error * (used + rest)) ** 2)
    method: Method = "earlier_months" if len(courses) > 1 else "last_month"
    return _Outlook(method, used + rest, used + max(0.0, rest - spread), used + rest + spread, share)


def _course_error(shares: Sequence[float], reached: float) -> float:
    """Return the relative error of what follows from the shares that the months before had reached.

    It is how wrong a course usually is, and how wrong this way would have been about each of those months.
    """
    errors = [_share_error(reached)]
    for place, share in enumerate(shares[:-1], 1):
        expected = _mean(shares[place:], _MONTH_WEIGHTS[: len(shares) - place])
        errors.append((share - expected) / reached)
    return sqrt(sum(error**2 for error in errors) / len(errors))


def _share_error(reached: float) -> float:
    """Return how wrong a course usually is where a share of it is reached: more, the less that is."""
    return _SHARE_ERROR * sqrt((1 - reached) / reached)


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
    usual = _FLATTENING * exp(-elapsed / _FLATTENING_DAYS)
    ratio = (second + _FLATTENING_WEIGHT * usual) / (first + _FLATTENING_WEIGHT)
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
    reached = elapsed / _length(month)
    expected = used / reached
    rest = expected - used
    # Chance is in what is still to come, and in the pace so far that says what that is.
    spread = _BOUND * sqrt(_SPREAD * rest / reached + (_share_error(reached) * expected) ** 2)
    low = used + max(0.0, rest - spread)
    return _Outlook("straight_line", expected, low, expected + spread, _even(month))


def _even(month: date) -> Callable[[float], float]:
    return lambda days: days / _length(month)


# Days


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
