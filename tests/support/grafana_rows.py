"""Rows for Grafana's SQL: totals that are known in Python, and the same in ClickHouse with everything that may mislead.

Owns the seeded accounts, their plans, and how rows are written: several versions of each, several partitions, a
generation that is not live. What a panel should show of them is in ``tests.support.grafana_truth``.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from metering.charges import PriceData
from schemas.money import parse_micros
from schemas.plans import Plan
from schemas.rows import FAMILIES, Family
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.price_tables import load_prices
from sinks.clickhouse.writer import column_names
from sinks.price_data import Prices, digest_of
from tests.support.prices import plan, prices

USD, EUR, QUOTED, IDLE, ENDED = "9001", "9002", "o'neill", "9004", "9005"
NUMBERS = {USD: ("11", "12"), EUR: ("21", "22"), QUOTED: ("5'5", "56"), ENDED: ("51",)}
COUNTRIES = ("DE", "ES", "HK", "KE", "TV", "")
"""Of no market: the last two, a country and none."""
EPOCH = date(1970, 1, 1)
TODAY = datetime.now(UTC).date()
SPANS = (
    # Across the day on which messages are charged instead of conversations, and across the next regime.
    (date(2025, 6, 27), date(2025, 7, 4)),
    (date(2026, 9, 26), date(2026, 10, 6)),
)
MONTHS = (date(2026, 9, 1), date(2026, 10, 1), TODAY.replace(day=1))
MARKS = {0: (41, datetime(2026, 10, 6, 12, tzinfo=UTC)), 1: (7, datetime(2026, 10, 6, 13, tzinfo=UTC))}
"""Commit and time of the newest mark of each partition."""

Row = dict[str, Any]


def plans() -> tuple[Plan, ...]:
    """Return plans in two currencies, of accounts and numbers, changed, ended, and one for nobody who is active."""
    euro = {"rate_currency": "EUR", "currency": "EUR"}
    return (
        plan(USD, effective=date(2025, 1, 1), mau_package=40),
        plan(USD, effective=date(2026, 10, 1), mau_package=25, amau_price=parse_micros("0.5")),
        plan(EUR, effective=date(2026, 1, 1), mau_package=30, mau_rule="both", **euro),
        plan(EUR, number="22", effective=date(2026, 10, 3), mau_package=10, currency="USD"),
        plan(IDLE, effective=date(2026, 1, 1), mau_package=100),
        plan(ENDED, effective=date(2026, 1, 1), until=date(2026, 9, 30), mau_package=3, **euro),
    )


def price_data() -> PriceData:
    """Return the price data in force."""
    return prices(*plans())


@dataclass(slots=True)
class Seed:
    """Everything that is counted, in Python."""

    totals: dict[Family, dict[tuple[Any, ...], tuple[int, ...]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    prices: PriceData = field(default_factory=price_data)

    def rows(self, family: Family) -> Iterator[Row]:
        """Yield the rows of a family by name."""
        schema = FAMILIES[family]
        for dimensions, measures in self.totals[family].items():
            yield dict(zip(schema.dimensions + schema.measures, (*dimensions, *measures), strict=True))


def seed(client: ClickHouse) -> Seed:
    """Fill an empty database; return what is in it."""
    result = seed_totals(client)
    # First another load: what it brought stays in the tables, and is not in force.
    for data in (prices(plan(USD, mau_package=1), plan(QUOTED, mau_package=1)), result.prices):
        load_prices(client, Prices(data, digest_of(data)))
    _write_marks(client)
    return result


def seed_totals(client: ClickHouse) -> Seed:
    """Fill the tables of totals, which have been there since the first release; return what is in them."""
    result, dice = Seed(), random.Random(5)
    for row in _traffic(dice):
        family = row.pop("family")
        schema = FAMILIES[family]
        dimensions = tuple(row[name] for name in schema.dimensions)
        result.totals[family][dimensions] = tuple(row[name] for name in schema.measures)
    for family in result.totals:
        _write(client, family, result.totals[family], dice)
    client.insert("generations", ("generation", "live", "version"), [[1], [0], [1]])
    return result


def _traffic(dice: random.Random) -> Iterator[Row]:
    for account, numbers in NUMBERS.items():
        for first, last in SPANS:
            for offset in range((last - first).days + 1):
                for number in numbers:
                    yield from _day_of(dice, first + timedelta(days=offset), account, number)
        for month in MONTHS:
            yield from _month_of(dice, month, account, numbers)


def _day_of(dice: random.Random, day: date, account: str, number: str) -> Iterator[Row]:
    for country in dice.sample(COUNTRIES, 2):
        place: Row = {"day": day, "account": account, "number": number, "country": country}
        category = dice.choice(("marketing", "marketing_lite", "utility", "authentication", "service", ""))
        template = dice.choice((1, 0, -1)) if category == "" else int(category != "service")
        kind = {"category": category, "template": template}
        sent, delivered, read, lost = (dice.randint(1, 90) for _ in range(4))
        steps = {"total": sent + 3, "sent": sent, "delivered": delivered, "read": read, "not_delivered": lost}
        yield {"family": Family.MESSAGES, **place, **kind, **steps}
        for said in dice.sample(
            (("regular", -1), ("free_customer_service", 0), ("", 1), ("", 0), ("", -1)), 3
        ):
            yield {
                "family": Family.DELIVERIES, **place, **kind, "pricing_type": said[0], "billable": said[1],
                "service_window": dice.randint(0, 1), "free_entry_point": int(dice.random() < 0.2),
                "delivered": dice.randint(1, 50),
            }  # fmt: skip
        error = dice.choice((0, 131026, 131049))
        yield {"family": Family.FAILURES, **place, **kind, "error_code": error, "not_delivered": lost}
        type_ = dice.choice(("service", "marketing", "free_entry_point"))
        measures = {"total": 9, "free": dice.randint(0, 4), "charged": dice.randint(0, 4)}
        yield {"family": Family.CONVERSATIONS, **place, "type": type_, "category": category, **measures}
        yield {"family": Family.INCOMING, **place, "count": dice.randint(1, 60)}


def _month_of(dice: random.Random, month: date, account: str, numbers: tuple[str, ...]) -> Iterator[Row]:
    """Yield active users: numbers and countries do not add up to the account, as in life."""
    for day in (month, month + timedelta(days=4), month + timedelta(days=9)):
        for number in ("", *numbers):
            for country in ("", "DE", "ES"):
                place: Row = {"day": day, "account": account, "number": number, "country": country}
                users = dice.randint(2, 14)
                yield {"family": Family.ACTIVE_USERS, **place, "rule": "any", "users": users}
                both = dice.randint(0, users)
                yield {"family": Family.ACTIVE_USERS, **place, "rule": "both", "users": both}
                yield {"family": Family.ACTIVE_USERS, **place, "rule": "phones", "users": dice.randint(-1, 2)}


def _write(
    client: ClickHouse,
    family: Family,
    totals: Mapping[tuple[Any, ...], tuple[int, ...]],
    dice: random.Random,
) -> None:
    """Write each total in two partitions that add up to it, after an older version that says something else."""
    schema = FAMILIES[family]
    columns = column_names(schema)
    older, newer = [], []
    for dimensions, measures in totals.items():
        part = tuple(dice.randint(-3, value) if value > 0 else 0 for value in measures)
        rest = tuple(value - taken for value, taken in zip(measures, part, strict=True))
        for partition, values in ((0, part), (1, rest)):
            junk = tuple(value + 1000 for value in values)
            older.append((*dimensions, *junk, partition, 0, 3))
            newer.append((*dimensions, *values, partition, 0, 8))
            # A rebuild under way: it is not read.
            newer.append((*dimensions, *junk, partition, 1, 9))
    for rows in (older, newer):
        by_month: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            by_month[f"{row[0]:%Y-%m}"].append(row)
        for month in by_month.values():
            client.insert(schema.table, columns, list(zip(*month, strict=True)))


def _write_marks(client: ClickHouse) -> None:
    columns = ("partition", "generation", "sequence", "source_offset", "flushed_at", "received_until", "slot")
    rows = []
    for partition, (sequence, moment) in MARKS.items():
        older = moment - timedelta(hours=1)
        rows.append((partition, 0, sequence - 1, 1, older, older, 0))
        rows.append((partition, 0, sequence, 2, moment, moment - timedelta(minutes=1), 1))
        rows.append((partition, 1, sequence + 9, 9, moment + timedelta(hours=9), moment, 1))
    client.insert("flush_progress", columns, list(zip(*rows, strict=True)))
