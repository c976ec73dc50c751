"""Migrations against a real engine, embedded and over HTTP."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from schemas.rows import FAMILIES, Family, FamilySchema
from sinks.clickhouse.client import ClickHouseRefused, open_client
from sinks.clickhouse.migrations import Migration, SchemaMismatch, load_migrations, migrate, pending
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress, column_names
from tests.integration.conftest import Database
from tests.support.grafana_rows import seed_totals

_NAMES = [migration.name for migration in load_migrations()]


def test_migrating_an_empty_address_creates_everything(address: str, empty_name: str) -> None:
    """From no database at all, everything is applied in order, once; a dry run before it only tells."""
    client = open_client(address, database=empty_name)
    assert migrate(client, dry_run=True) == _NAMES
    assert not client.query_anywhere(
        "SELECT 1 FROM system.tables WHERE database = {database:String}", {"database": empty_name}
    )
    assert migrate(client) == _NAMES
    assert migrate(client) == []
    assert pending(client) == []
    client.close()


@pytest.mark.parametrize("schema", FAMILIES.values(), ids=lambda schema: schema.table)
def test_live_columns_are_those_of_the_contract(shared_database: Database, schema: FamilySchema) -> None:
    """Table and view of every family have exactly the columns of ``schemas.rows``, in its order."""
    tables = {schema.table: column_names(schema), f"v_{schema.table}": schema.dimensions + schema.measures}
    for table, expected in tables.items():
        rows = shared_database.client.query(
            "SELECT name FROM system.columns WHERE database = {database:String} AND table = {table:String}"
            " ORDER BY position",
            {"database": shared_database.name, "table": table},
        )
        assert tuple(name for (name,) in rows) == expected


@pytest.mark.parametrize("schema", FAMILIES.values(), ids=lambda schema: schema.table)
def test_every_dimension_is_part_of_the_key(shared_database: Database, schema: FamilySchema) -> None:
    """Rows that differ in any dimension, partition or generation never replace each other."""
    rows = shared_database.client.query(
        "SELECT sorting_key FROM system.tables WHERE database = {database:String} AND name = {table:String}",
        {"database": shared_database.name, "table": schema.table},
    )
    assert set(rows[0][0].split(", ")) == {*schema.dimensions, "partition", "generation"}


_PARTITIONED_BY_MORE_THAN_THE_KEY = (
    "SELECT table || '.' || name FROM system.columns WHERE database = currentDatabase()"
    " AND is_in_partition_key AND NOT is_in_sorting_key ORDER BY 1"
)


def test_the_versions_of_a_row_are_in_one_partition(own_database: Database) -> None:
    """Readers look for the newest version of a row in its partition alone: only its key may say which that is."""
    client = own_database.client
    assert client.query(_PARTITIONED_BY_MORE_THAN_THE_KEY) == []
    client.command(
        "CREATE TABLE strays (day Date, flushed Date, version UInt64) ENGINE = ReplacingMergeTree(version)"
        " PARTITION BY toYYYYMM(flushed) ORDER BY day"
    )
    assert client.query(_PARTITIONED_BY_MORE_THAN_THE_KEY) == [("strays.flushed",)]
    client.insert("strays", ("day", "flushed", "version"), [[1, 1], [1, 60], [1, 2]])
    count = "SELECT count() FROM strays FINAL SETTINGS do_not_merge_across_partitions_select_final = "
    assert [client.query(f"{count}{value}") for value in (0, 1)] == [[(1,)], [(2,)]]


def test_a_changed_migration_is_refused(database: Database) -> None:
    """A file that was edited after it was applied stops the migration before anything is done."""
    known = load_migrations()
    changed = [replace(known[0], sql=known[0].sql + "\n"), *known[1:], _later("SELECT 1")]
    with pytest.raises(SchemaMismatch, match=r"0001_messages was changed"):
        migrate(database.client, migrations=changed)
    assert pending(database.client) == []


def test_a_newer_database_is_refused(own_database: Database) -> None:
    """A database that a newer release migrated is not touched by an older one."""
    newer = [*load_migrations(), _later("SELECT 1")]
    assert migrate(own_database.client, migrations=newer) == ["9999_later"]
    with pytest.raises(SchemaMismatch, match=r"9999_later, which this release does not know"):
        migrate(own_database.client)


def test_a_failed_migration_is_tried_again(own_database: Database) -> None:
    """A migration whose second statement fails is not recorded, and its mended file is applied as a whole."""
    first = "CREATE TABLE IF NOT EXISTS later (x Int8) ENGINE = MergeTree ORDER BY x;"
    with pytest.raises(ClickHouseRefused):
        migrate(own_database.client, migrations=[*load_migrations(), _later(first + "CREATE NONSENSE")])
    mended = [*load_migrations(), _later(first + "INSERT INTO later VALUES (1)")]
    assert migrate(own_database.client, migrations=mended) == ["9999_later"]
    assert own_database.client.query("SELECT x FROM later") == [(1,)]


def test_filters_reach_the_key_through_a_view(database: Database) -> None:
    """A reader's account and days prune month partitions and the primary key, not just rows already read."""
    row = CounterRow((Family.INCOMING, 20_700, "A", "1", "DE"), (1,), 1)
    ClickHouseWriter(database.pool).flush(0, [row], Progress(1, 1))
    plan = database.client.query(
        "EXPLAIN indexes = 1 SELECT * FROM v_incoming WHERE account = 'A' AND day = toDate(20700)"
    )
    text = "\n".join(line for (line,) in plan)
    assert "toYYYYMM(day) in [202609, 202609]" in text
    assert "(account in ['A', 'A'])" in text


def test_a_change_of_columns_changes_no_value(address: str, empty_name: str) -> None:
    """A database with rows that an earlier release wrote says the same after it is brought up to date."""
    earlier = [migration for migration in load_migrations() if migration.number < 36]
    questions = [f"SELECT * FROM v_{family.table} ORDER BY ALL" for family in FAMILIES.values()]
    with closing(open_client(address, database=empty_name)) as client:
        migrate(client, migrations=earlier)
        families = seed_totals(client).totals.keys()
        before = [client.query(question) for question in questions]
        assert sum(map(bool, before)) == len(families) == 6
        assert migrate(client)[0] == "0036_few_accounts_and_numbers"
        assert [client.query(question) for question in questions] == before
        for family in families:
            types = "SELECT toTypeName(account), toTypeName(number) FROM {} LIMIT 1"
            text = "LowCardinality(String)"
            assert client.query(types.format(FAMILIES[family].table)) == [(text, text)]
        client.command(f"DROP DATABASE {empty_name} SYNC")


def _later(sql: str) -> Migration:
    return Migration(9999, "9999_later", sql)
