"""Progress marks as a chain: which of them can be believed after ClickHouse was rolled back under a flush.

A flush looks at the marks, writes its rows, then its own mark. A rollback between the look and the mark would leave a
mark above a gap. Therefore each mark names the one it follows, and the last few stay: the one above a gap stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

SLOTS: Final = 4
"""Marks kept of a partition; the rollback and the mark above its gap may each have cost one."""


class MarkRow(NamedTuple):
    """One stored mark."""

    slot: int
    sequence: int
    source_offset: int
    epoch: int
    previous: int
    """Commit of the mark that it follows; 0 = none."""


def next_slot(slot: int) -> int:
    """Return where the mark goes that follows the one in ``slot``."""
    return (slot + 1) % SLOTS


def newest_sound(rows: Sequence[MarkRow]) -> MarkRow | None:
    """Return the newest mark below which there is no gap, or None.

    That is one whose predecessor is there too, or that a later flush has followed, having looked at it; or a first one.
    """
    known = {row.sequence for row in rows}
    followed = {row.previous for row in rows if row.previous < row.sequence}
    sound = [
        row
        for row in rows
        if not row.previous
        or (row.previous in known and row.previous < row.sequence)
        or row.sequence in followed
    ]
    return max(sound, key=lambda row: row.sequence, default=None)
