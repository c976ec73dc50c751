"""Answers the four queries over the totals in ClickHouse, row by row as the command line prints them.

Owns the filters and the shape of the rows. The SQL lives in ``schemas/sql/queries``; what a person asks for reaches
it only as bound parameters.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.writer import Progress

QUERY_NAMES: Final = ("usage", "conversations", "incoming", "active-users")

_FIRST_DAY: Final = date(1970, 1, 1)
_LAST_DAY: Final = date(2149, 6, 6)
"""The range of ClickHouse's ``Date``."""
_TEMPLATE: Final = {1: True, 0: False, -1: None}


class Unanswerable(ValueError):
    """The totals that are kept do not answer this combination of query and filters."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What to include: local days, both included, and accounts, numbers, countries (empty = all)."""

    first_day: date | None = None
    last_day: date | None = None
    accounts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()


def columns_of(name: str) -> tuple[str, ...]:
    """Return the keys of a query's rows, in order; also when there is none."""
    selected = named_query(name).partition("\nFROM ")[0]
    return tuple(re.findall(r" AS (\w+),?$", selected, re.MULTILINE))


def run_query(client: ClickHouse, name: str, filters: Filters) -> list[dict[str, object]]:
    """Return the rows of one query, sorted by their keys, without those in which everything is zero.

    Args:
        client: of a migrated database.
        name: one of ``QUERY_NAMES``.
        filters: for ``active-users`` the days are widened to whole months, and at most one country is possible.

    Returns:
        One dictionary per row with the keys in the order of the listed columns: days "YYYY-MM-DD", months "YYYY-MM",
        ``template`` True, False or None, counts as integers.

    Raises:
        KeyError: there is no such query.
        Unanswerable: active users of several countries together.
        ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
    """
    if name not in QUERY_NAMES:
        raise KeyError(f"query `{name}`: expected one of {', '.join(QUERY_NAMES)}")
    parameters = _parameters(filters) if name != "active-users" else _month_parameters(filters)
    columns, rows = client.query_named(named_query(name), parameters)
    answer: list[dict[str, object]] = [dict(zip(columns, row, strict=True)) for row in rows]
    if "template" in columns:
        for row in answer:
            row["template"] = _TEMPLATE[_as_int(row["template"])]
    return answer


def flush_progress(client: ClickHouse) -> dict[int, Progress]:
    """Return how far each events partition is in ClickHouse, in the newest live generation that it has a mark of."""
    rows = client.query(
        "SELECT partition, argMax(sequence, (generation, sequence)), argMax(source_offset, (generation, sequence))"
        " FROM flush_progress WHERE generation IN (SELECT generation FROM generations FINAL WHERE live = 1)"
        " GROUP BY partition ORDER BY partition"
    )
    return {partition: Progress(sequence, source_offset) for partition, sequence, source_offset in rows}


@dataclass(frozen=True, slots=True)
class PartitionFreshness:
    """How far the input of one events partition is in ClickHouse."""

    partition: int
    source_offset: int
    """Next position of the log."""
    received_until: datetime | None
    """When the newest record counted was received; None = not noted."""
    flushed_at: datetime


def freshness(client: ClickHouse) -> list[PartitionFreshness]:
    """Return how fresh the rows of each events partition are, by its newest mark in the newest live generation."""
    rows = client.query(
        "SELECT partition, argMax(source_offset, (generation, sequence)),"
        " argMax(received_until, (generation, sequence)), argMax(flushed_at, (generation, sequence))"
        " FROM flush_progress WHERE generation IN (SELECT generation FROM generations FINAL WHERE live = 1)"
        " GROUP BY partition ORDER BY partition"
    )
    return [
        PartitionFreshness(
            partition, offset, _as_utc(received) if received.timestamp() else None, _as_utc(flushed)
        )
        for partition, offset, received, flushed in rows
    ]


def _as_utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _parameters(filters: Filters) -> dict[str, Any]:
    return {
        "first_day": within_dates(filters.first_day or _FIRST_DAY),
        "last_day": within_dates(filters.last_day or _LAST_DAY),
        "accounts": list(filters.accounts),
        "numbers": list(filters.numbers),
        "countries": list(filters.countries),
    }


def _month_parameters(filters: Filters) -> Mapping[str, Any]:
    """Widen the days to whole months. One person is active in several countries, so countries cannot be added up."""
    if len(set(filters.countries)) > 1:
        raise Unanswerable(
            "active users of several countries together are not kept: one person can be active in two of them; "
            "ask for one country at a time"
        )
    parameters = _parameters(filters)
    first, last = parameters["first_day"], parameters["last_day"]
    parameters["first_day"] = first.replace(day=1)
    parameters["last_day"] = within_dates(last.replace(day=calendar.monthrange(last.year, last.month)[1]))
    parameters["country"] = filters.countries[0] if filters.countries else ""
    del parameters["countries"]
    return parameters


def within_dates(day: date) -> date:
    """Return the day that ClickHouse can hold; beyond it there are no rows."""
    return min(max(day, _FIRST_DAY), _LAST_DAY)


def _as_int(value: object) -> int:
    assert isinstance(value, int)
    return value


@lru_cache
def named_query(name: str) -> str:
    """Return the text of a query in ``schemas/sql/queries``."""
    return resources.files("schemas").joinpath("sql", "queries", f"{name}.sql").read_text("utf-8")
