"""Faust's Kafka driver with what we know to be at fault mended.

A small subclass: it reads committed records only, delivers them in one task, hands positions to nobody but the
worker's own transactions, and spreads partitions so that few move. The rest is Faust's.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast

from aiokafka import AIOKafkaConsumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.kafka.assignor import EvenAssignor

if TYPE_CHECKING:
    from streams.kafka.connection import KafkaConnection

_DELIVERIES_BEFORE_YIELD = 100
_FETCH_SECONDS = 0.5
"""How long a broker may hold a fetch back while it has nothing."""
_POLL_SECONDS = 0.1
"""How long what arrived is waited for. A partition that is let flow again meanwhile waits for the rest of it."""
_ALL_PAUSED_SECONDS = 0.01


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread in which aiokafka's consumer lives."""

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        """Return the consumer: as the driver's, but for isolation, assignor, security and fetch wait."""
        conf = self.app.conf
        connection = cast("Transport", transport).connection
        self._assignor = EvenAssignor
        return AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=list(connection.servers),
            partition_assignment_strategy=[EvenAssignor],
            enable_auto_commit=False,
            # Only where a group starts: the worker itself finds records that are missing before a position.
            auto_offset_reset="earliest",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int((conf.broker_max_poll_interval or 300) * 1000),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            fetch_max_wait_ms=int(_FETCH_SECONDS * 1000),
            request_timeout_ms=int(conf.broker_request_timeout * 1000),
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            # What an aborted transaction left must not be counted.
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **connection.security(),
        )

    def highwater(self, tp: TP) -> int:
        """Return the end of a partition as last heard; 0 before."""
        try:
            return cast("int | None", self._ensure_consumer().last_stable_offset(tp)) or 0
        except AssertionError:  # the partition went to another worker a moment ago
            return 0

    def stay(self) -> None:
        """Say that we are alive although nothing is fetched.

        aiokafka leaves the group when nobody asked for records for ``max_poll_interval_ms``, also where all are paused.
        """
        self._ensure_consumer()._subscription._last_fetch_ended = time.monotonic()

    async def _commit(self, _offsets: object) -> bool:
        """Commit nothing: positions move with the worker's transactions, and never by Faust's hand."""
        return True


class Consumer(driver.Consumer):
    """Delivers records in order, in one task; Faust's own makes four tasks a record."""

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _wait_next_records(self, timeout: float) -> tuple[Any, set[TP] | None]:  # noqa: ASYNC109
        """Fetch, and have all of it delivered.

        Faust fetches with a set that a pause changes meanwhile: it would drop what was fetched of a partition that is
        paused by then, and aiokafka takes a set that became empty for "all partitions". And it sleeps for a second when
        all partitions are paused.
        """
        if self.flow_active and not self._get_active_partitions():
            cast("ConsumerThread", self._thread).stay()
            await asyncio.sleep(_ALL_PAUSED_SECONDS)
            return {}, None
        records, _ = await super()._wait_next_records(timeout)
        return records, None

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        return await super()._getmany(None if active_partitions is None else set(active_partitions), timeout)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Deliver until the consumer or the fetcher stops.

        A delivery that a rebalance cuts short is not lost: the worker's sources work in the order of offsets, and
        read from the log what did not come.
        """
        delivered = 0
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                # Lets other tasks run also while there is nothing to wait for.
                await asyncio.sleep(0)
                async for tp, message in self.getmany(timeout=_POLL_SECONDS):
                    await self.callback(message)
                    self._read_offset[tp] = message.offset
                    delivered += 1
                    if delivered % _DELIVERIES_BEFORE_YIELD == 0:
                        await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise


class Producer(driver.Producer):
    """Faust's producer, which we use for nothing, with our security."""

    def _settings_auth(self) -> dict[str, Any]:
        return cast("Transport", self.transport).connection.security()


class Transport(driver.Transport):
    """What ``faust.App(broker="convometer-kafka://...")`` gets. The app carries the connection."""

    Consumer = Consumer
    Producer = Producer

    @property
    def connection(self) -> KafkaConnection:
        """Return how to reach the cluster."""
        connection: KafkaConnection = self.app.kafka_connection  # type: ignore[attr-defined]
        return connection
