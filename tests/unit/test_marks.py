"""Which progress marks are believed: those that do not stand above a gap."""

from __future__ import annotations

from random import Random

import pytest

from sinks.clickhouse.marks import SLOTS, MarkRow, newest_sound, next_slot


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


def following(base: MarkRow | None, sequence: int) -> MarkRow:
    """Return the mark that a flush writes which found ``base``."""
    if base is None:
        return MarkRow(0, sequence, 0, 0, 0)
    return MarkRow(next_slot(base.slot), sequence, 0, 0, base.sequence)


def chain_of(sequences: list[int]) -> Table:
    """Return the table after flushes up to these commits."""
    table = Table()
    for sequence in sequences:
        table.put(following(table.sound(), sequence))
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
    """Rolled back by any number of flushes in the middle of one: its mark is passed over, and healing goes on from it."""
    sequences = [10 * number + 10 for number in range(flushes)]
    ahead = chain_of(sequences + [1_000 + number for number in range(missed)])
    late = following(ahead.sound(), 2_000)
    table = chain_of(sequences)
    table.put(late)
    found = table.sound()
    # The late mark may have taken the slot of the newest or of the one that proves it: then an older one is believed.
    believed = found.sequence if found else 0
    assert believed in [0, *sequences][-3:]
    table.put(following(found, 2_000))
    healed = table.sound()
    assert healed is not None
    assert healed.sequence == 2_000
    table.put(following(healed, 2_001))
    assert table.sound() == following(healed, 2_001)


def test_no_mark_is_no_mark() -> None:
    """An empty table says so; a single mark that follows one which is gone is not believed."""
    assert newest_sound([]) is None
    assert newest_sound([MarkRow(2, 9, 90, 1, 8)]) is None


def test_marks_of_earlier_releases_are_believed() -> None:
    """They name none that they follow."""
    assert newest_sound([MarkRow(0, 9, 90, 0, 0), MarkRow(0, 7, 70, 0, 0)]) == MarkRow(0, 9, 90, 0, 0)


@pytest.mark.parametrize("seed", range(200))
def test_a_gap_is_never_covered(seed: int) -> None:
    """Random flushes, lost answers, late inserts and rollbacks: no mark is ever believed whose commits are missing."""
    random = Random(seed)
    table, has = Table(), 0
    backups = [(dict(table.rows), has)]
    in_flight: list[MarkRow] = []
    flushed = committed = 0
    for _ in range(60):
        committed += random.randrange(1, 4)
        found = table.sound()
        believed = found.sequence if found else 0
        assert believed <= has
        if believed < flushed:
            flushed = believed  # the process ended and opened the partition anew
        mark = following(found, committed)
        chance = random.random()
        if chance < 0.2:
            rows, has = random.choice(backups)
            table.rows = dict(rows)
            table.put(mark)  # the rollback was in the middle of this flush
            flushed = committed
        elif chance < 0.35:
            has = max(has, committed)
            in_flight.append(mark)  # the answer was lost, and the mark arrives later or never
        else:
            has = max(has, committed)
            table.put(mark)
            flushed = committed
        if in_flight and random.random() < 0.3:
            table.put(in_flight.pop(random.randrange(len(in_flight))))
        if random.random() < 0.3:
            backups.append((dict(table.rows), has))
