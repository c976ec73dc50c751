"""The worker role on the embedded log: partitions restored, the Faust app running, rows on their way to ClickHouse.

Owns the order of starting and stopping. Does not own the log, the ClickHouse client or the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faust

from metering.calendar import ZoneRules
from metering.rules import Regimes
from schemas.topics import CHANGELOGS, CONSUMER_GROUP, DEAD_LETTER, EVENTS, INPUT_TOPICS, TopicSpec
from sinks.clickhouse.writer import ClickHouseWriter, Progress
from streams.app import create_app
from streams.commit import EmbeddedPartitionWriter
from streams.dirty import DirtyRows
from streams.embedded.log import EmbeddedLog
from streams.flusher import Flusher, FlushLimits
from streams.normalize import Reading, event_appends, refusal_appends
from streams.partition import PartitionTask, TaskPorts, check_flushed, owed_rows, restore
from streams.processor import Processor, ProcessorConfig, Retention, StateMismatch, Step
from streams.store import PartitionStore, Table

_log = logging.getLogger(__name__)
_RESTORE_RECORDS = 5_000
_POLL_SECONDS = 0.02
INPUT_RETENTION_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What the worker needs to know; durations in seconds."""

    state_directory: Path
    partitions: int
    regimes: Regimes
    zones_of: Callable[[str], ZoneRules]
    retention: Retention = field(default_factory=Retention)
    flush_limits: FlushLimits = field(default_factory=FlushLimits)
    reading: Reading = field(default_factory=Reading)
    dead_letter_seconds: int = 30 * 86_400
    dead_letter_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a partition is behind: records not committed, and the age in seconds of the oldest of them."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Observers:
    """Called as work goes on; for metrics."""

    committed: Callable[[int, Step, float], None] = lambda _partition, _step, _seconds: None
    flushed: Callable[[int, float, bool], None] = lambda _rows, _seconds, _succeeded: None
    ignored: Callable[[str], None] = lambda _name: None
    refused: Callable[[str], None] = lambda _reason: None
    on_step: Callable[[str], None] = lambda _name: None
    """The crash tests' way in: called with the name of each step."""


def topic_specs(options: WorkerOptions) -> list[TopicSpec]:
    """Return every topic that the product needs."""
    return [
        TopicSpec(EVENTS, options.partitions),
        *(TopicSpec(name, options.partitions, "compact") for name in CHANGELOGS),
        *(TopicSpec(name, 1, retention_seconds=INPUT_RETENTION_SECONDS) for name in INPUT_TOPICS),
        TopicSpec(
            DEAD_LETTER,
            1,
            retention_seconds=options.dead_letter_seconds,
            retention_bytes=options.dead_letter_bytes,
        ),
    ]


class LogChangelogReader:
    """Reads changelogs of the embedded log."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Read from an open log."""
        self._log = log

    def records(
        self, topic: str, partition: int, offset: int
    ) -> Iterator[list[tuple[int, bytes, bytes | None]]]:
        """See ``ChangelogReader.records``. Compaction may have removed the oldest: what is left is complete."""
        offset = max(offset, self._log.start_offset(topic, partition))
        # A tombstone that compaction took away meanwhile would leave a removed key in the store.
        self._log.hold_tombstones(topic, partition, offset)
        try:
            while stored := self._log.read(topic, partition, offset, max_records=_RESTORE_RECORDS):
                yield [(entry.offset, entry.record.key or b"", entry.record.value) for entry in stored]
                offset = stored[-1].offset + 1
        finally:
            self._log.release_tombstones(topic, partition)


