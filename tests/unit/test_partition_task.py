"""The ordered task of a partition: it forgets also while it is busy, and stops in the middle of a long sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from metering.rules import DAY_SECONDS
from schemas.codec import encode_batch
from schemas.events import Event
from sinks.clickhouse.writer import Progress
from streams.dirty import DirtyRows
from streams.opening import Opened
from streams.partition import PartitionTask, TaskPorts
from streams.source import Source
from tests.support.memory_log import MemoryLog
from tests.support.partitions import Partitions

START = 1_790_000_000


def incoming(message_id: str, occurred_at: int, user: int) -> Event:
    """Return one incoming message."""
    return Event(
        provider="canonical",
        account="A",
        number="1",
        kind="incoming",
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=occurred_at * 1000,
        country="DE",
        user_phone=f"4917{user:08d}",
    )


class Bench:
    """A task over a real store and a log in memory."""

    def __init__(self, directory: Path) -> None:
        self.log = MemoryLog()
        self.partition = Partitions(directory, 1, lambda _account: "UTC").partitions[0]
        self.failures: list[BaseException] = []
        self.source = Source("events", 0, self.log, lambda _flow: None)
        ports = TaskPorts(lambda: 2_000_000_000_000, lambda *_: None)
        self.task = PartitionTask(self.source, self._open, ports, self.failures.append)
        self._offset = 0

    async def _open(self) -> Opened:
        writer = await self.log.writer("events", 0)
        processor = self.partition.processor
        return Opened(0, writer, self.partition.store, processor, DirtyRows(0, Progress(0, 0)))

    def deliver(self, *events: Event) -> None:
        """Append one record to the log and deliver it."""
        value = encode_batch(events)
        self.log.put("events", 0, self._offset, value)
        self.source.put((self._offset, value, 0))
        self._offset += 1

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something happened, ten seconds at most."""
        async with asyncio.timeout(10):
            while not happened():
                assert not self.failures
                await asyncio.sleep(0.001)


def test_a_partition_that_is_never_idle_forgets(tmp_path: Path) -> None:
    """With a record always queued, state of long ago still goes."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.task.start()
        for day in range(90):
            bench.deliver(incoming(f"m{day}", START + day * DAY_SECONDS, 1))
            if day % 10 == 9:
                await bench.until(lambda: bench.source.empty)
        users = bench.partition.processor.users
        await bench.until(lambda: bench.partition.processor.record.source_offset == 90)
        [cached] = users.load([("A", "491700000001")]).values()
        assert bench.partition.processor.accounts["A"].cut > START
        assert len(cached.metered.user.incoming) < 90
        await bench.task.stop()

    asyncio.run(scenario())


def test_a_stop_does_not_wait_for_a_long_sweep(tmp_path: Path) -> None:
    """A stop ends the task after the step of the sweep that is under way."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.task.start()
        for user in range(3_000):
            bench.deliver(incoming(f"m{user}", START, user))
        bench.deliver(incoming("later", START + 60 * DAY_SECONDS, 1))
        processor = bench.partition.processor
        await bench.until(lambda: "A" in processor.accounts and processor.accounts["A"].cut > 0)
        await bench.task.pause()
        assert processor.accounts["A"].swept < processor.accounts["A"].cut
        await bench.task.stop()

    asyncio.run(scenario())
