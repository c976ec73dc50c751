"""The transport when something is wrong: a hole in the log, a failed log, an agent that cannot keep up, settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from faust.exceptions import ImproperlyConfigured
from faust.types import StreamT

from schemas.codec import partition_of
from schemas.topics import CONSUMER_GROUP, TopicSpec
from streams.embedded.log import (
    EmbeddedLog,
    LogFailed,
    LogOwned,
    LogSettings,
    OffsetOutOfRange,
    Record,
)
from streams.embedded.transport import register_log, unregister_log
from tests.support.faust_apps import (
    GROUP,
    collect,
    fill,
    make_app,
    opened,
    running,
    unacknowledged,
    until,
)


def test_committed_records_that_are_gone_stop_the_app(tmp_path: Path) -> None:
    """If the log starts after the committed offset the app crashes and names the range; nothing is skipped."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            fill(log, 10)
            await log.transaction([], {(CONSUMER_GROUP, "sent", 2): 10})
            log.declare([TopicSpec("sent", 4, retention_seconds=1)])
            await log.maintenance(10**15)
            await log.transaction([], {(GROUP, "sent", 2): 4})
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                await until(app._crashed.is_set)
                reason = app.crash_reason
            assert isinstance(reason, OffsetOutOfRange)
            assert (reason.topic, reason.partition) == ("sent", 2)
            assert (reason.missing_from, reason.missing_to) == (4, 10)
            assert seen == []

    asyncio.run(scenario())


def test_a_failed_log_crashes_the_app(tmp_path: Path) -> None:
    """When the disk is full the worker ends, even if it only reads."""

    async def scenario() -> None:
        async with opened(tmp_path, LogSettings(size_max_bytes=1 << 20)) as log:
            fill(log, 1)
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                await until(lambda: len(seen) == 8)
                with pytest.raises(LogFailed):
                    await log.append("sent", 0, [Record(None, b"x" * (2 << 20), 1)])
                await until(app._crashed.is_set)
                assert isinstance(app.crash_reason, LogFailed)

    asyncio.run(scenario())


def test_a_slow_agent_with_a_small_buffer_is_kept_busy(tmp_path: Path) -> None:
    """With every buffer full the fetch goes on as soon as one drains, not a second later as in stock Faust."""

    async def scenario() -> float:
        async with opened(tmp_path) as log:
            log.declare([TopicSpec("narrow", 1)])
            log.append_blocking("narrow", 0, [Record(None, b"x", 1)] * 300)
            app = make_app(tmp_path, stream_buffer_maxsize=16, broker_max_poll_records=2)
            offsets: list[int] = []

            async def slow(stream: StreamT[Any]) -> None:
                async for event in unacknowledged(stream):
                    offsets.append(event.message.offset)
                    await asyncio.sleep(0.001)

            app.agent(app.topic("narrow", value_type=bytes, value_serializer="raw"))(slow)
            async with running(app):
                await until(lambda: len(offsets) > 0)
                started = asyncio.get_running_loop().time()
                await until(lambda: len(offsets) == 300)
                return asyncio.get_running_loop().time() - started

    # 300 times 1.2 ms of work; a sleep of a second whenever the buffer is full would take ten times as long.
    assert asyncio.run(scenario()) < 3


def test_sends_are_durable_and_placed_as_kafka_places_them(tmp_path: Path) -> None:
    """A send returns where the record is; keys go to Kafka's partition; headers and time come back."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                sent = await app.producer.send_and_wait(
                    "read", b"acme|491701", b"0", None, 12.5, {"trace": b"\x00\xff"}
                )
                await until(lambda: len(seen) == 1)
                placed = app.producer.key_partition("read", b"acme|491701").partition
                keyless = [
                    await app.producer.send_and_wait("undeclared", None, b"v", None, None, None)
                    for _ in range(8)
                ]
            expected = partition_of("acme", "491701", 4)
            assert (sent.topic, sent.partition, sent.offset) == ("read", expected, 0)
            assert placed == expected
            message = seen[0].message
            assert (message.partition, message.key, message.timestamp) == (expected, b"acme|491701", 12.5)
            assert message.headers == [("trace", b"\x00\xff")]
            assert sorted(item.partition for item in keyless) == [0, 0, 1, 1, 2, 2, 3, 3]
            assert log.partition_count("undeclared") == 4

    asyncio.run(scenario())


def test_a_log_that_nobody_registered_is_opened_and_closed_by_the_app(tmp_path: Path) -> None:
    """An app on its own owns the directory while it runs, and gives it up when it stops."""

    async def scenario() -> None:
        app = make_app(tmp_path)
        seen = collect(app)
        async with running(app):
            with pytest.raises(LogOwned):
                EmbeddedLog.open(tmp_path / "log")
            await app.producer.send_and_wait("sent", None, b"0", 0, None, None)
            await until(lambda: len(seen) == 1)
        log = EmbeddedLog.open(tmp_path / "log", create=False)
        assert log.end_offset("sent", 0) == 1
        await log.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "settings",
    [
        {"processing_guarantee": "exactly_once"},
        {"consumer_auto_offset_reset": "latest"},
        {"broker": "embedded://relative/path"},
    ],
)
def test_settings_that_cannot_work_are_refused_at_start(tmp_path: Path, settings: dict[str, str]) -> None:
    """An app that asks for what the transport does not do never starts, and leaves no log open."""

    async def scenario() -> None:
        app = make_app(tmp_path, **settings)
        collect(app)
        with pytest.raises(ImproperlyConfigured):
            await app.start()
        await app.stop()

    asyncio.run(scenario())
    if (tmp_path / "log").exists():
        EmbeddedLog.open(tmp_path / "log").close_blocking()


def test_two_logs_cannot_share_a_directory(tmp_path: Path) -> None:
    """Registering a second log for a directory, or taking away one in use, is refused."""

    async def scenario() -> None:
        async with opened(tmp_path):
            other = EmbeddedLog.open(tmp_path / "other")
            with pytest.raises(ValueError, match="another log"):
                register_log(tmp_path / "log", other)
            await other.close()
            app = make_app(tmp_path)
            collect(app)
            async with running(app):
                with pytest.raises(RuntimeError, match="stop the app first"):
                    unregister_log(tmp_path / "log")
        unregister_log(tmp_path / "log")

    asyncio.run(scenario())
