"""Rows for ``bench.grafana``: accounts with plans, and a month that is still written to.

Months before the current one are one part each, as the tables' settings make them. The current month is several parts
(``bench.newer_parts``).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from bench.dashboard import fill
from bench.newer_parts import write_newer
from metering.charges import PriceData
from schemas.money import parse_micros
from schemas.plans import Plan, PlanBook
from schemas.rate_files import load_rate_book
from schemas.regimes import load_regimes
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.price_tables import load_prices
from sinks.price_data import Prices, digest_of

FIRST_ACCOUNT = 100_000
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


def fill_all(
    client: ClickHouse, accounts: int, days: int, last: date, today: date
) -> dict[str, dict[str, int]]:
    """Fill an empty database up to the last day given; return rows and this month's parts by table."""
    rows = fill(client, accounts, days, last) | fill_more(client, accounts, days, last)
    parts = write_newer(client, rows, today)
    load_plans(client, accounts)
    return {"rows": rows, "parts of this month": parts}


def fill_more(client: ClickHouse, accounts: int, days: int, last: date) -> dict[str, int]:
    """Insert what the pages of the billing dashboard do not need; return rows by table."""
    first, rows = last - timedelta(days=days - 1), {}
    for table, (columns, values) in _MORE.items():
        for begin in range(0, days, _DAYS_PER_INSERT):
            length = min(_DAYS_PER_INSERT, days - begin)
            client.command(
                f"INSERT INTO {table} ({columns}) WITH toDate('{first}') + {begin} AS first SELECT {values} FROM"
                f" (SELECT first + intDiv(number, {accounts * 2}) AS day, number AS n,"
                f" toString({FIRST_ACCOUNT} + intDiv(number, 2) % {accounts}) AS account"
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
        Plan(str(FIRST_ACCOUNT + place), "", begin, begin, "monthly", price, "USD", mau_package=300)
        for place in range(accounts)
    )
    data = PriceData(load_regimes(), load_rate_book(None), PlanBook(plans))
    load_prices(client, Prices(data, digest_of(data)))
