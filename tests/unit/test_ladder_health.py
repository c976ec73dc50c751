"""What became of messages: judged after a while, from the events that came, for live traffic only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cli.observers import ladder_judged
from metering.ladder_health import Heard, LadderCounts, LadderMinute, LadderWatch
from runtime.metrics import Metrics
from runtime.setting_tables import MetricsSettings
from schemas.events import Event
from sinks.clickhouse.client import ClickHouseAway, ClientPool
from sinks.clickhouse.ladder_health import JudgedMinute
from streams import ladder_watch
from streams.ladder_watch import LadderWatcher
from tests.support.partitions import Partitions

NOW = 1_795_000_020
"""A minute's begin."""
SENT, DELIVERED, READ, FAILED = 1, 2, 4, 8
READ_ALL = {0: 0.0}
"""The partition has taken up everything."""


def status(kind: str, message: str, at: int, user: str = "4917000000001") -> Event:
    """Return one status."""
    return Event(
        provider="canonical",
        account="A",
        number="N",
        kind=kind,  # type: ignore[arg-type]
        message_id=message,
        occurred_at=at,
        received_at=at * 1000,
        country="DE",
        user_phone=user,
    )


def heard(
    message: int, steps: int, at: int = NOW, *, account: str = "A", number: str = "N", first_at: int = 0
) -> Heard:
    """Return what is known of a message at a time; without another word it has just begun."""
    return Heard(account, number, message, steps, first_at or at, at)


def counts_of(watch: LadderWatch, now: int) -> dict[int, LadderCounts]:
    """Return what is judged now, by minute."""
    return {minute.minute_at: minute.counts for minute in watch.judge(now)}


def test_messages_are_judged_by_the_steps_that_came() -> None:
    """Each message once, after the wait, with all that came until then, in whatever order."""
    watch = LadderWatch(30)
    steps = {1: SENT, 2: SENT | DELIVERED, 3: SENT | READ, 4: DELIVERED, 5: READ, 6: SENT | FAILED, 7: FAILED}
    watch.take([heard(message, step) for message, step in steps.items()])
    watch.take([heard(8, SENT, NOW + 59)])
    watch.take([heard(8, SENT | DELIVERED | READ, NOW + 1800, first_at=NOW + 59)])
    assert counts_of(watch, NOW + 60 + 1799) == {}
    assert counts_of(watch, NOW + 60 + 1800) == {NOW: LadderCounts(8, 1, 2, 1)}
    assert counts_of(watch, NOW + 10_000) == {}


def test_numbers_and_minutes_are_kept_apart() -> None:
    """A number that goes silent shows beside one that does not."""
    watch = LadderWatch(1)
    watch.take([heard(1, SENT), heard(2, SENT | DELIVERED, number="M"), heard(3, SENT, account="B")])
    watch.take([heard(4, SENT, NOW + 60)])
    judged = {(m.account, m.number, m.minute_at): m.counts.silent for m in watch.judge(NOW + 1000)}
    assert judged == {("A", "N", NOW): 1, ("A", "M", NOW): 0, ("B", "N", NOW): 1, ("A", "N", NOW + 60): 1}


def test_of_too_many_a_part_stands_for_all() -> None:
    """Memory stays bounded, and the counts come out about right; afterwards all are followed again."""
    random, watch = Random(1), LadderWatch(1, watched_max=1000)
    for _ in range(100):
        watch.take([heard(random.getrandbits(60), SENT | DELIVERED) for _ in range(100)])
    assert watch.one_in > 1
    [judged] = watch.judge(NOW + 1000)
    assert judged.counts.messages == pytest.approx(10_000, rel=0.2)
    assert judged.counts.silent == 0
    assert watch.one_in == 1


class Traffic:
    """Statuses of user messages, metered by a real partition and shown to a watch."""

    def __init__(self, directory: Path, wait_minutes: int) -> None:
        self._partitions = Partitions(directory, 1, lambda _account: "UTC")
        [self._partition] = self._partitions.partitions
        self._partition.on_step = lambda step: self.watch.take(step.heard)
        self.watch = LadderWatch(wait_minutes)

    def comes(self, kind: str, message: str, at: int, *, late_seconds: int = 0) -> None:
        """Let a status come, so long after it occurred."""
        event = status(kind, message, at)
        self._partitions.append([msgspec.structs.replace(event, received_at=(at + late_seconds) * 1000)])
        self._partition.work(Random(1))

    def close(self) -> None:
        """End."""
        self._partitions.close()


def added(minutes: list[LadderMinute]) -> LadderCounts:
    """Return the sum of minutes."""
    return LadderCounts(*map(sum, zip(*(minute.counts for minute in minutes), strict=True)))


