"""Bringing rows to ClickHouse while it is away, slow, or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest

from schemas.rows import CounterKey
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from streams.dirty import DirtyRows
from streams.flusher import Flusher, FlushLimits

KEY: CounterKey = (5, 20_000, "account", "number", "DE")
OTHER: CounterKey = (5, 20_001, "account", "number", "DE")


class FakeClickHouse:
    """Takes flushes into memory, or fails as it is told, one outcome per call."""

    def __init__(self, outcomes: Sequence[Exception | None] = ()) -> None:
        self._outcomes = list(outcomes)
        self.rows: dict[CounterKey, CounterRow] = {}
        self.progress: Progress | None = None
        self.flushes = 0

    def flush(
        self,
        partition: int,
        rows: Sequence[CounterRow],
        progress: Progress,
        *,
        on_step: Callable[[str], None],
    ) -> None:
        """Do as ``ClickHouseWriter.flush``; when it fails, half of the rows are there all the same."""
        assert partition == 0
        self.flushes += 1
        outcome = self._outcomes.pop(0) if self._outcomes else None
        for row in rows if outcome is None else rows[: len(rows) // 2]:
            known = self.rows.get(row.key)
            if known is None or row.version >= known.version:
                self.rows[row.key] = row
        on_step("after-chunk")
        if outcome is not None:
            raise outcome
        self.progress = progress

    def values(self) -> dict[CounterKey, tuple[int, ...]]:
        """Return what readers see."""
        return {key: row.values for key, row in self.rows.items()}


def flusher_of(clickhouse: FakeClickHouse, dirty: DirtyRows, seen: list[bool] | None = None) -> Flusher:
    """Return a fast flusher."""
    observed = seen if seen is not None else []
    flusher = Flusher(
        cast("ClickHouseWriter", clickhouse),
        FlushLimits(interval_seconds=0.01),
        lambda _rows, _seconds, succeeded: observed.append(succeeded),
        lambda: 1,
    )
    flusher.add(dirty)
    return flusher


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
        flusher = flusher_of(clickhouse, dirty, seen)
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
