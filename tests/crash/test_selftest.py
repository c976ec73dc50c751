"""Everything on trial, over the embedded log and over Kafka, with kill -9 at random moments and all other faults."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from cli.trial.faults import FaultPlan
from cli.trial.subjects import open_embedded_subject, open_kafka_subject
from cli.trial.trial import Outcome, Traffic, make_traffic, run_trial
from metering.alert_book import Terms
from metering.charges import PriceData
from schemas.plan_files import load_plans
from schemas.regimes import load_regimes
from simulation.generator import WorldOptions
from tests.crash.test_alerts_kill import newest_of, write_plans
from tests.property.test_alerts import described, expected_log
from tests.support.alert_log import AlertLog, alert_log_of
from tests.support.commands import convometer
from tests.support.kafka_broker import KafkaCluster

KILLS = int(os.environ.get("CONVOMETER_TEST_KILLS", "50")) // 2
"""Of each of the two logs; the other crash tests have theirs."""
START = 1_788_220_800  # 2026-09-01
ROOT = Path(__file__).parents[2]


@contextmanager
def clickhouse_server(directory: Path) -> Iterator[str]:
    """Give the address of a stand-in for a ClickHouse server, in a process of its own."""
    command = [sys.executable, "-m", "tests.support.clickhouse_server", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        assert process.stdin is not None
        process.stdin.close()


def seed_of_this_run(report: Callable[[str], None]) -> int:
    """Return a new seed, or the one to repeat."""
    seed = int(os.environ.get("CONVOMETER_TEST_SEED", str(Random().randrange(1 << 30))))
    report(f"repeat with CONVOMETER_TEST_SEED={seed}")
    return seed


def check(outcome: Outcome, plan: FaultPlan, report: Callable[[str], None]) -> None:
    """Every fault was done and no number is wrong."""
    report(", ".join(f"{name}: {count}" for name, count in sorted(outcome.faults.items())))
    assert outcome.faults["kill -9"] == plan.kills
    assert outcome.verdict.cells > 1_000
    assert outcome.verdict.is_exact, outcome.verdict


@pytest.mark.timeout(300 + 20 * KILLS)
def test_an_embedded_node_stays_exact(tmp_path: Path, report: Callable[[str], None]) -> None:
    """A node that is killed again and again, with repeated and late webhooks, ends with the true numbers."""
    seed = seed_of_this_run(report)
    plan = FaultPlan(kills=KILLS, duplicate=True, late=True)
    traffic = make_traffic(WorldOptions(seed=seed, users=100, days=30, start=START), plan)

    async def trial() -> Outcome:
        async with open_embedded_subject(tmp_path) as subject:
            return await run_trial(subject, traffic, plan, seed)

    check(asyncio.run(trial()), plan, report)


@pytest.mark.timeout(600 + 30 * KILLS)
def test_workers_on_kafka_stay_exact(
    kafka: KafkaCluster, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Workers are killed, join, leave, wake as zombies, ClickHouse goes away: numbers and notices are the true ones."""
    seed = seed_of_this_run(report)
    plan = FaultPlan(kills=KILLS, rebalance=True, sink_down=True, duplicate=True, late=True)
    traffic = make_traffic(WorldOptions(seed=seed, users=100, days=30, start=START), plan)
    plans = tmp_path / "plans.toml"
    write_plans(plans, sorted({str(dict(place)["account"]) for _, place, _ in traffic.truth}))
    terms = Terms(PriceData(load_regimes(), plans=load_plans(plans)))

    async def trial(clickhouse: str) -> tuple[Outcome, AlertLog]:
        broker = f"kafka://{kafka.bootstrap}"
        async with open_kafka_subject(broker, clickhouse, f"trial-{seed}", tmp_path, 2, plans) as subject:
            outcome = await run_trial(subject, traffic, plan, seed)
            return outcome, await alert_log_of(
                subject.settings, lambda log: told_of(log) == expected_of(log, terms)
            )

    with clickhouse_server(tmp_path / "clickhouse") as clickhouse:
        outcome, log = asyncio.run(trial(clickhouse))
    check(outcome, plan, report)
    for fault in ("worker joined", "worker left", "suspended beyond its session", "ClickHouse away"):
        assert outcome.faults[fault] > 0, fault
    report(f"{sum(map(len, log.counts))} counts, {len(log.notices)} notices")
    check_notices(log, terms, traffic)


def told_of(log: AlertLog) -> list[list[tuple[object, ...]]]:
    """Return the notices about the counts of each partition, in the order of the topic."""
    scopes = [{(count.account, count.number) for count in own} for own in log.counts]
    return [
        [described(notice) for notice in log.notices if (notice.account, notice.number) in own]
        for own in scopes
    ]


def expected_of(log: AlertLog, terms: Terms) -> list[list[tuple[object, ...]]]:
    """Return the notices that follow from the counts of each partition."""
    return [expected_log(own, terms) for own in log.counts]


def check_notices(log: AlertLog, terms: Terms, traffic: Traffic) -> None:
    """Each id is there once, the log is the oracle's, and it was made from the true totals of active users."""
    assert told_of(log) == expected_of(log, terms)
    ids = sorted(notice.id for notice in log.notices)
    assert len(set(ids)) == len(ids) > 0
    assert log.table == ids
    active = {
        (str(place["account"]), str(place["number"]), str(place["month"])): value
        for (query, dimensions, measure), value in traffic.truth.items()
        for place in [dict(dimensions)]
        if query == "active-users" and measure == "mau" and value
    }
    assert {scope: totals[0] for scope, totals in newest_of(log.counts).items() if totals[0]} == active


def test_the_verb_prints_the_verdict() -> None:
    """``convometer selftest`` ends well, with a table that says that nothing was lost, doubled or wrong."""
    done = convometer("selftest", "--users", "30", "--days", "5", "--kill9", "2", "--seed", "3")
    words = done.stdout.decode().split()
    for name in ("lost", "double", "wrong"):
        assert words[words.index(name) + 1] == "0"
    assert b"seed 3" in done.stderr
