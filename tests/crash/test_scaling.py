"""Workers come and go under load: 1 -> 4 -> a rolling restart of all -> 2, and no number changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest

from cli.trial.comparison import Cell, Verdict, cells_of, compare
from cli.trial.faults import FaultPlan
from cli.trial.subjects import KafkaSubject, open_kafka_subject
from cli.trial.trial import QUERIES, Traffic, make_traffic
from simulation.generator import WorldOptions
from tests.crash.test_selftest import START, clickhouse_server, seed_of_this_run
from tests.support.kafka_broker import KafkaCluster

CHUNK_LINES = 20


async def scale(subject: KafkaSubject, report: Callable[[str], None]) -> None:
    """Add three workers, restart each of the four in turn, and take two away."""
    [first] = subject.children
    await first.worked()
    for _ in range(3):
        await subject.add_worker()
    await asyncio.gather(*(child.worked() for child in subject.children))
    for child in tuple(subject.children):
        opened = child.partitions_opened()
        assert await child.stop() == 0
        child.start()
        await child.worked(opened)
    for child in subject.children[:2]:
        assert await child.stop() == 0
        subject.children.remove(child)
    report("1 -> 4 workers, each of them restarted, then 2")


async def feed_until(done: asyncio.Task[None], subject: KafkaSubject, traffic: Traffic) -> None:
    """Feed everything, and again as long as workers come and go: repeats change no number."""
    starts = range(0, len(traffic.lines), CHUNK_LINES)
    chunks = [list(traffic.lines[start : start + CHUNK_LINES]) for start in starts]
    for position, chunk in enumerate(cycle(chunks)):
        if position >= len(chunks) and done.done():
            break
        await subject.feed(chunk)
        await asyncio.sleep(0.02)
    await done


async def verdict_of(subject: KafkaSubject, traffic: Traffic) -> Verdict:
    """Compare what was counted with the truth."""
    await subject.settle()
    counted: dict[Cell, int] = {}
    for name in QUERIES:
        counted.update(cells_of(name, await subject.query(name)))
    return compare(traffic.truth, counted)


@pytest.mark.timeout(600)
def test_scaling_and_a_rolling_restart_change_no_number(
    kafka: KafkaCluster, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Under load one worker becomes four, each is restarted in order, two leave: the numbers are the true ones."""
    seed = seed_of_this_run(report)
    traffic = make_traffic(WorldOptions(seed=seed, users=60, days=20, start=START), FaultPlan(duplicate=True))

    async def trial(clickhouse: str) -> Verdict:
        broker = f"kafka://{kafka.bootstrap}"
        async with open_kafka_subject(broker, clickhouse, f"scaling-{seed}", tmp_path, 1) as subject:
            try:
                async with asyncio.timeout(400):
                    await feed_until(asyncio.create_task(scale(subject, report)), subject, traffic)
            except TimeoutError:
                for child in subject.children:
                    report(f"{child.name} in its life {child.starts}:\n{child.last_words(30)}")
                raise
            return await verdict_of(subject, traffic)

    with clickhouse_server(tmp_path / "clickhouse") as clickhouse:
        verdict = asyncio.run(trial(clickhouse))
    assert verdict.cells > 1_000
    assert verdict.is_exact, verdict
