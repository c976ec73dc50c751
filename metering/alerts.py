"""When the use of a monthly limit is worth a notice: thresholds, crossings, recoveries.

Owns the state machine of a limit. Pure: how much is used and what the limit is are arguments, and so is the time. Which
limits there are is ``metering.alert_limits``; who is told, and how, is not decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

import msgspec

from schemas.alerts import Level, LimitName, NoticeKind


@dataclass(frozen=True, slots=True)
class LimitNow:
    """One limit of one month: what it is, how much of it is used, and where notices are wanted."""

    name: LimitName
    limit: int
    """0 = there is none; only thresholds that are counts can be crossed then."""
    used: int
    thresholds: tuple[str, ...]
    """Each "80%" or a count."""


class ThresholdState(msgspec.Struct, array_like=True):
    """What is known of one threshold of one limit and month. Field order is the storage format."""

    is_crossed: bool = False
    notices: int = 0
    """How many were given; the next one has the number after it."""


class LimitState(msgspec.Struct, array_like=True):
    """What is known of one limit of one month. Field order is the storage format."""

    thresholds: dict[str, ThresholdState] = {}
    level: Level = "ok"
    limit: int | None = None
    """What the limit was when it was judged last; None = it was judged before this was kept, or never."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A change of state that is worth a notice."""

    kind: NoticeKind
    threshold: str
    threshold_count: int
    n: int
    level_before: Level
    level: Level


def judge(state: LimitState, now: LimitNow, hysteresis_percent: Fraction) -> list[Crossing]:
    """Bring the state of a limit up to date and return what changed, in the order in which it is to be told.

    A threshold is crossed once as much is used as it says, and left once less is used by more than the hysteresis: the
    count wavers by a few when users turn out to be one person, and nobody wants a notice each time. A limit that is
    another one than before does not waver: who has agreed on a larger package, and is below its thresholds now, is told
    so, and told again when they are reached.

    Args:
        state: changed in place.
        now: the limit as it is.
        hysteresis_percent: of the limit; 0 = a threshold is left as soon as less is used.
    """
    is_another = state.limit is not None and state.limit != now.limit
    margin = 0 if is_another else floor(now.limit * hysteresis_percent / 100)
    state.limit = now.limit
    changed: list[tuple[int, str, NoticeKind, ThresholdState]] = []
    counts = threshold_counts(now.thresholds, now.limit)
    for threshold, count in counts.items():
        own = state.thresholds.setdefault(threshold, ThresholdState())
        if not own.is_crossed and now.used >= count:
            changed.append((count, threshold, "crossed", own))
        elif own.is_crossed and now.used < count - margin:
            changed.append((-count, threshold, "recovered", own))
    crossings: list[Crossing] = []
    # Up from the lowest, down from the highest: each notice's level is then one step from that before it.
    for signed_count, threshold, kind, own in sorted(changed, key=lambda each: each[:2]):
        own.is_crossed = kind == "crossed"
        own.notices += 1
        before, state.level = state.level, _level(state, counts, now.limit)
        crossings.append(Crossing(kind, threshold, abs(signed_count), own.notices, before, state.level))
    state.level = _level(state, counts, now.limit)
    return crossings


def threshold_counts(thresholds: Iterable[str], limit: int) -> dict[str, int]:
    """Return what thresholds come to, rounded up; a share of no limit comes to nothing and is left out."""
    counts: dict[str, int] = {}
    for threshold in thresholds:
        if not threshold.endswith("%"):
            counts[threshold] = int(threshold)
        elif limit > 0:
            counts[threshold] = ceil(limit * Fraction(threshold[:-1]) / 100)
    return counts


def _level(state: LimitState, counts: dict[str, int], limit: int) -> Level:
    crossed: Sequence[int] = [
        count
        for threshold, count in counts.items()
        if (own := state.thresholds.get(threshold)) is not None and own.is_crossed
    ]
    if limit > 0 and any(count >= limit for count in crossed):
        return "exhausted"
    return "warning" if crossed else "ok"
