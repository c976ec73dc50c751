"""Worked examples of pricing, each with its arithmetic (metering.md §5)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from metering.charge_sums import sums_of
from metering.charges import Charge, Counts, TierUpdate, WhatIf
from metering.pricing import charges_of
from schemas.money import decimal_of
from schemas.rate_cards import RateBook
from tests.support.prices import ACCOUNT, MARKETS, NEW, OLD, counts_of, delivered, opened, plan, prices

OCTOBER = date(2026, 10, 5)
"""Under the rules since 2026-10-01."""
JULY = date(2025, 7, 15)
"""Under those of 2025-07-01; the card in force is that of 2023."""


def amount(charges: list[Charge]) -> Decimal:
    """Return what charges in one currency come to by the rule; nothing may lack a rate."""
    [total] = sums_of(charges)
    assert total.unrated == 0
    return decimal_of(total.amount)


def test_a_template_costs_its_rate() -> None:
    """Seven marketing messages to Germany: 7 x 0.1365 = 0.9555."""
    assert amount(charges_of(counts_of(delivered(OCTOBER, 7)), prices())) == Decimal("0.9555")


def test_marketing_lite_costs_what_marketing_costs() -> None:
    """It stays a category of its own, at marketing's rate: 2 x 0.1365."""
    [line] = charges_of(counts_of(delivered(OCTOBER, 2, "marketing_lite")), prices())
    assert (line.category, line.amount) == ("marketing_lite", 273_000)


def test_utility_in_the_service_window_is_free_until_september() -> None:
    """Three in the window are free in 2025, the two outside cost 2 x 0.05; since 2026-10 all cost 5 x 0.055."""
    rows = (3, True), (2, False)
    summer = [delivered(JULY, count, "utility", in_window=inside) for count, inside in rows]
    autumn = [delivered(OCTOBER, count, "utility", in_window=inside) for count, inside in rows]
    assert amount(charges_of(counts_of(*summer), prices())) == Decimal("0.1")
    assert amount(charges_of(counts_of(*autumn), prices())) == Decimal("0.275")


def test_everything_inside_a_free_entry_point_is_free_and_uses_up_nothing() -> None:
    """900 service messages inside one and 1,001 outside: only one is charged."""
    inside = delivered(OCTOBER, 900, "service", in_free_entry_point=True)
    charges = charges_of(counts_of(inside, delivered(OCTOBER, 1_001, "service")), prices())
    assert sum(line.free for line in charges) == 1_900
    assert sum(line.allotted for line in charges) == 1_000
    assert amount(charges) == Decimal("0.055")


def test_free_form_messages_without_a_category_are_service() -> None:
    """Neither category nor template flag: it is free-form, and its first thousand are free."""
    charges = charges_of(counts_of(delivered(OCTOBER, 3, "", template=-1)), prices())
    assert [(line.category, line.free, line.allotted) for line in charges] == [("service", 3, 3)]


def test_a_template_without_a_category_has_no_rate() -> None:
    """It is charged, nobody knows at what: no amount, and never 0."""
    [line] = charges_of(counts_of(delivered(OCTOBER, 3, "", template=1)), prices())
    assert (line.category, line.charged, line.rate, line.amount) == ("unknown", 3, None, None)
    [total] = sums_of([line])
    assert (total.amount, total.unrated) == (0, 3)


def test_a_missing_rate_leaves_the_rest_priced() -> None:
    """Authentication to Africa is not on the card: its two are unrated, the German one costs 0.055."""
    rows = delivered(OCTOBER, 2, "authentication", country="KE"), delivered(OCTOBER, 1, "authentication")
    [total] = sums_of(charges_of(counts_of(*rows), prices()))
    assert (total.amount, total.unrated) == (55_000, 2)


def test_the_free_quota_is_crossed_inside_a_day_with_two_markets() -> None:
    """998 are used by the 4th. On the 5th come 5 to Spain and 4 to Germany: within a day by country, so that the two
    free ones are German. Charged are 2 German and 5 Spanish: 2 x 0.055 + 5 x 0.02 = 0.21.
    """
    rows = (
        delivered(date(2026, 10, 4), 998, "service", country="ES"),
        delivered(OCTOBER, 5, "service", country="ES"),
        delivered(OCTOBER, 4, "service", country="DE"),
    )
    charges = charges_of(counts_of(*rows), prices())
    fifth = {line.country: (line.free, line.charged) for line in charges if line.day == OCTOBER}
    assert fifth == {"DE": (2, 2), "ES": (0, 5)}
    assert amount(charges) == Decimal("0.21")


