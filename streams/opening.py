"""Taking a partition up: become its writer, bring the local state to the end of its changelogs, check that log, state
and ClickHouse belong together, and find what ClickHouse is still owed.

Owns the order of these. Nothing is written to the log.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final, TypeVar

from metering.calendar import ZoneRules
from metering.rules import Regimes
from schemas.topics import EVENTS
from sinks.clickhouse.client import ClickHouseAway
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Mark, Progress
from streams.alert_options import AlertOptions
from streams.counters import decode_key, decode_value
from streams.dirty import DirtyRows
from streams.flusher import FlushLimits
from streams.guard import RefusalLimits
from streams.lineage import Lineage
from streams.log import Bounds, PartitionWriter, WorkerLog
from streams.normalize import Reading
from streams.processor import Processor, StateMismatch
from streams.step import ProcessorConfig, Retention
from streams.store import PartitionStore, Table, remove_store
from streams.threads import in_thread

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 2.0
_COMMIT_SHOWN_TRIES: Final = 10
_COMMIT_SHOWN_PAUSE_SECONDS: Final = 0.5
_DAY_ZERO: Final = date(1970, 1, 1)
T = TypeVar("T")


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
    refusal_limits: RefusalLimits = field(default_factory=RefusalLimits)
    events_seconds: int = 7 * 86_400
    dead_letter_seconds: int = 30 * 86_400
    dead_letter_bytes: int = 1 << 30
    alerts: AlertOptions = field(default_factory=AlertOptions)


@dataclass(frozen=True, slots=True)
class Opened:
    """A partition that is ours, ready for its next record."""

    partition: int
    writer: PartitionWriter
    store: PartitionStore
    processor: Processor
    dirty: DirtyRows


class Opener:
    """Opens partitions of one worker."""

    def __init__(
        self,
        log: WorkerLog,
        clickhouse: ClickHouseWriter,
        options: WorkerOptions,
        now_ms: Callable[[], int],
    ) -> None:
        """Take a declared log and a migrated ClickHouse."""
        self._log = log
        self._clickhouse = clickhouse
        self._options = options
        self._now_ms = now_ms

    async def open(self, partition: int) -> Opened:
        """Take a partition up.

        Raises:
            StateMismatch: log, state and ClickHouse do not belong together.
            RulesChanged: the settings would count the past differently.
        """
        # First: whoever had the partition before can commit no more, so that what is read next is final.
        writer = await self._log.writer(EVENTS, partition)
        try:
            store = await self._restored_store(partition)
            try:
                processor = await in_thread(self._processor, store, partition)
                await self._check_source(processor, partition)
                return Opened(partition, writer, store, processor, await self._owed(processor, store))
            except BaseException:
                store.close()
                raise
        except BaseException:
            await writer.close()
            raise

    async def _restored_store(self, partition: int) -> PartitionStore:
        directory = self._options.state_directory / str(partition)
        store = await in_thread(PartitionStore, directory)
        try:
            if self._is_outdated(store, partition):
                _log.info("the local state of partition %d is too old, it is built anew", partition)
                await in_thread(store.close)
                remove_store(directory)
                store = await in_thread(PartitionStore, directory)
            now_ms = self._now_ms()
            count = 0
            for table in Table:
                count += await self._restore_table(store, table, partition)
            await in_thread(store.apply, {}, {}, now_ms)
        except BaseException:
            store.close()
            raise
        _log.info("partition %d restored: %d changelog records read", partition, count)
        return store

    def _is_outdated(self, store: PartitionStore, partition: int) -> bool:
        """Tell whether a removal may have left the changelogs that the store has not seen: it was restored from a copy.

        Half of the time that removals are kept, as clocks differ. A new store has seen nothing, and needs none.
        """
        if all(store.position(table) == 0 for table in Table):
            return False
        gone_before = self._log.removals_gone_before
        if any(store.position(table) < gone_before(table.changelog, partition) for table in Table):
            return True
        kept_seconds = self._log.tombstone_seconds
        return kept_seconds is not None and self._now_ms() - store.caught_up_ms > kept_seconds * 1000 // 2

    async def _restore_table(self, store: PartitionStore, table: Table, partition: int) -> int:
        bounds = await self._log.bounds(table.changelog, partition)
        position = store.position(table)
        self._check_belongs(table, partition, position, bounds)
        count = 0
        async for chunk in self._log.read(table.changelog, partition, position, bounds.end):
            writes = {record.key or b"": record.value for _, record in chunk}
            await in_thread(store.apply, {table: writes}, {table.changelog: chunk[-1].offset + 1})
            count += len(chunk)
        return count

    def _check_belongs(self, table: Table, partition: int, position: int, bounds: Bounds) -> None:
        """Refuse a store that knows more changelog than the log has: it belongs to another log."""
        if position > bounds.end:
            raise StateMismatch(
                f"the local state of partition {partition} knows {table.changelog} up to {position}, the log ends at "
                f"{bounds.end}: the log was replaced. Restore the log that belongs to this state, or move "
                f"{self._options.state_directory} away"
            )

    def _processor(self, store: PartitionStore, partition: int) -> Processor:
        options = self._options
        config = ProcessorConfig(
            partition,
            options.partitions,
            self._log.installation_id,
            options.regimes,
            options.zones_of,
            options.reading.read_events,
            options.retention,
        )
        return Processor(store, config, self._now_ms() // 1000)

    async def _check_source(self, processor: Processor, partition: int) -> None:
        """The offset in the state and the group's offset are committed together, so they must be equal."""
        expected = processor.record.source_offset
        committed = await self._committed(partition, expected)
        if (committed or 0) != expected:
            raise StateMismatch(
                f"partition {partition}: the state covers the events before {expected}, the log's committed offset is "
                f"{committed}; they are written together, so one of them was replaced, or the group's offset was "
                "moved or has expired. Restore a backup in which log and state were taken together; if only the "
                f"offset is wrong, set that of group convometer, topic events, partition {partition} to {expected}"
            )
        bounds = await self._log.bounds(EVENTS, partition)
        if not bounds.start <= expected <= bounds.end:
            raise StateMismatch(
                f"partition {partition}: the state covers the events before {expected}, the log has those from "
                f"{bounds.start} to {bounds.end}: what lies between was deleted before it was counted, or the topic "
                "was made anew. Restore the topic, or replay the missing range into an installation that is built anew"
            )

    async def _committed(self, partition: int, expected: int) -> int | None:
        """Return the group's offset; Kafka may show one that was just committed a moment late."""
        committed = await self._log.committed(EVENTS, partition)
        for _ in range(_COMMIT_SHOWN_TRIES):
            if (committed or 0) >= expected:
                break
            await asyncio.sleep(_COMMIT_SHOWN_PAUSE_SECONDS)
            committed = await self._log.committed(EVENTS, partition)
        return committed

    async def _owed(self, processor: Processor, store: PartitionStore) -> DirtyRows:
        partition, record = processor.config.partition, processor.record
        # Kept by the next commit, which is the first of this epoch; what is owed already was committed in earlier ones.
        record.begin_epoch(secrets.randbits(63))
        lineage = Lineage(partition, self._log.installation_id, tuple(record.epochs))
        mark = await self._ask_clickhouse(partition, self._clickhouse.read_mark, partition)
        flushed = mark.progress
        lineage.check(mark, record.sequence)
        await self._check_dropped(processor, flushed)
        owed = {row.key: row for row in await in_thread(lambda: list(owed_rows(store, flushed)))}
        if owed:
            _log.info("partition %d owes ClickHouse %d rows", partition, len(owed))
        dirty = DirtyRows(partition, flushed, lineage)
        progress = Progress(record.sequence, record.source_offset)
        dirty.restore(owed, progress, self._now_ms(), record.received_until_ms)
        return dirty

    async def _check_dropped(self, processor: Processor, flushed: Progress) -> None:
        """Refuse a ClickHouse that lacks what the state cannot write again, unless an operator accepted that."""
        partition, dropped = processor.config.partition, processor.record.dropped_sequence
        loss = (partition, flushed.sequence, dropped)
        if flushed.sequence >= dropped:
            return
        if await self._ask_clickhouse(partition, self._clickhouse.is_loss_accepted, *loss):
            _log.warning("partition %d: an operator accepted that days are missing in ClickHouse", partition)
            return
        statement = await self._ask_clickhouse(partition, self._clickhouse.acceptance_statement, *loss)
        check_flushed(processor, flushed, statement)

    async def _ask_clickhouse(self, partition: int, ask: Callable[..., T], *arguments: object) -> T:
        """Return what ClickHouse says; without it nothing can be checked, so this waits for it."""
        while True:
            try:
                return await in_thread(ask, *arguments)
            except ClickHouseAway as error:
                _log.warning("partition %d waits for ClickHouse: %s", partition, error)
                await asyncio.sleep(_RETRY_SECONDS)


