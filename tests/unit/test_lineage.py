"""Whose commits a progress mark names, and what a partition remembers of its own history."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sinks.clickhouse.writer import Mark, Progress
from streams.accounts import NO_DAY, PartitionRecord, decode_partition, encode_record
from streams.lineage import Lineage
from streams.processor import StateMismatch


def test_a_commit_belongs_to_the_epoch_that_began_last_before_it() -> None:
    """Epochs begin at a commit and last until the next; before the first nothing is known."""
    lineage = Lineage(0, "ours", ((5, 50), (9, 90)))
    assert [lineage.epoch_of(sequence) for sequence in (0, 4, 5, 8, 9, 99)] == [0, 0, 50, 50, 90, 90]


@pytest.mark.parametrize(
    "mark", [Mark("ours"), Mark("", Progress(4, 1), 7), Mark("ours", Progress(6, 1), 50)]
)
def test_a_mark_that_may_be_ours_is_taken(mark: Mark) -> None:
    """No mark, one from before the epochs that are still known, and one of a known epoch."""
    Lineage(0, "ours", ((5, 50), (9, 90))).check(mark, committed=10)


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (Mark("ours", Progress(11, 1), 90), "has commit 11 of partition 0, the state only 10"),
        (Mark("ours", Progress(9, 1), 50), "was not made by this state"),
        (Mark("theirs"), "installation theirs"),
    ],
)
def test_a_mark_of_another_history_is_refused(mark: Mark, said: str) -> None:
    """Ahead of us, the right number in the wrong epoch, another installation."""
    with pytest.raises(StateMismatch, match=said):
        Lineage(0, "ours", ((5, 50), (9, 90))).check(mark, committed=10)


def test_an_epoch_is_kept_with_its_first_commit() -> None:
    """An opening without a commit leaves no trace in what is stored; the newest epochs stay, the oldest go."""
    record = PartitionRecord("ours", 4)
    for epoch in range(100, 140):
        record = decode_partition(encode_record(record))
        record.begin_epoch(epoch)
        record.sequence += epoch % 2
    assert record.epochs == [(1 + number, 101 + 2 * number) for number in range(20)]
    for epoch in range(200, 250):
        record.begin_epoch(epoch)
        record.sequence += 1
    assert [epoch for _, epoch in record.epochs] == list(range(218, 250))


def test_records_of_earlier_releases_are_read() -> None:
    """Fields are only ever appended: what lacks them has their defaults."""
    stored: list[Any] = ["ours", 4, 17, 170, 0, []]
    record = decode_partition(msgspec.msgpack.encode(stored))
    assert (record.sequence, record.epochs, record.dropped_sequence) == (17, [], 0)
    assert record.dropped_day == NO_DAY
    assert msgspec.msgpack.decode(encode_record(record))[:6] == stored


def test_the_newest_of_what_was_dropped_is_remembered() -> None:
    """Neither an older sweep nor one that found nothing takes anything back."""
    record = PartitionRecord("ours", 4)
    record.note_dropped(0, 20_000)
    assert (record.dropped_sequence, record.dropped_day) == (0, NO_DAY)
    record.note_dropped(9, 20_000)
    record.note_dropped(7, 20_001)
    record.note_dropped(0, 30_000)
    assert (record.dropped_sequence, record.dropped_day) == (9, 20_001)