def test_the_free_quota_is_each_numbers_and_each_months() -> None:
    """600 on each of two numbers and in each of two months: nowhere more than 1,000, nothing is charged."""
    rows = [
        delivered(day, 600, "service", number=number)
        for day in (OCTOBER, date(2026, 11, 1))
        for number in ("1", "2")
    ]
    assert amount(charges_of(counts_of(*rows), prices())) == 0


def test_the_thousand_service_conversations_of_2023_are_the_accounts() -> None:
    """600 on each of two numbers make 1,200 of the account: 200 are charged, those that come last: 200 x 0.04 = 8."""
    rows = [opened(date(2024, 3, 1), 600, "service", number=number) for number in ("1", "2")]
    charges = charges_of(counts_of(*rows), prices())
    assert {line.number: line.charged for line in charges} == {"1": 0, "2": 200}
    assert amount(charges) == Decimal("8")


def test_service_conversations_are_free_from_november_2024() -> None:
    """1,001 on the last day of October cost one; on the next day, all are free."""
    last, first = opened(date(2024, 10, 31), 1_001, "service"), opened(date(2024, 11, 1), 1_001, "service")
    assert amount(charges_of(counts_of(last), prices())) == Decimal("0.04")
    assert amount(charges_of(counts_of(first), prices())) == 0


def test_each_day_is_charged_by_one_unit_only() -> None:
    """Up to 2025-06-30 the conversation is charged and its messages are not; from the next day on it is the reverse."""
    last, first = date(2025, 6, 30), date(2025, 7, 1)
    rows = [row for day in (last, first) for row in (opened(day, 2), delivered(day, 5))]
    charges = charges_of(counts_of(*rows), prices())
    assert [(line.day, line.unit, line.charged) for line in charges] == [
        (last, "conversation", 2),
        (first, "message", 5),
    ]


def test_a_free_entry_point_conversation_is_free_under_conversations() -> None:
    """It is counted and costs nothing, whatever the provider says of a message in it."""
    [line] = charges_of(counts_of(opened(date(2024, 3, 1), 4, "free_entry_point", charged=1)), prices())
    assert (line.free, line.charged, line.amount, line.provider_charged) == (4, 0, 0, 1)


def test_the_providers_word_stands_beside_the_rule() -> None:
    """Utility in an open window, October: the rule charges all 6; the provider says 2 regular, 1 billable without a
    type, 2 free, and nothing of 1.
    """
    rows = (
        delivered(OCTOBER, 2, "utility", in_window=True, said="regular"),
        delivered(OCTOBER, 1, "utility", in_window=True, billable=1),
        delivered(OCTOBER, 2, "utility", in_window=True, said="free_customer_service", billable=1),
        delivered(OCTOBER, 1, "utility", in_window=True),
    )
    [line] = charges_of(counts_of(*rows), prices())
    assert (line.charged, line.amount) == (6, 330_000)
    assert (line.provider_charged, line.provider_free, line.provider_unsaid) == (3, 2, 1)
    assert line.provider_amount == 165_000


def test_a_market_that_changes_takes_its_new_rate_from_that_day_on() -> None:
    """Hong Kong is a market of its own from 2026-07-01, so that it is not on a card that lists only the region."""
    before, after = date(2026, 6, 30), date(2026, 7, 1)
    rows = [delivered(day, 1, country="HK") for day in (before, after)]
    charges = charges_of(counts_of(*rows), prices())
    assert [line.market for line in charges] == ["Rest of Asia Pacific", "Hong Kong"]


def test_a_currency_change_takes_force_with_its_plan() -> None:
    """USD until October, EUR from November: 2 x 0.0707 USD and 3 x 0.0585 EUR; they are never added up."""
    plans = plan(currency="USD"), plan(effective=date(2026, 11, 1), currency="EUR")
    rows = delivered(OCTOBER, 2, country="ES"), delivered(date(2026, 11, 1), 3, country="ES")
    totals = sums_of(charges_of(counts_of(*rows), prices(*plans)))
    assert [(total.currency, total.amount) for total in totals] == [("EUR", 175_500), ("USD", 141_400)]


def test_the_currency_of_the_card_can_differ_from_the_plans() -> None:
    """A customer billed in EUR whose provider bills USD: the charges are in USD."""
    charges = charges_of(counts_of(delivered(OCTOBER, 1)), prices(plan(currency="EUR", rate_currency="USD")))
    assert [line.currency for line in charges] == ["USD"]


