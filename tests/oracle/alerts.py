"""What the alerts must say, from the definitions alone: slow, and without the product's code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

from schemas.rows import CounterKey

Scope = tuple[str, str, str]
Totals = tuple[int, int, int, int, int]
"""Active by any and by both, service messages, service conversations, charged conversations."""
TEMPLATES = ("marketing", "marketing_lite", "utility", "authentication", "authentication_international")


def month_totals(rows: Mapping[CounterKey, tuple[int, ...]]) -> dict[Scope, Totals]:
    """Return what counter rows come to by account, number ("" = the whole account) and month."""
    sums: dict[Scope, Counter[int]] = {}

    def add(key: CounterKey, number: object, place: int, count: int) -> None:
        month = f"{date(1970, 1, 1) + timedelta(days=int(key[1])):%Y-%m}"
        sums.setdefault((str(key[2]), str(number), month), Counter())[place] += count

    for key, measures in rows.items():
        numbers = {"", str(key[3])}
        if key[0] == 6 and key[4] == "" and key[5] in ("any", "both"):
            add(key, key[3], ("any", "both").index(str(key[5])), measures[0])
        for number in numbers:
            if (
                key[0] == 2
                and key[9] != 1
                and key[5] not in TEMPLATES
                and (key[5] == "service" or key[6] != 1)
            ):
                add(key, number, 2, measures[0])
            if key[0] == 4:
                add(key, number, 3, measures[0] if key[5] == "service" else 0)
                add(key, number, 4, measures[2])
    return {
        scope: (counts[0], counts[1], counts[2], counts[3], counts[4])
        for scope, counts in sums.items()
        if any(counts.values())
    }


def notices(
    course: Sequence[tuple[int, int]], thresholds: Sequence[str], hysteresis_percent: Fraction
) -> list[list[tuple[str, str, int, str]]]:
    """Return for each moment in turn the notices (kind, threshold, n, level) that it gives.

    A threshold stands crossed after a moment if, looking back from there, one at which as much was used as it says is
    met sooner than one at which it was left: less was used, by more than the hysteresis, or at all where the limit had
    just become another one. A share of no limit is neither reached nor left.

    Args:
        course: what was used, and what the limit was.
        thresholds: each "80%" or a count.
        hysteresis_percent: of the limit.
    """

    def count_of(threshold: str, limit: int) -> int:
        return ceil(limit * Fraction(threshold[:-1]) / 100) if threshold.endswith("%") else int(threshold)

    def is_crossed(threshold: str, until: int) -> bool:
        for place in range(until - 1, -1, -1):
            used, limit = course[place]
            if not limit and threshold.endswith("%"):
                continue
            missing = count_of(threshold, limit) - used
            if missing <= 0:
                return True
            has_new_limit = place > 0 and course[place - 1][1] != limit
            if has_new_limit or missing > floor(limit * hysteresis_percent / 100):
                return False
        return False

    def level(states: Mapping[str, bool], counts: Mapping[str, int], limit: int) -> str:
        crossed = [counts[threshold] for threshold, state in states.items() if state]
        if limit and max(crossed, default=0) >= limit:
            return "exhausted"
        return "warning" if crossed else "ok"

    log: list[list[tuple[str, str, int, str]]] = []
    for at, (_, limit) in enumerate(course, 1):
        counts = {each: count_of(each, limit) for each in thresholds if limit or not each.endswith("%")}
        before = {threshold: is_crossed(threshold, at - 1) for threshold in counts}
        after = {threshold: is_crossed(threshold, at) for threshold in counts}
        # Those that fall are told before those that rise; each from where the count was towards where it is.
        fallen = sorted((-counts[each], each) for each in counts if before[each] and not after[each])
        risen = sorted((counts[each], each) for each in counts if after[each] and not before[each])
        states, step = dict(before), []
        for _, threshold in fallen + risen:
            states[threshold] = after[threshold]
            changes = [is_crossed(threshold, place) for place in range(at + 1)]
            n = sum(one != other for one, other in pairwise(changes))
            kind = "crossed" if after[threshold] else "recovered"
            step.append((kind, threshold, n, level(states, counts, limit)))
        log.append(step)
    return log
