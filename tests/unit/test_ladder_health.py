"""What became of messages: judged after a while, from the events that came, for live traffic only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from cli.observers import ladder_judged
from metering.ladder_health import Heard, LadderCounts, LadderMinute, LadderWatch, heard_of
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


def counts_of(watch: LadderWatch, now: int) -> dict[int, LadderCounts]:
    """Return what is judged now, by minute."""
    return {minute.minute_at: minute.counts for minute in watch.judge(now)}


def test_messages_are_judged_by_the_steps_that_came() -> None:
    """Each message once, after the wait, with all that came until then, in whatever order."""
    watch = LadderWatch(30)
    steps = {1: SENT, 2: SENT | DELIVERED, 3: SENT | READ, 4: DELIVERED, 5: READ, 6: SENT | FAILED, 7: FAILED}
    watch.take([Heard("A", "N", message, step) for message, step in steps.items()], NOW)
    watch.take([Heard("A", "N", 8, SENT)], NOW + 59)
    watch.take([Heard("A", "N", 8, SENT | DELIVERED | READ)], NOW + 1800)
    assert counts_of(watch, NOW + 60 + 1799) == {}
    assert counts_of(watch, NOW + 60 + 1800) == {NOW: LadderCounts(8, 1, 2, 1)}
    assert counts_of(watch, NOW + 10_000) == {}


def test_numbers_and_minutes_are_kept_apart() -> None:
    """A number that goes silent shows beside one that does not."""
    watch = LadderWatch(1)
    watch.take(
        [Heard("A", "N", 1, SENT), Heard("A", "M", 2, SENT | DELIVERED), Heard("B", "N", 3, SENT)], NOW
    )
    watch.take([Heard("A", "N", 4, SENT)], NOW + 60)
    judged = {(m.account, m.number, m.minute_at): m.counts.silent for m in watch.judge(NOW + 1000)}
    assert judged == {("A", "N", NOW): 1, ("A", "M", NOW): 0, ("B", "N", NOW): 1, ("A", "N", NOW + 60): 1}


def test_of_too_many_a_part_stands_for_all() -> None:
    """Memory stays bounded, and the counts come out about right; afterwards all are followed again."""
    random, watch = Random(1), LadderWatch(1, watched_max=1000)
    for _ in range(100):
        watch.take([Heard("A", "N", random.getrandbits(60), SENT | DELIVERED) for _ in range(100)], NOW)
    assert watch.one_in > 1
    [judged] = watch.judge(NOW + 1000)
    assert judged.counts.messages == pytest.approx(10_000, rel=0.2)
    assert judged.counts.silent == 0
    assert watch.one_in == 1


def test_only_live_messages_are_heard_of(tmp_path: Path) -> None:
    """A backfill, and a late status of an old message, say nothing of now; a repeated event says nothing new."""
    partitions = Partitions(tmp_path, 1, lambda _account: "UTC")
    [partition] = partitions.partitions
    heard: list[Heard] = []
    partition.on_step = lambda step: heard.extend(step.heard)
    now = 2_000_000_000  # the partitions' clock
    events = [
        status("sent", "new", now - 10),
        status("delivered", "new", now - 5),
        status("delivered", "new", now - 5),
        status("sent", "old", now - 3600),
        status("read", "old", now - 5),
        status("read", "alone", now - 1),
    ]
    for event in events:
        partitions.append([event])
        partition.work(Random(1))
    assert {each.steps for each in heard if each.message == heard[0].message} <= {SENT, SENT | DELIVERED}
    by_message: dict[int, int] = {}
    for each in heard:
        by_message[each.message] = each.steps
    assert sorted(by_message.values()) == [SENT | DELIVERED, READ]
    assert list(heard_of("A", events, {}, now)) == []
    partitions.close()


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
        watcher.take(0, [Heard("A", "N", 1, SENT)])
        now += 1000
        await watcher.judge()
        assert not written
        away = False
        await watcher.judge()
        await watcher.judge()
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
        watch.take([Heard("A", "N", 1, steps)], NOW)
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
        watcher.take(0, [Heard("A", "N", 1, SENT), Heard("A", "N", 2, SENT | DELIVERED)])
        now += 1000
        for _ in range(3):
            await watcher.judge()

    asyncio.run(over())
    assert ladder_total(registry, "A", "N", "silent") == ladder_total(registry, "A", "N", "none") == 1
