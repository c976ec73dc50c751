"""Pricing against pricing one by one, and what must hold of every sum of money."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import date
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from metering.charge_sums import by_month, sums_of
from metering.charges import Charge, ConversationCount, Counts, DeliveryCount, PriceData, WhatIf
from metering.pricing import charges_of
from schemas.plans import PlanBook
from schemas.rate_cards import Band, MarketRow, RateBook, RateCard, TierTable
from schemas.regimes import PriceRegime, PriceRegimes
from tests.oracle.pricing import Priced, price_everything
from tests.support.prices import ACCOUNT, plan

EXAMPLES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "600"))

# The shipped regimes with allotments that a few messages use up.
REGIMES = PriceRegimes(
    (
        PriceRegime(date(2026, 1, 1), "conversation", False, 259_200, "charged", 3, "account"),
        PriceRegime(date(2026, 2, 1), "conversation", False, 259_200, "free"),
        PriceRegime(date(2026, 3, 1), "message", True, 259_200, "free"),
        PriceRegime(date(2026, 4, 1), "message", False, 259_200, "charged", 4, "number"),
    )
)
CATEGORIES = (
    "marketing",
    "marketing_lite",
    "utility",
    "authentication",
    "service",
    "",
    "referral_conversion",
)
TYPES = ("marketing", "utility", "service", "free_entry_point", "unknown")
MARKETS = ("North", "South", "Other")
days = st.sampled_from(
    [date(2026, month, day) for month in (1, 2, 3, 4, 5) for day in (1, 2, 15, 28)] + [date(2025, 12, 31)]
)
numbers, countries = st.sampled_from(["1", "2"]), st.sampled_from(["AA", "BB", "CC", "ZZ"])
deliveries = st.builds(
    DeliveryCount,
    day=days,
    number=numbers,
    country=countries,
    category=st.sampled_from(CATEGORIES),
    template=st.sampled_from([1, 0, -1]),
    pricing_type=st.sampled_from(["", "", "regular", "free_customer_service", "free_entry_point"]),
    billable=st.sampled_from([1, 0, -1]),
    service_window=st.sampled_from([0, 1]),
    free_entry_point=st.sampled_from([0, 0, 1]),
    delivered=st.integers(1, 6),
)


@st.composite
def _conversations(draw: st.DrawFn) -> ConversationCount:
    total = draw(st.integers(1, 4))
    charged = draw(st.integers(0, total))
    key = draw(days), draw(numbers), draw(countries), draw(st.sampled_from(TYPES))
    return ConversationCount(*key, total, total - charged, charged)


counts = st.builds(
    Counts,
    account=st.just(ACCOUNT),
    deliveries=st.lists(deliveries, max_size=12).map(tuple),
    conversations=st.lists(_conversations(), max_size=8).map(tuple),
)
rate = st.integers(1, 200_000)
cards = st.builds(
    RateCard,
    currency=st.sampled_from(["USD", "EUR"]),
    effective=st.sampled_from([date(2025, 1, 1), date(2026, 2, 1), date(2026, 4, 2)]),
    rates=st.dictionaries(
        st.tuples(
            st.sampled_from(MARKETS), st.sampled_from(["marketing", "utility", "authentication", "service"])
        ),
        rate,
    ),
)
bands = st.tuples(rate, rate, rate).map(
    lambda three: (Band(1, 2, three[0]), Band(3, 7, three[1]), Band(8, 0, three[2]))
) | rate.map(lambda one: (Band(1, 5, one),))
tiers = st.builds(
    TierTable,
    currency=st.just("USD"),
    effective=st.sampled_from([date(2026, 3, 1), date(2026, 4, 15)]),
    bands=st.dictionaries(
        st.tuples(st.sampled_from(MARKETS), st.sampled_from(["utility", "marketing"])), bands
    ),
)
market_rows = st.lists(
    st.builds(
        MarketRow,
        country=countries,
        market=st.sampled_from(MARKETS[:2]),
        effective=st.sampled_from([None, date(2026, 3, 2), date(2026, 4, 1)]),
    ),
    unique_by=lambda row: (row.country, row.effective),
)
plans = st.lists(
    st.builds(
        plan,
        number=st.sampled_from(["", "1"]),
        effective=st.sampled_from([date(2026, 2, 1), date(2026, 4, 1)]),
        currency=st.sampled_from(["USD", "EUR"]),
        rate_currency=st.sampled_from(["", "USD"]),
        volume_tiers=st.sampled_from(["none", "counted"]),
    ),
    unique_by=lambda each: (each.number, each.effective),
    max_size=3,
)


@st.composite
def price_data(draw: st.DrawFn) -> PriceData:
    """Return regimes with cards, tiers, markets and plans that contradict nobody."""
    own_cards = draw(st.lists(cards, unique_by=lambda card: (card.currency, card.effective)))
    own_tiers = draw(st.lists(tiers, unique_by=lambda table: table.effective))
    rates = RateBook(tuple(own_cards), tuple(own_tiers), tuple(draw(market_rows)))
    return PriceData(REGIMES, rates, PlanBook(tuple(draw(plans))))


what_ifs = st.just(WhatIf()) | st.builds(WhatIf, regime=st.none() | days, rates_on=st.none() | days)


def _by_key(charges: list[Charge]) -> dict[tuple[object, ...], tuple[Counter[object], int, int]]:
    """Return of each key: charged units by rate and view, free units, and those that an allotment made free."""
    result: dict[tuple[object, ...], tuple[Counter[object], int, int]] = {}
    for line in charges:
        key = (line.day, line.number, line.country, line.unit, line.category, line.market, line.currency)
        rates, free, allotted = result.get(key, (Counter(), 0, 0))
        rates["rule", line.rate] += line.charged
        rates["provider", line.rate] += line.provider_charged or 0
        result[key] = (+rates, free + line.free, allotted + line.allotted)
    return result


def _of_oracle(
    priced: list[Priced], *, said: bool
) -> dict[tuple[object, ...], tuple[Counter[object], int, int]]:
    result: dict[tuple[object, ...], tuple[Counter[object], int, int]] = {}
    for each in priced:
        unit = each.unit
        key = (unit.day, unit.number, unit.country, unit.unit, unit.category, each.market, each.currency)
        rates, free, allotted = result.get(key, (Counter(), 0, 0))
        if not each.is_free:
            rates["rule", each.rate] += 1
        if said and unit.word == "charged":
            rates["provider", each.provider_rate] += 1
        result[key] = (rates, free + each.is_free, allotted + each.by_allotment)
    return result


@settings(max_examples=EXAMPLES, deadline=None)
@given(counts, price_data(), what_ifs)
def test_pricing_in_bulk_is_pricing_one_by_one(counts: Counts, data: PriceData, what_if: WhatIf) -> None:
    """Every key has as many free units, and as many charged ones at each rate, as its units one by one."""
    expected = _of_oracle(price_everything(counts, data, what_if), said=what_if.regime is None)
    assert _by_key(charges_of(counts, data, what_if)) == expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(counts, price_data(), what_ifs, st.randoms(use_true_random=False))
def test_totals_are_the_sums_of_lines_under_any_grouping(
    counts: Counts, data: PriceData, what_if: WhatIf, random: Random
) -> None:
    """Grouped at random, by month, or not at all: the sums agree to the last micro-unit."""
    charges = charges_of(counts, data, what_if)
    groups: dict[int, list[Charge]] = defaultdict(list)
    for line in charges:
        groups[random.randrange(4)].append(line)
    whole = {total.currency: total for total in sums_of(charges)}
    for field in ("count", "free", "charged", "amount", "unrated"):
        added: Counter[str] = Counter()
        for group in groups.values():
            for total in sums_of(group):
                added[total.currency] += getattr(total, field)
        assert {
            currency: getattr(total, field) for currency, total in whole.items() if getattr(total, field)
        } == {currency: value for currency, value in added.items() if value}
    assert sums_of(by_month(charges)) == sums_of(charges)


@settings(max_examples=EXAMPLES, deadline=None)
@given(counts, price_data(), deliveries)
def test_pricing_is_monotone_in_counts(counts: Counts, data: PriceData, more: DeliveryCount) -> None:
    """More messages never cost less, in any currency, whatever they displace in allotments and tiers."""

    def totals(each: Counts) -> dict[str, tuple[int, int]]:
        return {total.currency: (total.charged, total.amount) for total in sums_of(charges_of(each, data))}

    before, after = totals(counts), totals(replace(counts, deliveries=(*counts.deliveries, more)))
    if any(line.rate is None and line.charged for line in charges_of(counts, data)):
        return  # what an unrated unit displaces has no price to compare
    for currency, (charged, amount) in before.items():
        assert after[currency][0] >= charged
        assert after[currency][1] >= amount


@settings(max_examples=EXAMPLES, deadline=None)
@given(counts, price_data(), what_ifs, st.randoms(use_true_random=False))
def test_pricing_is_a_pure_function_of_counts_and_data(
    counts: Counts, data: PriceData, what_if: WhatIf, random: Random
) -> None:
    """The order of rows does not matter, nor that anything was priced before; split rows come to the same."""
    first = charges_of(counts, data, what_if)
    split = [
        part
        for row in counts.deliveries
        for part in (row._replace(delivered=1), row._replace(delivered=row.delivered - 1))
        if part.delivered
    ]
    shuffled = replace(
        counts,
        deliveries=tuple(random.sample(split, len(split))),
        conversations=tuple(random.sample(counts.conversations, len(counts.conversations))),
    )
    assert charges_of(shuffled, data, what_if) == first
    assert charges_of(counts, data, what_if) == first
