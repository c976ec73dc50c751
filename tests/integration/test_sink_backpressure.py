"""ClickHouse away for so long that metering waits for it: what is bounded, what goes on, and that no number suffers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import faust
import pytest
from prometheus_client import CollectorRegistry

import streams.app
from cli.node import Node
from cli.observers import worker_observers
from cli.trial.faults import FaultPlan
from cli.trial.trial import make_traffic
from metering.rules import shipped_regimes
from runtime.metrics import Metrics
from schemas.codec import encode_batch, partition_of
from schemas.events import Event
from schemas.topics import EVENTS
from simulation.generator import WorldOptions
from sinks.clickhouse.writer import ClickHouseWriter
from streams.flusher import FlushLimits
from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog
from streams.opening import WorkerOptions
from streams.records import Append, Record
from streams.topic_specs import topic_specs
from streams.worker import Worker
from tests.integration.conftest import Database
from tests.oracle.totals import expected_totals
from tests.support.clickhouse_http import ClickHouseHttp, Mode
from tests.support.flushing import totals_in
from tests.support.kafka_broker import KafkaCluster
from tests.support.node_life import answers_of, feed, settings_in, started, true_answers

START = 1_769_904_000  # 2026-02-01
OWED_ROWS_MAX = 60


@pytest.fixture
def server(http_server: ClickHouseHttp, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickHouseHttp]:
    """Return the server, well again after the test; the flusher tries again at once."""
    monkeypatch.setattr("streams.flusher._RETRY_SECONDS_MAX", 0.05)
    yield http_server
    http_server.mode, http_server.good_inserts, http_server.delay_seconds = Mode.WELL, 0, 0.0


async def until(happened: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something happened."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def held(*workers: Worker) -> int:
    """Return how many rows the workers keep for ClickHouse."""
    return sum(task.dirty.held for worker in workers for task in worker.partitions)


def metered(*workers: Worker) -> dict[int, int]:
    """Return how far each partition is committed."""
    return {
        task.source.partition: task.dirty.committed.source_offset
        for worker in workers
        for task in worker.partitions
    }


def shown(metrics: Metrics, name: str) -> float:
    """Return a gauge, added up over its labels."""
    [family] = [f for f in metrics.registry.collect() if f.name == f"convometer_{name}"]
    return sum(sample.value for sample in family.samples)


async def fill(node: Node, lines: Sequence[bytes]) -> None:
    """Feed a few lines at a time until the node owes as many rows as it may."""
    for start in range(0, len(lines), 10):
        await feed(node, lines[start : start + 10])
        await asyncio.sleep(0.05)
        if held(node.worker) >= OWED_ROWS_MAX:
            return
    raise AssertionError("too little traffic")


@pytest.mark.parametrize("mode", [Mode.FAILS, Mode.CUTS_BODY, Mode.SLOW])
def test_metering_waits_for_clickhouse_and_says_so(
    http_database: Database,
    server: ClickHouseHttp,
    empty_name: str,
    tmp_path: Path,
    mode: Mode,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Webhooks are taken, nothing is metered beyond the bound, the lag shows it; then everything arrives, once."""
    traffic = make_traffic(WorldOptions(seed=31, users=30, days=10, start=START), FaultPlan())
    expected = true_answers(http_database.pool, traffic.lines)
    settings = settings_in(tmp_path, server.address(empty_name), owed_rows_max=OWED_ROWS_MAX)

    async def scenario() -> None:
        node = await started(settings)
        try:
            server.delay_seconds, server.mode = 10.0, mode
            await fill(node, traffic.lines)
            # A step of each partition may be under way, and one that was idle looks for room after a second.
            await asyncio.sleep(1.5)
            waits_at, most = metered(node.worker), held(node.worker)
            assert most < OWED_ROWS_MAX * 4
            await feed(node, traffic.lines)
            await asyncio.sleep(1.5)
            assert (metered(node.worker), held(node.worker)) == (waits_at, most)
            node.sample_gauges()
            for gauge, least in (("lag_records", 2), ("lag_seconds", 1), ("flush_age_seconds", 1)):
                assert shown(node.metrics, gauge) >= least, gauge
            # Still ready: a gateway in the same process must go on taking webhooks.
            assert not any(node.readiness().values())
            server.mode = Mode.WELL
            assert await answers_of(node) == expected
        finally:
            server.mode = Mode.WELL
            await node.close()

    with caplog.at_level(logging.WARNING):
        asyncio.run(asyncio.wait_for(scenario(), 120))
    assert f"metering waits: ClickHouse lacks {OWED_ROWS_MAX} rows or more" in caplog.text


def test_a_node_that_waits_for_clickhouse_can_be_stopped_and_started(
    http_database: Database, server: ClickHouseHttp, empty_name: str, tmp_path: Path
) -> None:
    """A stop does not wait for ClickHouse; what waited in the log is metered by the next start."""
    traffic = make_traffic(WorldOptions(seed=32, users=30, days=10, start=START), FaultPlan())
    expected = true_answers(http_database.pool, traffic.lines)
    settings = settings_in(tmp_path, server.address(empty_name), owed_rows_max=OWED_ROWS_MAX)

    async def scenario() -> None:
        node = await started(settings)
        try:
            server.mode = Mode.FAILS
            await fill(node, traffic.lines)
            await feed(node, traffic.lines)
        finally:
            async with asyncio.timeout(10):
                await node.close()
        server.mode = Mode.WELL
        node = await started(settings)
        try:
            assert await answers_of(node) == expected
        finally:
            await node.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))


