"""The price list against pricing itself: what is looked up in it is what a message is charged by."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from metering.charges import DEFAULT_CURRENCY, Counts, DeliveryCount, PriceData
from metering.price_list import ELSEWHERE, EVER, FOREVER, ListPrice, days_of_change, price_list
from metering.pricing import MESSAGE_CATEGORIES, charged_category, charges_of
from schemas.plans import Plan, PlanBook
from schemas.rate_files import load_rate_book
from schemas.regimes import PriceRegimes, load_regimes
from tests.property.test_pricing import EXAMPLES, REGIMES, deliveries, price_data
from tests.support.prices import ACCOUNT, plan, prices

ONE_DAY = timedelta(days=1)
NO_ALLOTMENTS = PriceRegimes(tuple(structs.replace(row, service_allotment=0) for row in REGIMES.rows))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Plan, ...]:
    """Return plans of an account and a number, some of which end by themselves."""
    firsts = draw(
        st.lists(
            st.tuples(st.sampled_from(["", "1"]), st.dates(date(2026, 1, 1), date(2026, 3, 1))),
            unique=True,
            max_size=6,
        )
    )
    lengths = st.none() | st.integers(0, 40).map(timedelta)
    return tuple(
        plan(number=number, effective=first, until=None if length is None else first + length)
        for number, first in firsts
        for length in [draw(lengths)]
    )


def by_key(data: PriceData) -> dict[tuple[str, str, str], list[ListPrice]]:
    """Return the prices of each currency, country and category in their order."""
    found: dict[tuple[str, str, str], list[ListPrice]] = defaultdict(list)
    for price in price_list(data):
        found[price[:3]].append(price)
    return found


def looked_up(data: PriceData, delivery: DeliveryCount) -> ListPrice:
    """Return the price of a delivery as a reader of the list finds it."""
    own = data.plan_of(ACCOUNT, delivery.number, delivery.day)
    currency = own.card_currency if own else DEFAULT_CURRENCY
    category = charged_category(delivery.category, delivery.template)
    found = by_key(data)
    history = found.get((currency, delivery.country, category)) or found[currency, ELSEWHERE, category]
    return history[bisect_right(history, delivery.day, key=lambda price: price.begins) - 1]


@settings(max_examples=EXAMPLES)
@given(price_data(), deliveries)
def test_a_message_is_charged_by_its_line_of_the_list(data: PriceData, delivery: DeliveryCount) -> None:
    """Market, currency, rate and whether it is free, for any data: but for allotments and volume tiers."""
    plans = PlanBook(tuple(replace(each, volume_tiers="none") for each in data.plans.plans))
    data = replace(data, regimes=NO_ALLOTMENTS, plans=plans)
    price = looked_up(data, delivery)
    assert price.begins <= delivery.day <= price.ends
    charges = charges_of(Counts(ACCOUNT, (delivery,)), data)
    assert bool(charges) == (price.terms.unit == "message")
    is_free = (
        delivery.free_entry_point == 1
        or price.terms.is_free
        or (delivery.service_window == 1 and price.terms.is_free_in_service_window)
    )
    # What the provider charges stands at the same rate, in a line of its own where ours is free.
    for charge in charges:
        assert (charge.currency, charge.market, charge.rate) == (
            price.currency,
            price.terms.market,
            price.terms.rate,
        )
    assert sum(charge.free for charge in charges) == (delivery.delivered if charges and is_free else 0)


@settings(max_examples=EXAMPLES // 4)
@given(price_data())
def test_days_follow_without_gaps(data: PriceData) -> None:
    """Of each currency, country and category every day has one line, and a line ends only where something changes."""
    found = by_key(data)
    currencies = {DEFAULT_CURRENCY, *(each.card_currency for each in data.plans.plans)}
    countries = {ELSEWHERE, *(row.country for row in data.rates.markets)}
    assert set(found) == {
        (one, two, three) for one in currencies for two in countries for three in MESSAGE_CATEGORIES
    }
    for history in found.values():
        assert (history[0].begins, history[-1].ends) == (EVER, FOREVER)
        for price, after in pairwise(history):
            assert price.ends + ONE_DAY == after.begins
            assert price.terms != after.terms


@settings(max_examples=EXAMPLES // 4)
@given(price_data(), histories())
def test_between_two_days_of_change_all_is_priced_alike(data: PriceData, plans: tuple[Plan, ...]) -> None:
    """On every other day each line of the list and each plan in force is that of the day before."""
    data = replace(data, plans=PlanBook(plans))
    found, changes = by_key(data), days_of_change(data, price_list(data))
    assert changes == sorted(set(changes))

    def priced_by(day: date) -> tuple[object, ...]:
        places = (bisect_right(lines, day, key=lambda line: line.begins) for lines in found.values())
        return *places, data.plans.in_force(ACCOUNT, "", day), data.plans.in_force(ACCOUNT, "1", day)

    first = date(2025, 12, 1)
    on_days = [priced_by(first + offset * ONE_DAY) for offset in range(200)]
    changed = {
        first + offset * ONE_DAY
        for offset, (before, after) in enumerate(pairwise(on_days), 1)
        if before != after
    }
    assert changed <= set(changes)


def test_the_shipped_prices() -> None:
    """A message to Germany through the years: conversations, then free service, then every message charged."""
    data = PriceData(load_regimes(), load_rate_book(None), prices().plans)
    found = by_key(data)
    service = [
        (price.begins, price.terms.unit, price.terms.is_free) for price in found["USD", "DE", "service"]
    ]
    assert service == [
        (EVER, "conversation", False),
        (date(2024, 11, 1), "conversation", True),
        (date(2025, 7, 1), "message", True),
        (date(2026, 10, 1), "message", False),
    ]
    assert found["USD", "DE", "marketing"][-1].terms.rate == 136_500
    assert found["USD", "DE", "unknown"][-1].terms.rate is None


@given(histories())
def test_plans_end_where_they_are_no_more_in_force(plans: tuple[Plan, ...]) -> None:
    """On each day, the plan whose first and last day are around it is the one in force."""
    book = PlanBook(plans)
    ends = list(book.with_ends())
    assert sorted(each.effective for each, _ in ends) == sorted(each.effective for each in plans)
    for number in ("", "1"):
        for offset in range(120):
            day = date(2025, 12, 25) + offset * ONE_DAY
            around = [
                each
                for each, end in ends
                if each.number == number and each.effective <= day and (end is None or day <= end)
            ]
            assert around == [found for found in [book.in_force(ACCOUNT, number, day)] if found]
