"""Backups are taken, things are lost, backups are put back: what the four queries say afterwards.

Copies of an embedded installation's directories, and ClickHouse's own ``BACKUP`` and ``RESTORE`` over HTTP. The engine
behind the HTTP server is the embedded one; a real server was not at hand.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.trial.comparison import cells_of, compare
from cli.trial.faults import FaultPlan
from cli.trial.trial import Traffic, make_traffic
from metering.rules import shipped_regimes
from schemas.topics import EVENTS
from simulation.generator import WorldOptions
from sinks.clickhouse.client import ClickHouse, ClientPool, open_client
from sinks.clickhouse.writer import ClickHouseWriter, Mark
from streams.embedded.log import EmbeddedLog
from streams.embedded.options import LogSettings, MaintenanceSettings
from streams.embedded.port import EmbeddedWorkerLog
from streams.log import events_position
from streams.opening import Opener, WorkerOptions
from streams.processor import StateMismatch
from streams.records import Append, Record
from streams.store import Table
from streams.topic_specs import topic_specs
from tests.integration.conftest import Database
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.commands import convometer
from tests.support.node_life import (
    Answers,
    LifeRefused,
    answers_of,
    feed,
    live,
    live_apart,
    settings_in,
    started,
    true_answers,
)

START = 1_769_904_000  # 2026-02-01
REPEATED_LINES = 30
"""Lines from before a backup that come again after it, as providers repeat and archives overlap."""


@dataclass(frozen=True, slots=True)
class Halves:
    """Traffic in two halves, a backup between them, and the truth at both times."""

    before: tuple[bytes, ...]
    after: tuple[bytes, ...]
    """Begins with some lines from before."""
    then: Answers
    """The truth at the time of the backup."""
    at_the_end: Answers


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    """Return ten days of a few users, some of it repeated."""
    options = WorldOptions(seed=21, users=20, days=10, start=START)
    return make_traffic(options, FaultPlan(duplicate=True))


@pytest.fixture
def halves(traffic: Traffic, http_database: Database) -> Halves:
    """Return the traffic with its truth, which the simulation and the oracle agree on."""
    lines = traffic.lines
    middle = len(lines) // 2
    then = true_answers(http_database.pool, lines[:middle])
    at_the_end = true_answers(http_database.pool, lines)
    cells = {cell: value for name, rows in at_the_end.items() for cell, value in cells_of(name, rows).items()}
    assert compare(traffic.truth, cells).is_exact
    assert all(rows != at_the_end[name] for name, rows in then.items())
    return Halves(lines[:middle], lines[middle - REPEATED_LINES :], then, at_the_end)


def copy(source: Path, target: Path) -> None:
    """Replace a directory by a copy of another, links as they are: ``rm -rf TARGET; cp -a SOURCE TARGET``."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


# Embedded: everything is in the data directory


def test_a_copy_of_the_data_directory_gives_the_numbers_of_its_time_and_goes_on(
    tmp_path: Path, halves: Halves
) -> None:
    """Everything is lost but a copy: it says what was true then; the traffic since, fed again, makes it exact."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    assert live_apart(data, halves.before) == halves.then
    copy(data, backup)
    assert live_apart(data, halves.after) == halves.at_the_end
    copy(backup, data)
    assert live_apart(data) == halves.then
    assert live_apart(data, halves.after) == halves.at_the_end
    said = convometer("doctor", "--data", data, CONVOMETER_PARTITIONS="2").stdout
    assert b"everything in the log is counted and in ClickHouse" in said


def test_an_older_embedded_clickhouse_alone_is_brought_up_to_date(tmp_path: Path, halves: Halves) -> None:
    """Only ClickHouse's directory is put back from the copy: the next start writes what it lacks."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    live_apart(data, halves.before)
    copy(data / "clickhouse", backup)
    live_apart(data, halves.after)
    copy(backup, data / "clickhouse")
    assert live_apart(data) == halves.at_the_end


