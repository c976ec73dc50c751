"""How long ClickHouse takes for each panel of Grafana's dashboards: 1,000 accounts, 400 days.

From the repository's root::

    python -m bench.grafana --accounts 1000 --days 400

Fills an embedded ClickHouse as ``bench.dashboard`` does, with active users, errors and plans, and asks for what the
dashboards ask at first: the last 30 days, or this month. Each panel is asked for single accounts in turn, and for all
accounts together. Prints one JSON object: milliseconds from the statement to the last row, asked one after the other,
and how many of a processor that took, which other work on the machine does not change. Grafana asks for the panels of a
page at once, and draws them; neither is in here.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson

from bench.dashboard import fill
from metering.calendar import last_day_of
from metering.charges import PriceData
from schemas.money import parse_micros
from schemas.plans import Plan, PlanBook
from schemas.rate_files import load_rate_book
from schemas.regimes import load_regimes
from sinks.clickhouse.client import ClickHouse, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.price_tables import load_prices
from sinks.price_data import Prices, digest_of
from tests.support.grafana import ALL, Asked, Choice, alert_queries, expanded, panel_queries, variable_queries

BAR_MILLISECONDS = 100
_FIRST_ACCOUNT = 100_000
_DAYS_PER_INSERT = 30
_PLACES = "arrayJoin(['', '5550000', '5550001']), arrayJoin(['', 'BR', 'IN', 'DE'])"
_MORE = {
    "active_users": (
        "day, account, number, country, rule, users, partition, generation, version",
        f"day, account, {_PLACES}, arrayJoin(['any', 'both']), 5, n % 2, 0, 1",
    ),
    "failures": (
        "day, account, number, country, category, template, error_code, not_delivered, partition, generation, version",
        "day, account, '5550000', 'BR', 'marketing', 1, arrayJoin([131026, 131049]), 3, n % 2, 0, 1",
    ),
}


def fill_more(client: ClickHouse, accounts: int, days: int) -> dict[str, int]:
    """Insert what the pages of the billing dashboard do not need; return rows by table."""
    first, rows = datetime.now(UTC).date() - timedelta(days=days - 1), {}
    for table, (columns, values) in _MORE.items():
        for begin in range(0, days, _DAYS_PER_INSERT):
            length = min(_DAYS_PER_INSERT, days - begin)
            client.command(
                f"INSERT INTO {table} ({columns}) WITH toDate('{first}') + {begin} AS first SELECT {values} FROM"
                f" (SELECT first + intDiv(number, {accounts * 2}) AS day, number AS n,"
                f" toString({_FIRST_ACCOUNT} + intDiv(number, 2) % {accounts}) AS account"
                f" FROM numbers({length * accounts * 2}))"
            )
        client.command(f"OPTIMIZE TABLE {table} FINAL")
        rows[table] = int(client.query(f"SELECT count() FROM {table}")[0][0])
    moment = datetime.now(UTC)
    mark = ("partition", "generation", "sequence", "source_offset", "flushed_at", "received_until")
    client.insert("flush_progress", mark, [[0, 1], [0, 0], [1, 1], [1, 1], [moment] * 2, [moment] * 2])
    return rows


def load_plans(client: ClickHouse, accounts: int) -> None:
    """Put a plan of each account and the shipped rates in force."""
    begin = date(2024, 1, 1)
    price = parse_micros("100")
    plans = tuple(
        Plan(str(_FIRST_ACCOUNT + place), "", begin, begin, "monthly", price, "USD", mau_package=300)
        for place in range(accounts)
    )
    data = PriceData(load_regimes(), load_rate_book(None), PlanBook(plans))
    load_prices(client, Prices(data, digest_of(data)))


def _choice(asked: Asked, account: str) -> Choice:
    today = datetime.now(UTC).date()
    if asked.dashboard == "mau-and-package":
        first = today.replace(day=1)
        return Choice(first, last_day_of(first), {"account": account})
    return Choice(today - timedelta(days=29), today, {"account": account})


def _times(client: ClickHouse, asked: Asked, accounts: list[str]) -> dict[str, float]:
    times, processor = [], []
    for account in accounts:
        statement = expanded(asked.sql, _choice(asked, account))
        begun, used = time.perf_counter(), time.process_time()
        client.query(statement)
        times.append((time.perf_counter() - begun) * 1000)
        processor.append((time.process_time() - used) * 1000)
    cuts = statistics.quantiles(times, n=20)
    medians = {"p50_ms": statistics.median(times), "processor_p50_ms": statistics.median(processor)}
    return {name: round(value, 1) for name, value in (medians | {"p95_ms": cuts[18]}).items()}


def measure(directory: Path, accounts: int, days: int, repeats: int) -> dict[str, object]:
    """Return the figures."""
    client = open_client(f"chdb://{directory}/clickhouse")
    migrate(client)
    rows = fill(client, accounts, days) | fill_more(client, accounts, days)
    load_plans(client, accounts)
    order = [
        str(_FIRST_ACCOUNT + place)
        for place in random.Random(7).sample(range(accounts), min(repeats, accounts))
    ]
    statements = list(_statements())
    one = {_name(asked): _times(client, asked, order) for asked in statements}
    every = {_name(asked): _times(client, asked, [ALL] * max(2, repeats // 4)) for asked in statements}
    client.close()
    return {
        "rows": rows,
        "one account": one,
        "all accounts": every,
        "above the bar": {
            "one account": [name for name, figures in one.items() if figures["p95_ms"] > BAR_MILLISECONDS],
            "all accounts": [name for name, figures in every.items() if figures["p95_ms"] > BAR_MILLISECONDS],
        },
    }


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
    print(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
