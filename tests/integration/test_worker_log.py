"""One contract, two logs: what the worker relies on, over the embedded log and over a real Kafka broker."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.errors import ProducerFenced

from schemas.topics import CHANGELOGS, DEAD_LETTER, EVENTS, INPUT_TOPICS, USERS_CHANGELOG, TopicSpec
from streams.embedded.log import EmbeddedLog
from streams.embedded.port import EmbeddedWorkerLog
from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog
from streams.kafka.topics import TopicsUnfit
from streams.kafka.writer import CommitFailed, KafkaPartitionWriter
from streams.log import Bounds, PartitionWriter, SourcePosition, WorkerLog
from streams.processor import StateMismatch
from streams.records import Append, Record
from tests.support.kafka_broker import KafkaCluster

_names = itertools.count()
SPECS = [
    TopicSpec(EVENTS, 2),
    *(TopicSpec(name, 2, "compact") for name in CHANGELOGS),
    *(TopicSpec(name, 1) for name in INPUT_TOPICS),
    TopicSpec(DEAD_LETTER, 1),
]


def connection_to(kafka: KafkaCluster, **changes: object) -> KafkaConnection:
    """Return a connection under a name of its own on the shared broker."""
    prefix = f"contract{next(_names)}-{id(kafka)}."
    return KafkaConnection(tuple(kafka.bootstrap.split(",")), prefix=prefix, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def embedded_log(directory: Path) -> AsyncIterator[WorkerLog]:
    """Give an embedded log with its topics."""
    log = EmbeddedLog.open(directory)
    try:
        port = EmbeddedWorkerLog(log)
        await port.declare(SPECS)
        yield port
    finally:
        await log.close()


@asynccontextmanager
async def kafka_log(connection: KafkaConnection) -> AsyncIterator[KafkaWorkerLog]:
    """Give a log on Kafka with its topics."""
    installation = await ensure_installation(connection, 2)
    log = await KafkaWorkerLog.open(connection, installation.id)
    try:
        await log.declare(SPECS)
        yield log
    finally:
        await log.close()


Scenario = Callable[[WorkerLog], Awaitable[None]]


@pytest.fixture(params=["embedded", "kafka"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario over one of the logs."""
    if request.param == "embedded":
        opening: Callable[[], object] = lambda: embedded_log(tmp_path / "log")  # noqa: E731
    else:
        kafka = request.getfixturevalue("kafka")
        opening = lambda: kafka_log(connection_to(kafka))  # noqa: E731

    async def over(scenario: Scenario) -> None:
        async with opening() as log:  # type: ignore[attr-defined]
            await scenario(log)

    return lambda scenario: asyncio.run(asyncio.wait_for(over(scenario), 60))


def changes(*keys: str, value: bytes | None = b"v") -> Append:
    """Return changelog records of partition 1, of now, as the worker writes them.

    To Kafka older ones are a week or more before their commit's marker, which is of now: it closes the segment
    there, and within a second the cleaner takes away what a later record has replaced.
    """
    now_ms = time.time_ns() // 1_000_000
    return Append(USERS_CHANGELOG, 1, [Record(key.encode(), value, now_ms) for key in keys])


async def everything(
    log: WorkerLog, topic: str, partition: int, start: int = 0
) -> list[tuple[int, bytes | None]]:
    """Return offset and key of all records."""
    bounds = await log.bounds(topic, partition)
    return [
        (offset, record.key)
        async for chunk in log.read(topic, partition, start, bounds.end)
        for offset, record in chunk
    ]


async def writer_with_events(log: WorkerLog) -> PartitionWriter:
    """Return a writer of partition 1 that has records to take positions in."""
    writer = await log.writer(EVENTS, 1)
    events = Append(EVENTS, 1, [Record(None, b"event", 1) for _ in range(20)])
    await writer.commit([events], SourcePosition(EVENTS, 1, 0))
    return writer


async def settle(log: WorkerLog) -> None:
    """Become the next writer, as whoever restores does first: what was committed is there for readers then.

    Kafka answers a commit before its markers are in the partitions.
    """
    await (await log.writer(EVENTS, 1)).close()


async def committed_becomes(log: WorkerLog, expected: int) -> None:
    """Wait until the group's offset is there: Kafka answers a commit a moment before others can see it."""
    async with asyncio.timeout(10):
        while await log.committed(EVENTS, 1) != expected:  # noqa: ASYNC110 - nobody would tell
            await asyncio.sleep(0.01)


