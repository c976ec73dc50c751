"""Faust apps over ``embedded://``: agents, commits, tables, recovery, and what stops them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.transport.drivers import by_url
from faust.types import StreamT
from yarl import URL

from schemas.topics import TopicSpec
from streams.embedded.log import (
    LogSettings,
    Record,
)
from streams.embedded.transport import Transport
from tests.support.faust_apps import (
    GROUP,
    TOPICS,
    by_place,
    collect,
    fill,
    make_app,
    opened,
    running,
    until,
)


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
