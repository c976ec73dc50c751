"""The ordered task of one partition: restore, then batch after batch, commit after commit.

The order of one step, which the crash tests interrupt at every place:

1. meter the queued records (state in memory moves ahead),
2. commit rows, states, dead letters and source offset in one transaction of the log,
3. write the local store (data and changelog positions in one batch),
4. owe the rows to ClickHouse.

After a crash at any place the log's transaction decides: a store that is behind catches up from the changelog, and
ClickHouse is owed every row whose sequence is above its own progress mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.dead_letter import dead_letter_of, encode_dead_letter
from schemas.topics import DEAD_LETTER, EVENTS
from sinks.clickhouse.writer import CounterRow, Progress
from streams.commit import PartitionWriter, events_position
from streams.counters import decode_key, decode_value
from streams.dirty import DirtyRows
from streams.embedded.log import Append, Record
from streams.processor import Processor, SourceRecord, StateMismatch, Step
from streams.store import PartitionStore, Table
from streams.sweep import Sweep

_QUEUED_RECORDS_MAX = 64
_IDLE_SECONDS = 1.0
_COMMIT_BYTES_MAX = 1 << 20


class ChangelogReader(Protocol):
    """Reads committed changelog records for the restore."""

    def records(
        self, topic: str, partition: int, offset: int
    ) -> Iterator[list[tuple[int, bytes, bytes | None]]]:
        """Yield lists of (offset, key, value), ascending, from an offset to the end."""
        ...


@dataclass(frozen=True, slots=True)
class TaskPorts:
    """What a partition's task reaches the world through."""

    writer: PartitionWriter
    now_ms: Callable[[], int]
    observe: Callable[[int, Step, float], None]
    """Called after each commit with the partition, the step and the commit's duration in seconds."""
    on_step: Callable[[str], None] = lambda _: None
    """Called with the name of each place of the order above; the crash tests end the process in it."""


def restore(store: PartitionStore, reader: ChangelogReader, partition: int) -> int:
    """Bring a store up to the end of its changelogs and return the number of records read."""
    count = 0
    for table in Table:
        for chunk in reader.records(table.changelog, partition, store.position(table)):
            writes = {key: value for _, key, value in chunk}
            store.apply({table: writes}, {table.changelog: chunk[-1][0] + 1})
            count += len(chunk)
    return count


def owed_rows(store: PartitionStore, flushed: Progress) -> Iterator[CounterRow]:
    """Yield the rows that ClickHouse cannot have: changed by later commits than its progress mark."""
    for stored_key, stored_value in store.scan(Table.COUNTERS):
        sequence, values = decode_value(stored_value)
        if sequence > flushed.sequence:
            yield CounterRow(decode_key(stored_key), values, sequence)


def check_flushed(processor: Processor, flushed: Progress) -> None:
    """Make sure that ClickHouse is not ahead of the state.

    Raises:
        StateMismatch: it is: the state was lost or rolled back, and going on would overwrite history with less.
    """
    if flushed.sequence > processor.record.sequence:
        raise StateMismatch(
            f"ClickHouse has commit {flushed.sequence} of partition {processor.config.partition}, the state only "
            f"{processor.record.sequence}: the data directory was emptied or rolled back while ClickHouse was not. "
            "Restore the data directory that belongs to this ClickHouse, or point to an empty database"
        )


class PartitionTask:
    """Runs one partition. Create it, ``start`` it, ``put`` records in order."""

    def __init__(
        self, processor: Processor, dirty: DirtyRows, ports: TaskPorts, on_crash: Callable[[], None]
    ) -> None:
        """Take a processor over a restored store.

        Args:
            processor: the partition's work.
            dirty: what it owes ClickHouse.
            ports: the world.
            on_crash: called when the task ends by an exception; must end the process.
        """
        self.processor = processor
        self.dirty = dirty
        self._ports = ports
        self._on_crash = on_crash
        self._sweep = Sweep(processor)
        self._queue: asyncio.Queue[SourceRecord] = asyncio.Queue(_QUEUED_RECORDS_MAX)
        self._task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start working."""
        self._task = asyncio.create_task(self._run(), name=f"partition-{self.processor.config.partition}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            self._on_crash()

    async def put(self, record: SourceRecord) -> None:
        """Queue a record, waiting while the queue is full. Records already in the state are passed over."""
        if record[0] >= self.processor.record.source_offset:
            await self._queue.put(record)

    async def stop(self) -> None:
        """Stop after the step under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            records = await self._take()
            if records:
                self._ports.on_step("before-process")
                await self._commit(self.processor.process(records, self._ports.now_ms() // 1000))
            else:
                await self._sweep_some()

    async def _take(self) -> list[SourceRecord]:
        """Return what is queued, up to a commit's size; empty after an idle second."""
        try:
            # Not wait_for: on Python 3.11 it can swallow a cancellation, and a stop would wait for ever.
            async with asyncio.timeout(_IDLE_SECONDS):
                records = [await self._queue.get()]
        except TimeoutError:
            return []
        size = len(records[0][1])
        while size < _COMMIT_BYTES_MAX and not self._queue.empty():
            records.append(self._queue.get_nowait())
            size += len(records[-1][1])
        return records

    async def _sweep_some(self) -> None:
        """Sweep while nothing is queued; a long sweep gives way to records after each step."""
        while self._queue.empty():
            step = self._sweep.next_step(self._ports.now_ms() // 1000, self.dirty.flushed.sequence)
            if step is None:
                return
            await self._commit(step)

    async def _commit(self, step: Step) -> None:
        partition = self.processor.config.partition
        now_ms = self._ports.now_ms()
        started = asyncio.get_running_loop().time()
        appends = appends_of(step, partition, now_ms)
        self._ports.on_step("before-commit")
        # Shielded: a stop must not leave a commit with an outcome that nobody learns.
        offsets = await asyncio.shield(
            asyncio.ensure_future(
                self._ports.writer.commit(appends, events_position(partition, step.source_offset))
            )
        )
        self._ports.on_step("after-commit")
        changelogs = {table.changelog for table in Table}
        positions = {topic: last + 1 for (topic, _), last in offsets.items() if topic in changelogs}
        self.processor.store.apply(step.writes, positions)
        self._ports.on_step("after-store")
        self.processor.after_commit()
        self.dirty.add(step.rows, Progress(step.sequence, step.source_offset), now_ms)
        self._ports.observe(partition, step, asyncio.get_running_loop().time() - started)


def appends_of(step: Step, partition: int, now_ms: int) -> list[Append]:
    """Return everything that one commit appends to the log, the source position aside."""
    appends = [
        Append(table.changelog, partition, [Record(key, value, now_ms) for key, value in entries.items()])
        for table, entries in step.writes.items()
        if entries
    ]
    if step.refusals:
        letters: Sequence[Record] = [
            Record(None, encode_dead_letter(dead_letter_of(refusal, now_ms, "worker")), now_ms)
            for refusal in step.refusals
        ]
        appends.append(Append(DEAD_LETTER, 0, letters))
    for owner, batches in step.forwards.items():
        appends.append(Append(EVENTS, owner, [Record(None, batch, now_ms) for batch in batches]))
    return appends