def test_a_commit_is_appends_and_position_together(run: Callable[[Scenario], None]) -> None:
    """What a commit appends is read back in order, with the offsets it returned, and the position is there."""

    async def scenario(log: WorkerLog) -> None:
        assert await log.committed(EVENTS, 1) is None
        writer = await writer_with_events(log)
        first = await writer.commit([changes("a", "b")], SourcePosition(EVENTS, 1, 7))
        second = await writer.commit([changes("c")], SourcePosition(EVENTS, 1, 9))
        await settle(log)
        await committed_becomes(log, 9)
        found = await everything(log, USERS_CHANGELOG, 1)
        assert [key for _, key in found] == [b"a", b"b", b"c"]
        assert first == {(USERS_CHANGELOG, 1): found[1][0]}
        assert second == {(USERS_CHANGELOG, 1): found[2][0]}
        await writer.close()

    run(scenario)


def test_reading_starts_and_ends_where_asked(run: Callable[[Scenario], None]) -> None:
    """A reader gets the records from its offset to before the end it names, none before and none behind."""

    async def scenario(log: WorkerLog) -> None:
        writer = await writer_with_events(log)
        for step in range(5):
            keys = [f"{step}-{number}" for number in range(50)]
            await writer.commit([changes(*keys)], SourcePosition(EVENTS, 1, step + 1))
        await writer.close()
        await settle(log)
        found = await everything(log, USERS_CHANGELOG, 1)
        assert len(found) == 250
        start, until = found[60][0], found[199][0]
        part = [offset async for chunk in log.read(USERS_CHANGELOG, 1, start, until) for offset, _ in chunk]
        assert part == [offset for offset, _ in found if start <= offset < until]

    run(scenario)


def test_removals_are_read_as_such(run: Callable[[Scenario], None]) -> None:
    """A record without a value removes its key, and is read like any other."""

    async def scenario(log: WorkerLog) -> None:
        writer = await writer_with_events(log)
        await writer.commit([changes("a"), changes("a", value=None)], SourcePosition(EVENTS, 1, 1))
        await writer.close()
        await settle(log)
        bounds = await log.bounds(USERS_CHANGELOG, 1)
        values = [
            record.value async for chunk in log.read(USERS_CHANGELOG, 1, 0, bounds.end) for _, record in chunk
        ]
        assert values == [b"v", None]

    run(scenario)


def test_a_large_commit_keeps_its_order(run: Callable[[Scenario], None]) -> None:
    """More than fits into one batch comes out whole, in order, with the offset of the very last record."""

    async def scenario(log: WorkerLog) -> None:
        writer = await writer_with_events(log)
        keys = [f"{number:05d}" for number in range(4_000)]
        last = await writer.commit([changes(*keys, value=b"v" * 1000)], SourcePosition(EVENTS, 1, 1))
        await writer.close()
        await settle(log)
        found = await everything(log, USERS_CHANGELOG, 1)
        assert [key for _, key in found] == [key.encode() for key in keys]
        assert last[USERS_CHANGELOG, 1] == found[-1][0]

    run(scenario)


def test_an_empty_partition_has_equal_bounds(run: Callable[[Scenario], None]) -> None:
    """Nothing there means nothing to read, at once."""

    async def scenario(log: WorkerLog) -> None:
        assert await log.bounds(EVENTS, 0) == Bounds(0, 0)
        assert await everything(log, EVENTS, 0) == []

    run(scenario)


# What only Kafka can get wrong


def test_a_fenced_zombie_commits_nothing(kafka: KafkaCluster) -> None:
    """A second writer of a partition shuts out the first: its open transaction is gone, its next commit fails."""

    async def scenario() -> None:
        async with kafka_log(connection_to(kafka)) as log:
            zombie = await log.writer(EVENTS, 1)
            await zombie.commit([changes("before")], SourcePosition(EVENTS, 1, 1))
            await half_a_commit(zombie, changes("half"))
            owner = await log.writer(EVENTS, 1)
            assert await log.committed(EVENTS, 1) == 1
            with pytest.raises(ProducerFenced):
                await zombie._producer.commit_transaction()
            await owner.commit([changes("owner")], SourcePosition(EVENTS, 1, 2))
            await settle(log)
            assert [key for _, key in await everything(log, USERS_CHANGELOG, 1)] == [b"before", b"owner"]
            await committed_becomes(log, 2)
            await zombie.close()
            await owner.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


async def half_a_commit(writer: KafkaPartitionWriter, append: Append) -> None:
    """Leave a transaction open with records in it, as a process does that dies in a commit."""
    await writer._producer.begin_transaction()
    for future, _ in await writer._send(append):
        await future


