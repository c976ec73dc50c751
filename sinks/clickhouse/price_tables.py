"""Puts price data into ClickHouse, so that Grafana and SQL see the same plans and rates as the reports.

Owns the order: all rows of a load first, then the mark that puts it in force. A load is known by its digest, so that
loading twice, or in two processes at once, changes nothing. The resolved tables are known by their layout as well, so
that two releases at once do not mix what they make of the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from metering.price_list import EVER, FOREVER, ListPrice, days_of_change, price_list
from schemas.money import decimal_of
from sinks.clickhouse.client import ClickHouse
from sinks.price_data import Prices

LAYOUT: Final = 2
"""Of the resolved tables: a higher one wherever a release makes something else of the same price data."""
_PLANS: Final = (
    "account",
    "number",
    "effective",
    "activated",
    "until",
    "licence",
    "price",
    "currency",
    "vat_percent",
    "mau_package",
    "mau_rule",
    "amau_price",
    "card_currency",
    "volume_tiers",
)
_CONVERSATION_PRICES: Final = ("account", "number", "effective", "market", "type", "price")
_RATES: Final = ("currency", "effective", "market", "category", "lower", "upper", "rate", "source")
_MARKETS: Final = ("country", "effective", "market")
_PRICE_LIST: Final = (
    "currency",
    "country",
    "category",
    "begins",
    "ends",
    "market",
    "unit",
    "is_free",
    "is_free_in_service_window",
    "rate",
)
_CURRENCIES: Final = ("account", "number", "begins", "ends", "currency")
_REGIMES: Final = (
    "effective",
    "unit",
    "utility_free_in_service_window",
    "free_entry_point_seconds",
    "service",
    "service_allotment",
    "service_allotment_per",
)

Row = tuple[object, ...]
Content = tuple[str, tuple[str, ...], list[Row]]
"""Name of a table, its columns, and its rows."""


def load_in_force(client: ClickHouse) -> tuple[str, int]:
    """Return digest and layout of the price data in force in ClickHouse; an empty digest = none was loaded yet."""
    [((digest, layout),)] = client.query("SELECT argMax((digest, layout), loaded_at) FROM price_loads")
    return digest, layout


def load_prices(client: ClickHouse, prices: Prices) -> bool:
    """Make price data the one in force; tell whether it was not yet.

    Raises:
        ClickHouseAway, ClickHouseRefused: see ``ClickHouse``; load again.
    """
    if load_in_force(client) == (prices.digest, LAYOUT):
        return False
    listed = tuple(price_list(prices.data))
    for table, columns, rows in _tables(prices):
        _insert(client, table, ("digest", *columns), [(prices.digest, *row) for row in rows])
    for table, columns, rows in _resolved_tables(prices, listed):
        resolved = [(prices.digest, LAYOUT, *row) for row in rows]
        _insert(client, table, ("digest", "layout", *columns), resolved)
    mark = (prices.digest, datetime.now(UTC), LAYOUT, days_of_change(prices.data, listed))
    _insert(client, "price_loads", ("digest", "loaded_at", "layout", "changes"), [mark])
    return True


def _insert(client: ClickHouse, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    if rows:
        client.insert(table, columns, list(zip(*rows, strict=True)))


def _tables(prices: Prices) -> Iterator[Content]:
    yield "plans", _PLANS, list(_plan_rows(prices))
    yield "plan_conversation_prices", _CONVERSATION_PRICES, list(_conversation_price_rows(prices))
    yield "rates", _RATES, list(_rate_rows(prices))
    yield "markets", _MARKETS, list(_market_rows(prices))
    yield "price_regimes", _REGIMES, list(_regime_rows(prices))


def _resolved_tables(prices: Prices, listed: Iterable[ListPrice]) -> Iterator[Content]:
    yield "price_list", _PRICE_LIST, list(_price_list_rows(listed))
    yield "plan_currencies", _CURRENCIES, list(_currency_rows(prices))


def _plan_rows(prices: Prices) -> Iterator[Row]:
    for plan in prices.data.plans.plans:
        yield (
            plan.account,
            plan.number,
            plan.effective,
            plan.activated,
            plan.until,
            plan.licence,
            decimal_of(plan.price),
            plan.currency,
            None if plan.vat_percent is None else decimal_of(plan.vat_percent),
            plan.mau_package,
            plan.mau_rule,
            None if plan.amau_price is None else decimal_of(plan.amau_price),
            plan.card_currency,
            plan.volume_tiers,
        )


def _conversation_price_rows(prices: Prices) -> Iterator[Row]:
    for plan in prices.data.plans.plans:
        scope = (plan.account, plan.number, plan.effective)
        for type_, price in plan.conversation_prices.items():
            yield (*scope, "", type_, decimal_of(price))
        for (market, type_), price in plan.conversation_market_prices.items():
            yield (*scope, market, type_, decimal_of(price))


def _rate_rows(prices: Prices) -> Iterator[Row]:
    rates = prices.data.rates
    for card in rates.cards:
        for (market, category), rate in card.rates.items():
            yield (card.currency, card.effective, market, category, 0, 0, decimal_of(rate), card.source)
    for table in rates.tiers:
        for (market, category), bands in table.bands.items():
            for band in bands:
                where = (table.currency, table.effective, market, category)
                yield (*where, band.lower, band.upper, decimal_of(band.rate), table.source)


def _market_rows(prices: Prices) -> Iterator[Row]:
    for row in prices.data.rates.markets:
        yield row.country, row.effective or EVER, row.market


def _regime_rows(prices: Prices) -> Iterator[Row]:
    for row in prices.data.regimes.rows:
        yield (
            row.start,
            row.unit,
            row.utility_free_in_service_window,
            row.free_entry_point_seconds,
            row.service,
            row.service_allotment,
            row.service_allotment_per,
        )


def _price_list_rows(listed: Iterable[ListPrice]) -> Iterator[Row]:
    for price in listed:
        terms = price.terms
        rate = None if terms.rate is None else decimal_of(terms.rate)
        flags = int(terms.is_free), int(terms.is_free_in_service_window)
        yield *price[:5], terms.market, terms.unit, *flags, rate


def _currency_rows(prices: Prices) -> Iterator[Row]:
    for plan, ends in prices.data.plans.with_ends():
        yield plan.account, plan.number, plan.effective, ends or FOREVER, plan.card_currency
