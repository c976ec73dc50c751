"""One life of a whole node: started, fed, waited for, asked, stopped. Here, or in a process of its own.

``python -m tests.support.node_life DATA LINES`` feeds the file's webhook bodies and prints the answers as JSON; the
embedded ClickHouse can be opened by one process for one directory only, so its lives are lived like that.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import cast, get_args

from prometheus_client import CollectorRegistry

from cli.engine import QueryName, Row
from cli.node import Node
from metering.household import PHONES
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings, WorkerSettings
from schemas.events import Event
from schemas.rows import FAMILIES, Family
from sinks.clickhouse.client import ClientPool
from sinks.clickhouse.reader import Filters, run_query
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from streams.normalize import Reading
from tests.oracle.people import expected_people, expected_phones
from tests.oracle.totals import expected_totals

ROOT = Path(__file__).parents[2]
QUERIES: tuple[QueryName, ...] = get_args(QueryName)
Answers = dict[str, list[Row]]
NOW_MS = 2_000_000_000_000
"""When the oracle reads: after everything that happened."""
_CHUNK_LINES = 100


def settings_in(data: Path, clickhouse: str = "", **worker: int) -> Settings:
    """Return settings of a small node that flushes often, over its own ClickHouse or a server."""
    limits = WorkerSettings.model_validate({"flush_interval_ms": 20, **worker})
    given = {"clickhouse": clickhouse} if clickhouse else {}
    return Settings.model_validate({"data": data, "partitions": 2, "worker": limits, **given})


async def started(settings: Settings) -> Node:
    """Return a node that works."""
    return await Node.start(settings, Metrics(CollectorRegistry()), SystemClock())


async def feed(node: Node, lines: Sequence[bytes]) -> None:
    """Feed webhook bodies; return once they are durable."""
    for start in range(0, len(lines), _CHUNK_LINES):
        intake = await node.ingest(list(lines[start : start + _CHUNK_LINES]), "meta", start + 1)
        assert not intake.refused, intake


async def answers_of(node: Node) -> Answers:
    """Return what the four queries say once everything is flushed."""
    await node.wait_flushed(await node.positions())
    return {name: await node.query(name, Filters()) for name in QUERIES}


async def live(settings: Settings, lines: Sequence[bytes] = ()) -> Answers:
    """Start a node, feed it, and return its answers.

    Raises:
        StateMismatch: it refused to start.
    """
    node = await started(settings)
    try:
        await feed(node, lines)
        return await answers_of(node)
    finally:
        await node.close()


class LifeRefused(Exception):
    """The node did not start; with the last line that it wrote."""


def live_apart(data: Path, lines: Sequence[bytes] = ()) -> Answers:
    """Live in a process of its own, over the embedded ClickHouse.

    Raises:
        LifeRefused: the process ended with an error.
    """
    fed = data.with_name("fed.ndjson")
    fed.write_bytes(b"".join(line + b"\n" for line in lines))
    command = [sys.executable, "-m", "tests.support.node_life", str(data), str(fed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise LifeRefused(done.stderr.strip().splitlines()[-1])
    return cast("Answers", json.loads(done.stdout))


def events_of(lines: Sequence[bytes]) -> list[Event]:
    """Return the events of webhook bodies, as they would be taken now."""
    return [event for line in lines for event in Reading().read(line, NOW_MS, "meta").events]


def true_answers(clients: ClientPool, lines: Sequence[bytes]) -> Answers:
    """Return what the four queries have to say of webhook bodies, in any order and with any repetitions."""
    return answers_of_events(clients, events_of(lines))


def answers_of_events(clients: ClientPool, events: Sequence[Event]) -> Answers:
    """Return what the four queries have to say of events: those of a database with the oracle's rows.

    Args:
        clients: of a database that is migrated and empty, and has no rows afterwards either.
        events: what was taken.
    """
    rows = [CounterRow(key, values, 1) for key, values in expected_totals(events).items()]
    people = expected_people(events)
    for (month, account, number, country), phones in expected_phones(events).items():
        difference = phones - people[month, account, number, country]
        day = (date.fromisoformat(f"{month}-01") - date(1970, 1, 1)).days
        if difference:
            key = (int(Family.ACTIVE_USERS), day, account, number, country, PHONES)
            rows.append(CounterRow(key, (difference,), 1))
    ClickHouseWriter(clients).flush(0, rows, Progress(1, 1))
    client = clients.get()
    answers: Answers = {name: run_query(client, name, Filters()) for name in QUERIES}
    for schema in FAMILIES.values():
        client.command(f"TRUNCATE TABLE {schema.table} SYNC")
    return answers


if __name__ == "__main__":
    fed_lines = Path(sys.argv[2]).read_bytes().splitlines()
    sys.stdout.write(json.dumps(asyncio.run(live(settings_in(Path(sys.argv[1])), fed_lines))))
