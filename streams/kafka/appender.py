"""Appends by those who own no partition: the gateway, ``ingest``, ``dlq replay``.

Owns one idempotent producer. What it sends may come twice after a failure, which changes no number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from streams.kafka.connection import KafkaConnection
from streams.records import Append, LastOffsets, Record

_CLOSE_SECONDS_MAX = 10.0


class KafkaAppender:
    """Appends records; what it acknowledges is on every replica in sync. Made by ``open``, ended by ``close``."""

    def __init__(self, connection: KafkaConnection, producer: AIOKafkaProducer) -> None:
        """Take a started producer; use ``open``."""
        self._connection = connection
        self._producer = producer
        self._renewing = asyncio.Lock()
        self.fault = ""
        """Why the last append failed; empty while they succeed."""

    @classmethod
    async def open(cls, connection: KafkaConnection) -> KafkaAppender:
        """Connect.

        Raises:
            KafkaError: the cluster cannot be reached.
        """
        producer = connection.producer()
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return cls(connection, producer)

    async def append(self, appends: Sequence[Append]) -> LastOffsets:
        """Append records and return the last offset per partition, once all are acknowledged.

        Raises:
            Exception: nothing is promised; the caller must append again or have its own caller do so.
        """
        producer = self._producer
        try:
            sent = [
                await self._send(producer, append.topic, append.partition, record)
                for append in appends
                for record in append.records
            ]
            answered = await asyncio.gather(*sent)
        except Exception as error:
            self.fault = f"{type(error).__name__}: {error}"
            await self._renew(producer)
            raise
        self.fault = ""
        last: LastOffsets = {}
        places = [(append.topic, append.partition) for append in appends for _ in append.records]
        for place, metadata in zip(places, answered, strict=True):
            last[place] = max(last.get(place, -1), metadata.offset)
        return last

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, partition: int, record: Record
    ) -> asyncio.Future[RecordMetadata]:
        future: asyncio.Future[RecordMetadata] = await producer.send(
            self._connection.topic(topic),
            record.value,
            key=record.key,
            partition=partition,
            timestamp_ms=record.timestamp_ms,
        )
        return future

    async def _renew(self, failed: AIOKafkaProducer) -> None:
        """Replace a producer that failed.

        The broker expects its records numbered without a hole; after a record that was given up it would refuse
        every later one.
        """
        async with self._renewing:
            if self._producer is not failed:
                return
            producer = self._connection.producer()
            try:
                await producer.start()
            except Exception:
                # The cluster is away: the old one stays, fails again, and is replaced then.
                await producer.stop()
                return
            self._producer = producer
        await failed.stop()

    async def close(self) -> None:
        """Hang up after what is under way, or after a while if the cluster does not answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                await self._producer.stop()
