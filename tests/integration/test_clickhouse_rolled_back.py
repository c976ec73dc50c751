"""ClickHouse emptied, rolled back or written by somebody else, while the worker runs and before it starts."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from schemas.rows import FAMILIES
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.marks import MarkRow
from sinks.clickhouse.migrations import load_migrations, migrate
from sinks.clickhouse.writer import ClickHouseWriter, Mark, Progress
from streams.lineage import ClickHouseRolledBack
from streams.processor import StateMismatch
from tests.integration.conftest import Database
from tests.support.flushing import DAY, START, Metering, incoming, some_events, totals_in

_COUNTERS = [schema.table for schema in FAMILIES.values()]


class Copies:
    """Copies of tables inside the database, put back like a restored backup."""

    def __init__(self, database: Database, *tables: str) -> None:
        self._client = database.client
        self._tables = tables or (*_COUNTERS, "flush_progress", "installation")
        for table in self._tables:
            self._client.command(f"CREATE OR REPLACE TABLE backup_{table} AS {table}")
            self._client.command(f"INSERT INTO backup_{table} SELECT * FROM {table}")

    def restore(self) -> None:
        """Replace what is there by the copies."""
        for table in self._tables:
            self._client.command(f"TRUNCATE TABLE {table} SYNC")
            self._client.command(f"INSERT INTO {table} SELECT * FROM backup_{table}")


def empty(database: Database) -> None:
    """Empty every table that a flush or a start writes to."""
    for table in (*_COUNTERS, "flush_progress", "installation", "accepted_losses"):
        database.client.command(f"TRUNCATE TABLE {table} SYNC")


def run(scenario: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a scenario, a minute at most."""
    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("what", ["restored", "emptied"])
def test_a_rollback_while_running_ends_the_process_and_the_next_start_heals(
    own_database: Database, tmp_path: Path, what: str
) -> None:
    """A backup is restored under a running worker, or everything deleted: nothing is covered up, nothing lost."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        metering = Metering(tmp_path, writer, partitions=2)
        await metering.open()
        random = Random(1)
        metering.meter(some_events(random, 30, "a"))
        await metering.flushed()
        copies = Copies(own_database)
        metering.meter(some_events(random, 30, "b"))
        await metering.flushed()
        if what == "restored":
            copies.restore()
        else:
            empty(own_database)
        before = [writer.read_mark(partition) for partition in range(2)]
        metering.meter(some_events(random, 30, "c"))
        with pytest.raises(ClickHouseRolledBack, match="start again"):
            await metering.flushed()
        assert [writer.read_mark(partition) for partition in range(2)] == before
        await metering.close()
        await metering.open()
        await metering.flushed()
        assert totals_in(own_database.client) == metering.totals()
        await metering.close()

    run(scenario)


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("flushes_before", [1, 2, 3, 6])
@pytest.mark.parametrize("step", ["after-chunk", "before-progress"])
def test_a_rollback_in_the_middle_of_a_flush_is_not_covered_by_its_mark(
    own_database: Database, tmp_path: Path, step: str, flushes_before: int, goes_on: bool
) -> None:
    """What was restored between the look at the mark and the new mark is found, by the next flush or the next start."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        metering = Metering(tmp_path, writer)
        await metering.open()
        for day in range(flushes_before):
            metering.meter([incoming(f"before {day}", START + day * DAY)])
            await metering.flushed()
        own_database.client.command("OPTIMIZE TABLE flush_progress FINAL")
        copies = Copies(own_database)
        metering.meter([incoming("i2", START + 10 * DAY)])
        await metering.flushed()
        restored: list[str] = []

        def restore_once(name: str) -> None:
            if name == step and not restored:
                restored.append(name)
                copies.restore()

        metering.flusher._on_step = restore_once
        metering.meter([incoming("i3", START + 11 * DAY)])
        await metering.flushed()
        own_database.client.command("OPTIMIZE TABLE flush_progress FINAL")
        mark = writer.read_mark(0)
        assert (mark.progress.sequence, mark.newest) == (flushes_before, flushes_before + 2)
        if goes_on:
            metering.meter([incoming("i4", START + 12 * DAY)])
            with pytest.raises(ClickHouseRolledBack):
                await metering.flushed()
        await metering.close()
        await metering.open()
        await metering.flushed()
        assert totals_in(own_database.client) == metering.totals()
        sequence = metering.opened[0].processor.record.sequence
        assert writer.read_mark(0).progress.sequence == sequence
        await metering.close()

    run(scenario)


