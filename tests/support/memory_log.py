"""A log in memory, as the worker sees one: what a test needs to watch a partition's task. Nothing is durable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import faust

from schemas.topics import TopicSpec
from streams.log import Bounds, SourcePosition
from streams.records import Append, LastOffsets, OffsetOutOfRange, Record, StoredRecord

Place = tuple[str, int]


class MemoryLog:
    """A ``WorkerLog``. Offsets may have holes, as on Kafka: ``put`` at any offset."""

    address = "memory://"
    prefix = ""
    installation_id = "installation"
    sole_owner = True
    tombstone_seconds: int | None = None
    app_settings: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.records: dict[Place, dict[int, Record]] = {}
        self.ends: dict[Place, int] = {}
        self.starts: dict[Place, int] = {}
        self.positions: dict[Place, int] = {}
        self.reads = 0

    def put(self, topic: str, partition: int, offset: int, value: bytes, timestamp_ms: int = 0) -> None:
        """Put a record; what lies between it and the end is a hole."""
        place = (topic, partition)
        self.records.setdefault(place, {})[offset] = Record(None, value, timestamp_ms)
        self.ends[place] = max(self.ends.get(place, 0), offset + 1)

    def prepare(self, app: faust.App) -> None:
        """See ``WorkerLog.prepare``."""

    async def declare(self, specs: Sequence[TopicSpec]) -> None:
        """See ``WorkerLog.declare``."""

    async def writer(self, topic: str, partition: int) -> MemoryWriter:
        """See ``WorkerLog.writer``."""
        assert topic, partition
        return MemoryWriter(self)

    async def committed(self, topic: str, partition: int) -> int | None:
        """See ``WorkerLog.committed``."""
        return self.positions.get((topic, partition))

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """See ``WorkerLog.bounds``."""
        place = (topic, partition)
        return Bounds(self.starts.get(place, 0), self.ends.get(place, 0))

    def removals_gone_before(self, topic: str, partition: int) -> int:
        """See ``WorkerLog.removals_gone_before``: nothing is ever compacted."""
        assert topic, partition
        return 0

    async def read(
        self, topic: str, partition: int, offset: int, until: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """See ``WorkerLog.read``: one record a list."""
        self.reads += 1
        start = self.starts.get((topic, partition), 0)
        if offset < start:
            raise OffsetOutOfRange(topic, partition, offset, start)
        for position, record in sorted(self.records.get((topic, partition), {}).items()):
            if offset <= position < until:
                yield [StoredRecord(position, record)]


class MemoryWriter:
    """A ``PartitionWriter`` over a ``MemoryLog``."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self.commits = 0

    async def commit(self, appends: Sequence[Append], source: SourcePosition) -> LastOffsets:
        """See ``PartitionWriter.commit``."""
        last: LastOffsets = {}
        for append in appends:
            for record in append.records:
                place = (append.topic, append.partition)
                offset = self._log.ends.get(place, 0)
                self._log.records.setdefault(place, {})[offset] = record
                self._log.ends[place] = offset + 1
                last[place] = offset
        self._log.positions[source.topic, source.partition] = source.next_offset
        self.commits += 1
        return last

    async def close(self) -> None:
        """See ``PartitionWriter.close``."""
