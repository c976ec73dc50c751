"""A whole node in a process of its own, made to die at a chosen step. Run as ``python -m tests.crash.node_child``.

Reads one JSON object of arguments from the command line and speaks JSON lines on stdout: ``{"acknowledged": n}``
after each chunk of input that is durable, and at the end ``{"rows": ...}`` with every counter row in ClickHouse.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from cli.node import Node
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import AccountSettings, Settings, WorkerSettings, ZoneFrom
from schemas.rows import FAMILIES
from schemas.topics import CONSUMER_GROUP, MAU_ALERTS, MAU_COUNTS
from streams.embedded.port import EmbeddedWorkerLog
from tests.oracle.strategies import ACCOUNT_ZONES


@dataclass(frozen=True)
class Arguments:
    """What the parent asks for."""

    data: str
    lines: str
    """Path of the input, canonical events as NDJSON."""
    start: int = 0
    """First line to send: those before it are acknowledged."""
    stop: int = 1 << 60
    die_at: str = ""
    """Name of the step to die in, "" = never."""
    die_after: int = 1
    """How often the step is passed unharmed, plus one."""
    chunk: int = 40
    finish: bool = False
    """Wait until everything is in ClickHouse and report its rows."""
    unflushed: bool = False
    """Die once everything is sent and committed, and nothing of it flushed."""
    quiet: bool = False
    """Append nothing to the log, not even a hold."""
    plans: str = ""
    """Path of a file of plans."""
    tell_alerts: bool = False
    """Wait until all is judged and told, and report the counts, the notices and those in ClickHouse."""


class Killer:
    """Counts steps and ends the process like a power cut would."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._passed = 0

    def __call__(self, step: str) -> None:
        """Die when the step's turn has come."""
        if step == self._arguments.die_at:
            self._passed += 1
            if self._passed >= self._arguments.die_after:
                os.kill(os.getpid(), signal.SIGKILL)


def settings_of(data: Path, flush_interval_ms: int, plans: str = "") -> Settings:
    """Return settings in which the generated accounts have their zones."""
    return Settings(
        data=data,
        plans=Path(plans) if plans else None,
        partitions=2,
        accounts={
            account: AccountSettings(time_zone=(ZoneFrom(zone=zone),))
            for account, zone in ACCOUNT_ZONES.items()
        },
        worker=WorkerSettings(flush_interval_ms=flush_interval_ms),
    )


def say(**what: Any) -> None:
    """Write one line to the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def rows_of(node: Node) -> list[list[Any]]:
    """Return every counter row that readers see: key, then measures."""
    client = node.clients.get()
    rows: list[list[Any]] = []
    for schema in FAMILIES.values():
        dimensions = ", ".join(("toInt32(toUInt16(day))", *schema.dimensions[1:]))
        sql = f"SELECT {dimensions}, {', '.join(schema.measures)} FROM v_{schema.table}"
        count = len(schema.dimensions)
        rows += [[[int(schema.family), *row[:count]], list(row[count:])] for row in client.query(sql)]
    return rows


async def main(arguments: Arguments, lines: list[bytes]) -> None:
    """Send lines until told to stop or killed."""
    settings = settings_of(Path(arguments.data), 60_000 if arguments.unflushed else 20, arguments.plans)
    node = await Node.start(settings, Metrics(CollectorRegistry()), SystemClock(), Killer(arguments))
    try:
        if not arguments.quiet:
            await feed(node, arguments, lines)
        if arguments.unflushed:
            await committed(node)
            os.kill(os.getpid(), signal.SIGKILL)
        await node.wait_flushed(await node.positions())
        if arguments.finish:
            say(rows=await asyncio.to_thread(rows_of, node))
        if arguments.tell_alerts:
            await alerts_told(node)
            await tell_alerts(node)
    finally:
        await node.close()


async def feed(node: Node, arguments: Arguments, lines: list[bytes]) -> None:
    """Send the lines."""
    # The histories lie years apart and arrive in no order: a backfill, whose accounts' cuts must not move.
    await node.hold(sorted(ACCOUNT_ZONES), "test", release=False)
    for position in range(arguments.start, len(lines), arguments.chunk):
        chunk = lines[position : position + arguments.chunk]
        intake = await node.ingest(chunk, "canonical", position + 1)
        assert intake.accepted == len(chunk), intake
        say(acknowledged=position + len(chunk))


async def alerts_told(node: Node) -> None:
    """Wait until every count is judged, and every notice delivered."""

    def is_read(topic: str, partition: int) -> bool:
        end = node.log.end_offset(topic, partition)
        return (node.log.committed(CONSUMER_GROUP, topic, partition) or 0) >= end

    while not (  # noqa: ASYNC110 - nobody tells
        all(is_read(MAU_COUNTS, partition) for partition in range(node.settings.partitions))
        and is_read(MAU_ALERTS, 0)
        and node.worker.notify_task is not None
        and not node.worker.notify_task.pending
    ):
        await asyncio.sleep(0.01)


async def tell_alerts(node: Node) -> None:
    """Report the two topics, and the ids in ClickHouse."""
    counts = [
        [value.decode() for value in await values_of(node, MAU_COUNTS, partition)]
        for partition in range(node.settings.partitions)
    ]
    notices = [value.decode() for value in await values_of(node, MAU_ALERTS, 0)]
    rows = await asyncio.to_thread(
        lambda: node.clients.get().query("SELECT id FROM alerts FINAL ORDER BY id")
    )
    say(counts=counts, notices=notices, table=[id_ for (id_,) in rows])


async def values_of(node: Node, topic: str, partition: int) -> list[bytes]:
    """Return the records of a topic's partition."""
    log = EmbeddedWorkerLog(node.log)
    end = (await log.bounds(topic, partition)).end
    return [
        record.value
        async for chunk in log.read(topic, partition, 0, end)
        for _, record in chunk
        if record.value is not None
    ]


async def committed(node: Node) -> None:
    """Wait until everything in the log is committed; nothing of it may be in ClickHouse then."""
    ends = await node.positions()
    while any(  # noqa: ASYNC110 - nobody tells
        task.dirty.committed.source_offset < ends[task.source.partition] for task in node.worker.partitions
    ):
        await asyncio.sleep(0.01)
    assert not any(task.dirty.flushed.sequence for task in node.worker.partitions)


if __name__ == "__main__":
    # A life takes seconds. One that hangs shows where, instead of being waited for in silence.
    faulthandler.dump_traceback_later(60, exit=True)
    given = Arguments(**json.loads(sys.argv[1]))
    asyncio.run(main(given, Path(given.lines).read_bytes().splitlines()[: given.stop]))