def test_two_copies_of_a_data_directory_are_told_apart(own_database: Database, tmp_path: Path) -> None:
    """Copies count their commits alike. The second to write finds the first's mark and ends, also when started anew."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        one = Metering(tmp_path / "one", writer)
        await one.open()
        one.meter([incoming("both")])
        await one.flushed()
        await one.close()
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        two = Metering(tmp_path / "two", writer)
        two.log = one.log
        await one.open()
        await two.open()
        one.meter([incoming("only one")])
        await one.flushed()
        written = totals_in(own_database.client)
        for number in range(3):  # behind, level with and ahead of the other's commits
            two.log.positions["events", 0] = two.opened[0].processor.record.source_offset
            two.meter([incoming(f"only two {number}")])
        with pytest.raises(StateMismatch, match="a copy of the data directory"):
            await two.flushed()
        await two.close()
        two.log.positions["events", 0] = 4
        with pytest.raises(StateMismatch, match="a copy of the data directory"):
            await two.open()
        assert totals_in(own_database.client) == written
        assert writer.read_mark(0).progress == Progress(2, 2)
        await one.close()

    run(scenario)


def test_another_installation_is_never_written_over(own_database: Database, tmp_path: Path) -> None:
    """The database is replaced by that of another installation under a running worker: it ends and writes nothing."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        metering = Metering(tmp_path, writer)
        await metering.open()
        metering.meter([incoming("i1")])
        await metering.flushed()
        empty(own_database)
        writer.write_installation("another")
        metering.meter([incoming("i2")])
        with pytest.raises(StateMismatch, match="the numbers of installation another"):
            await metering.flushed()
        assert not writer.has_rows()
        await metering.close()

    run(scenario)


def test_a_late_flush_of_the_worker_before_us_is_harmless(own_database: Database, tmp_path: Path) -> None:
    """The flush that a replaced worker had in flight lands after we took the partition up, before or behind ours."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        metering = Metering(tmp_path, writer)
        await metering.open()
        metering.meter([incoming("i1")])
        await metering.flushed()
        metering.meter([incoming("i2")])
        old = metering.opened[0].dirty
        rows, progress = old.take()
        epoch = old.lineage.epoch_of(progress.sequence)
        old.give_back(rows, 1)
        await metering.close()
        await metering.open()
        writer.flush(0, rows, progress, epoch=epoch)
        metering.meter([incoming("i3")])
        await metering.flushed()
        writer.flush(0, rows, progress, epoch=epoch)
        assert writer.read_mark(0).progress == Progress(3, 3)
        metering.meter([incoming("i4")])
        await metering.flushed()
        assert totals_in(own_database.client) == metering.totals()
        await metering.close()

    run(scenario)


async def _with_dropped_days(metering: Metering, backup: Callable[[], None]) -> None:
    """Meter for eighty days, so that the first days leave the state; back up after the first day's first event."""
    await metering.open()
    metering.meter([incoming("first")])
    await metering.flushed()
    backup()
    metering.meter([incoming("first, later", START + 60)])
    for day in range(1, 80):
        metering.meter([incoming(f"x{day}", START + day * DAY)])
        await metering.flushed()
        metering.sweep()
    await metering.flushed()
    assert metering.opened[0].processor.record.dropped_sequence
    await metering.close()


