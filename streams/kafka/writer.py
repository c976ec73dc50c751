"""Commits the work of one partition by one Kafka transaction.

Owns the transactional producer of the partition. Its transactional id is the partition's name: starting it fences
whoever had the partition before, and ends the transaction that he left open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition

from streams.kafka.connection import KafkaConnection
from streams.log import SourcePosition
from streams.records import Append, LastOffsets, Record

_COMMIT_SECONDS_MAX = 60.0
_CLOSE_SECONDS_MAX = 5.0


class CommitFailed(RuntimeError):
    """A commit has no known outcome, or the partition has another writer; the process must end.

    Started again, it finds out from the log which it was, and goes on from there.
    """


class KafkaPartitionWriter:
    """A ``PartitionWriter`` over Kafka's transactions. Made by ``start``."""

    def __init__(self, connection: KafkaConnection, producer: AIOKafkaProducer, name: str) -> None:
        """Take a started producer; use ``start``."""
        self._connection = connection
        self._producer = producer
        self._name = name

    @classmethod
    async def start(cls, connection: KafkaConnection, topic: str, partition: int) -> KafkaPartitionWriter:
        """Become the writer of a source partition; when this returns, no earlier one can commit."""
        name = f"{connection.group}-{topic}-{partition}"
        producer = connection.producer(name)
        try:
            await producer.start()
            # Not with the first commit: what is read after this must be final.
            await producer.begin_transaction()
            await producer.abort_transaction()
        except BaseException:
            await producer.stop()
            raise
        return cls(connection, producer, name)

    async def commit(self, appends: Sequence[Append], source: SourcePosition) -> LastOffsets:
        """See ``PartitionWriter.commit``.

        Raises:
            CommitFailed: always, whatever it was.
        """
        try:
            async with asyncio.timeout(_COMMIT_SECONDS_MAX):
                return await self._commit(appends, source)
        except ProducerFenced as error:
            raise CommitFailed(
                f"{self._name}: another worker has taken the partition over while this one was away for longer than "
                "its session; nothing was lost or doubled, and the process ends to join again"
            ) from error
        except TimeoutError as error:
            raise CommitFailed(
                f"{self._name}: Kafka has not answered a commit for {_COMMIT_SECONDS_MAX:.0f} s, so its outcome is "
                "unknown; the process ends and finds out when it is started again"
            ) from error
        except KafkaError as error:
            raise CommitFailed(f"{self._name}: Kafka did not take a commit: {error!r}") from error

    async def _commit(self, appends: Sequence[Append], source: SourcePosition) -> LastOffsets:
        producer = self._producer
        await producer.begin_transaction()
        sent = [await self._send(append) for append in appends]
        position = TopicPartition(self._connection.topic(source.topic), source.partition)
        await producer.send_offsets_to_transaction({position: source.next_offset}, self._connection.group)
        last: LastOffsets = {}
        for append, batches in zip(appends, sent, strict=True):
            for future, count in batches:
                metadata = await future
                last[append.topic, append.partition] = metadata.offset + count - 1
        await producer.commit_transaction()
        return last

    async def _send(self, append: Append) -> list[tuple[asyncio.Future[RecordMetadata], int]]:
        """Send an append in as few batches as hold it; return each batch's future and number of records."""
        sent: list[tuple[asyncio.Future[RecordMetadata], int]] = []
        topic, records = self._connection.topic(append.topic), iter(append.records)
        record = next(records, None)
        while record is not None:
            batch = self._producer.create_batch()
            # The first record is always taken, however large: the broker has the last word.
            while record is not None and _taken(batch, record):
                record = next(records, None)
            count = batch.record_count()
            future = await self._producer.send_batch(batch, topic, partition=append.partition)
            # A commit that failed elsewhere does not come to await it.
            future.add_done_callback(_look_at)
            sent.append((future, count))
        return sent

    async def close(self) -> None:
        """See ``PartitionWriter.close``."""
        # With a broker that does not answer this would wait for ever; whoever takes over fences us anyway.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                await self._producer.stop()


def _look_at(future: asyncio.Future[RecordMetadata]) -> None:
    if not future.cancelled():
        future.exception()


def _taken(batch: BatchBuilder, record: Record) -> bool:
    metadata = batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value)
    return metadata is not None