def test_counted_tiers_split_a_day_at_their_limit() -> None:
    """90 on the 4th and 920 on the 5th: 100 x 0.004 + 900 x 0.0038 + 10 x 0.003 = 3.85, in order of delivery."""
    rows = (
        delivered(date(2026, 10, 4), 90, "utility", country="KE"),
        delivered(OCTOBER, 920, "utility", country="KE"),
    )
    charges = charges_of(counts_of(*rows), prices(plan(volume_tiers="counted")))
    assert [(line.day.day, line.rate, line.charged) for line in charges] == [
        (4, 4000, 90), (5, 4000, 10), (5, 3800, 900), (5, 3000, 10),
    ]  # fmt: skip
    assert amount(charges) == Decimal("3.85")


def test_counted_tiers_begin_anew_each_month_and_without_tiers_the_list_rate_counts() -> None:
    """150 in each month cost 2 x (100 x 0.004 + 50 x 0.0038) = 1.18 with tiers, and 300 x 0.004 = 1.2 without."""
    rows = [delivered(day, 150, "utility", country="KE") for day in (OCTOBER, date(2026, 11, 5))]
    assert amount(charges_of(counts_of(*rows), prices(plan(volume_tiers="counted")))) == Decimal("1.18")
    assert amount(charges_of(counts_of(*rows), prices(plan()))) == Decimal("1.2")
    assert amount(charges_of(counts_of(*rows), prices())) == Decimal("1.2")


def test_a_reported_tier_counts_from_the_day_after_its_switch() -> None:
    """The tier from 101 is reported on the 5th: that day still costs 0.004, the 6th 0.0038, November 0.004 again."""
    days = OCTOBER, date(2026, 10, 6), date(2026, 11, 2)
    rows = tuple(delivered(day, 10, "utility", country="KE") for day in days)
    update = TierUpdate("2026-10", "Rest of Africa", "utility", 101, OCTOBER)
    charges = charges_of(Counts(ACCOUNT, rows, (), (update,)), prices(plan(volume_tiers="reported")))
    assert [line.rate for line in charges] == [4000, 3800, 4000]


def test_march_under_octobers_rules() -> None:
    """March 2026: 3 utility in the window and 1,002 service, all free then. Under the rules and the card of October:
    3 x 0.055 + 2 x 0.055 = 0.275. What the provider said belongs to March's rules and is left out.
    """
    march = date(2026, 3, 10)
    counts = counts_of(delivered(march, 3, "utility", in_window=True), delivered(march, 1_002, "service"))
    assert amount(charges_of(counts, prices())) == 0
    charges = charges_of(counts, prices(), WhatIf(regime=date(2026, 10, 1)))
    assert amount(charges) == Decimal("0.275")
    assert {line.regime for line in charges} == {date(2026, 10, 1)}
    assert {line.provider_charged for line in charges} == {None}
    assert sums_of(charges)[0].provider_amount is None


@pytest.mark.parametrize(
    ("asked", "day", "expected"),
    [
        ("2026-10-01", date(2026, 3, 1), date(2026, 10, 1)),
        ("2026-12-24", date(2026, 3, 1), date(2026, 10, 1)),
        ("2024-11-01", date(2026, 3, 1), date(2025, 6, 30)),
        ("2025-07-01", date(2026, 3, 1), date(2026, 3, 1)),
    ],
)
def test_another_regime_takes_the_nearest_card_of_its_time(asked: str, day: date, expected: date) -> None:
    """A card lists what is charged under the rules of its time, so that the day is moved into the regime's time."""
    data = prices()
    assert WhatIf(regime=date.fromisoformat(asked)).rates_day(data.regimes, day) == expected


def test_rates_of_another_day_alone_keep_the_rules_and_the_providers_word() -> None:
    """One marketing message of July 2025 at October's rate costs 0.1365 instead of 0.10."""
    counts = counts_of(delivered(JULY, 1, said="regular"))
    [line] = charges_of(counts, prices(), WhatIf(rates_on=date(2026, 10, 1)))
    assert (line.rate, line.regime, line.provider_charged) == (136_500, date(2025, 7, 1), 1)


def test_a_card_replaces_the_one_before_it_whole() -> None:
    """A market that the newer card lacks has no rate, though the older one had it."""
    newer = RateBook((OLD, type(NEW)("USD", date(2026, 10, 1), {})), (), MARKETS)
    [line] = charges_of(counts_of(delivered(OCTOBER, 1)), prices(rates=newer))
    assert (line.rate, line.amount) == (None, None)


def test_before_the_first_regime_its_rules_count() -> None:
    """A conversation of 2022 is priced by conversations; before the first card there is no rate."""
    [line] = charges_of(counts_of(opened(date(2022, 5, 1), 1)), prices())
    assert (line.unit, line.rate) == ("conversation", None)
