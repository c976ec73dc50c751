"""Bringing rows to ClickHouse while it is away, slow, or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from schemas.rows import CounterKey
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Mark, Progress
from streams.dirty import DirtyRows
from streams.flusher import Flusher, FlushLimits
from streams.lineage import ClickHouseRolledBack, Lineage
from streams.processor import StateMismatch

KEY: CounterKey = (5, 20_000, "account", "number", "DE")
OTHER: CounterKey = (5, 20_001, "account", "number", "DE")


class FakeClickHouse:
    """Takes flushes into memory, or fails as it is told, one outcome per call."""

    def __init__(self, outcomes: Sequence[Exception | None] = ()) -> None:
        self._outcomes = list(outcomes)
        self.rows: dict[CounterKey, CounterRow] = {}
        self.marks: dict[int, Mark] = {}
        self.flushes: list[int] = []

    @property
    def progress(self) -> Progress | None:
        """Return partition 0's progress."""
        return self.marks[0].progress if 0 in self.marks else None

    def flush(
        self,
        partition: int,
        rows: Sequence[CounterRow],
        progress: Progress,
        *,
        epoch: int,
        check: Callable[[Mark], None],
        on_step: Callable[[str], None],
        received_until_ms: int,  # noqa: ARG002 - nothing depends on it
    ) -> None:
        """Do as ``ClickHouseWriter.flush``; when it fails, half of the rows are there all the same."""
        self.flushes.append(partition)
        check(self.marks.get(partition, Mark("ours")))
        outcome = self._outcomes.pop(0) if self._outcomes else None
        for row in rows if outcome is None else rows[: len(rows) // 2]:
            known = self.rows.get(row.key)
            if known is None or row.version >= known.version:
                self.rows[row.key] = row
        on_step("after-chunk")
        if outcome is not None:
            raise outcome
        self.marks[partition] = Mark("ours", progress, epoch)

    def values(self) -> dict[CounterKey, tuple[int, ...]]:
        """Return what readers see."""
        return {key: row.values for key, row in self.rows.items()}


def flusher_of(
    clickhouse: FakeClickHouse,
    *dirty: DirtyRows,
    seen: list[bool] | None = None,
    owed_rows_max: int = 1_000,
    on_step: Callable[[str], None] = lambda _: None,
) -> Flusher:
    """Return a fast flusher."""
    observed = seen if seen is not None else []
    flusher = Flusher(
        cast("ClickHouseWriter", clickhouse),
        FlushLimits(interval_seconds=0.01, owed_rows_max=owed_rows_max),
        lambda _rows, _seconds, succeeded: observed.append(succeeded),
        lambda: 1,
        on_step,
    )
    for partition in dirty:
        flusher.add(partition)
    return flusher


def owing(partition: int = 0, lineage: Lineage | None = None) -> DirtyRows:
    """Return a partition whose first two commits ClickHouse has, and that owes the third."""
    dirty = DirtyRows(partition, Progress(2, 20), lineage)
    dirty.add({KEY: (1,), OTHER: (7,)}, Progress(3, 30), now_ms=5)
    return dirty


async def ending(flusher: Flusher) -> None:
    """Run a flusher that is expected to end by itself."""
    try:
        await asyncio.wait_for(flusher.run(), 5)
    finally:
        flusher.close()


def test_rows_that_failed_are_owed_again_and_newer_values_win() -> None:
    """What a failed flush gives back never replaces what was committed meanwhile."""
    dirty = DirtyRows(0, Progress(0, 0))
    dirty.add({KEY: (1,), OTHER: (7,)}, Progress(1, 10), now_ms=5)
    rows, progress = dirty.take()
    assert (progress, len(dirty), dirty.owes) == (Progress(1, 10), 0, True)
    dirty.add({KEY: (2,)}, Progress(2, 20), now_ms=6)
    dirty.give_back(rows, now_ms=7)
    rows, progress = dirty.take()
    assert {row.key: (row.values, row.version) for row in rows} == {KEY: ((2,), 2), OTHER: ((7,), 1)}
    dirty.flushed_until(progress)
    assert not dirty.owes


def test_a_commit_without_rows_still_owes_its_progress() -> None:
    """Repeats change no row, but whoever waits for them must be answered."""
    dirty = DirtyRows(0, Progress(0, 0))
    dirty.add({}, Progress(1, 10), now_ms=5)
    assert dirty.owes
    clickhouse = FakeClickHouse()

    async def scenario() -> None:
        flusher = flusher_of(clickhouse, dirty)
        running = asyncio.create_task(flusher.run())
        await asyncio.wait_for(flusher.wait_until({0: 10}), 5)
        running.cancel()

    asyncio.run(scenario())
    assert clickhouse.progress == Progress(1, 10)


def test_it_goes_on_when_clickhouse_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away three times, each time after half of the rows: in the end everything is there, once."""
    monkeypatch.setattr("streams.flusher._RETRY_SECONDS_MAX", 0.02)
    dirty = DirtyRows(0, Progress(0, 0))
    dirty.add({KEY: (1,), OTHER: (7,)}, Progress(1, 10), now_ms=5)
    clickhouse, seen = FakeClickHouse([ClickHouseAway("away")] * 3), list[bool]()

    async def scenario() -> None:
        flusher = flusher_of(clickhouse, dirty, seen=seen)
        running = asyncio.create_task(flusher.run())
        await asyncio.wait_for(flusher.wait_until({0: 10}), 5)
        dirty.add({KEY: (2,)}, Progress(2, 20), now_ms=6)
        await asyncio.wait_for(flusher.wait_until({0: 20}), 5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        flusher.close()

    asyncio.run(scenario())
    assert clickhouse.values() == {KEY: (2,), OTHER: (7,)}
    assert seen[:4] == [False, False, False, True]


def test_a_refusal_ends_the_flusher() -> None:
    """What ClickHouse will never take must be seen, not tried for ever; the rows stay owed."""
    dirty = DirtyRows(0, Progress(0, 0))
    dirty.add({KEY: (1,)}, Progress(1, 10), now_ms=5)

    async def scenario() -> None:
        flusher = flusher_of(FakeClickHouse([ClickHouseRefused("no such table")]), dirty)
        with pytest.raises(ClickHouseRefused):
            await asyncio.wait_for(flusher.run(), 5)
        flusher.close()

    asyncio.run(scenario())
    assert (dirty.owes, len(dirty)) == (True, 1)


@pytest.mark.parametrize(
    ("mark", "expected", "said"),
    [
        (Mark("ours", Progress(1, 10), 8), ClickHouseRolledBack, "up to commit 1, and had it up to 2"),
        (Mark("ours"), ClickHouseRolledBack, "up to commit 0, and had it up to 2"),
        (Mark(""), ClickHouseRolledBack, "start again"),
        (Mark("", Progress(2, 20), 8), ClickHouseRolledBack, "start again"),
        (Mark("ours", Progress(4, 40), 9), StateMismatch, "has commit 4 of partition 0, the state only 3"),
        (Mark("ours", Progress(3, 30), 77), StateMismatch, "a copy of the data directory"),
        (Mark("ours", Progress(2, 20), 77), StateMismatch, "a copy of the data directory"),
        (
            Mark("theirs", Progress(2, 20), 8),
            StateMismatch,
            "numbers of installation theirs, the log is of ours",
        ),
    ],
)
def test_a_clickhouse_that_is_not_where_we_left_it_is_not_written_to(
    mark: Mark, expected: type[Exception], said: str
) -> None:
    """Behind, ahead, of another history or of another installation: the flusher ends, and what is there stays."""
    dirty = owing(lineage=Lineage(0, "ours", ((1, 8), (3, 9))))
    clickhouse = FakeClickHouse()
    clickhouse.marks[0] = mark
    with pytest.raises(expected, match=said) as raised:
        asyncio.run(ending(flusher_of(clickhouse, dirty)))
    assert type(raised.value) is expected
    assert (clickhouse.rows, clickhouse.marks) == ({}, {0: mark})
    assert (dirty.owes, len(dirty)) == (True, 2)


@pytest.mark.parametrize("mark", [Mark("ours", Progress(2, 20), 8), Mark("ours", Progress(3, 30), 9), None])
def test_marks_of_our_own_commits_are_gone_on_from(mark: Mark | None) -> None:
    """The mark of the last flush, that of an attempt whose answer was lost, and that of a release without epochs."""
    dirty = owing(lineage=Lineage(0, "ours", ((1, 8), (3, 9))))
    clickhouse = FakeClickHouse()
    clickhouse.marks[0] = mark or Mark("ours", Progress(2, 20), 0)

    async def scenario() -> None:
        flusher = flusher_of(clickhouse, dirty)
        running = asyncio.create_task(flusher.run())
        await asyncio.wait_for(flusher.wait_until({0: 30}), 5)
        running.cancel()

    asyncio.run(scenario())
    assert clickhouse.marks[0] == Mark("ours", Progress(3, 30), 9)
    assert clickhouse.values() == {KEY: (1,), OTHER: (7,)}


def test_a_partition_given_up_in_the_middle_of_its_flush_ends_nothing() -> None:
    """Its next owner may be ahead already: that is no fault of a process which has other partitions to go on with."""
    given_up, kept = owing(0, Lineage(0, "ours")), owing(1, Lineage(1, "ours"))
    clickhouse = FakeClickHouse()
    clickhouse.marks = {0: Mark("ours", Progress(2, 20)), 1: Mark("ours", Progress(2, 20))}

    async def scenario() -> None:
        flusher = flusher_of(clickhouse, given_up, kept)
        flush = clickhouse.flush

        def overtaken(partition: int, *arguments: Any, **named: Any) -> None:
            if partition == 0:
                loop.call_soon_threadsafe(flusher.remove, given_up)
                clickhouse.marks[0] = Mark("ours", Progress(5, 50))
            flush(partition, *arguments, **named)

        clickhouse.flush = overtaken  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(flusher.run())
        await asyncio.wait_for(flusher.wait_until({1: 30}), 5)
        assert not running.done()
        running.cancel()

    asyncio.run(scenario())
    assert clickhouse.marks[0] == Mark("ours", Progress(5, 50))


def test_a_failing_partition_waits_for_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failure the others come first, and nobody waits for the same silence once more in the same round."""
    monkeypatch.setattr("streams.flusher._RETRY_SECONDS_MAX", 0.02)
    clickhouse = FakeClickHouse([ClickHouseAway("away")])
    clickhouse.marks = {number: Mark("ours", Progress(2, 20)) for number in range(3)}

    async def scenario() -> None:
        flusher = flusher_of(clickhouse, *(owing(number) for number in range(3)))
        running = asyncio.create_task(flusher.run())
        await asyncio.wait_for(flusher.wait_until({0: 30, 1: 30, 2: 30}), 5)
        running.cancel()

    asyncio.run(scenario())
    assert clickhouse.flushes == [0, 1, 2, 0]


def test_commits_over_the_same_counters_do_not_grow_what_is_owed() -> None:
    """While ClickHouse is away, a thousand commits and failed flushes hold as many rows as there are counters."""
    dirty = DirtyRows(0, Progress(0, 0))
    for sequence in range(1, 1_001):
        dirty.add({KEY: (sequence,), OTHER: (sequence,)}, Progress(sequence, sequence), now_ms=sequence)
        if sequence % 10 == 0:
            rows, _ = dirty.take()
            assert dirty.held == 2
            dirty.give_back(rows, now_ms=sequence)
        assert (len(dirty), dirty.held) == (2, 2)
    rows, progress = dirty.take()
    assert {row.values for row in rows} == {(1_000,)}
    assert dirty.oldest_change_ms == 1
    dirty.flushed_until(progress)
    assert dirty.oldest_change_ms == 0


def test_what_clickhouse_has_not_taken_grows_old_however_often_it_is_tried() -> None:
    """The age that alerts go by is that of the oldest change, while a flush is under way and after it failed."""
    dirty = DirtyRows(0, Progress(0, 0))
    dirty.add({KEY: (1,)}, Progress(1, 10), now_ms=5)
    for now_ms in (1_000, 2_000):
        rows, progress = dirty.take()
        dirty.add({OTHER: (1,)}, Progress(2, 20), now_ms=now_ms)
        assert dirty.oldest_change_ms == 5
        dirty.give_back(rows, now_ms=now_ms)
        assert dirty.oldest_change_ms == 5
    rows, progress = dirty.take()
    dirty.add({KEY: (2,)}, Progress(3, 30), now_ms=3_000)
    dirty.flushed_until(progress)
    assert dirty.oldest_change_ms == 3_000


def test_metering_waits_while_too_much_is_owed_and_goes_on_afterwards() -> None:
    """Rows owed and rows of the flush under way count; the wait ends when ClickHouse took them."""
    dirty = owing()
    clickhouse = FakeClickHouse()
    clickhouse.marks[0] = Mark("ours", Progress(2, 20))

    async def scenario() -> None:
        flusher = flusher_of(clickhouse, dirty, owed_rows_max=2)
        waiting = asyncio.create_task(flusher.wait_for_room(asyncio.Event()))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        rows, progress = dirty.take()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        dirty.give_back(rows, now_ms=1)
        assert progress == Progress(3, 30)
        running = asyncio.create_task(flusher.run())
        assert await asyncio.wait_for(waiting, 5)
        assert not dirty.owes
        running.cancel()

    asyncio.run(scenario())


def test_a_pause_ends_the_wait_for_room() -> None:
    """A partition that is taken away does not wait for ClickHouse first, however long that is away."""

    async def scenario() -> None:
        pausing = asyncio.Event()
        flusher = flusher_of(FakeClickHouse(), owing(), owed_rows_max=1)
        waiting = asyncio.create_task(flusher.wait_for_room(pausing))
        await asyncio.sleep(0.05)
        pausing.set()
        assert await asyncio.wait_for(waiting, 5) is False
        flusher.close()

    asyncio.run(scenario())


def test_with_room_nothing_is_waited_for() -> None:
    """The way through is free: not even another task runs in between."""

    async def scenario() -> None:
        flusher = flusher_of(FakeClickHouse(), owing(), owed_rows_max=3)
        waiting = flusher.wait_for_room(asyncio.Event())
        with pytest.raises(StopIteration) as ended:
            waiting.send(None)
        assert ended.value.value is True
        flusher.close()

    asyncio.run(scenario())
