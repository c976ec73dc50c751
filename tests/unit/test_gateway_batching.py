"""The batching appender: what shares a record, what waits for what, and what is promised on failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry

from gateway.batching import BatchingAppender, BatchingLimits
from gateway.port import LogUnavailable
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from schemas.codec import decode_batch, partition_of
from schemas.events import Refusal
from schemas.topics import EVENTS
from tests.unit.gateway_fakes import NOW_MS, MemoryLog, event

PARTITIONS = 4
Scenario = Callable[[BatchingAppender, MemoryLog], Awaitable[None]]


def run(
    scenario: Scenario, *, linger_ms: float = 5, batch_events_max: int = 500, queue_events_max: int = 1000
) -> MemoryLog:
    """Run a scenario against a fresh appender and return its log."""
    log = MemoryLog()

    async def main() -> None:
        limits = BatchingLimits(linger_ms, batch_events_max, queue_events_max)
        metrics = Metrics(CollectorRegistry())
        appender = BatchingAppender(log.append_record, PARTITIONS, limits, metrics, ManualClock(NOW_MS))
        async with asyncio.timeout(10):
            await scenario(appender, log)
            await appender.close()
        assert metrics.registry.get_sample_value("convometer_queue_events") == 0

    asyncio.run(main())
    return log


def test_events_lie_in_the_partition_of_their_user() -> None:
    """Every event is in the partition that the codec says, and none is lost or doubled."""
    events = [event(number, user=f"55119{number:08}") for number in range(200)]

    async def scenario(appender: BatchingAppender, _log: MemoryLog) -> None:
        await appender.append(events, [])

    log = run(scenario)
    for topic, partition, value in log.records:
        assert topic == EVENTS
        for stored in decode_batch(value):
            assert partition_of(stored.account, stored.user_key, PARTITIONS) == partition
    assert sorted(stored.message_id for stored in log.events()) == sorted(e.message_id for e in events)


def test_callers_of_one_moment_share_a_record() -> None:
    """Events of one partition that arrive together become one batch record."""

    async def scenario(appender: BatchingAppender, _log: MemoryLog) -> None:
        await asyncio.gather(*(appender.append([event(number)], []) for number in range(50)))

    log = run(scenario)
    assert len(log.records) == 1
    assert len(log.events()) == 50


def test_full_batch_goes_at_once() -> None:
    """A record never holds more than the limit, and a full one does not wait for the timer."""

    async def scenario(appender: BatchingAppender, _log: MemoryLog) -> None:
        await appender.append([event(number) for number in range(30)], [])

    log = run(scenario, linger_ms=60_000, batch_events_max=10)
    assert [len(decode_batch(value)) for _, _, value in log.records] == [10, 10, 10]


def test_append_waits_for_the_log() -> None:
    """Append does not return while the record is not durable."""

    async def scenario(appender: BatchingAppender, log: MemoryLog) -> None:
        log.gate = asyncio.Event()
        waiting = asyncio.create_task(appender.append([event()], []))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        log.gate.set()
        await waiting
        assert len(log.events()) == 1

    run(scenario)


def test_cancelled_caller_does_not_take_others_along() -> None:
    """One sender that goes away leaves the batch to the others."""

    async def scenario(appender: BatchingAppender, log: MemoryLog) -> None:
        log.gate = asyncio.Event()
        gone = asyncio.create_task(appender.append([event(1)], []))
        stays = asyncio.create_task(appender.append([event(2)], []))
        await asyncio.sleep(0.02)
        gone.cancel()
        log.gate.set()
        await stays

    assert {stored.message_id for stored in run(scenario).events()} == {"wamid.1", "wamid.2"}


def test_failure_reaches_every_caller_of_the_batch() -> None:
    """If the record fails, all whose events are in it hear so; the next batch starts afresh."""

    async def scenario(appender: BatchingAppender, log: MemoryLog) -> None:
        log.error = OSError("disk full")
        calls = [appender.append([event(number)], []) for number in range(3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [LogUnavailable] * 3
        log.error = None
        await appender.append([event(9)], [])

    assert [stored.message_id for stored in run(scenario).events()] == ["wamid.9"]


def test_beyond_the_queue_nothing_is_taken() -> None:
    """What would wait beyond the bound is refused at once, and taken again when the log has caught up."""

    async def scenario(appender: BatchingAppender, log: MemoryLog) -> None:
        log.gate = asyncio.Event()
        first = asyncio.create_task(appender.append([event(number) for number in range(10)], []))
        await asyncio.sleep(0)
        with pytest.raises(LogUnavailable, match="10 updates are waiting"):
            await appender.append([event(10)], [])
        log.gate.set()
        await first
        await appender.append([event(11)], [])

    assert len(run(scenario, queue_events_max=10).events()) == 11


def test_abandoned_updates_count_until_the_log_has_answered() -> None:
    """A caller that gave up does not make room: its events are still in memory."""

    async def scenario(appender: BatchingAppender, log: MemoryLog) -> None:
        log.gate = asyncio.Event()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await appender.append([event(1), event(2)], [])
        with pytest.raises(LogUnavailable):
            await appender.append([event(3)], [])
        log.gate.set()

    assert len(run(scenario, queue_events_max=2).events()) == 2


def test_close_sends_what_waits_and_takes_nothing_more() -> None:
    """A graceful stop loses nothing that was handed over."""

    async def scenario(appender: BatchingAppender, _log: MemoryLog) -> None:
        waiting = asyncio.create_task(appender.append([event()], []))
        await asyncio.sleep(0)
        await appender.close()
        await waiting
        with pytest.raises(LogUnavailable, match="stopping"):
            await appender.append([event(2)], [])

    assert len(run(scenario, linger_ms=60_000).events()) == 1


def test_refusals_are_dead_letters() -> None:
    """Each refusal is one dead letter, stamped by the receiver's clock."""
    refusals = [Refusal("no_user", f"update {number}", b"{}", "9001") for number in range(3)]

    async def scenario(appender: BatchingAppender, _log: MemoryLog) -> None:
        await appender.append([], refusals)

    letters = run(scenario).dead_letters()
    assert sorted(letter.detail for letter in letters) == ["update 0", "update 1", "update 2"]
    assert {(letter.received_at, letter.source) for letter in letters} == {(NOW_MS, "gateway")}


def test_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A log that is down for many requests makes one line when it starts and one when it ends."""

    async def scenario(appender: BatchingAppender, log: MemoryLog) -> None:
        log.error = OSError("disk full")
        for number in range(5):
            with pytest.raises(LogUnavailable):
                await appender.append([event(number)], [])
        log.error = None
        await appender.append([event(9)], [])

    caplog.set_level("INFO")
    run(scenario)
    messages = [record.getMessage() for record in caplog.records if record.name == "gateway.batching"]
    assert messages == [
        "the log does not take records of events: OSError: disk full",
        "the log takes records again",
    ]