def owed_rows(store: PartitionStore, flushed: Progress) -> Iterator[CounterRow]:
    """Yield the rows that ClickHouse cannot have: changed by later commits than its progress mark."""
    for stored_key, stored_value in store.scan(Table.COUNTERS):
        sequence, values = decode_value(stored_value)
        if sequence > flushed.sequence:
            yield CounterRow(decode_key(stored_key), values, sequence)


def check_flushed(processor: Processor, flushed: Progress, accept: str = "") -> None:
    """Make sure that the state can write again what ClickHouse lacks, and that ClickHouse is not ahead of it.

    Args:
        processor: of the partition.
        flushed: how far ClickHouse says it is.
        accept: how an operator accepts that something is missing for good.

    Raises:
        StateMismatch: ClickHouse is ahead, and going on would overwrite history with less; or it was emptied or rolled
            back behind rows that have left the state.
    """
    record, partition = processor.record, processor.config.partition
    Lineage(partition).check(Mark(progress=flushed), record.sequence)
    if flushed.sequence < record.dropped_sequence:
        newest = _DAY_ZERO + timedelta(days=record.dropped_day)
        ways = f", or accept that they are missing or old there: {accept}" if accept else ""
        raise StateMismatch(
            f"ClickHouse has partition {partition} up to commit {flushed.sequence} only: it was emptied, or restored "
            f"from a backup that is too old. Rows of days up to {newest} have left the worker's state since, changed "
            f"by commits up to {record.dropped_sequence}, and cannot be written again. Restore a newer backup of "
            f"ClickHouse{ways}"
        )
