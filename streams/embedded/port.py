"""The embedded log as the worker sees it. Owns nothing: zombies are excluded by the log's owner lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import faust

from schemas.topics import COMPACTED, CONSUMER_GROUP, TopicSpec
from streams.embedded.log import EmbeddedLog
from streams.log import Bounds, SourcePosition
from streams.records import Append, LastOffsets, StoredRecord

_READ_RECORDS = 5_000


class EmbeddedPartitionWriter:
    """Commits by one transaction of the embedded log."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to an open log."""
        self._log = log

    async def commit(self, appends: Sequence[Append], source: SourcePosition) -> LastOffsets:
        """See ``PartitionWriter.commit``."""
        offsets = {(CONSUMER_GROUP, source.topic, source.partition): source.next_offset}
        return await self._log.transaction(appends, offsets)

    async def close(self) -> None:
        """See ``PartitionWriter.close``; the log stays open."""


class EmbeddedWorkerLog:
    """A ``WorkerLog`` over an open embedded log."""

    sole_owner = True
    prefix = ""
    tombstone_seconds: int | None = None
    app_settings: Mapping[str, Any] = {}

    def __init__(self, log: EmbeddedLog) -> None:
        """Take an open, registered log."""
        self.embedded = log
        self.address = f"embedded://{log.directory}"
        self.installation_id = log.installation_id

    def prepare(self, app: faust.App) -> None:
        """See ``WorkerLog.prepare``; the log is registered, which is all that the transport needs."""

    async def declare(self, specs: Sequence[TopicSpec]) -> None:
        """See ``WorkerLog.declare``."""
        await asyncio.to_thread(self.embedded.declare, specs)

    async def writer(self, topic: str, partition: int) -> EmbeddedPartitionWriter:
        """See ``WorkerLog.writer``."""
        assert partition < self.embedded.partition_count(topic)
        return EmbeddedPartitionWriter(self.embedded)

    async def committed(self, topic: str, partition: int) -> int | None:
        """See ``WorkerLog.committed``."""
        return self.embedded.committed(CONSUMER_GROUP, topic, partition)

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """See ``WorkerLog.bounds``."""
        return Bounds(
            self.embedded.start_offset(topic, partition), self.embedded.end_offset(topic, partition)
        )

    def removals_gone_before(self, topic: str, partition: int) -> int:
        """See ``WorkerLog.removals_gone_before``."""
        return self.embedded.compacted_to(topic, partition)

    async def read(
        self, topic: str, partition: int, offset: int, until: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """See ``WorkerLog.read``."""
        log = self.embedded
        compacted = topic in COMPACTED
        if compacted:
            # Compaction may have removed the oldest: what is left is complete. But a tombstone that it took away
            # meanwhile would leave a removed key with the reader.
            offset = max(offset, log.start_offset(topic, partition))
            log.hold_tombstones(topic, partition, offset)
        try:
            while offset < until:
                stored = await asyncio.to_thread(
                    log.read, topic, partition, offset, max_records=min(_READ_RECORDS, until - offset)
                )
                wanted = [entry for entry in stored if entry.offset < until]
                if not wanted:
                    return
                yield wanted
                offset = wanted[-1].offset + 1
        finally:
            if compacted:
                log.release_tombstones(topic, partition)
