"""A worker that has much to catch up on: Faust's driver delivers all of it, also while partitions are paused."""

from __future__ import annotations

import asyncio
import time
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
from streams.opening import WorkerOptions
from streams.records import Append, Record
from streams.worker import Worker, topic_specs
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


def test_a_paused_partition_loses_no_delivery(
    kafka: KafkaCluster,
    http_server: ClickHouseHttp,
    empty_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything that was fetched is delivered: nothing has to be read from the log again, and all is counted."""
    # So little that the partitions are paused all the time, often both.
    monkeypatch.setattr("streams.source.QUEUED_BYTES_MAX", 20_000)
    connection = KafkaConnection(tuple(kafka.bootstrap.split(",")), prefix=f"backlog-{time.time_ns()}.")
    clients = ClientPool(lambda: open_client(http_server.address(empty_name)))
    migrate(clients.get())
    options = WorkerOptions(
        tmp_path / "state", PARTITIONS, shipped_regimes(), lambda _account: (("", "UTC"),)
    )

    async def scenario() -> None:
        installation = await ensure_installation(connection, PARTITIONS)
        log = await KafkaWorkerLog.open(connection, installation.id)
        await log.declare(topic_specs(options))
        appender = await KafkaAppender.open(connection)
        for append in backlog():
            for start in range(0, len(append.records), 200):
                await appender.append([Append(EVENTS, append.partition, append.records[start : start + 200])])
        await appender.close()
        worker = Worker(log, ClickHouseWriter(clients), options, now_ms)
        await worker.start()
        try:
            ends = {number: (await log.bounds(EVENTS, number)).end for number in range(PARTITIONS)}
            async with asyncio.timeout(60):
                await worker.wait_flushed(ends)
            assert [task.source.found_count for task in worker.partitions] == [0] * PARTITIONS
        finally:
            await worker.stop()
            await log.close()

    try:
        asyncio.run(scenario())
        assert clients.get().query("SELECT sum(count) FROM v_incoming") == [(RECORDS,)]
    finally:
        clients.close()
