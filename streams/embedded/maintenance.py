"""Retention, compaction and vacuum of the embedded log.

Owns which rows may go and keeps the directory's size bounded. All deletions run in the writer thread, in small
transactions between the appends; what to delete is worked out on a read connection, in short reads, because a
long one would keep the WAL from being reset.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from schemas.topics import CONSUMED_TOPICS, CONSUMER_GROUP
from streams.embedded.options import MaintenanceSettings
from streams.embedded.storage import PAGE_BYTES, RECORD_OVERHEAD_BYTES, WAL_BYTES_KEPT, PartitionState, Topic
from streams.embedded.writer import GroupCommitWriter

DELETE_RECORDS_MAX = 5_000
DELETE_BYTES_MAX = 32 << 20
"""One deletion stays below both, so that no append waits long behind it."""
_SCAN_RECORDS = 10_000
_VACUUM_PAGES = 1_024
_VACUUM_STEPS_MAX = 64

_SIZE = "coalesce(length(k), 0) + coalesce(length(h), 0) + coalesce(length(v), 0)"


@dataclass(slots=True)
class MaintenanceReport:
    """What one run did."""

    expired_records: int = 0
    compacted_records: int = 0
    vacuumed_bytes: int = 0


@dataclass(slots=True)
class _Pass:
    """One compaction pass over one partition, newest record first."""

    seen: set[bytes] = field(default_factory=set)
    live_count: int = 0
    tombstones: list[tuple[int, int]] = field(default_factory=list)


class Maintenance:
    """Deletes what the topics' policies no longer keep. One run at a time."""

    def __init__(
        self,
        writer: GroupCommitWriter,
        reader: Callable[[], sqlite3.Connection],
        topics: dict[str, Topic],
        committed: dict[tuple[str, int, int], int],
        path: Path,
        settings: MaintenanceSettings,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._topics = topics
        self._committed = committed
        self._wal_path = path.with_name(path.name + "-wal")
        self._settings = settings
        self._lock = Lock()
        self._first_run_ms: int | None = None
        self.holds: dict[int, int] = {}
        """Row number of a partition's offset 0 -> first offset whose tombstones must stay."""

    def run(self, now_ms: int) -> MaintenanceReport:
        """Do what is due at ``now_ms`` (UTC milliseconds). Blocks; call it from a thread of its own.

        Raises:
            LogFailed: the log has failed or is closed.
        """
        report = MaintenanceReport()
        with self._lock:
            if self._first_run_ms is None:
                self._first_run_ms = now_ms
            for topic in tuple(self._topics.values()):
                for state in topic.partitions:
                    if topic.spec.policy == "delete":
                        report.expired_records += self._expire(topic, state, now_ms)
                    elif self._is_due(state):
                        report.compacted_records += self._compact(state, now_ms)
            report.vacuumed_bytes = self._vacuum()
            self._truncate_wal()
        return report

    # Retention

    def _expire(self, topic: Topic, state: PartitionState, now_ms: int) -> int:
        floor = self._floor(topic, state)
        oldest_ms = now_ms - topic.spec.retention_seconds * 1_000
        expired = 0
        while state.start_offset < floor:
            count, size_bytes = self._expired_prefix(topic, state, floor, oldest_ms)
            if count == 0:
                break
            self._writer.run(_cut(state, count, size_bytes))
            expired += count
        return expired

    def _floor(self, topic: Topic, state: PartitionState) -> int:
        """Return the first offset that some group still needs: all of them, if one never committed here.

        Our own group counts from the start on: a worker that could never commit has read nothing yet.
        """
        groups = {group for group, topic_id, _ in tuple(self._committed) if topic_id == topic.topic_id}
        if topic.spec.name in CONSUMED_TOPICS:
            groups.add(CONSUMER_GROUP)
        return min(
            (self._committed.get((group, topic.topic_id, state.partition), 0) for group in groups),
            default=state.next_offset,
        )

    def _expired_prefix(
        self, topic: Topic, state: PartitionState, floor: int, oldest_ms: int
    ) -> tuple[int, int]:
        """Return how many records, of how many bytes, can go from the start in one deletion."""
        count = size_bytes = 0
        rows = self._reader().execute(
            f"SELECT ts, {_SIZE} FROM rec WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",  # noqa: S608 -- a constant
            (state.base_id + state.start_offset, state.base_id + floor, DELETE_RECORDS_MAX),
        )
        for timestamp_ms, payload_bytes in rows:
            too_large = 0 <= topic.spec.retention_bytes < state.stored_bytes - size_bytes
            if (timestamp_ms >= oldest_ms and not too_large) or size_bytes > DELETE_BYTES_MAX:
                break
            count += 1
            size_bytes += payload_bytes + RECORD_OVERHEAD_BYTES
        rows.close()
        return count, size_bytes

    # Compaction

    def _is_due(self, state: PartitionState) -> bool:
        appended = state.next_offset - state.compacted_to
        return appended > max(self._settings.compaction_records_min, state.live_count)

    def _compact(self, state: PartitionState, now_ms: int) -> int:
        """Keep the newest record of every key; return how many records went.

        Older records go before the tombstones that cover them: after a crash in between, a removed key is
        still removed.
        """
        end_offset = state.next_offset
        old_ms = now_ms - self._settings.tombstone_grace_seconds * 1_000
        # The last record stays, whatever it is: Faust's recovery waits until it has read the one before the end.
        tombstone_end = 0
        if self._first_run_ms is not None and self._first_run_ms <= old_ms:
            tombstone_end = min(end_offset - 1, self.holds.get(state.base_id, end_offset))
        this = _Pass()
        obsolete: list[tuple[int, int]] = []
        deleted = 0
        for row_id, timestamp_ms, key, is_tombstone, size_bytes in self._newest_first(state, end_offset):
            if key in this.seen:
                obsolete.append((row_id, size_bytes))
                if len(obsolete) >= DELETE_RECORDS_MAX:
                    deleted += self._delete(state, obsolete)
                    obsolete = []
                continue
            this.seen.add(key)
            if is_tombstone and timestamp_ms < old_ms and row_id - state.base_id < tombstone_end:
                this.tombstones.append((row_id, size_bytes))
            else:
                this.live_count += 1
        deleted += self._delete(state, obsolete)
        # First: who has read less than this must not rely on tombstones, even after a crash in the next line.
        self._writer.run(_finish_pass(state, end_offset, this.live_count))
        for first in range(0, len(this.tombstones), DELETE_RECORDS_MAX):
            deleted += self._delete(state, this.tombstones[first : first + DELETE_RECORDS_MAX])
        return deleted

    def _newest_first(
        self, state: PartitionState, end_offset: int
    ) -> Iterator[tuple[int, int, bytes, int, int]]:
        before_id = state.base_id + end_offset
        while True:
            rows = (
                self._reader()
                .execute(
                    f"SELECT id, ts, k, v IS NULL, {_SIZE} FROM rec"  # noqa: S608 -- a constant
                    " WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?",
                    (state.base_id, before_id, _SCAN_RECORDS),
                )
                .fetchall()
            )
            if not rows:
                return
            yield from rows
            before_id = rows[-1][0]

    def _delete(self, state: PartitionState, rows: Sequence[tuple[int, int]]) -> int:
        """Delete rows ``(id, payload bytes)``, in as many transactions as their bytes ask for."""
        first = 0
        while first < len(rows):
            size_bytes = 0
            last = first
            while last < len(rows) and size_bytes <= DELETE_BYTES_MAX:
                size_bytes += rows[last][1] + RECORD_OVERHEAD_BYTES
                last += 1
            self._writer.run(_remove(state, [row_id for row_id, _ in rows[first:last]], size_bytes))
            first = last
        return len(rows)

    # Space

    def _vacuum(self) -> int:
        """Give free pages back to the file system, in steps; keep some, because appends will use them."""
        vacuumed_pages = 0
        for _ in range(_VACUUM_STEPS_MAX):
            pages = self._writer.run(self._vacuum_step, transaction=False)
            vacuumed_pages += pages
            if pages == 0:
                break
        return vacuumed_pages * PAGE_BYTES

    def _vacuum_step(self, connection: sqlite3.Connection) -> int:
        free: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        pages: int = connection.execute("PRAGMA page_count").fetchone()[0]
        if free <= max(self._settings.free_bytes_max // PAGE_BYTES, pages // 4):
            return 0
        # As a script: ``execute`` steps a statement without columns only once, which would free a single page.
        connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES:d})")
        left: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
        return free - left

    def _truncate_wal(self) -> None:
        if self._wal_path.exists() and self._wal_path.stat().st_size > WAL_BYTES_KEPT:
            # A reader in the way makes this a no-op; the next run tries again.
            self._writer.run(
                lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(),
                transaction=False,
            )


