"""Which progress marks are believed: those that do not stand above a gap."""

from __future__ import annotations

from random import Random

import pytest

from sinks.clickhouse.marks import SLOTS, MarkRow, newest_sound, place_of


class Table:
    """Marks as the table keeps them once everything is merged: the highest commit in each slot."""

    def __init__(self) -> None:
        self.rows: dict[int, MarkRow] = {}

    def put(self, row: MarkRow) -> None:
        """Insert a row."""
        if row.slot not in self.rows or self.rows[row.slot].sequence <= row.sequence:
            self.rows[row.slot] = row

    def sound(self) -> MarkRow | None:
        """Return what a reader believes."""
        return newest_sound(list(self.rows.values()))

    def following(self, sequence: int) -> MarkRow:
        """Return the mark that a flush up to a commit will write, which looks at the marks now."""
        slot, previous = place_of(list(self.rows.values()), sequence)
        return MarkRow(slot, sequence, 0, 0, previous)


def chain_of(sequences: list[int]) -> Table:
    """Return the table after flushes up to these commits."""
    table = Table()
    for sequence in sequences:
        table.put(table.following(sequence))
        found = table.sound()
        assert found is not None
        assert found.sequence == sequence
    return table


@pytest.mark.parametrize("flushes", range(1, 3 * SLOTS))
def test_a_chain_is_believed_to_its_end(flushes: int) -> None:
    """However long it has been running, the newest mark counts."""
    chain_of([2 * number + 1 for number in range(flushes)])


@pytest.mark.parametrize("flushes", range(3 * SLOTS))
@pytest.mark.parametrize("missed", range(1, SLOTS + 2))
def test_a_mark_above_a_gap_is_not_believed(flushes: int, missed: int) -> None:
    """Rolled back by any number of flushes in the middle of one: its mark is passed over until it is true again."""
    sequences = [10 * number + 10 for number in range(flushes)]
    ahead = chain_of(sequences + [1_000 + number for number in range(missed)])
    late = ahead.following(2_000)
    table = chain_of(sequences)
    table.put(late)
    found = table.sound()
    # The late mark may have taken the slot of the newest or of the one that proves it: then an older one is believed.
    believed = found.sequence if found else 0
    assert believed in [0, *sequences][-3:]
    for sequence in (2_000, 2_001, 2_002, 2_003, 2_004, 2_005):
        table.put(table.following(sequence))
        healed = table.sound()
        assert healed is not None
        assert healed.sequence == sequence


def test_no_mark_is_no_mark() -> None:
    """An empty table says so; a single mark that follows one which is gone is not believed."""
    assert newest_sound([]) is None
    assert newest_sound([MarkRow(2, 9, 90, 1, 8)]) is None
    assert place_of([], 9) == (0, 0)


def test_marks_of_earlier_releases_are_believed() -> None:
    """They name none that they follow."""
    assert newest_sound([MarkRow(0, 9, 90, 0, 0), MarkRow(0, 7, 70, 0, 0)]) == MarkRow(0, 9, 90, 0, 0)


def test_before_the_table_is_merged_the_mark_that_filled_a_gap_counts() -> None:
    """The same commit stands twice in a slot: once above the gap, once after it was filled."""
    rows = [MarkRow(0, 5, 0, 0, 0), MarkRow(1, 9, 0, 0, 7), MarkRow(1, 9, 0, 0, 5)]
    assert newest_sound(rows) == rows[2]
    assert newest_sound(rows[:2]) == rows[0]
    assert place_of(rows[:2], 9) == (1, 5)


def newest_of(rows: dict[int, MarkRow]) -> int:
    """Return the newest commit that a mark names."""
    return max((row.sequence for row in rows.values()), default=0)


@pytest.mark.parametrize("seed", range(200))
def test_a_gap_is_never_covered(seed: int) -> None:
    """Random flushes, lost answers, late marks and rollbacks: no mark is ever believed whose commits are missing.

    A rollback to exactly where a flush under way began cannot be told from none; it is left out.
    """
    random = Random(seed)
    table, has = Table(), 0
    backups = [(dict(table.rows), has)]
    late: list[MarkRow] = []
    rollbacks = committed = 0
    for _ in range(80):
        committed += random.randrange(1, 4)
        found = table.sound()
        believed = found.sequence if found else 0
        assert believed <= has
        mark = table.following(committed)
        begun_at = {mark.previous, *(row.previous for row in late)}
        older = [backup for backup in backups if newest_of(backup[0]) not in begun_at]
        chance = random.random()
        if chance < 0.2 and older:
            rows, has = random.choice(older)
            table.rows = dict(rows)
            table.put(mark)
            rollbacks += 1
        else:
            has = committed
            if chance < 0.4:
                late.append(mark)
            else:
                table.put(mark)
        if late and random.random() < 0.3:
            table.put(late.pop(random.randrange(len(late))))
        if random.random() < 0.3:
            backups.append((dict(table.rows), has))
    assert rollbacks
