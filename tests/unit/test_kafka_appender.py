"""Appends of those who own no partition: a producer that failed is replaced, one at a time."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple, cast

import pytest

from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.records import Append, Record

APPEND = Append("events", 1, [Record(None, b"value", 7), Record(None, b"more", 7)])


class Answer(NamedTuple):
    """What a producer's future resolves to."""

    offset: int


class FakeProducer:
    """Acknowledges everything, or nothing."""

    def __init__(self, *, works: bool, starts: bool = True) -> None:
        self.works = works
        self.starts = starts
        self.sent: list[tuple[str, int, bytes]] = []
        self.stopped = False

    async def start(self) -> None:
        """Start, or fail like a cluster that is away."""
        if not self.starts:
            raise ConnectionError("away")

    async def stop(self) -> None:
        """Stop."""
        self.stopped = True

    async def send(self, topic: str, value: bytes, *, partition: int, **_: object) -> asyncio.Future[Answer]:
        """Take one record."""
        future = asyncio.get_running_loop().create_future()
        if self.works:
            self.sent.append((topic, partition, value))
            future.set_result(Answer(len(self.sent) + 40))
        else:
            future.set_exception(ConnectionError("given up"))
        return future


class FakeConnection:
    """Hands out producers in turn."""

    prefix = "p."

    def __init__(self, *producers: FakeProducer) -> None:
        self._producers = list(producers)

    def producer(self) -> FakeProducer:
        """Return the next one."""
        return self._producers.pop(0)

    def topic(self, name: str) -> str:
        """Return the name on the cluster."""
        return self.prefix + name


async def opened(*producers: FakeProducer) -> KafkaAppender:
    """Return an appender over these producers."""
    return await KafkaAppender.open(cast("KafkaConnection", cast("Any", FakeConnection(*producers))))


def test_the_last_offset_of_each_partition_is_returned() -> None:
    """Names are those of the product, whatever the topics are called on the cluster."""
    good = FakeProducer(works=True)

    async def scenario() -> None:
        appender = await opened(good)
        assert await appender.append([APPEND]) == {("events", 1): 42}
        assert good.sent[0] == ("p.events", 1, b"value")

    asyncio.run(scenario())


def test_a_failed_producer_is_replaced_once() -> None:
    """Two appends fail together: one new producer takes over, the old one is stopped, and the fault is told."""
    bad, good = FakeProducer(works=False), FakeProducer(works=True)

    async def scenario() -> None:
        appender = await opened(bad, good)
        outcomes = await asyncio.gather(
            appender.append([APPEND]), appender.append([APPEND]), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [ConnectionError, ConnectionError]
        assert "given up" in appender.fault
        assert bad.stopped
        await appender.append([APPEND])
        assert (appender.fault, len(good.sent)) == ("", 2)

    asyncio.run(scenario())


def test_a_cluster_that_is_away_is_tried_again() -> None:
    """While no new producer can be started the old one stays; the next failure tries once more."""
    bad, away, good = (
        FakeProducer(works=False),
        FakeProducer(works=True, starts=False),
        FakeProducer(works=True),
    )

    async def scenario() -> None:
        appender = await opened(bad, away, good)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await appender.append([APPEND])
        assert away.stopped
        await appender.append([APPEND])
        assert len(good.sent) == 2

    asyncio.run(scenario())
