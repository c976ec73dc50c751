"""The newest records of each partition, kept in memory so that live consumers seldom read SQLite.

Owns only copies: losing all of them changes nothing but speed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from streams.embedded.records import Record, StoredRecord
from streams.embedded.storage import RECORD_OVERHEAD_BYTES

_EVICT_TO = 0.9
"""Eviction frees a tenth at once: cutting the head of a list costs its length, so it must be rare."""


class _Partition:
    __slots__ = ("first_offset", "records")

    def __init__(self, first_offset: int) -> None:
        self.first_offset = first_offset
        self.records: list[Record] = []


class TailCache:
    """Dense runs of committed records up to the end of their partitions, the oldest evicted first.

    Partitions are named by the row number of their offset 0. Safe from any thread.
    """

    def __init__(self, size_max_bytes: int) -> None:
        self._size_max_bytes = size_max_bytes
        self._size_bytes = 0
        self._partitions: dict[int, _Partition] = {}
        self._order: deque[tuple[int, int, int]] = deque()  # partition, records, bytes; oldest first
        self._lock = Lock()

    def add(self, partition_id: int, first_offset: int, records: Sequence[Record], size_bytes: int) -> None:
        """Add records that have just been committed from ``first_offset`` on."""
        with self._lock:
            partition = self._partitions.get(partition_id)
            if partition is None:
                partition = self._partitions[partition_id] = _Partition(first_offset)
            assert partition.first_offset + len(partition.records) == first_offset, "the tail must be dense"
            partition.records.extend(records)
            self._order.append((partition_id, len(records), size_bytes))
            self._size_bytes += size_bytes
            if self._size_bytes > self._size_max_bytes:
                self._evict()

    def read(
        self, partition_id: int, offset: int, max_records: int, max_bytes: int
    ) -> list[StoredRecord] | None:
        """Return records from ``offset`` on, at least one; ``None`` if the first one is not in memory."""
        with self._lock:
            partition = self._partitions.get(partition_id)
            if partition is None or offset < partition.first_offset:
                return None
            index = offset - partition.first_offset
            records = partition.records[index : index + max_records]
        found: list[StoredRecord] = []
        size_bytes = 0
        for position, record in enumerate(records, offset):
            size_bytes += record_bytes(record)
            if found and size_bytes > max_bytes:
                break
            found.append(StoredRecord(position, record))
        return found or None

    def holds(self, partition_id: int, offset: int) -> bool:
        """Tell whether a read from ``offset`` would be answered from memory."""
        with self._lock:
            partition = self._partitions.get(partition_id)
            return partition is not None and offset >= partition.first_offset

    def _evict(self) -> None:
        cuts: dict[int, int] = {}
        while self._order and self._size_bytes > self._size_max_bytes * _EVICT_TO:
            partition_id, count, size_bytes = self._order.popleft()
            cuts[partition_id] = cuts.get(partition_id, 0) + count
            self._size_bytes -= size_bytes
        for partition_id, count in cuts.items():
            partition = self._partitions[partition_id]
            del partition.records[:count]
            partition.first_offset += count


def record_bytes(record: Record) -> int:
    """Return the size by which limits are counted: key, value, headers and a fixed overhead."""
    size_bytes = RECORD_OVERHEAD_BYTES
    if record.key is not None:
        size_bytes += len(record.key)
    if record.value is not None:
        size_bytes += len(record.value)
    if record.headers is not None:
        size_bytes += len(record.headers)
    return size_bytes
