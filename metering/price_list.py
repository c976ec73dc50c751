"""What a delivered message costs on each day, by currency, country and category: every rule that has a date, resolved.

Says of regimes, rate cards and markets together what ``metering.pricing`` looks up one by one, so that a question over
many accounts has one thing to look up. Does not know what depends on the month so far: allotments and volume tiers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Final, NamedTuple

from metering.charges import DEFAULT_CURRENCY, PriceData
from metering.pricing import MESSAGE_CATEGORIES, is_free, priced_as
from schemas.money import Micros

EVER: Final = date(1970, 1, 1)
"""First day of what has always been: nothing was ever counted before it."""
FOREVER: Final = date(2299, 12, 31)
"""Last day of what has no end: the last one that ClickHouse's ``Date32`` can hold."""
ELSEWHERE: Final = ""
"""Stands for every country that no market names."""


class Terms(NamedTuple):
    """What is asked for a message."""

    market: str
    unit: str
    """"message" = each is charged; "conversation" = conversations are, and a message has no rate."""
    is_free: bool
    is_free_in_service_window: bool
    rate: Micros | None
    """The list rate; None = there is none, which is not 0."""


class ListPrice(NamedTuple):
    """Terms and where they apply. For each currency, country and category the days follow without gaps."""

    currency: str
    country: str
    """ISO 3166 alpha-2, or ``ELSEWHERE``."""
    category: str
    """What it is charged as (``MESSAGE_CATEGORIES``)."""
    begins: date
    ends: date
    """Last day."""
    terms: Terms


def price_list(data: PriceData) -> Iterator[ListPrice]:
    """Yield all prices, from ``EVER`` to ``FOREVER``.

    In the currencies that accounts are charged in: those of the cards of all plans, and the one without a plan.
    """
    currencies = sorted({DEFAULT_CURRENCY, *(plan.card_currency for plan in data.plans.plans)})
    countries = sorted({ELSEWHERE, *(row.country for row in data.rates.markets)})
    for currency in currencies:
        common = {EVER, *(regime.start for regime in data.regimes.rows)}
        common |= {card.effective for card in data.rates.cards if card.currency == currency}
        for country in countries:
            moves = {row.effective for row in data.rates.markets if row.country == country and row.effective}
            days = sorted({max(EVER, day) for day in common | moves})
            for category in MESSAGE_CATEGORIES:
                yield from _through_days(data, currency, country, category, days)


def days_of_change(data: PriceData, prices: Iterable[ListPrice]) -> list[date]:
    """Return the days from which on anything may be priced otherwise than the day before, ascending.

    Args:
        data: for its plans, which say in which currency an account is charged.
        prices: the price list of the same data.
    """
    days = {price.begins for price in prices if price.begins != EVER}
    for plan, ends in data.plans.with_ends():
        days.add(plan.effective)
        if ends is not None:
            days.add(ends + timedelta(days=1))
    return sorted(days)


def _through_days(
    data: PriceData, currency: str, country: str, category: str, days: list[date]
) -> Iterator[ListPrice]:
    """Yield the prices of one currency, country and category; days on which nothing changes for it begin none."""
    begins, terms = days[0], _terms(data, currency, country, category, days[0])
    for day in days[1:]:
        after = _terms(data, currency, country, category, day)
        if after != terms:
            yield ListPrice(currency, country, category, begins, day - timedelta(days=1), terms)
            begins, terms = day, after
    yield ListPrice(currency, country, category, begins, FOREVER, terms)


def _terms(data: PriceData, currency: str, country: str, category: str, day: date) -> Terms:
    regime = data.regimes.at(day)
    market = data.rates.market_of(country, day)
    free_outside, free_inside = (is_free(category, inside, regime) for inside in (False, True))
    rate = data.rates.rate(currency, market, priced_as(category), day) if regime.unit == "message" else None
    return Terms(market, regime.unit, free_outside, free_inside, rate)
