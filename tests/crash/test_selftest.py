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
from cli.trial.trial import Outcome, make_traffic, run_trial
from simulation.generator import WorldOptions
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
    """Workers are killed, join, leave and wake as zombies, ClickHouse goes away: the numbers are the true ones."""
    seed = seed_of_this_run(report)
    plan = FaultPlan(kills=KILLS, rebalance=True, sink_down=True, duplicate=True, late=True)
    traffic = make_traffic(WorldOptions(seed=seed, users=100, days=30, start=START), plan)

    async def trial(clickhouse: str) -> Outcome:
        broker = f"kafka://{kafka.bootstrap}"
        async with open_kafka_subject(broker, clickhouse, f"trial-{seed}", tmp_path, 2) as subject:
            return await run_trial(subject, traffic, plan, seed)

    with clickhouse_server(tmp_path / "clickhouse") as clickhouse:
        outcome = asyncio.run(trial(clickhouse))
    check(outcome, plan, report)
    for fault in ("worker joined", "worker left", "suspended beyond its session", "ClickHouse away"):
        assert outcome.faults[fault] > 0, fault


def test_the_verb_prints_the_verdict() -> None:
    """``convometer selftest`` ends well, with a table that says that nothing was lost, doubled or wrong."""
    done = convometer("selftest", "--users", "30", "--days", "5", "--kill9", "2", "--seed", "3")
    words = done.stdout.decode().split()
    for name in ("lost", "double", "wrong"):
        assert words[words.index(name) + 1] == "0"
    assert b"seed 3" in done.stderr
