"""The source of a partition: whatever is delivered, the task gets every record of the log once and in order."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from streams.records import OffsetOutOfRange
from streams.source import QUEUED_BYTES_MAX, RECORD_BYTES, Source
from streams.step import SourceRecord
from tests.support.memory_log import MemoryLog


def log_with(offsets: list[int]) -> MemoryLog:
    """Return a log whose partition has records at these offsets."""
    log = MemoryLog()
    for offset in offsets:
        log.put("events", 0, offset, b"%d" % offset)
    return log


def record(offset: int) -> SourceRecord:
    """Return what is delivered for an offset."""
    return (offset, b"%d" % offset, 0)


def source_of(log: MemoryLog, flows: list[bool] | None = None) -> Source:
    """Return a source that notes when it asks for a pause."""
    return Source("events", 0, log, (flows if flows is not None else []).append)


async def taken(source: Source) -> list[int]:
    """Take until nothing is queued; return the offsets."""
    offsets: list[int] = []
    while not source.empty:
        offsets += [offset for offset, _, _ in await source.take(1 << 20, 0.01)]
    return offsets


@pytest.mark.parametrize("seed", range(200))
def test_lost_repeated_and_reordered_deliveries_change_nothing(seed: int) -> None:
    """From any delivery, with anything missing, twice or early, each record is taken once, in order."""
    random = Random(seed)
    offsets = sorted(random.sample(range(60), 30))
    log, flows = log_with(offsets), list[bool]()
    source = source_of(log, flows)
    begin = random.choice((0, offsets[3]))
    source.begin(begin)
    delivered = [offset for offset in offsets if random.random() < 0.7]
    for _ in range(random.randrange(4)):
        # A rebalance: delivery starts again somewhere before.
        delivered += delivered[random.randrange(len(delivered)) :]
    delivered.append(offsets[-1])

    async def scenario() -> list[int]:
        found: list[int] = []
        for offset in delivered:
            source.put(record(offset))
            if random.random() < 0.3:
                found += await taken(source)
        return found + await taken(source)

    assert asyncio.run(scenario()) == [offset for offset in offsets if offset >= begin]


def test_holes_of_the_log_are_not_records() -> None:
    """On Kafka transaction markers take offsets; one look at all of them finds nothing, and counts as nothing found."""
    log = log_with([0, 5, 9])
    source = source_of(log)
    for offset in (0, 5, 9):
        source.put(record(offset))
    assert asyncio.run(taken(source)) == [0, 5, 9]
    assert (source.found_count, log.reads) == (0, 1)


def test_many_missing_records_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large hole is filled bit by bit: memory stays bounded, and the order is kept."""
    monkeypatch.setattr("streams.source._MISSING_RECORDS_MAX", 7)
    source = source_of(log_with(list(range(100))))
    source.put(record(99))

    async def scenario() -> tuple[list[int], list[int]]:
        first = [offset for offset, _, _ in await source.take(1 << 20, 0.01)]
        return first, first + await taken(source)

    first, everything = asyncio.run(scenario())
    assert first == list(range(7))
    assert everything == list(range(100))


def test_records_that_are_never_delivered_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """When delivery stalls, the log is looked into; what was there at the look before is taken from it."""
    monkeypatch.setattr("streams.source.LOOK_AGAIN_SECONDS", 0.0)
    source = source_of(log_with([0, 1, 4]))
    source.begin(0)

    async def scenario() -> tuple[list[SourceRecord], list[SourceRecord], list[SourceRecord]]:
        return (
            await source.take(1 << 20, 0.01),
            await source.take(1 << 20, 0.01),
            await source.take(1 << 20, 0.01),
        )

    first, second, third = asyncio.run(scenario())
    assert (first, third) == ([], [])
    assert [offset for offset, _, _ in second] == [0, 1, 4]
    assert (source.found_count, source.behind(5)) == (3, 0)


def test_markers_at_the_end_are_no_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle partition whose log ends with markers is not behind once somebody has looked."""
    monkeypatch.setattr("streams.source.LOOK_AGAIN_SECONDS", 0.0)
    log = log_with([0])
    log.ends["events", 0] = 3
    source = source_of(log)
    source.put(record(0))

    async def scenario() -> None:
        assert await taken(source) == [0]
        assert source.behind(3) == 2
        assert await source.take(1 << 20, 0.01) == []
        assert await source.take(1 << 20, 0.01) == []

    asyncio.run(scenario())
    assert source.behind(3) == 0


def test_a_hole_that_the_log_lost_stops_the_work() -> None:
    """Records deleted before they were taken are data loss: the range is named, and nothing goes on behind it."""
    log = log_with([8, 9])
    log.starts["events", 0] = 8
    source = source_of(log)
    source.begin(3)
    source.put(record(9))
    with pytest.raises(OffsetOutOfRange, match="offsets 3 to 7"):
        asyncio.run(taken(source))


def test_a_full_queue_pauses_its_partition_alone() -> None:
    """Delivery is paused while too much is queued, and goes on when half of it is worked on."""
    flows: list[bool] = []
    source = source_of(log_with([0, 1, 2, 3]), flows)
    large = b"." * (QUEUED_BYTES_MAX // 4 - RECORD_BYTES)
    for offset in range(3):
        source.put((offset, large, 0))
    assert flows == []
    source.put((3, large, 0))
    assert flows == [False]

    async def one_by_one() -> None:
        assert len(await source.take(1, 0.01)) == 1
        assert flows == [False]
        assert len(await source.take(1, 0.01)) == 1
        assert flows == [False, True]

    asyncio.run(one_by_one())


def test_small_records_fill_the_queue_too() -> None:
    """A record costs more than its bytes: a million empty ones are not held in memory."""
    flows: list[bool] = []
    source = source_of(log_with([]), flows)
    for offset in range(QUEUED_BYTES_MAX // RECORD_BYTES + 1):
        source.put((offset, b"", 0))
    assert flows == [False]
    assert len(asyncio.run(source.take(1 << 20, 0.01))) <= (1 << 20) // RECORD_BYTES + 1
