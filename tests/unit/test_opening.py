"""Taking a partition up: whether the log still is the one that the state was counted from."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from metering.rules import shipped_regimes
from schemas.codec import encode_batch
from schemas.topics import EVENTS
from sinks.clickhouse.writer import Mark
from streams import opening
from streams.opening import Opened, Opener, WorkerOptions
from streams.processor import StateMismatch
from streams.step import SourceRecord
from tests.support.flushing import NOW_SECONDS, incoming
from tests.support.memory_log import MemoryLog


class EmptyClickHouse:
    """As far as an opening asks: no mark, and nothing was ever accepted."""

    def read_mark(self, partition: int) -> Mark:
        """See ``ClickHouseWriter.read_mark``."""
        assert partition == 0
        return Mark("")


class LateLog(MemoryLog):
    """Shows the group's offset a few looks late, as Kafka may just after a commit."""

    def __init__(self, late: int) -> None:
        super().__init__()
        self.looks = 0
        self.late = late

    async def committed(self, topic: str, partition: int) -> int | None:
        """See ``WorkerLog.committed``."""
        self.looks += 1
        return await super().committed(topic, partition) if self.looks > self.late else None


async def open_partition(log: MemoryLog, directory: Path) -> Opened:
    """Take partition 0 up."""
    options = WorkerOptions(directory, 1, shipped_regimes(), zones_of=lambda _account: (("", "UTC"),))
    clickhouse = EmptyClickHouse()
    opener = Opener(log, clickhouse, options, lambda: NOW_SECONDS * 1000)  # type: ignore[arg-type]
    return await opener.open(0)


async def after_three_records(log: MemoryLog, directory: Path) -> None:
    """Leave state that covers offsets 0 to 2, and a log that agrees."""
    opened = await open_partition(log, directory)
    records: list[SourceRecord] = []
    for offset in range(3):
        value = incoming_value(offset)
        log.put(EVENTS, 0, offset, value)
        records.append((offset, value, 0))
    step = opened.processor.process(records, NOW_SECONDS)
    opened.store.apply(step.writes, {})
    opened.processor.after_commit()
    log.positions[EVENTS, 0] = step.source_offset
    opened.store.close()


def incoming_value(number: int) -> bytes:
    """Return a batch record of one event."""
    return encode_batch([incoming(f"m{number}")])


def test_an_offset_that_is_shown_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka may show a committed offset a moment late; that is no reason to end."""
    monkeypatch.setattr(opening, "_COMMIT_SHOWN_PAUSE_SECONDS", 0.001)

    async def scenario() -> None:
        log = LateLog(late=0)
        await after_three_records(log, tmp_path)
        log.looks, log.late = 0, 3
        opened = await open_partition(log, tmp_path)
        assert (opened.processor.record.source_offset, log.looks) == (3, 4)
        opened.store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("position", [None, 2, 4])
def test_an_offset_that_is_not_the_states_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, position: int | None
) -> None:
    """Expired, moved back or moved on: the state and the log were written together, so they must agree."""
    monkeypatch.setattr(opening, "_COMMIT_SHOWN_PAUSE_SECONDS", 0.001)

    async def scenario() -> None:
        log = MemoryLog()
        await after_three_records(log, tmp_path)
        if position is None:
            del log.positions[EVENTS, 0]
        else:
            log.positions[EVENTS, 0] = position
        with pytest.raises(StateMismatch, match=rf"covers the events before 3, .* offset is {position};"):
            await open_partition(log, tmp_path)

    asyncio.run(scenario())


@pytest.mark.parametrize(("start", "end"), [(4, 9), (0, 2)])
def test_a_log_that_does_not_reach_the_state_is_refused(tmp_path: Path, start: int, end: int) -> None:
    """Records that were deleted before they were counted, and a topic that was made anew, stop the start."""

    async def scenario() -> None:
        log = MemoryLog()
        await after_three_records(log, tmp_path)
        log.starts[EVENTS, 0], log.ends[EVENTS, 0] = start, end
        with pytest.raises(StateMismatch, match=rf"the log has those from {start} to {end}"):
            await open_partition(log, tmp_path)

    asyncio.run(scenario())


def test_a_first_start_behind_the_beginning_of_the_log_is_refused(tmp_path: Path) -> None:
    """A worker that has counted nothing yet may not begin behind records that are gone."""

    async def scenario() -> None:
        log = MemoryLog()
        log.starts[EVENTS, 0], log.ends[EVENTS, 0] = 5, 9
        with pytest.raises(StateMismatch, match="deleted before it was counted"):
            await open_partition(log, tmp_path)

    asyncio.run(scenario())
