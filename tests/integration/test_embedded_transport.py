"""Faust apps over ``embedded://``: agents, commits, tables, recovery, and what stops them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import faust
import pytest
from faust.exceptions import ImproperlyConfigured
from faust.streams import Stream
from faust.transport.drivers import by_url
from faust.types import EventT, StreamT
from yarl import URL

from schemas.codec import partition_of
from schemas.topics import CONSUMER_GROUP, TopicSpec
from streams.embedded.log import (
    EmbeddedLog,
    LogFailed,
    LogOwned,
    LogSettings,
    MaintenanceSettings,
    OffsetOutOfRange,
    Record,
)
from streams.embedded.transport import Transport, register_log, unregister_log

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


def test_the_url_scheme_finds_the_transport() -> None:
    """The installed package answers for ``embedded://`` without further set-up."""
    assert by_url(URL("embedded:///var/lib/log")) is Transport


def test_an_agent_reads_everything_in_order_and_restarts_at_the_committed_offsets(tmp_path: Path) -> None:
    """Every partition is delivered in order, live appends too; after a restart exactly the uncommitted again."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            fill(log, 600)
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                await until(lambda: len(seen) == 4_800)
                await asyncio.to_thread(fill, log, 1)
                await until(lambda: len(seen) == 4_808)
            places = [(topic, partition) for topic in TOPICS for partition in range(4)]
            assert by_place(seen) == {place: list(range(601)) for place in places}

            await log.transaction([], {(GROUP, *place): 500 + place[1] for place in places})
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                await until(lambda: len(seen) == sum(2 * (601 - 500 - partition) for partition in range(4)))
            assert by_place(seen) == {place: list(range(500 + place[1], 601)) for place in places}
            assert all(event.message.generation_id == app.consumer_generation_id for event in seen)

    asyncio.run(scenario())


def test_a_rebalance_in_full_flow_goes_back_to_the_committed_offsets(tmp_path: Path) -> None:
    """A new generation delivers every record from the committed offsets on, once each and in order."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            fill(log, 1_000)
            app = make_app(tmp_path, stream_buffer_maxsize=64)
            seen = collect(app)
            async with running(app):
                await until(lambda: len(seen) > 1_000)
                await log.transaction([], {(GROUP, "sent", 0): 7})
                await app.consumer.subscribe(TOPICS)
                await until(lambda: app.consumer_generation_id == 2 and not app.rebalancing)
                first = next(event for event in seen if event.message.generation_id == 2)
                await until(lambda: len(seen) - seen.index(first) == 8 * 1_000 - 7)
            offsets = by_place(seen[seen.index(first) :])
            assert offsets.pop(("sent", 0)) == list(range(7, 1_000))
            assert list(offsets.values()) == [list(range(1_000))] * 7

    asyncio.run(scenario())


def test_records_that_left_memory_are_delivered_from_disk(tmp_path: Path) -> None:
    """A consumer that is far behind gets the same records, in order, whatever is still cached."""

    async def scenario() -> None:
        async with opened(tmp_path, LogSettings(tail_bytes_max=20_000)) as log:
            fill(log, 700)
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                await until(lambda: len(seen) == 5_600)
            assert all(offsets == list(range(700)) for offsets in by_place(seen).values())

    asyncio.run(scenario())


def test_a_stock_agent_commits_what_it_has_acknowledged(tmp_path: Path) -> None:
    """With Faust's own acknowledgements the committed offsets follow, and a restart delivers nothing twice."""

    async def scenario() -> None:
        values: list[bytes] = []
        for expected in (80, 88):
            async with opened(tmp_path) as log:
                fill(log, 10 if expected == 80 else 1)
                app = make_app(tmp_path)

                async def keep(stream: StreamT[Any]) -> None:
                    async for value in stream:
                        values.append(value)

                app.agent(app.topic(*TOPICS, value_type=bytes, value_serializer="raw"))(keep)
                async with running(app):
                    await until(lambda expected=expected: len(values) == expected)  # type: ignore[misc]
                assert log.committed(GROUP, "sent", 3) == log.end_offset("sent", 3)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("acknowledged", "committed"),
    [([3, 4, 5], None), ([0, 1, 4], 2), ([1], None), ([0], 1), ([0, 1, 2, 3, 4, 5], 6)],
)
def test_faust_never_commits_past_an_unacknowledged_record(
    tmp_path: Path, acknowledged: list[int], committed: int | None
) -> None:
    """Whatever is acknowledged out of order, the commit stops before the first record that is not."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            log.append_blocking("sent", 0, [Record(None, str(number).encode(), 1) for number in range(6)])
            app = make_app(tmp_path)
            seen = collect(app)
            async with running(app):
                await until(lambda: len(seen) == 6)
                for offset in acknowledged:
                    seen[offset].ack()
                await app.consumer.commit()
                assert log.committed(GROUP, "sent", 0) == committed

    asyncio.run(scenario())


def test_holes_of_a_compacted_topic_do_not_stop_commits(tmp_path: Path) -> None:
    """A stock agent on a compacted topic commits past the offsets that compaction removed."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            log.declare([TopicSpec("states", 1, "compact")])
            records = [Record(f"k{number % 2}".encode(), b"v", 1) for number in range(20)]
            log.append_blocking("states", 0, [*records, Record(b"last", b"v", 1)])
            await log.maintenance(1)
            app = make_app(tmp_path)
            offsets: list[int] = []

            async def keep(stream: StreamT[Any]) -> None:
                async for event in stream.events():
                    offsets.append(event.message.offset)

            app.agent(app.topic("states", value_type=bytes, value_serializer="raw"))(keep)
            async with running(app):
                await until(lambda: len(offsets) == 3)
                await asyncio.sleep(0.05)
                await app.consumer.commit()
            assert offsets == [18, 19, 20]
            assert log.committed(GROUP, "states", 0) == 21

    asyncio.run(scenario())


def table_app(directory: Path) -> tuple[faust.App, Any]:
    """Return an app with a stock table that counts keys; the key ``delete`` empties it."""
    app = make_app(directory)
    counts = app.Table("counts", default=int, partitions=4)

    async def count(stream: StreamT[Any]) -> None:
        async for key, value in stream.items():
            if value == b"delete":
                counts.pop(key, None)
            else:
                counts[key] += 1

    app.agent(app.topic("sent", key_type=str, value_type=bytes, value_serializer="raw"))(count)
    return app, counts


def test_a_stock_table_recovers_from_its_changelog(tmp_path: Path) -> None:
    """After a restart, and after compaction, a Faust table in memory holds what it held, deleted keys gone."""

    async def scenario() -> None:
        async with opened(tmp_path) as log:
            app, counts = table_app(tmp_path)
            topic = app.topic("sent", key_type=str, value_type=bytes, value_serializer="raw")
            async with running(app):
                for number in range(90):
                    await topic.send(key=f"user{number % 9}", value=b"x")
                await until(lambda: sum(counts.values()) == 90)
                await topic.send(key="user3", value=b"delete")
                await until(lambda: "user3" not in counts)
                before = dict(counts)
            assert before == {f"user{number}": 10 for number in range(9) if number != 3}

            for compact in (False, True):
                if compact:
                    assert (await log.maintenance(10**15)).compacted_records > 40
                app, counts = table_app(tmp_path)
                async with running(app):
                    await until(lambda app=app: not app.rebalancing)  # type: ignore[misc]
                    assert dict(counts) == before

    asyncio.run(scenario())


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
