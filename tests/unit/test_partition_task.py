"""The ordered task of a partition: it forgets also while it is busy, and stops in the middle of a long sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from metering.rules import DAY_SECONDS
from schemas.alert_codec import decode_count
from schemas.codec import encode_batch
from schemas.events import Event
from schemas.topics import DEAD_LETTER, MAU_COUNTS
from sinks.clickhouse.writer import Progress
from streams.accounts import PARTITION_KEY, encode_record
from streams.dirty import DirtyRows
from streams.guard import Acceptance, Acceptances, RefusalLimits, acceptance_append
from streams.log import SourcePosition
from streams.opening import Opened
from streams.partition import PartitionTask, TaskPorts
from streams.source import Source
from streams.store import Table
from streams.task import Supervision
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
        self.room = asyncio.Event()
        self.room.set()
        ports = TaskPorts(lambda: 2_000_000_000_000, lambda *_: None, wait_for_room=self._wait_for_room)
        supervision = Supervision(self.failures.append, Acceptances(self.log), RefusalLimits(run_max=5))
        self.task = PartitionTask(self.source, self._open, ports, supervision)
        self._offset = 0
        self._opened_before = False

    async def _wait_for_room(self, given_up: asyncio.Event) -> bool:
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.room, given_up)]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for future in waiting:
            future.cancel()
        return self.room.is_set()

    async def _open(self) -> Opened:
        writer = await self.log.writer("events", 0)
        if self._opened_before:
            self.partition.reopen()
        self._opened_before = True
        processor = self.partition.processor
        return Opened(0, writer, self.partition.store, processor, DirtyRows(0, Progress(0, 0)))

    def deliver(self, *events: Event) -> None:
        """Append one record to the log and deliver it."""
        self.deliver_value(encode_batch(events))

    def deliver_value(self, value: bytes) -> None:
        """Append and deliver one record, readable or not."""
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


UNREADABLE = b"\x01 nobody can read this"


def test_a_partition_that_refuses_too_much_stops_until_someone_accepts(tmp_path: Path) -> None:
    """Nothing of a bad run reaches the dead letter before an operator has looked; then it goes on where it was."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.log.put("convometer-accepts", 0, 0, b"{}")  # an earlier word, of another stop
        bench.task.start()
        bench.deliver(incoming("m1", START, 1))
        await bench.until(lambda: bench.log.positions.get(("events", 0)) == 1)
        for _ in range(7):
            bench.deliver_value(UNREADABLE)
        await bench.until(lambda: bool(bench.task.stopped))
        bench.deliver(incoming("m2", START + 1, 1))
        assert "refused" in bench.task.stopped
        stopped_at = bench.log.positions["events", 0]
        assert stopped_at < 8
        await asyncio.sleep(0.05)
        assert bench.log.positions["events", 0] == stopped_at
        writer = await bench.log.writer("events", 0)
        await writer.commit([acceptance_append(Acceptance("events", 1), 1)], SourcePosition("x", 0, 0))
        await writer.commit([acceptance_append(Acceptance("events", 0), 1)], SourcePosition("x", 0, 0))
        await bench.until(lambda: bench.log.positions["events", 0] == 9)
        assert bench.task.stopped == ""
        assert len(bench.log.records["dead-letter", 0]) == 7
        await bench.task.stop()

    asyncio.run(scenario())


def test_what_comes_too_late_stops_nothing(tmp_path: Path) -> None:
    """Who feeds an old month once more sends nothing wrong: it is set aside, and the partition goes on."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.task.start()
        for day in range(60):
            bench.deliver(incoming(f"m{day}", START + day * DAY_SECONDS, 1))
        processor = bench.partition.processor
        await bench.until(lambda: "A" in processor.accounts and processor.accounts["A"].cut > START)
        for repeat in range(20):
            bench.deliver(incoming(f"m{repeat % 2}", START, 1))
        bench.deliver(incoming("new", START + 60 * DAY_SECONDS, 1))
        await bench.until(lambda: bench.log.positions.get(("events", 0)) == 81)
        assert not bench.task.stopped
        assert len(bench.log.records[DEAD_LETTER, 0]) == 20
        await bench.task.stop()

    asyncio.run(scenario())


def test_a_stopped_partition_can_be_given_up_and_taken_up(tmp_path: Path) -> None:
    """A rebalance ends the wait; nothing of the bad step is committed, and the next owner stops at the same place."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.task.start()
        for _ in range(7):
            bench.deliver_value(UNREADABLE)
        await bench.until(lambda: bool(bench.task.stopped))
        committed = bench.log.positions.get(("events", 0), 0)
        await bench.task.pause()
        assert (bench.task.stopped, bench.log.positions.get(("events", 0), 0)) == ("", committed)
        bench.task.start()
        await bench.until(lambda: bool(bench.task.stopped))
        assert not bench.failures
        await bench.task.stop()

    asyncio.run(scenario())


def test_a_partition_waits_for_clickhouse_before_it_meters_on(tmp_path: Path) -> None:
    """While too much is owed nothing is taken, committed or lost; a rebalance need not wait for it."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.room.clear()
        bench.task.start()
        await bench.until(lambda: bench.task.is_open)
        bench.deliver(incoming("m1", START, 1))
        await asyncio.sleep(0.05)
        assert ("events", 0) not in bench.log.positions
        assert not bench.source.empty
        async with asyncio.timeout(5):
            await bench.task.pause()
        bench.task.start()
        bench.deliver(incoming("m2", START, 1))
        await asyncio.sleep(0.05)
        assert ("events", 0) not in bench.log.positions
        bench.room.set()
        await bench.until(lambda: bench.log.positions.get(("events", 0)) == 2)
        await bench.task.stop()

    asyncio.run(scenario())


def test_months_that_were_never_told_are_told_without_a_webhook(tmp_path: Path) -> None:
    """State of a version without alerts: a quiet partition's users count for the package of a busy account."""

    async def scenario() -> None:
        bench = Bench(tmp_path)
        bench.task.start()
        for user in range(3):
            bench.deliver(incoming(f"m{user}", 1_999_000_000, user))
        await bench.until(lambda: bench.partition.processor.record.source_offset == 3)
        await bench.task.pause()
        bench.log.records.pop((MAU_COUNTS, 0))
        bench.partition.processor.record.has_published = False
        bench.partition.store.apply(
            {Table.ACCOUNTS: {PARTITION_KEY: encode_record(bench.partition.processor.record)}}, {}, 0
        )
        await bench.task.stop()
        bench.task.start()
        await bench.until(lambda: (MAU_COUNTS, 0) in bench.log.records)
        await bench.task.stop()
        counts = [decode_count(record.value or b"") for record in bench.log.records[MAU_COUNTS, 0].values()]
        assert {(each.account, each.number): each.totals.mau_any for each in counts} == {
            ("A", ""): 3,
            ("A", "1"): 3,
        }
        # Once: the state that is committed with them says so.
        bench.log.records.pop((MAU_COUNTS, 0))
        bench.task.start()
        await asyncio.sleep(1.5)
        await bench.task.stop()
        assert (MAU_COUNTS, 0) not in bench.log.records

    asyncio.run(scenario())