def test_an_older_embedded_log_is_refused_beside_a_newer_clickhouse(tmp_path: Path, halves: Halves) -> None:
    """Log and state are older than ClickHouse: refused, and an older ClickHouse or an empty one is the way out."""
    data, backup = tmp_path / "data", tmp_path / "backup"
    live_apart(data, halves.before[: len(halves.before) // 2])
    copy(data / "clickhouse", tmp_path / "clickhouse-before")
    live_apart(data, halves.before)
    copy(data, backup)
    live_apart(data, halves.after)
    for part in ("log", "state"):
        copy(backup / part, data / part)
    with pytest.raises(LifeRefused, match=r"ClickHouse has commit \d+ .* the state only \d+"):
        live_apart(data)
    copy(tmp_path / "clickhouse-before", data / "clickhouse")
    assert live_apart(data) == halves.then
    shutil.rmtree(data / "clickhouse")
    assert live_apart(data, halves.after) == halves.at_the_end


# Log and state on this machine, ClickHouse a server


class Served:
    """A database on a server, and statements that an operator types there."""

    def __init__(self, server: ClickHouseHttp, name: str) -> None:
        self.name = name
        self.address = server.address(name)
        self.pool = ClientPool(lambda: open_client(self.address))

    @property
    def client(self) -> ClickHouse:
        """Return this thread's client."""
        return self.pool.get()

    def say(self, *statements: str) -> None:
        """Run statements; ``DB`` stands for the database, which need not exist."""
        for statement in statements:
            self.client.query_anywhere(statement.replace("DB", self.name))

    def marks(self) -> list[int]:
        """Return how far each partition is, in commits."""
        writer = ClickHouseWriter(self.pool)
        return [writer.read_mark(partition).progress.sequence for partition in range(2)]


@pytest.fixture
def served(http_server: ClickHouseHttp, empty_name: str) -> Iterator[Served]:
    """Return a database that does not exist yet on the server."""
    database = Served(http_server, empty_name)
    with closing(database.pool):
        yield database
        database.say("DROP DATABASE IF EXISTS DB SYNC")


def _mark_tables() -> str:
    return "TABLE DB.flush_progress, TABLE DB.installation, TABLE DB.accepted_losses"


def _others() -> str:
    return "DATABASE DB EXCEPT TABLES DB.flush_progress, DB.installation, DB.accepted_losses"


def test_a_backup_of_a_server_is_restored_and_brought_up_to_date(
    tmp_path: Path, served: Served, halves: Halves
) -> None:
    """BACKUP while the worker stands still, later DROP and RESTORE: as it was, then the next start makes it exact."""
    settings = settings_in(tmp_path / "data", served.address)

    async def scenario() -> None:
        assert await live(settings, halves.before) == halves.then
        served.say("BACKUP DATABASE DB TO File('DB-still')")
        marks = served.marks()
        assert await live(settings, halves.after) == halves.at_the_end
        assert served.marks() > marks
        served.say("DROP DATABASE DB SYNC", "RESTORE DATABASE DB FROM File('DB-still')")
        assert served.marks() == marks
        assert await live(settings) == halves.at_the_end

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_a_backup_of_a_server_under_a_working_worker_loses_nothing(
    tmp_path: Path, served: Served, halves: Halves
) -> None:
    """The progress marks are backed up first, then the rest, while the worker flushes: what is restored heals."""
    settings = settings_in(tmp_path / "data", served.address)
    middle = len(halves.after) // 2

    async def scenario() -> None:
        node = await started(settings)
        try:
            await feed(node, halves.before)
            await answers_of(node)
            await asyncio.to_thread(served.say, f"BACKUP {_mark_tables()} TO File('DB-marks')")
            backed_up = served.marks()
            # What is flushed between the two is what the order is about.
            await feed(node, halves.after[:middle])
            await answers_of(node)
            feeding = asyncio.create_task(feed(node, halves.after[middle:]))
            await asyncio.to_thread(served.say, f"BACKUP {_others()} TO File('DB-rest')")
            await feeding
            assert await answers_of(node) == halves.at_the_end
            assert served.marks() > backed_up
        finally:
            await node.close()
        served.say(
            "DROP DATABASE DB SYNC",
            "RESTORE DATABASE DB FROM File('DB-rest')",
            "RESTORE ALL FROM File('DB-marks')",
        )
        assert await live(settings) == halves.at_the_end

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_an_emptied_server_is_filled_again(tmp_path: Path, served: Served, halves: Halves) -> None:
    """Without any backup: the database is gone, and the state writes every row anew."""
    settings = settings_in(tmp_path / "data", served.address)

    async def scenario() -> None:
        assert await live(settings, halves.before) == halves.then
        served.say("DROP DATABASE DB SYNC")
        assert await live(settings, halves.after) == halves.at_the_end

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_an_older_state_alone_catches_up_from_the_log(tmp_path: Path, served: Served, halves: Halves) -> None:
    """The local state is put back from a copy, log and ClickHouse are newer: it reads what it lacks, and goes on."""
    data = tmp_path / "data"
    settings = settings_in(data, served.address)
    third = halves.after[: len(halves.after) // 2]

    async def scenario() -> None:
        await live(settings, halves.before)
        copy(data / "state", tmp_path / "backup")
        now = await live(settings, third)
        copy(tmp_path / "backup", data / "state")
        assert await live(settings) == now
        assert await live(settings, halves.after) == halves.at_the_end

    asyncio.run(asyncio.wait_for(scenario(), 120))


class NewClickHouse:
    """As far as taking a partition up asks: a database that has no mark."""

    def read_mark(self, partition: int) -> Mark:
        """See ``ClickHouseWriter.read_mark``."""
        assert partition == 0
        return Mark("")


def test_an_older_state_brings_back_nothing_that_was_removed_since(tmp_path: Path) -> None:
    """A key was removed and its removal compacted away: a state from before does not know it from the log."""
    maintenance = MaintenanceSettings(compaction_records_min=1, tombstone_grace_seconds=0)
    directory, now_ms, hour_ms = tmp_path / "state", time.time_ns() // 1_000_000, 3_600_000
    options = WorkerOptions(directory, 1, shipped_regimes(), lambda _account: (("", "UTC"),))

    async def scenario() -> None:
        log = EmbeddedLog.open(tmp_path / "log", settings=LogSettings(maintenance=maintenance))
        port = EmbeddedWorkerLog(log)
        await port.declare(topic_specs(options))
        writer = await port.writer(EVENTS, 0)
        opener = Opener(port, NewClickHouse(), options, lambda: now_ms)  # type: ignore[arg-type]

        async def write(**values: bytes | None) -> None:
            records = [Record(key.encode(), value, now_ms) for key, value in values.items()]
            await writer.commit([Append(Table.USERS.changelog, 0, records)], events_position(0, 0))

        async def keys() -> set[bytes]:
            opened = await opener.open(0)
            found = {key for key, _ in opened.store.scan(Table.USERS)}
            opened.store.close()
            return found

        await write(gone=b"1", kept=b"1")
        assert await keys() == {b"gone", b"kept"}
        copy(directory, tmp_path / "backup")
        await write(gone=None)
        await write(kept=b"2")
        assert await keys() == {b"kept"}
        for hours in (1, 2):
            log.maintenance_blocking(now_ms + hours * hour_ms)
            await write(kept=b"3")
            await write(kept=b"4")
        copy(tmp_path / "backup", directory)
        assert await keys() == {b"kept"}
        await log.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_older_log_alone_is_refused(tmp_path: Path, served: Served, halves: Halves) -> None:
    """The log is put back from a copy under a newer state: refused, saying so, and ClickHouse stays as it was."""
    data = tmp_path / "data"
    settings = settings_in(data, served.address)

    async def scenario() -> None:
        await live(settings, halves.before)
        copy(data / "log", tmp_path / "backup")
        await live(settings, halves.after)
        marks = served.marks()
        copy(tmp_path / "backup", data / "log")
        with pytest.raises(StateMismatch, match="the log was replaced"):
            await live(settings)
        shutil.rmtree(data / "state")
        with pytest.raises(StateMismatch, match=r"ClickHouse has commit \d+ .* the state only \d+"):
            await live(settings)
        assert served.marks() == marks
        served.say("DROP DATABASE DB SYNC")
        assert await live(settings, halves.after) == halves.at_the_end

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_a_restored_data_directory_takes_an_older_backup_of_the_server(
    tmp_path: Path, served: Served, halves: Halves
) -> None:
    """ClickHouse first, then the data directory: restored together they say what was true at the later of the two."""
    data = tmp_path / "data"
    settings = settings_in(data, served.address)

    async def scenario() -> None:
        await live(settings, halves.before[: len(halves.before) // 2])
        served.say("BACKUP DATABASE DB TO File('DB-first')")
        await live(settings, halves.before)
        copy(data, tmp_path / "backup")
        await live(settings, halves.after)
        copy(tmp_path / "backup", data)
        with pytest.raises(StateMismatch, match=r"ClickHouse has commit \d+ .* the state only \d+"):
            await live(settings)
        served.say("DROP DATABASE DB SYNC", "RESTORE DATABASE DB FROM File('DB-first')")
        assert await live(settings) == halves.then
        assert await live(settings, halves.after) == halves.at_the_end

    asyncio.run(asyncio.wait_for(scenario(), 120))
