"""How long ClickHouse takes for each panel of Grafana's dashboards: 1,000 accounts, 400 days.

From the repository's root::

    python -m bench.grafana --accounts 1000 --days 400

Fills an embedded ClickHouse as ``bench.dashboard`` does, with active users, errors and plans, up to the end of this
month, which is several parts as while it is written to (``bench.grafana_rows``).

Asks for what the dashboards ask at first: the last 30 days, or this month. Each panel is asked for single accounts in
turn, and for all accounts together, with the settings of the user that Grafana reads with. Prints one JSON object and
the table of docs/guides/grafana.md: milliseconds from the statement to the last row, asked one after the other, and how
many of a processor that took, which other work on the machine changes little. Grafana asks for the panels of a page at
once, and draws them; neither is in here.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import orjson

from bench.grafana_rows import FIRST_ACCOUNT, fill_all
from metering.calendar import last_day_of
from sinks.clickhouse.client import ClickHouse, open_client
from sinks.clickhouse.migrations import migrate
from tests.support.grafana import ALL, Asked, Choice, alert_queries, expanded, panel_queries, variable_queries
from tests.support.grafana_reader import open_as_reader

BAR_MILLISECONDS = 100
_GROUPS = (
    "usage",
    "value at list rates",
    "active users and packages",
    "messages funnel",
    "pipeline health",
    "choices above a dashboard",
    "alert rules",
)
"""The rows of the guide's table."""

Figures = dict[str, float]


class Measured(NamedTuple):
    """Everything that was measured, and the lines of the guide's table."""

    numbers: dict[str, object]
    table: list[str]


def _choice(asked: Asked, account: str) -> Choice:
    today = datetime.now(UTC).date()
    if asked.dashboard == "mau-and-package":
        first = today.replace(day=1)
        return Choice(first, last_day_of(first), {"account": account})
    return Choice(today - timedelta(days=29), today, {"account": account})


def _is_by_account(asked: Asked) -> bool:
    """Tell whether it makes a difference to a statement which account is chosen."""
    return expanded(asked.sql, _choice(asked, "1")) != expanded(asked.sql, _choice(asked, ALL))


def _times(client: ClickHouse, asked: Asked, accounts: list[str]) -> Figures:
    times, processor = [], []
    for account in accounts:
        statement = expanded(asked.sql, _choice(asked, account))
        begun, used = time.perf_counter(), time.process_time()
        client.query(statement)
        times.append((time.perf_counter() - begun) * 1000)
        processor.append((time.process_time() - used) * 1000)
    cuts = statistics.quantiles(times, n=20, method="inclusive")
    medians = {"p50_ms": statistics.median(times), "processor_p50_ms": statistics.median(processor)}
    return {name: round(value, 1) for name, value in (medians | {"p95_ms": cuts[18]}).items()}


def measure(directory: Path, accounts: int, days: int, repeats: int) -> Measured:
    """Return the figures."""
    today = datetime.now(UTC).date()
    address = f"chdb://{directory}/clickhouse"
    with closing(open_client(address)) as writing, closing(open_as_reader(address)) as client:
        migrate(writing)
        found = fill_all(writing, accounts, days, last_day_of(today.replace(day=1)), today)
        load_before = os.getloadavg()[0]
        order = random.Random(7).sample(range(accounts), min(repeats, accounts))
        names = [str(FIRST_ACCOUNT + place) for place in order]
        asked_of_one = [asked for asked in _statements() if _is_by_account(asked)]
        one = {_name(asked): _times(client, asked, names) for asked in asked_of_one}
        every = {
            _name(asked): _times(client, asked, [ALL] * max(20, repeats // 2)) for asked in _statements()
        }
    numbers: dict[str, object] = {
        **found,
        "processors": os.cpu_count(),
        "load average before and after": [round(load_before, 1), round(os.getloadavg()[0], 1)],
        "one account": one,
        "all accounts": every,
        "above the bar": {"one account": _above_bar(one), "all accounts": _above_bar(every)},
    }
    return Measured(numbers, table_of(one, every))


def _above_bar(figures: Mapping[str, Figures]) -> list[str]:
    return [name for name, each in figures.items() if each["p95_ms"] > BAR_MILLISECONDS]


def table_of(one: Mapping[str, Figures], every: Mapping[str, Figures]) -> list[str]:
    """Return the lines of the guide's table: of each group of statements the lowest and the highest figure."""
    groups: dict[str, list[str]] = {group: [] for group in _GROUPS}
    for asked in _statements():
        groups[_group_of(asked)].append(_name(asked))
    lines = [
        "| panels | one account: p50 | p95 | processor | all accounts: p50 | p95 | processor |",
        "|---|---|---|---|---|---|---|",
    ]
    for group, names in groups.items():
        cells = [
            _span([figures[name][column] for name in names if name in figures])
            for figures in (one, every)
            for column in ("p50_ms", "p95_ms", "processor_p50_ms")
        ]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    return lines


def _group_of(asked: Asked) -> str:
    if asked in tuple(variable_queries()):
        return "choices above a dashboard"
    if asked.dashboard == "usage-and-cost":
        return "value at list rates" if asked.title.startswith("Value ") else "usage"
    return {
        "mau-and-package": "active users and packages",
        "messages-funnel": "messages funnel",
        "pipeline-health": "pipeline health",
        "alerts": "alert rules",
    }[asked.dashboard]


def _span(values: list[float]) -> str:
    if not values:
        return ""
    low, high = round(min(values)), round(max(values))
    return str(low) if low == high else f"{low} to {high}"


def _statements() -> Iterator[Asked]:
    yield from panel_queries()
    yield from variable_queries()
    yield from alert_queries()


def _name(asked: Asked) -> str:
    return f"{asked.dashboard}: {asked.title}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=100, help="questions for each statement")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-grafana-"))
    try:
        figures = measure(directory, options.accounts, options.days, options.repeats)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(orjson.dumps(figures.numbers, option=orjson.OPT_INDENT_2).decode())
    print(*figures.table, sep="\n")


if __name__ == "__main__":
    main()
