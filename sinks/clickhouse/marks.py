"""Progress marks as a chain: which of them can be believed after ClickHouse was rolled back under a flush.

A flush looks at the marks, writes its rows, then its own mark. A rollback between the look and the mark would leave a
mark above a gap. Therefore each mark names the one right below it, and the last few stay, each in a slot of its own:
the mark above a gap does not stand on the one that it names.

Not told apart: a rollback to exactly the mark that the flush under way began from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

SLOTS: Final = 4
"""Marks kept of a partition. One may be replaced by a mark above a gap, and the proof of another be lost with it."""


class MarkRow(NamedTuple):
    """One stored mark."""

    slot: int
    sequence: int
    source_offset: int
    epoch: int
    previous: int
    """Commit of the mark right below it, when its flush looked; 0 = there was none."""


def newest_sound(rows: Sequence[MarkRow]) -> MarkRow | None:
    """Return the newest mark below which there is no gap, or None.

    That is one which stands on the mark that it names, or on which a later flush put its own.
    """
    standing = _standing(rows)
    named = {row.previous for row in standing}
    sound = [
        row for row in standing if row.previous == _below(standing, row.sequence)[1] or row.sequence in named
    ]
    return max(sound, key=lambda row: row.sequence, default=None)


def place_of(rows: Sequence[MarkRow], sequence: int) -> tuple[int, int]:
    """Return slot and previous commit of a new mark. What is above a gap is replaced by what has filled it."""
    standing = _standing(rows)
    slot_below, previous = _below(standing, sequence)
    same = [row.slot for row in standing if row.sequence == sequence]
    return (same[0] if same else (slot_below + 1) % SLOTS), previous


def _standing(rows: Sequence[MarkRow]) -> list[MarkRow]:
    """Return the rows that stay when the table is merged: the highest of each slot."""
    highest: dict[int, int] = {}
    for row in rows:
        highest[row.slot] = max(row.sequence, highest.get(row.slot, 0))
    return [row for row in rows if row.sequence == highest[row.slot]]


def _below(standing: Sequence[MarkRow], sequence: int) -> tuple[int, int]:
    """Return slot and commit of the highest mark below a commit."""
    lower = [(row.sequence, row.slot) for row in standing if row.sequence < sequence]
    commit, slot = max(lower, default=(0, SLOTS - 1))
    return slot, commit
