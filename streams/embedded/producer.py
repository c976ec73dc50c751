"""Faust's producer over the embedded log. Owns nothing durable: a send is a one-record transaction of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from faust.exceptions import NotReady, ProducerSendError
from faust.transport import base
from faust.types import TP, RecordMetadata
from faust.types.core import HeadersArg
from mode.utils.times import Seconds

from runtime.clock import SystemClock
from streams.embedded.headers import encode_headers
from streams.embedded.log import Append, EmbeddedLog, LastOffsets, LogFailed, Record

if TYPE_CHECKING:
    from streams.embedded.transport import Transport


class Producer(base.Producer):
    """Sends to the log; a send is acknowledged once it is on disk. A failed log crashes the app."""

    _log: EmbeddedLog | None = None

    def __post_init__(self) -> None:
        """Prepare what does not need the log."""
        self._clock = SystemClock()
        self._in_flight: set[asyncio.Future[RecordMetadata]] = set()

    @property
    def _embedded(self) -> Transport:
        return cast("Transport", self.transport)

    async def on_start(self) -> None:
        """Open the log."""
        self._log = self._embedded.attach()
        await super().on_start()

    async def on_stop(self) -> None:
        """Wait for what is in flight and let go of the log."""
        try:
            await super().on_stop()
            if self._in_flight:
                await asyncio.wait(set(self._in_flight))
        finally:
            if self._log is not None:
                self._log = None
                await self._embedded.detach()

    def _ensure_log(self) -> EmbeddedLog:
        if self._log is None:
            raise NotReady("the producer is not started")
        return self._log

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Queue one record; the returned future is done once it is on disk.

        Waits only while too much is queued already.
        """
        log = self._ensure_log()
        if transactional_id:
            raise ProducerSendError("embedded:// has no Kafka transactions; use EmbeddedLog.transaction")
        await self._embedded.ensure_topic(topic)
        partition = self._embedded.partition_for(topic, key, partition)
        timestamp_ms = int(timestamp * 1_000) if timestamp else self._clock.now_ms()
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        self.app.on_produce_message.send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=pairs
        )
        record = Record(key, value, timestamp_ms, encode_headers(pairs) if pairs else None)
        try:
            await log.wait_for_room()
            written = log.submit([Append(topic, partition, [record])], {})
        except LogFailed as error:
            await self.crash(error)
            raise ProducerSendError(f"the record was not stored: {error}") from error
        sent: asyncio.Future[RecordMetadata] = written.get_loop().create_future()
        self._in_flight.add(sent)
        written.add_done_callback(partial(self._on_written, sent, TP(topic, partition), timestamp_ms))
        return sent

    def _on_written(
        self,
        sent: asyncio.Future[RecordMetadata],
        tp: TP,
        timestamp_ms: int,
        written: asyncio.Future[LastOffsets],
    ) -> None:
        self._in_flight.discard(sent)
        error = written.exception()
        if error is not None:
            # Faust only logs a failed changelog send and goes on to commit the source offset.
            self.add_future(self.crash(error))
            if not sent.done():
                sent.set_exception(ProducerSendError(f"the record was not stored: {error}"))
        elif not sent.done():
            offset = written.result()[tp]
            sent.set_result(RecordMetadata(tp.topic, tp.partition, tp, offset, timestamp_ms, 0))

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Send one record and return once it is on disk."""
        sent = await self.send(
            topic, key, value, partition, timestamp, headers, transactional_id=transactional_id
        )
        return await sent

    async def flush(self) -> None:
        """Return once everything sent so far is on disk, or has failed."""
        await self.buffer.flush()
        if self._in_flight:
            await asyncio.wait(set(self._in_flight))

    async def create_topic(  # noqa: PLR0913 -- Faust's signature
        self,
        topic: str,
        partitions: int,
        replication: int,  # noqa: ARG002 -- one copy, whatever is asked
        *,
        config: Mapping[str, Any] | None = None,  # noqa: ARG002 -- Kafka's own options
        timeout: Seconds = 1000.0,  # noqa: ARG002, ASYNC109 -- nothing to wait for
        retention: Seconds | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,  # noqa: ARG002 -- the log does one or the other
        ensure_created: bool = False,  # noqa: ARG002 -- an existing topic is never an error
    ) -> None:
        """Declare a topic unless it exists."""
        self._ensure_log()
        await self._embedded.create_topic(topic, partitions, retention=retention, compacting=compacting)

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Return the partition of a key."""
        self._ensure_log()
        return TP(topic, self._embedded.partition_for(topic, key))

    def supports_headers(self) -> bool:
        """Tell Faust that record headers are kept."""
        return True
