"""Bugs planted in the real flusher, its rows and its writer: each must show in what ClickHouse says.

Generated histories go through real partitions and a real flusher to ClickHouse over HTTP, which now and then loses an
answer or an insert, so that flushes are repeated; what readers see is held against the oracle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from schemas.rows import CounterKey
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from streams.dirty import DirtyRows
from tests.integration.conftest import Database
from tests.oracle.strategies import build_history, shuffled_and_duplicated
from tests.oracle.totals import expected_totals
from tests.support.clickhouse_http import ClickHouseHttp, Mode
from tests.support.flushing import Metering, totals_in

SEEDS = range(6)
Plant = Callable[[pytest.MonkeyPatch], None]


async def fed(metering: Metering, server: ClickHouseHttp, random: Random) -> list[Any]:
    """Feed histories in small commits, with an answer lost here and there; return their events."""
    histories = [build_history(seed) for seed in SEEDS]
    for seed, history in zip(SEEDS, histories, strict=True):
        events = shuffled_and_duplicated(history, seed)
        while events:
            cut = random.choice((1, 2, 5))
            if random.random() < 0.2:
                server.mode, server.good_inserts = random.choice((Mode.LOSES_ANSWER, Mode.FAILS)), 0
            metering.meter(events[:cut])
            events = events[cut:]
            if server.mode is not Mode.WELL:
                await failed(metering)
                server.mode = Mode.WELL
            elif random.random() < 0.3:
                await metering.flushed()
    await metering.flushed()
    return [event for history in histories for event in history]


async def failed(metering: Metering) -> None:
    """Return once a flush has failed, if there was anything to flush."""
    async with asyncio.timeout(10):
        while metering.opened[0].dirty.owes and not metering.flusher._retry_seconds:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def differs(database: Database, server: ClickHouseHttp, directory: Path) -> bool:
    """Tell whether ClickHouse ends in anything but the oracle's totals, or the flusher in a fault."""

    async def scenario() -> bool:
        metering = Metering(directory, ClickHouseWriter(database.pool))
        await metering.open()
        try:
            events = await fed(metering, server, Random(1))
        except (AssertionError, RuntimeError, TimeoutError):
            return True
        finally:
            server.mode = Mode.WELL
            await metering.close()
        return totals_in(database.client) != expected_totals(events)

    return asyncio.run(asyncio.wait_for(scenario(), 120))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once after a failure."""
    monkeypatch.setattr("streams.flusher._RETRY_SECONDS_MAX", 0.01)


def test_without_a_planted_bug_clickhouse_says_what_the_oracle_says(
    http_database: Database, http_server: ClickHouseHttp, tmp_path: Path
) -> None:
    """The comparison is sound, with flushes repeated and answers lost."""
    assert not differs(http_database, http_server, tmp_path)


def add_instead_of_replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush adds its rows to those of the flushes before: a double flush counts twice."""
    flush, written = ClickHouseWriter.flush, dict[CounterKey, tuple[int, ...]]()

    def adding(
        self: ClickHouseWriter, partition: int, rows: Sequence[CounterRow], progress: Progress, **words: Any
    ) -> None:
        summed = []
        for row in rows:
            before = written.get(row.key, (0,) * len(row.values))
            written[row.key] = tuple(one + other for one, other in zip(before, row.values, strict=True))
            summed.append(row._replace(values=written[row.key]))
        flush(self, partition, summed, progress, **words)

    monkeypatch.setattr(ClickHouseWriter, "flush", adding)


def flush_under_another_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flush is written twice, the second time as another partition's: readers add both up."""
    flush = ClickHouseWriter.flush

    def twice(
        self: ClickHouseWriter, partition: int, rows: Sequence[CounterRow], progress: Progress, **words: Any
    ) -> None:
        flush(self, partition + 1, rows, progress)
        flush(self, partition, rows, progress, **words)

    monkeypatch.setattr(ClickHouseWriter, "flush", twice)


def forget_what_was_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a failed flush are owed no more."""
    give_back = DirtyRows.give_back

    def forgetting(self: DirtyRows, _rows: Iterable[CounterRow], now_ms: int) -> None:
        give_back(self, [], now_ms)

    monkeypatch.setattr(DirtyRows, "give_back", forgetting)


def keep_the_first_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """All values of a row have the same version, so that a newer one need not replace an older one."""
    add = DirtyRows.add

    def unversioned(
        self: DirtyRows, rows: Mapping[CounterKey, tuple[int, ...]], committed: Progress, now_ms: int
    ) -> None:
        add(self, rows, committed, now_ms)
        # An older commit's number on a newer value.
        self._rows = {
            key: row._replace(version=max(1, 1_000_000 - row.version)) for key, row in self._rows.items()
        }

    monkeypatch.setattr(DirtyRows, "add", unversioned)


@pytest.mark.parametrize(
    "plant",
    [
        add_instead_of_replace,
        flush_under_another_partition,
        forget_what_was_given_back,
        keep_the_first_version,
    ],
)
def test_a_bug_planted_in_the_flush_shows_in_clickhouse(
    http_database: Database,
    http_server: ClickHouseHttp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Plant,
) -> None:
    """Each planted bug of the flush is a difference to the oracle."""
    plant(monkeypatch)
    assert differs(http_database, http_server, tmp_path)
