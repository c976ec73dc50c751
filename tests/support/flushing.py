"""A worker without tasks: real opening, real partitions, a real flusher, and a log in memory.

Owns the steps that a partition's task would do, so that a test says when each happens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import Random

from metering.rules import shipped_regimes
from schemas.codec import encode_batch, partition_of
from schemas.events import Event
from schemas.rows import FAMILIES, CounterKey
from schemas.topics import EVENTS
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.writer import ClickHouseWriter, Progress
from streams.flusher import Flusher, FlushLimits
from streams.opening import Opened, Opener, WorkerOptions
from streams.step import Step
from streams.sweep import Sweep
from tests.support.memory_log import MemoryLog

NOW_SECONDS = 2_000_000_000
START = 1_790_000_000
DAY = 86_400


def incoming(message_id: str, occurred_at: int = START, *, account: str = "A", user: int = 1) -> Event:
    """Return one incoming message."""
    return Event(
        provider="canonical",
        account=account,
        number="1",
        kind="incoming",
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=occurred_at * 1000,
        country="DE",
        user_phone=f"4917{user:08d}",
    )


class Metering:
    """State and log of one installation; ``open`` begins a life of its process, ``close`` ends it."""

    def __init__(self, directory: Path, writer: ClickHouseWriter, partitions: int = 1) -> None:
        self.log = MemoryLog()
        self.writer = writer
        self.truth: dict[tuple[int, CounterKey], tuple[int, ...]] = {}
        self.opened: list[Opened] = []
        self.options = WorkerOptions(
            directory, partitions, shipped_regimes(), zones_of=lambda _account: (("", "UTC"),)
        )

    async def open(self, limits: FlushLimits | None = None) -> None:
        """Take all partitions up, as a start does."""
        if self.writer.read_installation() is None:
            self.writer.write_installation(self.log.installation_id)
        opener = Opener(self.log, self.writer, self.options, lambda: NOW_SECONDS * 1000)
        self.opened = [await opener.open(partition) for partition in range(self.options.partitions)]
        self.flusher = Flusher(
            self.writer, limits or FlushLimits(interval_seconds=0.01), lambda *_: None, lambda: 1
        )
        for opened in self.opened:
            self.flusher.add(opened.dirty)
        self.running = asyncio.create_task(self.flusher.run())

    async def close(self) -> BaseException | None:
        """End the process; return what the flusher died of, if it did."""
        self.running.cancel()
        [ended] = await asyncio.gather(self.running, return_exceptions=True)
        self.flusher.close()
        for opened in self.opened:
            opened.store.close()
        self.opened = []
        return ended if isinstance(ended, Exception) else None

    def meter(self, events: Sequence[Event]) -> None:
        """Meter and commit, one commit in each partition concerned."""
        for opened in self.opened:
            count = len(self.opened)
            own = [e for e in events if partition_of(e.account, e.user_key, count) == opened.partition]
            if own:
                offset, value = opened.processor.record.source_offset, encode_batch(own)
                self.log.put(EVENTS, opened.partition, offset, value)
                self._commit(opened, opened.processor.process([(offset, value, 0)], NOW_SECONDS))

    def sweep(self) -> None:
        """Forget everything that is to be forgotten."""
        for opened in self.opened:
            sweep = Sweep(opened.processor)
            while True:
                step = sweep.next_step(NOW_SECONDS, opened.dirty.flushed.sequence)
                if step is not None:
                    self._commit(opened, step)
                elif not sweep.under_way:
                    break

    def _commit(self, opened: Opened, step: Step) -> None:
        opened.store.apply(step.writes, {})
        opened.processor.after_commit()
        opened.dirty.add(step.rows, Progress(step.sequence, step.source_offset), 1)
        self.log.positions[EVENTS, opened.partition] = step.source_offset
        self.truth.update({(opened.partition, key): values for key, values in step.rows.items()})

    async def flushed(self, timeout_seconds: float = 20) -> None:
        """Return once ClickHouse has everything; raises what the flusher died of instead."""
        offsets = {opened.partition: opened.dirty.committed.source_offset for opened in self.opened}
        waiting = asyncio.create_task(self.flusher.wait_until(offsets))
        await asyncio.wait(
            {waiting, self.running}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if self.running.done():
            waiting.cancel()
            self.running.result()
        async with asyncio.timeout(0.1):
            await waiting

    def totals(self) -> dict[CounterKey, tuple[int, ...]]:
        """Return what readers must see: the sums over partitions, without rows that are all zero."""
        sums: dict[CounterKey, tuple[int, ...]] = {}
        for (_, key), values in self.truth.items():
            known = sums.get(key, (0,) * len(values))
            sums[key] = tuple(one + other for one, other in zip(known, values, strict=True))
        return {key: values for key, values in sums.items() if any(values)}


def some_events(random: Random, count: int, prefix: str) -> list[Event]:
    """Return events of a few users and days, so that many change the same counters."""
    return [
        incoming(
            f"{prefix}-{number}",
            START + random.randrange(3 * DAY),
            account=random.choice("AB"),
            user=random.randrange(20),
        )
        for number in range(count)
    ]


def totals_in(client: ClickHouse) -> dict[CounterKey, tuple[int, ...]]:
    """Return what readers see, by counter key."""
    seen: dict[CounterKey, tuple[int, ...]] = {}
    for schema in FAMILIES.values():
        dimensions = ", ".join(("toInt32(toUInt16(day))", *schema.dimensions[1:]))
        rows = client.query(f"SELECT {dimensions}, {', '.join(schema.measures)} FROM v_{schema.table}")
        for row in rows:
            values = tuple(row[len(schema.dimensions) :])
            if any(values):
                seen[int(schema.family), *row[: len(schema.dimensions)]] = values
    return seen