BEGIN = 2_000_000_000 - 86_400
"""A day before the partitions' clock."""


@pytest.mark.parametrize("late_seconds", [1, 840])
def test_only_live_messages_are_watched(tmp_path: Path, late_seconds: int) -> None:
    """A backfill, and a late status of an old message, say nothing of now; a repeated event says nothing new."""
    traffic = Traffic(tmp_path, 30)
    for kind, message, at in (
        ("sent", "new", BEGIN),
        ("delivered", "new", BEGIN + 5),
        ("delivered", "new", BEGIN + 5),
        ("read", "alone", BEGIN + 7),
    ):
        traffic.comes(kind, message, at, late_seconds=late_seconds)
    traffic.comes("sent", "old", BEGIN - 3600, late_seconds=3600)
    traffic.comes("read", "old", BEGIN + 8, late_seconds=late_seconds)
    assert added(traffic.watch.judge(BEGIN + 10_000)) == LadderCounts(2, 0, 1, 0)
    traffic.close()


@pytest.mark.parametrize(
    ("wait_minutes", "delivered_after", "silent"),
    [
        (30, 20 * 60, 0),
        (30, 29 * 60, 0),
        (30, 32 * 60, 1),
        (5, 4 * 60, 0),
        (5, 7 * 60, 1),
        (600, 599 * 60, 0),
    ],
)
def test_a_delivery_within_the_wait_counts_and_one_after_it_does_not(
    tmp_path: Path, wait_minutes: int, delivered_after: int, silent: int
) -> None:
    """However long the wait; and no message is judged twice."""
    traffic = Traffic(tmp_path, wait_minutes)
    traffic.comes("sent", "m", BEGIN)
    minutes = []
    for kind, after in (("delivered", delivered_after), ("read", delivered_after + 60)):
        minutes += traffic.watch.judge(BEGIN + after)
        traffic.comes(kind, "m", BEGIN + after)
    minutes += traffic.watch.judge(BEGIN + 1_000_000)
    assert added(minutes) == LadderCounts(1, silent, 0, 0)
    traffic.close()


def test_what_a_partition_has_not_read_yet_is_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is behind judges as of what it has read, and nothing of a partition that is not open."""
    monkeypatch.setattr(ladder_watch, "write_ladder_minutes", lambda *_: None)
    now, judged = NOW, list[JudgedMinute]()

    async def over() -> None:
        nonlocal now
        clients = ClientPool(lambda: None)  # type: ignore[arg-type, return-value]
        watcher = LadderWatcher(clients, 1, lambda: now, judged.append)
        watcher.take(0, [heard(1, SENT)])
        watcher.take(1, [heard(2, SENT)])
        now += 3600
        await watcher.judge({0: 3590.0})
        assert not judged
        watcher.take(0, [heard(1, SENT | DELIVERED, NOW + 10, first_at=NOW)])
        await watcher.judge({0: 0.0})
        assert [(each.partition, each.minute.counts) for each in judged] == [(0, LadderCounts(1, 0, 0, 0))]

    asyncio.run(over())


def test_what_cannot_be_written_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """ClickHouse is away for a while: the rows come when it is back, each once."""
    written: list[object] = []
    away = True

    def write(_client: object, rows: list[object], writer: str) -> None:
        assert writer
        if away:
            raise ClickHouseAway("away")
        written.extend(rows)

    monkeypatch.setattr(ladder_watch, "write_ladder_minutes", write)
    now = NOW

    async def over() -> None:
        nonlocal now, away
        watcher = LadderWatcher(ClientPool(lambda: None), 1, lambda: now)  # type: ignore[arg-type, return-value]
        watcher.take(0, [heard(1, SENT)])
        now += 1000
        await watcher.judge(READ_ALL)
        assert not written
        away = False
        await watcher.judge(READ_ALL)
        await watcher.judge(READ_ALL)
        assert len(written) == 1

    asyncio.run(over())


def ladder_total(registry: CollectorRegistry, account: str, number: str, gap: str) -> float | None:
    """Return how many messages of a number lack a step."""
    labels = {"account": account, "number": number, "gap": gap}
    return registry.get_sample_value("convometer_ladder_messages_total", labels)


def test_what_is_judged_is_counted() -> None:
    """Each message under one gap, so that they add up; of what there is none there is a 0."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for minute_at in (NOW, NOW + 60):
        minute = LadderMinute("A", "N", minute_at, LadderCounts(8, 1, 2, 0))
        ladder_judged(metrics, JudgedMinute(0, minute))
    gaps = ("none", "silent", "read_without_delivered", "delivered_without_sent")
    assert [ladder_total(registry, "A", "N", gap) for gap in gaps] == [10, 2, 4, 0]


