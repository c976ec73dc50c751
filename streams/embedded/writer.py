"""The one thread that writes the log, and group commit.

Owns the write connection, the order of writes, and when a write counts as durable. Does not own validation
(``log`` refuses bad requests before they are queued) nor which rows are deleted (``maintenance``).

Order of one group, tested by killing the process at random:

1. insert the records, set next offsets and committed offsets, in one SQLite transaction;
2. COMMIT, which returns after the fsync (WAL, ``synchronous=FULL``);
3. make the new records visible to readers;
4. resolve the futures of the group, then wake the listeners.

If step 1 or 2 fails, the whole group fails and the log with it: after a failed fsync nobody knows what the disk
holds, so nothing later may be acknowledged.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any, Generic, TypeVar

from streams.embedded.records import Append, CommitOffsets, LastOffsets, LogFailed, Record
from streams.embedded.storage import PartitionState, Topic
from streams.embedded.tail import TailCache

_T = TypeVar("_T")

GROUP_BYTES_MAX = 16 << 20
GROUP_WRITES_MAX = 10_000

Listener = Callable[[Collection[tuple[str, int]]], None]
"""Called in the writer thread after each group with the partitions that grew; with nothing when the log ended.

Must return at once and must not raise: usually one ``loop.call_soon_threadsafe``."""


@dataclass(slots=True, eq=False)
class Write:
    """One atomic request. Its topics and partitions exist; the future belongs to a loop or to a thread."""

    appends: Sequence[Append]
    offsets: CommitOffsets
    sizes_bytes: Sequence[int]
    """Of each append, as the limits count them."""
    future: asyncio.Future[LastOffsets] | Future[LastOffsets]

    @property
    def size_bytes(self) -> int:
        """Return the bytes of the whole request."""
        return sum(self.sizes_bytes)


@dataclass(slots=True, eq=False)
class Job(Generic[_T]):
    """A function over the write connection, in its turn among the writes.

    In a transaction of its own unless ``transaction`` is false. An ``sqlite3.Error`` fails the log like a failed
    write; any other exception is rolled back and is the caller's.
    """

    function: Callable[[sqlite3.Connection], _T]
    transaction: bool = True
    future: Future[_T] = field(default_factory=Future)


@dataclass(slots=True)
class _Growth:
    """What a group adds to one partition."""

    topic: Topic
    state: PartitionState
    records: list[Record] = field(default_factory=list)
    size_bytes: int = 0


class GroupCommitWriter:
    """Queues writes from any thread and commits those that wait together in one transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        topics: dict[str, Topic],
        committed: dict[tuple[str, int, int], int],
        tail: TailCache,
        linger_seconds: float,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._committed = committed
        self._tail = tail
        self._linger_seconds = linger_seconds
        self._condition = Condition()
        self._queue: deque[Write | Job[Any]] = deque()
        self._closing = False
        self._failure: BaseException | None = None
        self.pending_bytes = 0
        self.listeners: list[Listener] = []
        self._thread = Thread(target=self._run, name="embedded-log-writer", daemon=True)
        self._thread.start()

    def submit(self, item: Write | Job[Any]) -> None:
        """Queue a request; its future is resolved by the writer thread. Never blocks.

        Raises:
            LogFailed: the log has failed or is closed; the request was not queued.
        """
        with self._condition:
            self.check()
            self._queue.append(item)
            if isinstance(item, Write):
                self.pending_bytes += item.size_bytes
            # Waking the writer for every request would make it fight the caller for the interpreter lock.
            if len(self._queue) == 1 or self.pending_bytes >= GROUP_BYTES_MAX or isinstance(item, Job):
                self._condition.notify()

    def run(self, function: Callable[[sqlite3.Connection], _T], *, transaction: bool = True) -> _T:
        """Run a function in the writer thread, in a transaction unless told otherwise; wait for its result.

        Raises:
            LogFailed: the log has failed or is closed.
        """
        job = Job(function, transaction)
        self.submit(job)
        return job.future.result()

    def check(self) -> None:
        """Raise ``LogFailed`` if nothing can be written any more."""
        if self._failure is not None:
            raise self._failed()
        if self._closing:
            raise LogFailed("the log is closed")

    def close(self) -> None:
        """Commit what is queued, stop the thread and close its connection. Idempotent, blocks."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join()
        self._connection.close()
        self._notify(())

    def _run(self) -> None:
        group: list[Write] = []
        try:
            while True:
                job = self._take(group)
                if group:
                    self._commit(group)
                elif job is not None:
                    self._execute(job)
                else:
                    return
                group.clear()
        except BaseException as error:  # the thread's last resort: every waiting caller must hear of it
            self._fail(error, group)

    def _take(self, group: list[Write]) -> Job[Any] | None:
        """Wait for work; fill ``group`` with the writes that come next, or return the job that comes next."""
        with self._condition:
            self._condition.wait_for(lambda: self._queue or self._closing)
            if self._queue and isinstance(self._queue[0], Write) and self._linger_seconds > 0:
                self._condition.wait_for(self._must_go, timeout=self._linger_seconds)
            size_bytes = 0
            while self._queue and size_bytes < GROUP_BYTES_MAX and len(group) < GROUP_WRITES_MAX:
                item = self._queue[0]
                if isinstance(item, Job):
                    if group:
                        break
                    self._queue.popleft()
                    return item
                self._queue.popleft()
                group.append(item)
                size_bytes += item.size_bytes
            self.pending_bytes -= size_bytes
        return None

    def _must_go(self) -> bool:
        return self._closing or self.pending_bytes >= GROUP_BYTES_MAX or isinstance(self._queue[-1], Job)

    def _commit(self, group: Sequence[Write]) -> None:
        growths: dict[tuple[str, int], _Growth] = {}
        offsets: dict[tuple[str, int, int], int] = {}
        results: list[LastOffsets] = []
        for write in group:
            results.append(self._plan(write, growths))
            for (name, topic, partition), offset in write.offsets.items():
                offsets[name, self._topics[topic].topic_id, partition] = offset
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for growth in growths.values():
            self._insert(growth)
        connection.executemany(
            "INSERT INTO committed VALUES (?, ?, ?, ?)"
            " ON CONFLICT (grp, topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset",
            [(*key, offset) for key, offset in offsets.items()],
        )
        connection.execute("COMMIT")
        self._publish(growths.values())
        self._committed.update(offsets)
        self._resolve(group, results)
        self._notify(growths.keys())

    def _plan(self, write: Write, growths: dict[tuple[str, int], _Growth]) -> LastOffsets:
        """Give every record its offset, behind those of the writes before it in the group."""
        last_offsets: LastOffsets = {}
        for append, size_bytes in zip(write.appends, write.sizes_bytes, strict=True):
            if not append.records:
                continue
            key = (append.topic, append.partition)
            growth = growths.get(key)
            if growth is None:
                topic = self._topics[append.topic]
                growth = growths[key] = _Growth(topic, topic.partitions[append.partition])
            growth.records.extend(append.records)
            growth.size_bytes += size_bytes
            last_offsets[key] = growth.state.next_offset + len(growth.records) - 1
        return last_offsets

    def _insert(self, growth: _Growth) -> None:
        state = growth.state
        first_id = state.base_id + state.next_offset
        self._connection.executemany(
            "INSERT INTO rec (id, ts, k, h, v) VALUES (?, ?, ?, ?, ?)",
            [
                (row_id, record.timestamp_ms, record.key, record.headers, record.value)
                for row_id, record in enumerate(growth.records, first_id)
            ],
        )
        self._connection.execute(
            "UPDATE partitions SET next_offset = ?, stored_bytes = ? WHERE topic_id = ? AND partition = ?",
            (
                state.next_offset + len(growth.records),
                state.stored_bytes + growth.size_bytes,
                state.topic_id,
                state.partition,
            ),
        )

    def _publish(self, growths: Collection[_Growth]) -> None:
        for growth in growths:
            state = growth.state
            # Nobody follows a changelog live; it would only push the events out of the cache.
            if growth.topic.spec.policy == "delete":
                self._tail.add(state.base_id, state.next_offset, growth.records, growth.size_bytes)
            state.stored_bytes += growth.size_bytes
            state.next_offset += len(growth.records)

    def _execute(self, job: Job[Any]) -> None:
        connection = self._connection
        try:
            if job.transaction:
                connection.execute("BEGIN IMMEDIATE")
            result = job.function(connection)
            if job.transaction:
                connection.execute("COMMIT")
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, sqlite3.Error):
                if job.transaction:
                    connection.execute("ROLLBACK")
                job.future.set_exception(error)
                return
            job.future.set_exception(LogFailed(f"the log could not be written: {error!r}"))
            raise
        job.future.set_result(result)

    def _fail(self, error: BaseException, group: Sequence[Write]) -> None:
        with self._condition:
            self._failure = error
            waiting = list(self._queue)
            self._queue.clear()
            self.pending_bytes = 0
        with suppress(sqlite3.Error):
            self._connection.execute("ROLLBACK")
        for item in waiting:
            if isinstance(item, Job):
                item.future.set_exception(self._failed())
        writes = [*group, *(item for item in waiting if isinstance(item, Write))]
        self._resolve(writes, [self._failed() for _ in writes])
        self._notify(())

    def _failed(self) -> LogFailed:
        return LogFailed(
            f"the log could not be written: {self._failure!r}. Nothing after this is durable; end the process,"
            " free disk space or repair the disk, and start again."
        )

    def _resolve(self, writes: Sequence[Write], results: Sequence[LastOffsets | LogFailed]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
        for write, result in zip(writes, results, strict=True):
            future = write.future
            if isinstance(future, Future):
                _set_all([(future, result)])
            else:
                by_loop.setdefault(future.get_loop(), []).append((future, result))
        for loop, outcomes in by_loop.items():
            # A closed loop has nobody left who waits.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_set_all, outcomes)

    def _notify(self, touched: Collection[tuple[str, int]]) -> None:
        for listener in tuple(self.listeners):
            listener(touched)


_Outcome = tuple[asyncio.Future[LastOffsets] | Future[LastOffsets], LastOffsets | LogFailed]


def _set_all(outcomes: Sequence[_Outcome]) -> None:
    """Resolve futures, those of a loop in that loop: one wake-up for the whole group."""
    for future, result in outcomes:
        if future.done():  # the caller was cancelled; its write stands all the same
            continue
        if isinstance(result, LogFailed):
            future.set_exception(result)
        else:
            future.set_result(result)
