"""A partition that refuses too much stops; the others go on, everybody is told, and an operator lets it go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from cli.node import Node
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings, WorkerSettings
from schemas.codec import partition_of
from schemas.topics import EVENTS
from sinks.clickhouse.reader import Filters
from streams.records import Record
from streams.worker import PartitionStopped
from tests.support.clickhouse_http import ClickHouseHttp

PHONES = [f"4917000000{number:02d}" for number in range(20)]


def line_of(phone: str, message_id: str, occurred_at: int) -> bytes:
    """Return one incoming message as a canonical event."""
    return orjson.dumps(
        {
            "account": "A",
            "number": "1",
            "kind": "incoming",
            "message_id": message_id,
            "occurred_at": occurred_at,
            "user_phone": phone,
        }
    )


def settings_in(directory: Path, clickhouse: str) -> Settings:
    """Return settings of a small node that stops soon."""
    worker = WorkerSettings(refused_run_max=50, flush_interval_ms=20)
    return Settings(data=directory, clickhouse=clickhouse, partitions=2, worker=worker)


@asynccontextmanager
async def running(directory: Path, clickhouse: str) -> AsyncIterator[Node]:
    """Give a node."""
    settings = settings_in(directory, clickhouse)
    node = await Node.start(settings, Metrics(CollectorRegistry()), SystemClock())
    try:
        yield node
    finally:
        await node.close()


async def count(node: Node) -> int:
    """Return the number of incoming messages counted."""
    rows = await node.query("incoming", Filters())
    return sum(int(str(row["count"])) for row in rows)


async def until_stopped(node: Node) -> None:
    """Wait until a partition has stopped."""
    async with asyncio.timeout(60):
        await node.worker.stopped.wait()


def test_a_bad_deploy_does_not_drain_into_the_dead_letter(
    http_server: ClickHouseHttp, empty_name: str, tmp_path: Path
) -> None:
    """Only the bad partition waits; a waiter is told why; after a restart and `accept` everything is counted."""
    now = SystemClock().now_seconds()
    lines = [line_of(phone, f"m{phone}", now) for phone in PHONES]
    of_zero = sum(partition_of("A", phone, 2) == 0 for phone in PHONES)
    assert 0 < of_zero < len(PHONES)

    async def stops() -> None:
        async with running(tmp_path, http_server.address(empty_name)) as node:
            await node.log.append(EVENTS, 0, [Record(None, b"\x01 nonsense", 1)] * 60)
            await until_stopped(node)
            await node.ingest(lines, "canonical", 1)
            assert "updates in a row were refused" in node.readiness()["events[0]"]
            with pytest.raises(PartitionStopped, match=r"events\[0\] has stopped"):
                await node.wait_flushed(await node.positions())
            async with asyncio.timeout(60):
                while await count(node) != len(PHONES) - of_zero:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            assert len(await node.dead_letters(-1, 100)) < 50

    async def goes_on() -> None:
        async with running(tmp_path, http_server.address(empty_name)) as node:
            await until_stopped(node)
            await node.accept("events", 0)
            async with asyncio.timeout(60):
                while node.worker.stops():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.05)
            await node.wait_flushed(await node.positions())
            assert await count(node) == len(PHONES)
            assert len(await node.dead_letters(-1, 100)) == 60
            assert not any(node.readiness().values())

    asyncio.run(stops())
    asyncio.run(goes_on())
