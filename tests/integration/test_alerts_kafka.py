"""Alerts over a real Kafka broker: two workers share the partitions, one goes, each notice is in the topic once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cli.limit_gauges import GaugeTimes
from cli.roles import kafka_worker
from metering.rules import shipped_regimes
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from schemas.alert_codec import decode_count, decode_notice
from schemas.alerts import Notice
from schemas.codec import encode_batch, partition_of
from schemas.events import Event
from schemas.topics import EVENTS, MAU_ALERTS, MAU_COUNTS
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.writer import ClickHouseWriter
from streams import ladder_watch
from streams.alert_options import AlertOptions
from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog
from streams.ladder_watch import LadderWatcher
from streams.opening import WorkerOptions
from streams.records import Append, Record
from streams.topic_specs import topic_specs
from streams.worker import Worker
from tests.integration.test_alerts_node import PLAN, until
from tests.oracle import alerts as oracle
from tests.support.alert_log import values_of
from tests.support.alerts import FakeChannel, terms_of
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.kafka_broker import KafkaCluster

PARTITIONS = 2
PACKAGE = 100
THRESHOLDS = ("50%", "80%", "100%", "120")


def now_ms() -> int:
    """Return the time, UTC milliseconds."""
    return time.time_ns() // 1_000_000


def appends(first_user: int, last_user: int) -> list[Append]:
    """Return one incoming message of each user, each in a record of its own."""
    by_partition: dict[int, list[Record]] = {}
    for user in range(first_user, last_user):
        event = Event(
            provider="canonical",
            account="A",
            number="1",
            kind="incoming",
            message_id=f"m{user}",
            occurred_at=now_ms() // 1000,
            received_at=now_ms(),
            country="DE",
            user_phone=f"4915{user:08d}",
        )
        owner = partition_of("A", event.user_key, PARTITIONS)
        by_partition.setdefault(owner, []).append(Record(None, encode_batch([event]), now_ms()))
    return [Append(EVENTS, owner, records) for owner, records in by_partition.items()]


async def notices_of(log: KafkaWorkerLog) -> list[Notice]:
    """Return what stands in ``mau.alerts``."""
    return [decode_notice(value) for value in await values_of(log, MAU_ALERTS, 0)]


async def until_noticed(log: KafkaWorkerLog, count: int) -> None:
    """Wait for a number of notices."""
    async with asyncio.timeout(60):
        while len(await notices_of(log)) < count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)


def test_two_workers_give_each_notice_once(
    kafka: KafkaCluster,
    http_server: ClickHouseHttp,
    empty_name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second worker joins, the first one leaves: what they tell together is what the counts say.

    Then the role that an operator starts takes up all of it, and shows it.
    """
    prefix = f"alerts-{time.time_ns()}."
    clickhouse = http_server.address(empty_name)

    async def over() -> None:
        connection = KafkaConnection(tuple(kafka.bootstrap.split(",")), prefix=prefix)
        clients = ClientPool(lambda: open_client(clickhouse))
        migrate(clients.get())
        installation = (await ensure_installation(connection, PARTITIONS)).id
        logs = [await KafkaWorkerLog.open(connection, installation) for _ in range(2)]
        channel = FakeChannel()
        terms = terms_of(PACKAGE, THRESHOLDS)
        workers = [
            Worker(
                log,
                ClickHouseWriter(clients),
                WorkerOptions(
                    tmp_path / str(place),
                    PARTITIONS,
                    shipped_regimes(),
                    lambda _account: (("", "UTC"),),
                    alerts=AlertOptions(lambda: terms, lambda: {"channel": channel}),
                ),
                now_ms,
            )
            for place, log in enumerate(logs)
        ]
        await logs[0].declare(topic_specs(workers[0].options))
        appender = await KafkaAppender.open(connection)
        try:
            await workers[0].start()
            await appender.append(appends(0, 60))
            await until_noticed(logs[1], 1)
            await workers[1].start()
            await appender.append(appends(50, 90))
            await until_noticed(logs[1], 2)
            await workers[0].stop()
            await appender.append(appends(0, 125))
            await until_noticed(logs[1], 4)
            async with asyncio.timeout(30):
                while len({id_ for ids in channel.taken for id_ in ids}) < 4:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            await workers[1].stop()
            await appender.close()
        await check(logs[1], channel)
        for log in logs:
            await log.close()
        clients.close()
        await check_role(role_settings(kafka, prefix, clickhouse, tmp_path), monkeypatch)

    asyncio.run(over())


