"""A worker that has much to catch up on: all of it is delivered, and only our own commits move a position."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from metering.rules import shipped_regimes
from schemas.codec import encode_batch, partition_of
from schemas.events import Event
from schemas.topics import EVENTS
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.writer import ClickHouseWriter
from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog
from streams.kafka.writer import CommitFailed, KafkaPartitionWriter
from streams.opening import WorkerOptions
from streams.partition import PartitionTask
from streams.records import Append, Record
from streams.topic_specs import topic_specs
from streams.worker import Worker
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.kafka_broker import KafkaCluster

PARTITIONS = 2
RECORDS = 6_000


def now_ms() -> int:
    """Return the time, UTC milliseconds."""
    return time.time_ns() // 1_000_000


def backlog() -> list[Append]:
    """Return one record an event."""
    records: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for number in range(RECORDS):
        event = Event(
            provider="canonical",
            account="A",
            number="1",
            kind="incoming",
            message_id=f"m{number}",
            occurred_at=now_ms() // 1000,
            received_at=now_ms(),
            country="DE",
            user_phone=f"4915{number % 500:08d}",
        )
        value = encode_batch([event])
        records[partition_of("A", event.user_key, PARTITIONS)].append(Record(None, value, now_ms()))
    return [Append(EVENTS, number, part) for number, part in enumerate(records)]


@dataclass
class Installation:
    """A log on Kafka with a backlog, and a ClickHouse."""

    log: KafkaWorkerLog
    clients: ClientPool
    options: WorkerOptions
    ends: dict[int, int]

    def worker(self) -> Worker:
        """Return a worker over it."""
        return Worker(self.log, ClickHouseWriter(self.clients), self.options, now_ms)

    async def committed(self) -> set[int | None]:
        """Return the group's positions of all partitions."""
        return {await self.log.committed(EVENTS, partition) for partition in range(PARTITIONS)}

    async def finish(self) -> list[PartitionTask]:
        """Work everything off with a new worker, and return what it worked with."""
        worker = self.worker()
        await worker.start()
        try:
            async with asyncio.timeout(60):
                await worker.wait_flushed(self.ends)
            tasks = worker.partitions
        finally:
            await worker.stop()
        assert self.clients.get().query("SELECT sum(count) FROM v_incoming") == [(RECORDS,)]
        return tasks


Open = Callable[[], AbstractAsyncContextManager[Installation]]


@pytest.fixture
def installation(kafka: KafkaCluster, http_server: ClickHouseHttp, empty_name: str, tmp_path: Path) -> Open:
    """Return how to open an installation with a backlog; for one event loop."""
    connection = KafkaConnection(tuple(kafka.bootstrap.split(",")), prefix=f"backlog-{time.time_ns()}.")
    options = WorkerOptions(
        tmp_path / "state", PARTITIONS, shipped_regimes(), lambda _account: (("", "UTC"),)
    )

    @asynccontextmanager
    async def opened() -> AsyncIterator[Installation]:
        clients = ClientPool(lambda: open_client(http_server.address(empty_name)))
        migrate(clients.get())
        log = await KafkaWorkerLog.open(connection, (await ensure_installation(connection, PARTITIONS)).id)
        try:
            await log.declare(topic_specs(options))
            appender = await KafkaAppender.open(connection)
            for append in backlog():
                for start in range(0, len(append.records), 200):
                    part = append.records[start : start + 200]
                    await appender.append([Append(EVENTS, append.partition, part)])
            await appender.close()
            ends = {number: (await log.bounds(EVENTS, number)).end for number in range(PARTITIONS)}
            yield Installation(log, clients, options, ends)
        finally:
            await log.close()
            clients.close()

    return opened


def test_a_paused_partition_loses_no_delivery(installation: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that was fetched is delivered: nothing has to be read from the log again, and all is counted."""
    # So little that the partitions are paused all the time, often both.
    monkeypatch.setattr("streams.source.QUEUED_BYTES_MAX", 20_000)

    async def scenario() -> None:
        async with installation() as over:
            assert [task.source.found_count for task in await over.finish()] == [0] * PARTITIONS

    asyncio.run(scenario())


def test_faust_moves_no_position(installation: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in flight, and what failed, is not committed: not by Faust's timer, not by its stop, not by its acks.

    Faust acknowledges what an agent failed at, and commits past what is in flight.
    """
    give_up, in_flight = asyncio.Event(), asyncio.Event()

    async def commit(*_: object) -> None:
        in_flight.set()
        await give_up.wait()
        raise CommitFailed("the test says so")

    async def scenario() -> None:
        async with installation() as over:
            with monkeypatch.context() as patch:
                patch.setattr(KafkaPartitionWriter, "commit", commit)
                worker = over.worker()
                await worker.start()
                async with asyncio.timeout(30):
                    await in_flight.wait()
                await asyncio.sleep(2 * commit_seconds(worker))
                assert await over.committed() == {None}
                give_up.set()
                async with asyncio.timeout(30):
                    await worker.failed.wait()
                await worker.stop()
                assert await over.committed() == {None}
            await over.finish()
            assert None not in await over.committed()

    asyncio.run(scenario())


def commit_seconds(worker: Worker) -> float:
    """Return how often Faust commits."""
    app = worker._app
    assert app is not None
    return float(app.conf.broker_commit_interval)
