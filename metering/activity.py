"""Monthly activity of one user, kept up to date change by change (metering.md §4).

Owns the first incoming message and first delivery per month, number and country. ``metering.user.activity_keys`` is
the definition that this must come to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from metering.calendar import Calendar
from metering.head import FoldedActivity
from metering.state import earliest
from metering.user import RowKey, first_activity_keys

INCOMING, DELIVERED = 0, 1

Sign = tuple[int, str]
"""One sign of life: ``(at, country)``"""
Group = tuple[int, int, str]
"""``(month, index of the number, country)``"""
FirstTimes = tuple[int, int]
"""First incoming message and first delivery of a group; 0 = none."""
Month = dict[tuple[int, str], FirstTimes]
"""First times of a month by (index of the number, country)."""


class Activity:
    """First times by month, number and country, and the months that changed since they were last settled."""

    __slots__ = ("_before", "_calendar", "_folded", "_lost", "_months", "_numbers")

    def __init__(self, folded: list[FoldedActivity], numbers: list[str], calendar: Calendar) -> None:
        """Start from the activity before the fold; ``numbers`` are the user's, which may grow."""
        self._calendar = calendar
        self._folded = folded
        self._numbers = numbers
        self._months: dict[int, Month] = {}
        self._before: dict[int, Month] = {}
        self._lost: set[Group] = set()
        """Groups whose first time may have been taken away: all their signs must be looked at again."""
        for entry in folded:
            self._lower((entry.month, entry.number, entry.country), entry.incoming_at, entry.delivered_at)
        # It is counted already.
        self._before.clear()

    @property
    def is_changed(self) -> bool:
        """Tell whether any first time changed, or may have, since the last time they were settled."""
        return bool(self._before or self._lost)

    def replace(self, way: int, number: int, old: Sign | None, new: Sign | None) -> None:
        """Replace the sign of life of one item; ``way`` is ``INCOMING`` or ``DELIVERED``, None = no sign."""
        new_group = self._group(number, new) if new else None
        if new and new_group:
            self._lower(new_group, *_first_times(way, new[0]))
        if not old:
            return
        old_group = self._group(number, old)
        if new and new_group == old_group and new[0] <= old[0]:
            return
        month, _, country = old_group
        if self._months[month][number, country][way] == old[0]:
            self._lost.add(old_group)

    def settle(self, signs: Callable[[], Iterable[tuple[int, int, Sign]]]) -> Iterator[tuple[RowKey, int]]:
        """Yield the keys that went (with -1) and came (with 1) since the last time; some may do both.

        Args:
            signs: returns every item's sign as (way, number, sign); called only when a first one was taken away.
        """
        if self._lost:
            self._look_again(signs())
        for month, before in self._before.items():
            gone = list(self._keys(before)) if before else []
            new = list(self._keys(self._months.get(month, {})))
            if gone != new:
                yield from ((key, -1) for key in gone)
                yield from ((key, 1) for key in new)
        self._before.clear()

    def all_keys(self) -> Iterator[RowKey]:
        """Yield all keys, as of the last time they were settled."""
        for month in self._months.values():
            yield from self._keys(month)

    def _group(self, number: int, sign: Sign) -> Group:
        return (self._calendar.month(sign[0]), number, sign[1])

    def _lower(self, group: Group, incoming_at: int, delivered_at: int) -> None:
        month, number, country = group
        groups = self._months.get(month)
        if groups is None:
            groups = self._months[month] = {}
        known = groups.get((number, country), (0, 0))
        times = (earliest(known[0], incoming_at), earliest(known[1], delivered_at))
        if times != known:
            if month not in self._before:
                self._before[month] = dict(groups)
            groups[number, country] = times

    def _look_again(self, signs: Iterable[tuple[int, int, Sign]]) -> None:
        """Find the first times of the groups that lost theirs."""
        lost, self._lost = self._lost, set()
        for month, number, country in lost:
            groups = self._months[month]
            self._before.setdefault(month, dict(groups))
            del groups[number, country]
        for entry in self._folded:
            group = (entry.month, entry.number, entry.country)
            if group in lost:
                self._lower(group, entry.incoming_at, entry.delivered_at)
        for way, number, sign in signs:
            group = self._group(number, sign)
            if group in lost:
                self._lower(group, *_first_times(way, sign[0]))
        for month in {month for month, _, _ in lost}:
            if not self._months[month]:
                del self._months[month]

    def _keys(self, month: Month) -> Iterator[RowKey]:
        return first_activity_keys(
            (
                (self._numbers[number], country, incoming_at, delivered_at)
                for (number, country), (incoming_at, delivered_at) in month.items()
            ),
            self._calendar,
        )


def _first_times(way: int, at: int) -> FirstTimes:
    return (at, 0) if way == INCOMING else (0, at)
