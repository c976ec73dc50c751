"""The UTC offsets that an account's days were counted by, kept beside its zones.

A zone is only a name: what it means is in the time zone database, and a renewed one can say something else of days that
are already counted. Owns what is kept and how it is compared. Times in UTC seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec

from metering.calendar import Calendar
from schemas.limits import EARLIEST_SECONDS, FUTURE_TOLERANCE_SECONDS
from schemas.time_zones import ZONE_DATABASE

_BLOCK_SECONDS: Final = 1 << 25
"""About 13 months. Whole blocks are kept, and one ahead, so that what is kept seldom changes."""


class CountedOffsets(msgspec.Struct, array_like=True, frozen=True):
    """What a time zone database said about an account's local time in [``since``, ``until``).

    Field order is the storage format.
    """

    since: int
    until: int
    changes: tuple[tuple[int, int], ...]
    """``(instant, seconds east of UTC from then on)``, ascending, the first at ``since``."""
    database: str
    """Name and version of the database."""

    def at(self, instant: int) -> int:
        """Return the offset at an instant, in seconds east of UTC."""
        return self.changes[max(0, bisect_right(self.changes, (instant, 1 << 62)) - 1)][1]


def counted_between(oldest_at: int, newest_at: int) -> tuple[int, int] | None:
    """Return the first and the last instant that may be counted, or None if there is none.

    Args:
        oldest_at: oldest ``occurred_at``; 0 = not known.
        newest_at: newest ``occurred_at`` as of the receiver's clock; 0 = there was none.
    """
    first, last = oldest_at or EARLIEST_SECONDS, newest_at + FUTURE_TOLERANCE_SECONDS
    return (first, last) if newest_at and first <= last else None


def reaches(known: CountedOffsets | None, first: int, last: int) -> bool:
    """Tell whether the known offsets are there for everything from ``first`` to ``last``."""
    return known is not None and known.since <= first and last < known.until


def offsets_for(calendar: Calendar, first: int, last: int) -> CountedOffsets:
    """Return offsets for everything from ``first`` to ``last``, and about a year more."""
    since = first // _BLOCK_SECONDS * _BLOCK_SECONDS
    until = (last // _BLOCK_SECONDS + 2) * _BLOCK_SECONDS
    return CountedOffsets(since, until, calendar.offset_changes(since, until), ZONE_DATABASE)


def first_difference(one: CountedOffsets, other: CountedOffsets, first: int, last: int) -> int | None:
    """Return the first instant from ``first`` to ``last`` at which two offsets differ, or None."""
    changes = {at for at, _ in (*one.changes, *other.changes) if first < at <= last}
    return next((at for at in sorted({first, *changes}) if one.at(at) != other.at(at)), None)
