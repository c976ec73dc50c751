"""Kafka as the worker sees it: committed records only, and one writer for each source partition.

Owns the readers (kept for the next caller) and the admin client. Does not own what Faust consumes with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import TRANSPORTS

from schemas.topics import COMPACTED, TopicSpec
from streams.kafka.connection import SCHEME, KafkaConnection
from streams.kafka.topics import TOMBSTONE_SECONDS, declare
from streams.kafka.writer import KafkaPartitionWriter
from streams.log import Bounds
from streams.records import OffsetOutOfRange, Record, StoredRecord

# The entry point of the same name is for others; ours must not depend on how we were installed.
TRANSPORTS.aliases[SCHEME] = "streams.kafka.transport:Transport"

_READ_RECORDS = 5_000
_READ_TIMEOUT_MS = 50
_STALLED_SECONDS = 60.0


class KafkaStalled(RuntimeError):
    """Kafka did not hand out records that it said it has; the process must end and try again."""


class KafkaWorkerLog:
    """A ``WorkerLog`` over a Kafka cluster. Made by ``open``, ended by ``close``."""

    sole_owner = False
    tombstone_seconds: int | None = TOMBSTONE_SECONDS

    def __init__(
        self,
        connection: KafkaConnection,
        installation_id: str,
        admin: AIOKafkaAdminClient,
        group: AIOKafkaConsumer,
    ) -> None:
        """Take started clients; use ``open``."""
        self.connection = connection
        self.address = connection.address
        self.prefix = connection.prefix
        self.installation_id = installation_id
        self.app_settings: Mapping[str, Any] = {
            "broker_session_timeout": connection.session_timeout_seconds,
            "broker_heartbeat_interval": connection.session_timeout_seconds / 5,
            "broker_request_timeout": max(
                connection.request_timeout_seconds, connection.session_timeout_seconds
            ),
            "broker_rebalance_timeout": 60.0,
            "broker_client_id": connection.client_id,
            "broker_max_poll_records": 100,
            "consumer_max_fetch_size": 4 << 20,
            "consumer_group_instance_id": connection.instance_id,
            "producer_request_timeout": connection.request_timeout_seconds,
            "topic_allow_declare": False,
        }
        self._admin = admin
        self._group = group
        """Not a member of the group: it only asks for the group's offsets, and knows when to ask again."""
        self._readers: list[AIOKafkaConsumer] = []

    @classmethod
    async def open(cls, connection: KafkaConnection, installation_id: str) -> KafkaWorkerLog:
        """Connect."""
        admin, group = connection.admin(), connection.group_reader(connection.group)
        try:
            await admin.start()
            await group.start()
        except BaseException:
            await admin.close()
            await group.stop()
            raise
        return cls(connection, installation_id, admin, group)

    def prepare(self, app: faust.App) -> None:
        """See ``WorkerLog.prepare``."""
        app.kafka_connection = self.connection  # type: ignore[attr-defined]

    async def declare(self, specs: Sequence[TopicSpec]) -> None:
        """See ``WorkerLog.declare``."""
        await declare(self._admin, specs, self.connection)

    async def writer(self, topic: str, partition: int) -> KafkaPartitionWriter:
        """See ``WorkerLog.writer``."""
        return await KafkaPartitionWriter.start(self.connection, topic, partition)

    def _place(self, topic: str, partition: int) -> TopicPartition:
        return TopicPartition(self.connection.topic(topic), partition)

    async def committed(self, topic: str, partition: int) -> int | None:
        """See ``WorkerLog.committed``."""
        committed: int | None = await self._group.committed(self._place(topic, partition))
        return committed

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """See ``WorkerLog.bounds``."""
        tp = self._place(topic, partition)
        async with self._reader() as reader:
            start, end = await asyncio.gather(reader.beginning_offsets([tp]), reader.end_offsets([tp]))
        return Bounds(start[tp], end[tp])

    def removals_gone_before(self, topic: str, partition: int) -> int:
        """See ``WorkerLog.removals_gone_before``: a broker does not say; time tells."""
        assert topic, partition
        return 0

    async def read(
        self, topic: str, partition: int, offset: int, until: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """See ``WorkerLog.read``."""
        tp = self._place(topic, partition)
        async with self._reader() as reader:
            reader.assign([tp])
            start = (await reader.beginning_offsets([tp]))[tp]
            if offset < start:
                if topic not in COMPACTED:
                    raise OffsetOutOfRange(topic, partition, offset, start)
                offset = start
            reader.seek(tp, offset)
            async for chunk in _chunks(reader, tp, until):
                yield chunk

    @asynccontextmanager
    async def _reader(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Lend a reader; a new one costs two round trips, so they are kept."""
        if self._readers:
            reader = self._readers.pop()
        else:
            reader = self.connection.reader()
            await reader.start()
        try:
            yield reader
        except BaseException:
            await reader.stop()
            raise
        self._readers.append(reader)

    async def close(self) -> None:
        """Hang up."""
        for reader in self._readers:
            await reader.stop()
        self._readers.clear()
        await self._group.stop()
        await self._admin.close()


async def _chunks(
    reader: AIOKafkaConsumer, tp: TopicPartition, until: int
) -> AsyncIterator[list[StoredRecord]]:
    """Yield what a positioned reader gives before ``until``."""
    loop = asyncio.get_running_loop()
    moved_at, position = loop.time(), await reader.position(tp)
    while position < until:
        try:
            fetched = await reader.getmany(tp, timeout_ms=_READ_TIMEOUT_MS, max_records=_READ_RECORDS)
        except OffsetOutOfRangeError:
            raise OffsetOutOfRange(tp.topic, tp.partition, position, until) from None
        wanted = [
            StoredRecord(record.offset, Record(record.key, record.value, record.timestamp))
            for record in fetched.get(tp, ())
            if record.offset < until
        ]
        if wanted:
            yield wanted
        # It moves over markers and over what was aborted, which are no records.
        before, position = position, await reader.position(tp)
        if position > before:
            moved_at = loop.time()
        elif loop.time() - moved_at > _STALLED_SECONDS:
            raise KafkaStalled(
                f"{tp.topic}[{tp.partition}]: Kafka has records up to {until}, but gave none from {position} on for "
                f"{_STALLED_SECONDS:.0f} s"
            )
