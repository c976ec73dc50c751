"""Writing and reading totals: one contract for the embedded engine and for HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest

from schemas.rows import FAMILIES, CounterKey, Family
from sinks.clickhouse.client import ClickHouseRefused
from sinks.clickhouse.reader import Filters, flush_progress, run_query
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from tests.integration.conftest import Database

DAY = (date(2026, 10, 5) - date(1970, 1, 1)).days


def _incoming(
    count: int, version: int, *, day: int = DAY, account: str = "A", number: str = "1"
) -> CounterRow:
    return CounterRow((Family.INCOMING, day, account, number, "DE"), (count,), version)


def _counts(database: Database) -> list[object]:
    return [row["count"] for row in run_query(database.client, "incoming", Filters())]


def _sample(family: Family) -> CounterRow:
    """Return a row of a family in which every column has a value of its own."""
    words = {
        "number": "1",
        "country": "DE",
        "category": "utility",
        "type": "service",
        "rule": "any",
        "region": "India",
    }
    schema = FAMILIES[family]
    dimensions = [
        words.get(name, "regular" if name == "pricing_type" else -1) for name in schema.dimensions[2:]
    ]
    key: CounterKey = (family, DAY, "A", *dimensions)
    return CounterRow(key, tuple(range(-1, len(schema.measures) - 1)), 3)


@pytest.mark.parametrize("family", Family)
def test_every_column_of_every_family_comes_back(database: Database, family: Family) -> None:
    """What is flushed is what stands in the columns of the same names, negative values included."""
    row = _sample(family)
    ClickHouseWriter(database.pool, generation=2).flush(7, [row], Progress(3, 4))
    columns, rows = database.client.query_named(f"SELECT * FROM {FAMILIES[family].table}")
    expected = (date(2026, 10, 5), *row.key[2:], *row.values, 7, 2, 3)
    assert columns == (
        *FAMILIES[family].dimensions,
        *FAMILIES[family].measures,
        "partition",
        "generation",
        "version",
    )
    assert rows == [expected]


def test_the_same_flush_twice_counts_once(database: Database) -> None:
    """A flush whose answer was lost is repeated without a trace."""
    writer = ClickHouseWriter(database.pool)
    for _ in range(2):
        writer.flush(0, [_incoming(5, 1)], Progress(1, 10))
    assert _counts(database) == [5]
    assert writer.read_progress(0) == Progress(1, 10)


def test_an_older_version_does_not_replace_a_newer_one(database: Database) -> None:
    """A delayed flush of an old value changes nothing, whatever comes first; neither does its progress."""
    writer = ClickHouseWriter(database.pool)
    writer.flush(0, [_incoming(9, 8), _incoming(7, 6)], Progress(8, 80))
    writer.flush(0, [_incoming(5, 4)], Progress(4, 40))
    assert _counts(database) == [9]
    assert writer.read_progress(0) == Progress(8, 80)


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 100])
def test_the_cut_into_chunks_does_not_matter(database: Database, chunk_rows: int) -> None:
    """A flush repeated in other pieces, with newer values in it, ends in the newest values."""
    writer = ClickHouseWriter(database.pool)
    old = [_incoming(index, 1, account=f"A{index:02}") for index in range(10)]
    new = [_incoming(index + 100, 2, account=f"A{index:02}") for index in range(0, 10, 2)]
    writer.flush(0, old, Progress(1, 1), chunk_rows=4)
    writer.flush(0, [*new, *old], Progress(2, 2), chunk_rows=chunk_rows)
    assert _counts(database) == [index + 100 * (index % 2 == 0) for index in range(10)]


def test_a_restatement_can_take_everything_back(database: Database) -> None:
    """A counter that went back to zero disappears from the answer."""
    writer = ClickHouseWriter(database.pool)
    writer.flush(0, [_incoming(5, 1), _incoming(6, 1, account="B")], Progress(1, 1))
    writer.flush(0, [_incoming(0, 2)], Progress(2, 2))
    assert [row["account"] for row in run_query(database.client, "incoming", Filters())] == ["B"]


def test_partitions_add_up(database: Database) -> None:
    """The same counter of two events partitions is one row with the sum, and each keeps its own progress."""
    writer = ClickHouseWriter(database.pool)
    writer.flush(0, [_incoming(5, 9)], Progress(9, 90))
    writer.flush(1, [_incoming(6, 2)], Progress(2, 20))
    assert _counts(database) == [11]
    assert flush_progress(database.client) == {0: Progress(9, 90), 1: Progress(2, 20)}


def test_only_live_generations_are_read(database: Database) -> None:
    """A rebuild beside the live rows shows only after the switch, and then alone."""
    ClickHouseWriter(database.pool).flush(0, [_incoming(5, 9)], Progress(9, 90))
    rebuilt = ClickHouseWriter(database.pool, generation=1)
    assert rebuilt.read_progress(0) is None
    rebuilt.flush(0, [_incoming(4, 1)], Progress(1, 10))
    assert _counts(database) == [5]
    assert flush_progress(database.client) == {0: Progress(9, 90)}
    columns = ("generation", "live", "version")
    database.client.insert("generations", columns, [[0, 1], [0, 1], [1, 1]])
    assert _counts(database) == [4]
    assert flush_progress(database.client) == {0: Progress(1, 10)}


def test_a_flush_may_span_more_months_than_one_insert(database: Database) -> None:
    """Rows of twenty years go in, although one insert may touch a hundred month partitions at most."""
    writer = ClickHouseWriter(database.pool)
    days = range(DAY - 20 * 365, DAY, 10)
    writer.flush(0, [_incoming(1, 1, day=day) for day in days], Progress(1, 1))
    assert len(_counts(database)) == len(days)


def test_progress_is_written_after_every_chunk(database: Database) -> None:
    """A flush that ends between two steps leaves no progress mark beyond the rows that are there."""
    writer = ClickHouseWriter(database.pool)
    rows = [_incoming(1, 1), _incoming(2, 1, account="B"), _sample(Family.MESSAGES)]
    steps: list[str] = []
    writer.flush(0, rows, Progress(1, 1), chunk_rows=1, on_step=steps.append)
    assert steps == ["after-chunk"] * 3 + ["before-progress", "after-progress"]
    for name in ("after-chunk", "before-progress"):

        def stop(step: str, name: str = name) -> None:
            if step == name:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            writer.flush(1, rows, Progress(1, 1), chunk_rows=1, on_step=stop)
        assert writer.read_progress(1) is None
    writer.flush(1, rows, Progress(1, 1))
    assert _counts(database) == [2, 4]


def test_a_flush_without_rows_moves_the_progress(database: Database) -> None:
    """Commits that changed no counter still count as flushed; has_rows keeps saying that nothing is there."""
    writer = ClickHouseWriter(database.pool)
    assert writer.read_progress(3) is None
    writer.flush(3, [], Progress(5, 50))
    assert writer.read_progress(3) == Progress(5, 50)
    assert not writer.has_rows()


@pytest.mark.parametrize("family", Family)
def test_has_rows_sees_every_family_and_generation(database: Database, family: Family) -> None:
    """A single row of any kind makes the database count as used."""
    writer = ClickHouseWriter(database.pool)
    assert not writer.has_rows()
    ClickHouseWriter(database.pool, generation=9).flush(0, [_sample(family)], Progress(1, 1))
    assert writer.has_rows()


def test_the_first_installation_id_stays(database: Database) -> None:
    """A database belongs to the installation that wrote its id first; one that comes second at that moment stops."""
    writer = ClickHouseWriter(database.pool)
    assert writer.read_installation() is None
    writer.write_installation("one")
    with pytest.raises(ClickHouseRefused, match="taken by installation one just now, ours is two"):
        writer.write_installation("two")
    assert writer.read_installation() == "one"


def test_rows_of_the_wrong_shape_are_a_fault(database: Database) -> None:
    """A key with a missing dimension stops the flush instead of shifting columns."""
    row = CounterRow((Family.INCOMING, DAY, "A", "1"), (5,), 1)
    with pytest.raises(ValueError, match=r"found 3 dimensions and 1 measures, expected 4 and 1"):
        ClickHouseWriter(database.pool).flush(0, [row], Progress(1, 1))


def test_partitions_flush_from_threads_of_their_own(database: Database) -> None:
    """Several threads share one writer, each with its own client, and lose nothing."""
    writer = ClickHouseWriter(database.pool)

    def flush_all(partition: int) -> None:
        for version in range(1, 6):
            rows = [_incoming(version, version, account=f"A{index}") for index in range(50)]
            writer.flush(partition, rows, Progress(version, version))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(flush_all, range(3)))
    assert _counts(database) == [15] * 50


def test_days_of_the_whole_range_come_back(database: Database) -> None:
    """The first and the last day that the column can hold are stored as they are."""
    first, last = 0, (date(2149, 6, 6) - date(1970, 1, 1)).days
    ClickHouseWriter(database.pool).flush(
        0, [_incoming(1, 1, day=day) for day in (first, last)], Progress(1, 1)
    )
    days = [row["day"] for row in run_query(database.client, "incoming", Filters())]
    assert days == ["1970-01-01", (date(1970, 1, 1) + timedelta(days=last)).isoformat()]