def test_each_message_has_one_gap() -> None:
    """Whatever steps came: no message lacks two steps, so that none is counted twice."""
    for steps in range(1, 16):
        watch = LadderWatch(1)
        watch.take([heard(1, steps)])
        [minute] = watch.judge(NOW + 1000)
        assert sum(minute.counts[1:]) <= minute.counts.messages == 1


def test_numbers_with_counters_are_bounded() -> None:
    """The first keep theirs; the others share one, whatever their account."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, MetricsSettings(numbers_max=2))
    for _ in range(2):
        for account, number in (("A", "1"), ("A", "2"), ("B", "1"), ("B", "2")):
            metrics.count_ladder(account, number, {"silent": 3})
    assert ladder_total(registry, "A", "1", "silent") == ladder_total(registry, "A", "2", "silent") == 6
    assert ladder_total(registry, "B", "1", "silent") is None
    assert ladder_total(registry, "other", "other", "silent") == 12


def test_a_judged_minute_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where ClickHouse does not take it for a while."""
    registry, now = CollectorRegistry(), NOW
    metrics = Metrics(registry)

    def away(*_: object) -> None:
        raise ClickHouseAway("away")

    monkeypatch.setattr(ladder_watch, "write_ladder_minutes", away)

    async def over() -> None:
        nonlocal now
        clients = ClientPool(lambda: None)  # type: ignore[arg-type, return-value]
        watcher = LadderWatcher(clients, 1, lambda: now, lambda judged: ladder_judged(metrics, judged))
        watcher.take(0, [heard(1, SENT), heard(2, SENT | DELIVERED)])
        now += 1000
        for _ in range(3):
            await watcher.judge(READ_ALL)

    asyncio.run(over())
    assert ladder_total(registry, "A", "N", "silent") == ladder_total(registry, "A", "N", "none") == 1


def test_a_fault_of_the_watch_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is health: the fault is said once, and messages are looked at again."""
    monkeypatch.setattr(ladder_watch, "_JUDGE_SECONDS", 0.001)
    monkeypatch.setattr(ladder_watch, "write_ladder_minutes", lambda *_: None)
    now, judged, looks = NOW, list[JudgedMinute](), 0

    def behind_seconds() -> dict[int, float]:
        nonlocal looks
        looks += 1
        if looks <= 3:
            raise TypeError("a fault of ours")
        return READ_ALL

    async def over() -> None:
        nonlocal now
        clients = ClientPool(lambda: None)  # type: ignore[arg-type, return-value]
        watcher = LadderWatcher(clients, 1, lambda: now, judged.append)
        watcher.take(0, [heard(1, SENT)])
        now += 1000
        running = asyncio.create_task(watcher.run(behind_seconds))
        async with asyncio.timeout(10):
            while not judged:
                assert not running.done()
                await asyncio.sleep(0.001)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(over())
    assert [(record.levelname, record.exc_info is not None) for record in caplog.records] == [("ERROR", True)]
    assert "a fault of ours" in caplog.text


@pytest.mark.parametrize("step", ["take", "judge"])
def test_a_fault_in_one_partition_stays_there(
    step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its commits nor the messages of other partitions suffer; it is followed anew."""
    monkeypatch.setattr(ladder_watch, "write_ladder_minutes", lambda *_: None)
    judged = list[JudgedMinute]()
    now, is_broken = NOW, True
    method = getattr(LadderWatch, step)

    def breaking(watch: LadderWatch, argument: object) -> object:
        if is_broken and watch is watcher._watches.get(0):
            raise TypeError("a fault of ours")
        return method(watch, argument)

    monkeypatch.setattr(LadderWatch, step, breaking)
    clients = ClientPool(lambda: None)  # type: ignore[arg-type, return-value]
    watcher = LadderWatcher(clients, 1, lambda: now, judged.append)

    async def over() -> None:
        nonlocal now, is_broken
        for is_broken in (True, True, False):  # noqa: B007 - read by what breaks
            for partition in (0, 1):
                watcher.take(partition, [heard(now + partition, SENT, now)])
            now += 1000
            await watcher.judge({0: 0.0, 1: 0.0})

    asyncio.run(over())
    assert [each.partition for each in judged] == [1, 1, 0, 1]
    assert [record.levelname for record in caplog.records] == ["ERROR"] * len(caplog.records)
    assert "partition 0 are followed anew: TypeError: a fault of ours" in caplog.text