# On Kafka

PARTITIONS = 2
SESSION_SECONDS = 6
MAX_POLL_SECONDS = 5.0
AWAY_SECONDS = 15.0
BACKLOG_EVENTS = 6_000


def now_ms() -> int:
    """Return the time, UTC milliseconds."""
    return time.time_ns() // 1_000_000


def some_events(count: int) -> list[Event]:
    """Return incoming messages of many countries and days, so that they are many rows."""
    now = now_ms()
    return [
        Event(
            provider="canonical",
            account=f"A{number % 50}",
            number="1",
            kind="incoming",
            message_id=f"m{number}",
            occurred_at=now // 1000 - number % 5 * 86_400,
            received_at=now,
            country="DE",
            user_phone=f"4915{number % 500:08d}",
        )
        for number in range(count)
    ]


async def append(appender: KafkaAppender, events: Sequence[Event]) -> dict[int, int]:
    """Append events as batch records; return the next offsets of their partitions."""
    ends: dict[int, int] = {}
    for partition in range(PARTITIONS):
        own = [e for e in events if partition_of(e.account, e.user_key, PARTITIONS) == partition]
        for start in range(0, len(own), 100):
            batch = Record(None, encode_batch(own[start : start + 100]), now_ms())
            last = await appender.append([Append(EVENTS, partition, [batch])])
            ends[partition] = last[EVENTS, partition] + 1
    return ends


@asynccontextmanager
async def kafka_worker(
    connection: KafkaConnection, installation: str, directory: Path, database: Database, metrics: Metrics
) -> AsyncIterator[Worker]:
    """Give a worker of a group, whose member may not stand still for long."""
    options = WorkerOptions(
        directory,
        PARTITIONS,
        shipped_regimes(),
        lambda _account: (("", "UTC"),),
        flush_limits=FlushLimits(0.05, owed_rows_max=OWED_ROWS_MAX),
    )
    log = await KafkaWorkerLog.open(connection, installation)
    log.app_settings = {**log.app_settings, "broker_max_poll_interval": MAX_POLL_SECONDS}
    worker = Worker(log, ClickHouseWriter(database.pool), options, now_ms, worker_observers(metrics))
    try:
        await log.declare(topic_specs(options))
        await worker.start()
        yield worker
    finally:
        await worker.stop()
        await log.close()


@pytest.fixture
def events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the input topics to others, as most workers do where there are many: all that is consumed can be paused."""
    add = streams.app._add_agent

    def add_meter(app: faust.App, name: str, *rest: Any) -> None:
        if name == "meter":
            add(app, name, *rest)

    monkeypatch.setattr(streams.app, "_add_agent", add_meter)


@pytest.mark.usefixtures("events_only")
def test_workers_that_wait_for_clickhouse_stay_in_their_group(
    kafka: KafkaCluster,
    http_database: Database,
    server: ClickHouseHttp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For longer than the session, and than a consumer may be idle: no partition moves, and then all is counted."""
    connection = KafkaConnection(
        tuple(kafka.bootstrap.split(",")),
        prefix=f"waiting-{time.time_ns()}.",
        session_timeout_seconds=SESSION_SECONDS,
    )
    # So little that all that is consumed is paused.
    monkeypatch.setattr("streams.source.QUEUED_BYTES_MAX", 20_000)
    backlog = some_events(BACKLOG_EVENTS)

    async def scenario() -> None:
        installation = (await ensure_installation(connection, PARTITIONS)).id
        appender = await KafkaAppender.open(connection)
        async with AsyncExitStack() as stack:
            workers = [
                await stack.enter_async_context(
                    kafka_worker(
                        connection,
                        installation,
                        tmp_path / str(number),
                        http_database,
                        Metrics(CollectorRegistry()),
                    )
                )
                for number in range(2)
            ]
            await until(lambda: all(len(worker.partitions) == 1 for worker in workers), 60)
            server.mode = Mode.FAILS
            ends = await append(appender, backlog)
            await until(lambda: all(held(worker) >= OWED_ROWS_MAX for worker in workers))
            await asyncio.sleep(1)
            waits_at, most = metered(*workers), held(*workers)
            opened = [worker.partitions[0].opened for worker in workers]
            await asyncio.sleep(AWAY_SECONDS)
            assert [worker.partitions[0].opened for worker in workers] == opened
            assert (metered(*workers), held(*workers)) == (waits_at, most)
            assert all(waits_at[partition] < ends[partition] for partition in ends)
            # A rebalance would have let them flow, and emptied what they queue.
            assert all(worker.partitions[0].source._paused for worker in workers)
            server.mode = Mode.WELL
            async with asyncio.timeout(60):
                while (totals := totals_in(http_database.client)) != expected_totals(backlog):
                    assert not any(worker.failed.is_set() for worker in workers), [w.failure for w in workers]
                    await asyncio.sleep(0.5)
            assert [worker.partitions[0].opened for worker in workers] == opened
            assert totals
        await appender.close()

    asyncio.run(asyncio.wait_for(scenario(), 200))