def _cut(state: PartitionState, count: int, size_bytes: int) -> Callable[[sqlite3.Connection], None]:
    """Return the deletion of the first ``count`` records of a partition without holes."""

    def write(connection: sqlite3.Connection) -> None:
        old_start = state.start_offset
        # Before the rows go: a reader that found nothing must see that the range is gone, not empty.
        state.start_offset = old_start + count
        state.stored_bytes -= size_bytes
        connection.execute(
            "DELETE FROM rec WHERE id >= ? AND id < ?",
            (state.base_id + old_start, state.base_id + state.start_offset),
        )
        connection.execute(
            "UPDATE partitions SET start_offset = ?, stored_bytes = ? WHERE topic_id = ? AND partition = ?",
            (state.start_offset, state.stored_bytes, state.topic_id, state.partition),
        )

    return write


def _remove(
    state: PartitionState, row_ids: Sequence[int], size_bytes: int
) -> Callable[[sqlite3.Connection], None]:
    def write(connection: sqlite3.Connection) -> None:
        state.stored_bytes -= size_bytes
        connection.executemany("DELETE FROM rec WHERE id = ?", [(row_id,) for row_id in row_ids])
        connection.execute(
            "UPDATE partitions SET stored_bytes = ? WHERE topic_id = ? AND partition = ?",
            (state.stored_bytes, state.topic_id, state.partition),
        )

    return write


def _finish_pass(
    state: PartitionState, end_offset: int, live_count: int
) -> Callable[[sqlite3.Connection], None]:
    def write(connection: sqlite3.Connection) -> None:
        state.compacted_to = end_offset
        state.live_count = live_count
        connection.execute(
            "UPDATE partitions SET compacted_to = ?, live_count = ? WHERE topic_id = ? AND partition = ?",
            (end_offset, live_count, state.topic_id, state.partition),
        )

    return write