@pytest.mark.parametrize("what", ["restored", "emptied"])
def test_what_cannot_heal_is_said_at_the_start_and_can_be_accepted(
    own_database: Database, tmp_path: Path, what: str
) -> None:
    """Days that left the state are missing in ClickHouse: the start names them, until an operator accepts in SQL."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        metering = Metering(tmp_path, writer)
        copies: list[Copies] = []
        await _with_dropped_days(metering, lambda: copies.append(Copies(own_database)))
        if what == "restored":
            copies[0].restore()
        else:
            empty(own_database)
        with pytest.raises(StateMismatch, match=r"days up to 2026-1\d-\d\d .* INSERT INTO") as refused:
            await metering.open()
        own_database.client.command("INSERT INTO " + str(refused.value).split("INSERT INTO ")[1])
        await metering.open()
        await metering.flushed()
        newest = metering.opened[0].processor.record.dropped_day
        expected = {key: values for key, values in metering.totals().items() if _day(key) > newest}
        found = totals_in(own_database.client)
        assert {key: values for key, values in found.items() if _day(key) > newest} == expected
        await metering.close()
        await metering.open()
        await metering.close()
        # What was accepted is this loss and no other.
        own_database.client.command("TRUNCATE TABLE flush_progress SYNC")
        if what == "restored":
            with pytest.raises(StateMismatch, match="up to commit 0 only"):
                await metering.open()

    run(scenario)


def _day(key: tuple[int | str, ...]) -> int:
    assert isinstance(key[1], int)
    return key[1]


def test_the_documented_backup_heals_completely(own_database: Database, tmp_path: Path) -> None:
    """Marks are copied first, then the counters, while the worker goes on: what was restored reaches the truth."""
    writer = ClickHouseWriter(own_database.pool)

    async def scenario() -> None:
        metering = Metering(tmp_path, writer, partitions=2)
        await metering.open()
        random = Random(2)
        metering.meter(some_events(random, 30, "a"))
        await metering.flushed()
        marks = Copies(own_database, "flush_progress", "installation", "accepted_losses")
        counters: list[Copies] = []
        for number, table in enumerate(_COUNTERS):
            metering.meter(some_events(random, 10, f"b{number}"))
            await metering.flushed()
            counters.append(Copies(own_database, table))
        metering.meter(some_events(random, 30, "c"))
        await metering.flushed()
        await metering.close()
        for copies in (*counters, marks):
            copies.restore()
        assert totals_in(own_database.client) != metering.totals()
        await metering.open()
        await metering.flushed()
        assert totals_in(own_database.client) == metering.totals()
        await metering.close()

    run(scenario)


def test_a_mark_is_read_with_its_installation(database: Database) -> None:
    """One query says whose numbers the database holds, how far they go, and in which epoch they were committed."""
    writer = ClickHouseWriter(database.pool)
    assert writer.read_mark(0) == Mark("", Progress(0, 0), 0)
    writer.write_installation("one")
    seen: list[Mark] = []
    writer.flush(0, [], Progress(4, 40), epoch=7, check=seen.append)
    writer.flush(0, [], Progress(5, 50), epoch=1 << 62, check=seen.append)
    writer.flush(0, [], Progress(5, 50), epoch=1 << 62, check=seen.append)
    rows = (MarkRow(0, 4, 40, 7, 0), MarkRow(1, 5, 50, 1 << 62, 4))
    mark = writer.read_mark(0)
    assert mark._replace(rows=()) == Mark("one", Progress(5, 50), 1 << 62)
    assert (sorted(mark.rows), mark.newest) == (list(rows), 5)
    assert [(found.progress.sequence, found.epoch) for found in seen] == [(0, 0), (4, 7), (5, 1 << 62)]
    assert writer.read_mark(1) == Mark("one", Progress(0, 0), 0)


def test_marks_of_the_release_before_are_gone_on_from(address: str, empty_name: str) -> None:
    """A database that has marks without a chain is migrated, repeatedly if need be, and its marks count."""
    with closing(ClientPool(lambda: open_client(address, database=empty_name))) as pool:
        migrations = load_migrations()
        chain = next(
            migration for migration in migrations if migration.name == "0017_chain_of_progress_marks"
        )
        migrate(pool.get(), migrations=[m for m in migrations if m.number < chain.number])
        columns = ("partition", "generation", "sequence", "source_offset", "flushed_at")
        for sequence in (7, 9):
            values: list[list[object]] = [[0], [0], [sequence], [sequence * 10], [datetime.now(UTC)]]
            pool.get().insert("flush_progress", columns, values)
        pool.get().command(chain.sql.strip().rstrip(";"))
        migrate(pool.get())
        writer = ClickHouseWriter(pool)
        assert writer.read_mark(0).progress == Progress(9, 90)
        for sequence in range(10, 20):
            writer.flush(0, [], Progress(sequence, sequence), check=lambda _: None)
            pool.get().command("OPTIMIZE TABLE flush_progress FINAL")
            assert writer.read_mark(0).progress == Progress(sequence, sequence)
            assert writer.read_progress(0) == Progress(sequence, sequence)
        assert pool.get().query("SELECT count() FROM flush_progress") == [(4,)]
        pool.get().command(f"DROP DATABASE {empty_name} SYNC")