async def check(log: KafkaWorkerLog, channel: FakeChannel) -> None:
    """The notices are those of the oracle for the counts in the topic, and each was delivered."""
    notices = await notices_of(log)
    told = [(notice.kind, notice.threshold, notice.n, notice.level) for notice in notices]
    owner = partition_of("A", "", PARTITIONS)
    newest: dict[int, int] = {}
    course: list[tuple[int, int]] = []
    for value in await values_of(log, MAU_COUNTS, owner):
        count = decode_count(value)
        if count.number == "":
            newest[count.partition] = count.totals.mau_any
            course.append((sum(newest.values()), PACKAGE))
    assert course[-1] == (125, PACKAGE)
    steps = oracle.notices(course, THRESHOLDS, terms_of(PACKAGE).hysteresis_percent)
    assert told == [entry for step in steps for entry in step]
    assert {id_ for ids in channel.taken for id_ in ids} == {notice.id for notice in notices}
    assert all(msgspec.structs.asdict(notice)["account"] == "A" for notice in notices)


def role_settings(kafka: KafkaCluster, prefix: str, clickhouse: str, directory: Path) -> Settings:
    """Return settings of a worker of the same installation."""
    (directory / "plans.toml").write_text(PLAN.format(package=PACKAGE))
    return Settings.model_validate(
        {
            "data": directory / "role",
            "broker": f"kafka://{kafka.bootstrap}",
            "kafka": {"prefix": prefix, "replication_factor": 1, "min_insync_replicas": 1},
            "clickhouse": clickhouse,
            "partitions": PARTITIONS,
            "plans": directory / "plans.toml",
        }
    )


async def check_role(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role shows the limit and when it was used up; a fault beside its worker ends it, one of health does not."""
    registry, fault, looks = CollectorRegistry(), TypeError("a fault of ours"), 0
    labels = {"account": "A", "number": "", "limit_name": "mau_package"}

    def shown(name: str) -> float | None:
        return registry.get_sample_value(f"convometer_limit{name}", labels)

    async def broken_watch(*_: object) -> None:
        nonlocal looks
        looks += 1
        raise fault

    def broken_gauges(*_: object) -> None:
        raise fault

    monkeypatch.setattr(ladder_watch, "_JUDGE_SECONDS", 0.01)
    monkeypatch.setattr(LadderWatcher, "judge", broken_watch)
    in_force, times = SettingsInForce.of(settings), GaugeTimes(show_seconds=0.05, forecast_seconds=0.2)
    async with kafka_worker(in_force, Metrics(registry), SystemClock(), times) as roles:
        assert roles.worker is not None
        await until(lambda: shown("_exhausted_timestamp_seconds") is not None, 60)
        await until(lambda: (shown(""), shown("_used"), shown("_used_ratio")) == (100, 125, 1.25))
        # By ClickHouse: at the end of today.
        since_seconds = (shown("_exhausted_timestamp_seconds") or 0) - now_ms() / 1000
        assert abs(since_seconds) < 86_400
        await until(lambda: looks >= 3)
        assert not roles.worker.failed.is_set()
        monkeypatch.setattr("cli.roles.sample_gauges", broken_gauges)
        await until(roles.worker.failed.is_set)
        assert roles.worker.failure is fault