class EmbeddedWorker:
    """Meters everything in an embedded log. ``start``, then ``stop``."""

    def __init__(
        self,
        log: EmbeddedLog,
        clickhouse: ClickHouseWriter,
        options: WorkerOptions,
        now_ms: Callable[[], int],
        observers: Observers | None = None,
    ) -> None:
        """Take an open, registered log and a migrated ClickHouse."""
        self.log = log
        self.options = options
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._clickhouse = clickhouse
        self._now_ms = now_ms
        self._observers = observers or Observers()
        self._writer = EmbeddedPartitionWriter(log)
        self.tasks: list[PartitionTask] = []
        self._stores: list[PartitionStore] = []
        self.flusher: Flusher | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._app: faust.App | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Restore every partition, then start to work.

        Raises:
            StateMismatch: log, state and ClickHouse do not belong together.
            RulesChanged: the settings would count the past differently.
        """
        self.log.declare(topic_specs(self.options))
        await asyncio.to_thread(self._check_installation)
        for partition in range(self.options.partitions):
            self.tasks.append(await asyncio.to_thread(self._restore, partition))
        dirty = [task.dirty for task in self.tasks]
        self.flusher = Flusher(
            self._clickhouse,
            dirty,
            self.options.flush_limits,
            self._observers.flushed,
            self._now_ms,
            self._observers.on_step,
        )
        for task in self.tasks:
            task.start()
        self._flushing = asyncio.create_task(self.flusher.run(), name="flush")
        self._flushing.add_done_callback(self._flushing_ended)
        self._app = create_app(f"embedded://{self.log.directory}", self.options.partitions, self._take)
        await self._app.start()
        self._watching = asyncio.create_task(self._watch_app(self._app), name="watch-app")

    async def _watch_app(self, app: faust.App) -> None:
        """A crash inside Faust (a lost record, a failed log) only sets a flag there; here it ends the process."""
        await app._crashed.wait()  # there is no public way to wait for it
        self.failure = app.crash_reason or RuntimeError("the stream app crashed")
        self.failed.set()

    def _check_installation(self) -> None:
        known = self._clickhouse.read_installation()
        if known is None:
            self._clickhouse.write_installation(self.log.installation_id)
        elif known != self.log.installation_id:
            raise StateMismatch(
                f"ClickHouse holds the numbers of installation {known}, the log is of {self.log.installation_id}; "
                "point to the ClickHouse that belongs to this data directory, or to an empty database"
            )

    def _restore(self, partition: int) -> PartitionTask:
        store = PartitionStore(self.options.state_directory / str(partition))
        self._stores.append(store)
        self._check_belongs(store, partition)
        count = restore(store, LogChangelogReader(self.log), partition)
        config = ProcessorConfig(
            partition,
            self.options.partitions,
            self.log.installation_id,
            self.options.regimes,
            self.options.zones_of,
            self.options.reading.read_events,
            self.options.retention,
        )
        processor = Processor(store, config, self._now_ms() // 1000)
        self._check_source(processor, partition)
        flushed = self._clickhouse.read_progress(partition) or Progress(0, 0)
        check_flushed(processor, flushed)
        dirty = DirtyRows(partition, flushed)
        owed = {row.key: row for row in owed_rows(store, flushed)}
        dirty.restore(
            owed, Progress(processor.record.sequence, processor.record.source_offset), self._now_ms()
        )
        _log.info(
            "partition restored: %d changelog records read, %d rows owed to ClickHouse",
            count,
            len(owed),
            extra={"partition": partition},
        )
        ports = TaskPorts(self._writer, self._now_ms, self._observers.committed, self._observers.on_step)
        return PartitionTask(processor, dirty, ports, lambda: self._task_failed(partition))

    def _check_belongs(self, store: PartitionStore, partition: int) -> None:
        """Refuse a store that knows more changelog than the log has: it belongs to another log."""
        for table in Table:
            end = self.log.end_offset(table.changelog, partition)
            if store.position(table) > end:
                raise StateMismatch(
                    f"the local state of partition {partition} knows {table.changelog} up to {store.position(table)}, "
                    f"the log ends at {end}: the log was replaced. Restore the log that belongs to this state, or "
                    f"move {self.options.state_directory} away"
                )

    def _check_source(self, processor: Processor, partition: int) -> None:
        """The offset in the state and the group's offset are committed together, so they must be equal."""
        committed = self.log.committed(CONSUMER_GROUP, EVENTS, partition)
        if (committed or 0) != processor.record.source_offset:
            raise StateMismatch(
                f"partition {partition}: the state covers the events before {processor.record.source_offset}, the "
                f"log's committed offset is {committed}; they are written together, so one of them was replaced. "
                "Restore a backup in which log and state were taken together"
            )

    def _task_failed(self, partition: int) -> None:
        self.failure = self.tasks[partition].failure
        self.failed.set()

    def _flushing_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = task.exception()
            self.failed.set()

    async def _take(self, topic: str, partition: int, offset: int, value: bytes, time_ms: int) -> None:
        try:
            if topic == EVENTS:
                await self.tasks[partition].put((offset, value, time_ms))
            else:
                await self._normalize(topic, partition, offset, value)
        except Exception as error:
            self.failure = error
            self.failed.set()
            raise

    async def _normalize(self, topic: str, partition: int, offset: int, value: bytes) -> None:
        now_ms = self._now_ms()
        parsed = self.options.reading.read(value, now_ms)
        for name in parsed.ignored:
            self._observers.ignored(name)
        for refusal in parsed.refusals:
            self._observers.refused(refusal.reason)
        appends = [
            *event_appends(parsed.events, self.options.partitions, now_ms),
            *refusal_appends(parsed.refusals, now_ms, "normalize"),
        ]
        await self.log.transaction(appends, {(CONSUMER_GROUP, topic, partition): offset + 1})

    def lag(self, now_ms: int) -> dict[int, Lag]:
        """Return how far each partition's commits are behind the end of the log."""
        return {task.processor.config.partition: self._lag(task, now_ms) for task in self.tasks}

    def _lag(self, task: PartitionTask, now_ms: int) -> Lag:
        partition = task.processor.config.partition
        committed = task.dirty.committed.source_offset
        end = self.log.end_offset(EVENTS, partition)
        if committed >= end:
            return Lag(0, 0.0)
        oldest = self.log.read(EVENTS, partition, committed, max_records=1)
        since_ms = oldest[0].record.timestamp_ms if oldest else now_ms
        return Lag(end - committed, max(0.0, (now_ms - since_ms) / 1000))

    def flush_age_seconds(self, now_ms: int) -> float:
        """Return the age of the oldest committed change that ClickHouse does not have."""
        oldest = min(
            (t.dirty.oldest_change_ms for t in self.tasks if t.dirty.oldest_change_ms), default=now_ms
        )
        return max(0.0, (now_ms - oldest) / 1000)

    def dead_letter_bytes(self) -> int:
        """Return the bytes kept in the dead letter."""
        return self.log.stored_bytes(DEAD_LETTER, 0)

    def state_records(self) -> dict[str, int]:
        """Return about how many records the local state holds, over all tables and partitions."""
        return {"all": sum(store.estimate() for store in self._stores)}

    def end_offsets(self) -> dict[int, int]:
        """Return the ends of the events partitions: what is durable in the log now."""
        return {p: self.log.end_offset(EVENTS, p) for p in range(self.options.partitions)}

    async def wait_normalized(self) -> None:
        """Return once everything that stands in the input topics now has been moved into ``events``."""
        ends = {topic: self.log.end_offset(topic, 0) for topic in INPUT_TOPICS}
        while any((self.log.committed(CONSUMER_GROUP, topic, 0) or 0) < end for topic, end in ends.items()):
            if self.failed.is_set():
                raise RuntimeError("the worker failed") from self.failure
            await asyncio.sleep(_POLL_SECONDS)

    async def wait_flushed(self, offsets: dict[int, int]) -> None:
        """Return once ClickHouse has everything before the given next offsets.

        Raises:
            RuntimeError: the worker failed meanwhile.
        """
        assert self.flusher is not None, "the worker was not started"
        waiting = asyncio.ensure_future(self.flusher.wait_until(offsets))
        failing = asyncio.ensure_future(self.failed.wait())
        try:
            await asyncio.wait({waiting, failing}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise RuntimeError("the worker failed") from self.failure
            await waiting
        finally:
            waiting.cancel()
            failing.cancel()

    async def stop(self) -> None:
        """Stop after the commits under way. What is not flushed is owed at the next start."""
        if self._watching is not None:
            self._watching.cancel()
        if self._app is not None:
            await self._app.stop()
        for task in self.tasks:
            await task.stop()
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        if self.flusher is not None:
            self.flusher.close()
        for store in self._stores:
            store.close()