def test_a_zombie_between_two_commits_is_told_why(kafka: KafkaCluster) -> None:
    """A writer that was away while another took its partition over cannot begin a commit, and says what that means."""

    async def scenario() -> None:
        async with kafka_log(connection_to(kafka)) as log:
            zombie = await log.writer(EVENTS, 1)
            await zombie.commit([changes("before")], SourcePosition(EVENTS, 1, 1))
            owner = await log.writer(EVENTS, 1)
            with pytest.raises(CommitFailed, match="another worker"):
                await zombie.commit([changes("after")], SourcePosition(EVENTS, 1, 2))
            assert [key for _, key in await everything(log, USERS_CHANGELOG, 1)] == [b"before"]
            await zombie.close()
            await owner.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_aborted_transaction_is_not_restored(kafka: KafkaCluster) -> None:
    """What a dead worker had half written is never read, and a reader comes to the end behind it."""

    async def scenario() -> None:
        async with kafka_log(connection_to(kafka)) as log:
            dead = await log.writer(EVENTS, 1)
            await dead.commit([changes("a")], SourcePosition(EVENTS, 1, 1))
            await half_a_commit(dead, changes("half", "written"))
            owner = await log.writer(EVENTS, 1)
            assert [key for _, key in await everything(log, USERS_CHANGELOG, 1)] == [b"a"]
            # The aborted records and both markers have taken offsets.
            assert (await log.bounds(USERS_CHANGELOG, 1)).end == 5
            await dead.close()
            await owner.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_open_transaction_of_another_hides_nothing_of_ours(kafka: KafkaCluster) -> None:
    """The end is that of committed records, so that reading to it never waits for somebody's open transaction."""

    async def scenario() -> None:
        async with kafka_log(connection_to(kafka)) as log:
            first, second = await log.writer(EVENTS, 0), await log.writer(EVENTS, 1)
            forwarded = Append(EVENTS, 1, [Record(None, b"forwarded", 1)])
            await first.commit([forwarded], SourcePosition(EVENTS, 0, 1))
            await half_a_commit(first, forwarded)
            bounds = await log.bounds(EVENTS, 1)
            found = [e async for chunk in log.read(EVENTS, 1, 0, bounds.end) for e in chunk]
            assert [entry.record.value for entry in found] == [b"forwarded"]
            await first.close()
            await second.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_commit_that_kafka_does_not_answer_ends(
    kafka_three: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every broker asleep a commit ends with an unknown outcome; afterwards the log tells which it was."""
    monkeypatch.setattr("streams.kafka.writer._COMMIT_SECONDS_MAX", 2.0)

    async def scenario() -> None:
        connection = connection_to(kafka_three, replication_factor=3, min_insync_replicas=2)
        async with kafka_log(connection) as log:
            writer = await log.writer(EVENTS, 1)
            await writer.commit([changes("a")], SourcePosition(EVENTS, 1, 1))
            for broker in range(3):
                kafka_three.suspend(broker)
            with pytest.raises(CommitFailed, match="unknown"):
                await writer.commit([changes("b")], SourcePosition(EVENTS, 1, 2))
            for broker in range(3):
                kafka_three.resume(broker)
            owner = await log.writer(EVENTS, 1)
            keys = [key for _, key in await everything(log, USERS_CHANGELOG, 1)]
            position = await log.committed(EVENTS, 1)
            assert (keys, position) in (([b"a"], 1), ([b"a", b"b"], 2))
            await writer.close()
            await owner.close()

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_the_first_start_fixes_id_and_partitions(kafka: KafkaCluster) -> None:
    """Whoever comes later has the same id, at once or at the same time, and another number is refused."""

    async def scenario() -> None:
        connection = connection_to(kafka)
        first = await asyncio.gather(*(ensure_installation(connection, 3) for _ in range(4)))
        assert len({installation.id for installation in first}) == 1
        assert await ensure_installation(connection, 3) == first[0]
        with pytest.raises(StateMismatch, match="set partitions = 3"):
            await ensure_installation(connection, 4)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_topics_that_would_lose_something_are_refused(kafka: KafkaCluster) -> None:
    """A changelog that deletes instead of compacting, or another number of partitions, is named with the way out."""

    async def scenario() -> None:
        connection = connection_to(kafka)
        async with kafka_log(connection) as log:
            with pytest.raises(TopicsUnfit, match=r"cleanup.policy=delete.*expected compact"):
                await log.declare([TopicSpec(DEAD_LETTER, 1, "compact")])
            with pytest.raises(TopicsUnfit, match="2 partitions, expected 5; set partitions = 2"):
                await log.declare([TopicSpec(EVENTS, 5)])

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_appends_go_on_after_a_broker_was_away(kafka_three: KafkaCluster) -> None:
    """While too few replicas are there nothing is acknowledged; afterwards it is, without anybody's help."""

    async def scenario() -> None:
        connection = connection_to(kafka_three, replication_factor=3, min_insync_replicas=3)
        async with kafka_log(connection) as log:
            appender = await KafkaAppender.open(connection)
            append = Append(EVENTS, 0, [Record(None, b"value", 1)])
            await appender.append([append])
            kafka_three.kill(2)
            appending = asyncio.create_task(appender.append([append]))
            await asyncio.sleep(3)
            assert not appending.done()
            kafka_three.restart(2)
            assert await asyncio.wait_for(appending, 60) == {(EVENTS, 0): 1}
            assert len(await everything(log, EVENTS, 0)) == 2
            await appender.close()

    asyncio.run(asyncio.wait_for(scenario(), 150))
