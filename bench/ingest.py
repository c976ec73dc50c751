"""The whole path on one machine: ``ingest --wait`` of generated traffic, with CPU time per event by stage.

    python -m bench.ingest --users 40000 --days 14

Prints events per second from the first line read to the last row acknowledged by ClickHouse, and for each stage the
CPU microseconds per event of the thread that runs it. Generating the traffic is not measured.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

import streams.partition
from cli.node import Node
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from simulation.generator import World, WorldOptions
from sinks.clickhouse.writer import ClickHouseWriter
from streams.normalize import Reading
from streams.processor import Processor
from streams.store import PartitionStore

CHUNK_LINES = 5_000
STAGES: tuple[tuple[Any, str, str], ...] = (
    (Reading, "read", "parse"),
    (Processor, "process", "decode, meter, encode state"),
    (PartitionStore, "apply", "local store"),
    (streams.partition, "appends_of", "build commit"),
    (ClickHouseWriter, "flush", "ClickHouse flush (incl. its merges' waits)"),
)


def measured(owner: Any, name: str, stage: str, spent: dict[str, float]) -> None:
    """Add the CPU time of every call of a function to its stage."""
    function: Callable[..., Any] = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[stage] += time.thread_time() - started

    setattr(owner, name, wrapper)


def generated(users: int, days: int) -> list[bytes]:
    """Return webhook bodies of a world that ends before today."""
    options = WorldOptions(
        seed=1,
        users=users,
        days=days,
        accounts=3,
        start=int(datetime(2026, 10, 5, tzinfo=UTC).timestamp()),
        messages_per_user_day=0.6,
        bad_share=0.0,
    )
    world = World(options)
    world.settle()
    return [body for _, body in world.bodies()]


async def ingest(lines: list[bytes], data: Path) -> tuple[int, float, float]:
    """Ingest the lines; return accepted events, wall seconds and CPU seconds of the process."""
    node = await Node.start(Settings(data=data), Metrics(CollectorRegistry()), SystemClock())
    accounts = [f"9001002003004{number:02d}" for number in range(3)]
    await node.hold(accounts, "bench", release=False)
    started, cpu = time.perf_counter(), time.process_time()
    accepted = 0
    for position in range(0, len(lines), CHUNK_LINES):
        intake = await node.ingest(lines[position : position + CHUNK_LINES], "meta", position + 1)
        accepted += intake.accepted
    await node.wait_flushed(await node.positions())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    await node.close()
    return accepted, seconds, cpu_seconds


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--users", type=int, default=40_000)
    arguments.add_argument("--days", type=int, default=14)
    given = arguments.parse_args()
    lines = generated(given.users, given.days)
    spent: dict[str, float] = defaultdict(float)
    for owner, name, stage in STAGES:
        measured(owner, name, stage, spent)
    with tempfile.TemporaryDirectory() as directory:
        accepted, seconds, cpu_seconds = uvloop.run(ingest(lines, Path(directory)))
        disk_bytes = sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())
    print(f"{accepted:,} events in {seconds:.1f} s: {accepted / seconds:,.0f} events/s")
    print(f"{cpu_seconds / accepted * 1e6:6.1f} us CPU per event in all")
    for stage, stage_seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{stage_seconds / accepted * 1e6:6.1f} us {stage}")
    print(f"{disk_bytes / accepted:6.0f} bytes on disk per event (log, state and ClickHouse)")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:6.0f} MiB peak memory")


if __name__ == "__main__":
    main()
