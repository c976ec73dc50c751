"""Faust apps over the embedded log, for tests of the transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import faust
from faust.streams import Stream
from faust.types import EventT, StreamT

from schemas.topics import TopicSpec
from streams.embedded.log import (
    EmbeddedLog,
    LogSettings,
    MaintenanceSettings,
    Record,
)
from streams.embedded.transport import register_log, unregister_log

GROUP = "demo"
TOPICS = ("sent", "read")
SETTINGS = LogSettings(maintenance=MaintenanceSettings(compaction_records_min=10))
Place = tuple[str, int]


def make_app(directory: Path, **settings: Any) -> faust.App:
    """Return an app over the log in ``directory/log``."""
    defaults: dict[str, Any] = {
        "broker": f"embedded://{directory / 'log'}",
        "datadir": str(directory / "faust"),
        "web_enabled": False,
        "autodiscover": False,
        "topic_disable_leader": True,
        "topic_partitions": 4,
        "stream_wait_empty": False,
    }
    return faust.App(GROUP, **(defaults | settings))


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    """Run an app as a worker does."""
    cast("Any", app).in_worker = True
    await app.start()
    try:
        yield
    finally:
        await app.stop()


@asynccontextmanager
async def opened(directory: Path, settings: LogSettings = SETTINGS) -> AsyncIterator[EmbeddedLog]:
    """Open the log, declare the topics and share it with the apps of this process."""
    path = directory / "log"
    log = EmbeddedLog.open(path, settings=settings)
    log.declare([TopicSpec(topic, 4) for topic in TOPICS])
    register_log(path, log)
    try:
        yield log
    finally:
        unregister_log(path)
        await log.close()


async def until(reached: Callable[[], bool]) -> None:
    """Wait for something that must come soon."""
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 -- looks at what Faust does not announce
            await asyncio.sleep(0.01)


def unacknowledged(stream: StreamT[Any]) -> AsyncIterator[EventT[Any]]:
    """Return the events of a stream, acknowledged by nobody."""
    events: AsyncIterator[EventT[Any]] = cast("Stream[Any]", stream).noack().events()
    return events


def collect(app: faust.App) -> list[EventT[Any]]:
    """Add an agent on both topics that keeps every event and acknowledges none."""
    seen: list[EventT[Any]] = []

    async def keep(stream: StreamT[Any]) -> None:
        async for event in unacknowledged(stream):
            seen.append(event)

    app.agent(app.topic(*TOPICS, value_type=bytes, value_serializer="raw"))(keep)
    return seen


def fill(log: EmbeddedLog, count: int) -> None:
    """Append ``count`` records to every partition; the value says where it stands."""
    for topic in TOPICS:
        for partition in range(4):
            first = log.end_offset(topic, partition)
            records = [Record(None, str(offset).encode(), 1) for offset in range(first, first + count)]
            log.append_blocking(topic, partition, records)


def by_place(seen: list[EventT[Any]]) -> dict[Place, list[int]]:
    """Return the offsets per partition in the order in which they were delivered."""
    offsets: dict[Place, list[int]] = {}
    for event in seen:
        assert event.message.offset == int(cast("bytes", event.message.value))
        offsets.setdefault((event.message.topic, event.message.partition), []).append(event.message.offset)
    return offsets
