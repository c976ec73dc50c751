"""The roles of a process, opened and closed in order: a gateway, a worker, or both.

Owns their wiring, on the embedded log and on Kafka. The verbs ``run``, ``gateway`` and ``worker`` serve what these
give.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from cli.answering import node_answers, server_answers
from cli.background import Background
from cli.cluster import check_schema, kafka_appender, kafka_log
from cli.limit_gauges import GaugeTimes, LimitGauges
from cli.node import Node
from cli.notices import alert_options, new_table_thread
from cli.observers import behind_seconds, ladder_watcher, sample_gauges, worker_observers, worker_readiness
from cli.options import live_worker_options
from cli.owner import OwnerServer
from cli.prices import Prices
from dashboard.ports import Meter
from gateway.batching import BatchingAppender, BatchingLimits
from gateway.port import AppendRecord
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.writer import ClickHouseWriter
from streams.kafka.log import KafkaWorkerLog
from streams.records import Append, Record
from streams.threads import in_thread
from streams.worker import Worker

_SAMPLE_SECONDS = 1.0
_RENEW_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Roles:
    """What a process does."""

    readiness: Callable[[], Mapping[str, str]]
    """Returns for each component why it is not ready; an empty text = ready."""
    appender: BatchingAppender | None = None
    """Where a gateway appends to."""
    worker: Worker | None = None
    meter: Meter | None = None
    """What a dashboard in this process asks."""


@asynccontextmanager
async def embedded_roles(in_force: SettingsInForce, metrics: Metrics, clock: Clock) -> AsyncIterator[Roles]:
    """Give gateway and worker over the embedded log of a data directory, which other verbs may ask meanwhile."""
    settings = in_force.settings
    node = await Node.start(in_force, metrics, clock)

    async def append_record(topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        return await node.log.append(topic, partition, [Record(key, value, clock.now_ms())])

    owner = OwnerServer(node, settings.data)
    owner.start()
    appender = _batching(settings, metrics, clock, append_record)
    try:
        yield Roles(node.readiness, appender, node.worker, node_answers(node, in_force))
    finally:
        await appender.close()
        await owner.stop()
        await node.close()


@asynccontextmanager
async def kafka_gateway(in_force: SettingsInForce, metrics: Metrics, clock: Clock) -> AsyncIterator[Roles]:
    """Give a gateway over Kafka. Any number of them may run side by side."""
    settings = in_force.settings
    async with kafka_log(settings) as log, _kafka_batching(settings, metrics, clock, log) as roles:
        yield roles


@asynccontextmanager
async def kafka_worker(
    in_force: SettingsInForce, metrics: Metrics, clock: Clock, gauge_times: GaugeTimes | None = None
) -> AsyncIterator[Roles]:
    """Give a worker over Kafka. As many of them as there are partitions may run side by side."""
    async with (
        kafka_log(in_force.settings) as log,
        _kafka_worker(in_force, metrics, clock, log, gauge_times) as roles,
    ):
        yield roles


@asynccontextmanager
async def kafka_both(in_force: SettingsInForce, metrics: Metrics, clock: Clock) -> AsyncIterator[Roles]:
    """Give gateway and worker over Kafka, in one process."""
    settings = in_force.settings
    async with (
        kafka_log(settings) as log,
        _kafka_worker(in_force, metrics, clock, log) as work,
        _kafka_batching(settings, metrics, clock, log) as gate,
        server_answers(in_force, clock, work.worker) as answers,
    ):
        yield Roles(lambda: {**gate.readiness(), **work.readiness()}, gate.appender, work.worker, answers)


@asynccontextmanager
async def _kafka_batching(
    settings: Settings, metrics: Metrics, clock: Clock, log: KafkaWorkerLog
) -> AsyncIterator[Roles]:
    async with kafka_appender(log.connection) as kafka:

        async def append_record(topic: str, partition: int, key: bytes | None, value: bytes) -> int:
            record = Record(key, value, clock.now_ms())
            return (await kafka.append([Append(topic, partition, [record])]))[topic, partition]

        appender = _batching(settings, metrics, clock, append_record)
        try:
            yield Roles(lambda: {"log": kafka.fault}, appender)
        finally:
            await appender.close()


@asynccontextmanager
async def _kafka_worker(
    in_force: SettingsInForce,
    metrics: Metrics,
    clock: Clock,
    log: KafkaWorkerLog,
    gauge_times: GaugeTimes | None = None,
) -> AsyncIterator[Roles]:
    settings = in_force.settings
    settings.data.mkdir(parents=True, exist_ok=True)
    clients = ClientPool(lambda: open_client(settings.clickhouse))
    prices, table_thread = Prices(in_force, clients, clock), new_table_thread()
    options = live_worker_options(in_force)
    ladder = ladder_watcher(metrics, settings, clients, clock)
    worker = Worker(
        log,
        ClickHouseWriter(clients),
        replace(options, alerts=alert_options(in_force, prices, clients, clock, table_thread)),
        clock.now_ms,
        worker_observers(metrics, ladder=ladder),
    )
    gauges = LimitGauges(metrics, in_force, clock, lambda asked: in_thread(prices.limits, asked), gauge_times)
    background = Background(worker.fail)
    try:
        await in_thread(check_schema, clients)
        await in_thread(prices.load)
        await worker.start()
        background.start("sample", _sample(metrics, worker, clock, prices))
        background.start("ladder", ladder.run(lambda: behind_seconds(worker, clock.now_ms())))
        background.start("limits", gauges.run(worker))
        yield Roles(lambda: worker_readiness(worker), worker=worker)
    finally:
        await background.stop()
        await worker.stop()
        await in_thread(table_thread.shutdown)
        clients.close()


async def _sample(metrics: Metrics, worker: Worker, clock: Clock, prices: Prices) -> None:
    """Keep the gauges fresh that are read off rather than counted, and ClickHouse's copy of the price data."""
    renew_at = clock.monotonic_seconds() + _RENEW_SECONDS
    while True:
        sample_gauges(metrics, worker, clock.now_ms())
        await asyncio.sleep(_SAMPLE_SECONDS)
        if clock.monotonic_seconds() >= renew_at:
            await in_thread(prices.renew)
            renew_at = clock.monotonic_seconds() + _RENEW_SECONDS


def _batching(
    settings: Settings, metrics: Metrics, clock: Clock, append_record: AppendRecord
) -> BatchingAppender:
    gateway = settings.gateway
    limits = BatchingLimits(gateway.batch_linger_ms, gateway.batch_events_max, gateway.queue_events_max)
    return BatchingAppender(append_record, settings.partitions, limits, metrics, clock)
