"""The embedded durable log: partitioned topics, committed offsets and atomic transactions in one directory.

Owns the public interface: what may be written, what is read, who owns the directory. The writer thread is in
``writer``, the bytes on disk in ``storage``, deletion in ``maintenance``.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Lock, local
from weakref import WeakKeyDictionary

from schemas.topics import TopicSpec
from streams.embedded import storage
from streams.embedded.catalog import Catalog
from streams.embedded.maintenance import Maintenance, MaintenanceReport
from streams.embedded.options import LogSettings, MaintenanceSettings
from streams.embedded.records import (
    Append,
    CommitOffsets,
    LastOffsets,
    LogFailed,
    LogOwned,
    OffsetOutOfRange,
    Record,
    StoredRecord,
)
from streams.embedded.storage import PartitionState
from streams.embedded.tail import TailCache, record_bytes
from streams.embedded.writer import GroupCommitWriter, Listener, Write

__all__ = [
    "Append",
    "CommitOffsets",
    "EmbeddedLog",
    "LastOffsets",
    "LogFailed",
    "LogOwned",
    "LogSettings",
    "MaintenanceReport",
    "MaintenanceSettings",
    "OffsetOutOfRange",
    "Record",
    "StoredRecord",
]

PENDING_BYTES_MAX = 64 << 20
"""Bytes that may wait for the writer; beyond it appends wait for their turn."""


class EmbeddedLog:
    """A log in a directory that this process owns. Made by ``open``, ended by ``close``.

    Any thread may call the methods, any event loop the coroutine methods. Once the log has failed, every write,
    read and wait raises ``LogFailed``.
    """

    def __init__(
        self, directory: Path, lock_descriptor: int, connection: sqlite3.Connection, settings: LogSettings
    ) -> None:
        """Take over an owned directory; use ``open``."""
        self.directory = directory
        self._lock_descriptor = lock_descriptor
        self._path = directory / storage.DATABASE_NAME
        self._catalog = Catalog(storage.load_topics(connection))
        self._committed = storage.load_committed(connection)
        self._meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta"))
        self.installation_id: str = self._meta["installation_id"]
        self._tail = TailCache(settings.tail_bytes_max)
        self._writer = GroupCommitWriter(
            connection,
            topics=self._catalog.topics,
            committed=self._committed,
            tail=self._tail,
            linger_seconds=settings.linger_seconds,
        )
        self._local = local()
        self._readers: list[sqlite3.Connection] = []
        self._readers_lock = Lock()
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._maintenance = Maintenance(
            self._writer,
            self._reader,
            self._catalog.topics,
            self._committed,
            self._path,
            settings.maintenance,
        )
        self._closed = False

    @classmethod
    def open(
        cls, directory: Path, *, create: bool = True, settings: LogSettings | None = None
    ) -> EmbeddedLog:
        """Take the directory and open the log in it.

        Raises:
            LogOwned: another log, of this process or another, has the directory.
            FileNotFoundError: there is no log and ``create`` is false.
            sqlite3.Error: the file is damaged or no log.
            LogUnfit: the log was laid out by another version.
        """
        directory = directory.absolute()
        if not create and not (directory / storage.DATABASE_NAME).exists():
            raise FileNotFoundError(f"there is no embedded log in {directory}")
        directory.mkdir(parents=True, exist_ok=True)
        settings = settings or LogSettings()
        lock_descriptor = storage.lock_directory(directory)
        try:
            path = directory / storage.DATABASE_NAME
            connection = storage.connect_writer(path, size_max_bytes=settings.size_max_bytes)
            connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('installation_id', ?)", (uuid.uuid4().hex,)
            )
            storage.sync_directory(directory)
            return cls(directory, lock_descriptor, connection, settings)
        except BaseException:
            os.close(lock_descriptor)
            raise

    # Topics
    def declare(self, specs: Sequence[TopicSpec]) -> None:
        """Make sure that the topics exist; new retention limits replace the old ones. Blocks until durable.

        Raises:
            LogUnfit: a topic exists with another partition count or policy; nothing was changed.
        """

        if len({spec.name for spec in specs}) < len(specs):
            raise ValueError("a topic is declared twice")

        def write(connection: sqlite3.Connection) -> None:
            # In the writer thread, so that two callers cannot both find the topic missing.
            declared = {spec.name: self._catalog.declare(connection, spec) for spec in specs}
            self._catalog.topics.update(declared)

        self._writer.run(write)

    def topics(self) -> dict[str, TopicSpec]:
        """Return the declared topics by name."""
        return {name: topic.spec for name, topic in tuple(self._catalog.topics.items())}

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has; ``KeyError`` if it was not declared."""
        return self._catalog.topic(topic).spec.partitions

    # Writing
    async def append(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Append records and return the offset of the last one, once all are on disk.

        Raises:
            LogFailed: they may or may not be on disk; see ``LogFailed``.
            KeyError, TypeError, ValueError: not a partition, or not records that it can keep.
        """
        last_offsets = await self.transaction([Append(topic, partition, _not_empty(records))], {})
        return last_offsets[topic, partition]

    async def transaction(self, appends: Sequence[Append], offsets: CommitOffsets) -> LastOffsets:
        """Append records and set committed offsets, all or nothing; return once all is on disk.

        Returns the last offset per partition that got records. Raises as ``append``.
        """
        sizes_bytes = self._catalog.measure(appends, offsets)
        loop = asyncio.get_running_loop()
        gate = self._gates.get(loop)
        if gate is None:
            gate = self._gates[loop] = asyncio.Lock()
        if gate.locked() or self._writer.pending_bytes > PENDING_BYTES_MAX:
            # One at a time, so that those who wait for room do not all rush into the same room.
            async with gate:
                await self.wait_for_room()
                future = self._submit(appends, offsets, sizes_bytes)
        else:
            future = self._submit(appends, offsets, sizes_bytes)
        return await future

    def submit(self, appends: Sequence[Append], offsets: CommitOffsets) -> asyncio.Future[LastOffsets]:
        """Start a transaction without waiting for room; the future resolves to what ``transaction`` returns.

        For callers in an event loop that bound what is in flight, by ``wait_for_room`` or by themselves. Two
        submitted from one thread keep their order. Raises as ``append``.
        """
        return self._submit(appends, offsets, self._catalog.measure(appends, offsets))

    def _submit(
        self, appends: Sequence[Append], offsets: CommitOffsets, sizes_bytes: Sequence[int]
    ) -> asyncio.Future[LastOffsets]:
        future: asyncio.Future[LastOffsets] = asyncio.get_running_loop().create_future()
        self._writer.submit(Write(appends, offsets, sizes_bytes, future))
        return future

    async def wait_for_room(self) -> None:
        """Return once no more than ``PENDING_BYTES_MAX`` wait for the writer."""
        if self._writer.pending_bytes > PENDING_BYTES_MAX:
            await self._wait_until(lambda: self._writer.pending_bytes <= PENDING_BYTES_MAX)

    def append_blocking(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Do as ``append`` in a thread without an event loop."""
        last_offsets = self.transaction_blocking([Append(topic, partition, _not_empty(records))], {})
        return last_offsets[topic, partition]

    def transaction_blocking(self, appends: Sequence[Append], offsets: CommitOffsets) -> LastOffsets:
        """Do as ``transaction`` for a thread without an event loop."""
        sizes_bytes = self._catalog.measure(appends, offsets)
        while self._writer.pending_bytes > PENDING_BYTES_MAX:
            time.sleep(0.001)
        future: Future[LastOffsets] = Future()
        self._writer.submit(Write(appends, offsets, sizes_bytes, future))
        return future.result()

    # Reading
    def read(
        self, topic: str, partition: int, offset: int, *, max_records: int = 500, max_bytes: int = 8 << 20
    ) -> list[StoredRecord]:
        """Return committed records from ``offset`` on, at least one if there is any, within the limits.

        Offsets rise but may have holes in a compact topic. Empty at the end. May block on the disk.

        Raises:
            OffsetOutOfRange: ``offset`` is before the start of the partition, or beyond its end.
            LogFailed: the log has failed or is closed.
        """
        self._writer.check()
        state = self._catalog.partition(topic, partition)
        end_offset = state.next_offset
        if offset > end_offset:
            raise OffsetOutOfRange(topic, partition, end_offset, offset)
        found: list[StoredRecord] = []
        if offset < end_offset:
            found = self._tail.read(state.base_id, offset, max_records, max_bytes) or self._read_disk(
                state, offset, end_offset, max_records, max_bytes
            )
        # Looked at after reading: retention raises the start before it deletes, so a gap cannot slip through.
        if offset < state.start_offset:
            raise OffsetOutOfRange(topic, partition, offset, state.start_offset)
        return found

    def _read_disk(
        self, state: PartitionState, offset: int, end_offset: int, max_records: int, max_bytes: int
    ) -> list[StoredRecord]:
        base_id = state.base_id
        cursor = self._reader().execute(
            "SELECT id, k, v, ts, h FROM rec WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
            (base_id + offset, base_id + end_offset, max_records),
        )
        found: list[StoredRecord] = []
        size_bytes = 0
        for row_id, *fields in cursor:
            record = Record(*fields)
            size_bytes += record_bytes(record)
            if found and size_bytes > max_bytes:
                break
            found.append(StoredRecord(row_id - base_id, record))
        cursor.close()  # ends the read transaction, which would keep the WAL from being reset
        return found

    def in_memory(self, topic: str, partition: int, offset: int) -> bool:
        """Tell whether reading from ``offset`` would not touch the disk."""
        state = self._catalog.partition(topic, partition)
        return offset >= state.next_offset or self._tail.holds(state.base_id, offset)

    def start_offset(self, topic: str, partition: int) -> int:
        """Return the lowest offset that may be read."""
        return self._catalog.partition(topic, partition).start_offset

    def end_offset(self, topic: str, partition: int) -> int:
        """Return the offset that the next record will get."""
        return self._catalog.partition(topic, partition).next_offset

    def compacted_to(self, topic: str, partition: int) -> int:
        """Return the offset before which compaction may have taken the tombstones of removed keys away."""
        return self._catalog.partition(topic, partition).compacted_to

    def stored_bytes(self, topic: str, partition: int) -> int:
        """Return the bytes in the partition, as retention counts them."""
        return self._catalog.partition(topic, partition).stored_bytes

    def committed(self, group: str, topic: str, partition: int) -> int | None:
        """Return the next offset that the group has to process; ``None`` if it never committed."""
        state = self._catalog.partition(topic, partition)
        return self._committed.get((group, state.topic_id, state.partition))

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` after every commit (see ``Listener``) until it is removed."""
        self._writer.listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Stop calling ``listener``."""
        with suppress(ValueError):
            self._writer.listeners.remove(listener)

    async def wait_beyond(self, topic: str, partition: int, offset: int) -> None:
        """Return once ``offset`` can be read.

        Raises:
            LogFailed: the log has failed or was closed.
        """
        await self._wait_until(lambda: self.end_offset(topic, partition) > offset, (topic, partition))

    async def _wait_until(
        self, reached: Callable[[], bool], partition: tuple[str, int] | None = None
    ) -> None:
        """Return once ``reached()``, looked at after every commit, or only those that grow ``partition``."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake(touched: Collection[tuple[str, int]]) -> None:
            if partition is None or not touched or partition in touched:
                with suppress(RuntimeError):  # the loop is closed, so nobody waits
                    loop.call_soon_threadsafe(woken.set)

        self.add_listener(wake)
        try:
            while not reached():
                self._writer.check()
                await woken.wait()
                woken.clear()
        finally:
            self.remove_listener(wake)

    def check(self) -> None:
        """Raise ``LogFailed`` if the log has failed or is closed."""
        self._writer.check()

    def meta_get(self, key: str) -> str | None:
        """Return a value kept with the log, or ``None``."""
        return self._meta.get(key)

    def meta_set(self, key: str, value: str) -> None:
        """Keep a value with the log. Blocks until durable."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )
            self._meta[key] = value

        self._writer.run(write)

    async def maintenance(self, now_ms: int) -> MaintenanceReport:
        """Run retention, compaction and vacuum as due, in a thread; call it every minute or so."""
        return await asyncio.to_thread(self.maintenance_blocking, now_ms)

    def maintenance_blocking(self, now_ms: int) -> MaintenanceReport:
        """Do as ``maintenance`` in the calling thread. ``now_ms`` is UTC milliseconds."""
        return self._maintenance.run(now_ms)

    def hold_tombstones(self, topic: str, partition: int, offset: int) -> None:
        """Keep every tombstone from ``offset`` on until ``release_tombstones``.

        For whoever restores a copy of a compact topic from ``offset``: a tombstone that went while he reads would
        leave a removed key in his copy.
        """
        self._maintenance.holds[self._catalog.partition(topic, partition).base_id] = offset

    def release_tombstones(self, topic: str, partition: int) -> None:
        """End ``hold_tombstones``."""
        self._maintenance.holds.pop(self._catalog.partition(topic, partition).base_id, None)

    def _reader(self) -> sqlite3.Connection:
        """Return the calling thread's own read connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = storage.connect_reader(self._path)
            with self._readers_lock:
                self._readers.append(connection)
        return connection

    async def close(self) -> None:
        """Commit what is queued, close the files and give the directory up. Idempotent."""
        await asyncio.to_thread(self.close_blocking)

    def close_blocking(self) -> None:
        """Do as ``close`` in the calling thread. No other thread may be reading."""
        with self._readers_lock:
            if self._closed:
                return
            self._closed = True
            for connection in self._readers:
                connection.close()
        # The last connection to go folds the WAL into the database.
        self._writer.close()
        os.close(self._lock_descriptor)


def _not_empty(records: Sequence[Record]) -> Sequence[Record]:
    if not records:
        raise ValueError("nothing to append")
    return records
