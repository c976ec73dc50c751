"""Every statement of Grafana's dashboards and alert rules runs on seeded ClickHouse and shows the right numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metering.calendar import last_day_of
from metering.charges import Counts, DeliveryCount
from metering.pricing import charges_of
from schemas.rows import FAMILIES, Family
from sinks.clickhouse.client import ClickHouse, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.price_tables import load_prices
from sinks.clickhouse.writer import column_names
from sinks.price_data import Prices, digest_of
from tests.support.grafana import (
    Asked,
    Choice,
    NotExpanded,
    alert_queries,
    expanded,
    panel_queries,
    variable_queries,
)
from tests.support.grafana_reader import FORBIDDEN, as_reader, open_as_reader, reader_settings
from tests.support.grafana_rows import EUR, NUMBERS, QUOTED, TODAY, USD, Seed, seed
from tests.support.grafana_truth import COLUMNS, EXPECTED
from tests.support.grafana_truth_sums import chosen_rows, is_chosen
from tests.support.grafana_users_truth import packages, users
from tests.support.prices import plan, prices

PANELS = list(panel_queries())
VARIABLES = list(variable_queries())
CHOICES = {
    "all": Choice(date(2026, 9, 20), date(2026, 10, 31)),
    # One plan covers all of it.
    "september": Choice(date(2026, 9, 1), date(2026, 9, 30)),
    "one": Choice(
        date(2026, 9, 28), date(2026, 10, 4), {"account": EUR, "number": ("22",), "country": ("DE",)}
    ),
    "several": Choice(
        date(2026, 9, 1),
        date(2026, 10, 31),
        {"account": USD, "number": ("11", "12"), "country": ("ES", "none", "HK")},
    ),
    "quotes": Choice(date(2026, 9, 1), date(2026, 10, 3), {"account": QUOTED, "number": ("5'5", "56")}),
    "conversations": Choice(date(2025, 6, 1), date(2025, 7, 31)),
    "nothing": Choice(date(2020, 1, 1), date(2020, 1, 2)),
    "nobody": Choice(date(2026, 9, 1), date(2026, 10, 31), {"account": "x') OR ('1' = '1"}),
}


def _name(asked: Asked) -> str:
    return f"{asked.dashboard}: {asked.title}"


@pytest.fixture(scope="module")
def engine(embedded_directory: Path) -> Iterator[tuple[ClickHouse, Seed]]:
    """Return a seeded database, and a client that reads it as Grafana does."""
    address = f"chdb://{embedded_directory}"
    with closing(open_client(address, database="grafana")) as writing:
        migrate(writing)
        seeded = seed(writing)
        with closing(open_as_reader(address, "grafana")) as reading:
            yield reading, seeded
        writing.command("DROP DATABASE grafana SYNC")


@pytest.fixture
def own_engine(embedded_directory: Path) -> Iterator[ClickHouse]:
    """Return an empty database for one test."""
    client = open_client(f"chdb://{embedded_directory}", database="grafana_empty")
    with closing(client):
        migrate(client)
        yield client
        client.command("DROP DATABASE grafana_empty SYNC")


def test_numbers_are_read_under_the_readers_settings(engine: tuple[ClickHouse, Seed]) -> None:
    """What Grafana reads with is what the tests here read with; one of the settings decides what ``FINAL`` looks at."""
    wanted = reader_settings()
    assert {"readonly", "max_memory_usage", "do_not_merge_across_partitions_select_final"} <= wanted.keys()
    for name, value in wanted.items():
        assert engine[0].query(f"SELECT toFloat64(getSetting('{name}'))") == [(float(value),)]


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("asked", PANELS, ids=_name)
def test_a_panel_shows_what_was_counted(engine: tuple[ClickHouse, Seed], asked: Asked, name: str) -> None:
    """The SQL gives exactly the rows that plain Python adds up, with time first and ascending where it is a series."""
    client, seeded = engine
    choice = CHOICES[name]
    columns, rows = client.query_named(expanded(asked.sql, choice))
    expected = EXPECTED[asked.dashboard][asked.title](seeded, choice)
    assert _comparable(rows) == _comparable(expected)
    # The engine names no columns of an answer without rows.
    assert not rows or " ".join(columns) == COLUMNS[asked.dashboard][asked.title]
    if asked.is_time_series and rows:
        assert columns[0] == "time"
        assert all(isinstance(row[0], date | datetime) for row in rows)
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)


def test_no_panel_is_without_its_numbers(engine: tuple[ClickHouse, Seed]) -> None:
    """Every panel over ClickHouse has its expected rows, and with everything chosen it shows something."""
    client, _seeded = engine
    assert {(asked.dashboard, asked.title) for asked in PANELS} == {
        (dashboard, title) for dashboard, titles in EXPECTED.items() for title in titles
    }
    for asked in PANELS:
        assert client.query(expanded(asked.sql, CHOICES["all"])), asked.title


@pytest.mark.parametrize("forgotten", ["AS v FINAL", "WHERE live = 1"])
def test_older_versions_and_other_generations_would_show(
    engine: tuple[ClickHouse, Seed], forgotten: str
) -> None:
    """The seeded rows mislead whoever forgets either: no panel that counts stays right."""
    client, seeded = engine
    for asked in PANELS:
        if asked.title in {"What ClickHouse has"}:
            continue
        sql = expanded(asked.sql, CHOICES["all"])
        without = sql.replace(forgotten, forgotten.replace("FINAL", "").replace("= 1", ">= 0"))
        expected = EXPECTED[asked.dashboard][asked.title](seeded, CHOICES["all"])
        assert without != sql
        assert _comparable(client.query(without)) != _comparable(expected), asked.title


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("asked", VARIABLES, ids=_name)
def test_a_variable_offers_what_there_is(engine: tuple[ClickHouse, Seed], asked: Asked, name: str) -> None:
    """Accounts of the chosen days; numbers and countries of the chosen account. No choice is an empty text."""
    client, seeded = engine
    choice = CHOICES[name]
    of_account = Choice(choice.first, choice.last, {"account": choice.value("account")})
    if asked.title == "account":
        of_account = Choice(choice.first, choice.last)
    if asked.dashboard == "mau-and-package":
        wanted = _mau_values(seeded, of_account, asked.title)
    else:
        rows = [
            row
            for family in (Family.MESSAGES, Family.INCOMING)
            for row in chosen_rows(seeded, family, of_account)
        ]
        wanted = {row[asked.title] or "none" for row in rows}
    found = [value for (value,) in client.query(expanded(asked.sql, choice))]
    assert found == sorted(wanted)
    assert "" not in found


def _mau_values(seeded: Seed, choice: Choice, column: str) -> set[str]:
    """Return what the dashboard of active users offers: of the months that the picker touches."""
    last = last_day_of(choice.last.replace(day=1))
    rows = users(seeded, choice.first.replace(day=1), last)
    return {
        str(row[column])
        for row in rows
        if is_chosen(choice, "account", row["account"])
        and bool(row["number"]) == (column == "number")
        and bool(row["country"]) == (column == "country")
    }


def test_values_are_those_of_the_product(engine: tuple[ClickHouse, Seed]) -> None:
    """Where no allotment plays a part, the panel says what ``metering.pricing`` charges, micro-unit by micro-unit."""
    client, seeded = engine
    choice = CHOICES["all"]
    charged: Counter[tuple[date, str]] = Counter()
    for account in NUMBERS:
        rows = [row for row in chosen_rows(seeded, Family.DELIVERIES, choice) if row["account"] == account]
        counts = tuple(DeliveryCount(**{name: row[name] for name in DeliveryCount._fields}) for row in rows)
        for charge in charges_of(Counts(account, counts), seeded.prices):
            if charge.category != "service":
                charged[charge.day, f"{charge.category} {charge.currency}"] += charge.amount or 0
    (asked,) = (asked for asked in PANELS if asked.title == "Value at list rates by day")
    found = {
        (day, kind): round(value * 1_000_000)
        for day, kind, value in client.query(expanded(asked.sql, choice))
        if not kind.startswith("service ")
    }
    assert found == {key: amount for key, amount in charged.items() if amount}
    assert len({kind for _day, kind in found}) > 4


def test_an_alert_is_above_0_for_whoever_is_beyond(engine: tuple[ClickHouse, Seed]) -> None:
    """Of everything with a package, exactly those at or beyond the threshold in this month have a value above 0."""
    client, seeded = engine
    asked = {asked.title: asked.sql for asked in alert_queries()}
    now = [row for row in packages(seeded, TODAY.replace(day=1), with_idle=True) if row["package"]]
    used = {(row["account"], row["number"] or "whole account"): row["used_percent"] for row in now}
    for percent in (80, 100):
        columns, rows = client.query_named(expanded(asked[f"convometer-mau-{percent}"], CHOICES["nothing"]))
        assert columns == ("account", "scope", "used_percent_beyond")
        wanted = {place: share if share >= percent else 0 for place, share in used.items()}
        assert {row[:2]: row[2] for row in rows} == pytest.approx(wanted)
        assert any(wanted.values())
        assert not all(wanted.values())


def test_an_empty_database_is_no_fault(own_engine: ClickHouse) -> None:
    """Before the first webhook, and before any price data, every statement runs."""
    for asked in (*PANELS, *VARIABLES, *alert_queries()):
        own_engine.query(expanded(asked.sql, CHOICES["all"]))


def test_a_threshold_counts_once_it_is_reached(own_engine: ClickHouse) -> None:
    """8 of 10 are 80 %; 10 of 10 are 100 %; one less is neither."""
    asked = {asked.title: asked.sql for asked in alert_queries()}
    for users_now, beyond in (
        (7, (False, False)),
        (8, (True, False)),
        (9, (True, False)),
        (10, (True, True)),
    ):
        row = (TODAY, "1", "", "", "any", users_now, 0, 0, users_now)
        own_engine.insert(
            "active_users", column_names(FAMILIES[Family.ACTIVE_USERS]), [[value] for value in row]
        )
        data = prices(plan("1", effective=date(2026, 1, 1), mau_package=10))
        load_prices(own_engine, Prices(data, digest_of(data)))
        found = [own_engine.query(asked[f"convometer-mau-{percent}"])[0][2] > 0 for percent in (80, 100)]
        assert tuple(found) == beyond


def test_the_heartbeat_has_no_value_without_marks(own_engine: ClickHouse) -> None:
    """Nothing at all is no data, which is an alert; then the value is the hours since the newest mark."""
    (heartbeat,) = (asked.sql for asked in alert_queries() if asked.title == "convometer-heartbeat")
    assert own_engine.query(heartbeat) == []
    columns = ("partition", "generation", "sequence", "source_offset", "flushed_at")
    for hours in (30, 2):
        moment = datetime.now(UTC) - timedelta(hours=hours)
        own_engine.insert("flush_progress", columns, [[hours], [0], [1], [1], [moment]])
        assert own_engine.query(heartbeat)[0][0] == pytest.approx(hours, abs=0.1)


def test_no_statement_writes() -> None:
    """Whatever is asked begins with SELECT or WITH, and holds no second statement."""
    for asked in (*PANELS, *VARIABLES, *alert_queries()):
        assert re.match(r"(SELECT|WITH)\s", asked.sql), asked.title
        assert ";" not in asked.sql
        assert not re.search(r"\b(INSERT|ALTER|DROP|CREATE|TRUNCATE|SET|SETTINGS|INTO|OPTIMIZE)\b", asked.sql)


def test_the_reader_of_compose_sees_everything_and_changes_nothing(tmp_path: Path) -> None:
    """With the grants and settings of ``deploy/clickhouse`` all statements run, and everything else is refused."""
    statements = [expanded(asked.sql, CHOICES["several"]) for asked in (*PANELS, *VARIABLES)]
    statements += [asked.sql for asked in alert_queries()]
    found = as_reader(tmp_path, statements)
    assert [fault for fault in found.statements if fault] == []
    assert set(found.refused) == set(FORBIDDEN)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT $__timeGroup(day, 5m)",
        "SELECT $account",
        "SELECT ${account}",
        "SELECT ${account:csv}",
        "SELECT $__conditionalAll(a IN (1), 2)",
        "SELECT $__conditionalAll(a IN (1), $account",
    ],
)
def test_what_the_expander_does_not_know_is_an_error(sql: str) -> None:
    """A macro or a form of a variable that is not tried here does not slip through."""
    with pytest.raises(NotExpanded):
        expanded(sql, CHOICES["one"])


def test_macros_are_expanded_in_the_order_of_the_plugin() -> None:
    """Conditions first, so that a variable in one that is dropped is never looked at; quotes are escaped."""
    sql = "$__conditionalAll(a IN (${account:singlequote}), $account) AND $__dateFilter(v.day)"
    days = " AND v.day >= toDate('2020-01-01') AND v.day <= toDate('2020-01-02')"
    assert expanded(sql, CHOICES["nothing"]) == "1=1" + days
    quoted = Choice(date(2020, 1, 1), date(2020, 1, 2), {"account": ("a", "b'c")})
    assert expanded(sql, quoted) == "a IN ('a','b\\'c')" + days


def _comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows in one order, with fractions to nine digits."""
    rounded = [
        tuple(float(f"{value:.9g}") if isinstance(value, float) else value for value in row) for row in rows
    ]
    return sorted(rounded, key=repr)
