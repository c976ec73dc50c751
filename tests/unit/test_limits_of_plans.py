"""What counts towards which monthly limit, with small numbers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal

from metering.charges import Counts, DeliveryCount, PriceData
from metering.limits import LimitUse, MonthSoFar, limits_of
from metering.pricing import charges_of
from tests.support.prices import ACCOUNT, counts_of, delivered, plan, prices

OCTOBER = date(2026, 10, 1)
HALF = datetime(2026, 10, 16, 12)  # noqa: DTZ001 - local time, as the core takes it
"""15.5 of 31 days."""


def limits(
    data: PriceData,
    *rows: DeliveryCount,
    active: dict[tuple[str, str], dict[date, int]] | None = None,
    now: datetime = HALF,
) -> list[LimitUse]:
    """Return October's limits."""
    counts: Counts = counts_of(*rows)
    return limits_of(MonthSoFar(ACCOUNT, OCTOBER, now, active or {}, charges_of(counts, data)), data)


def test_a_package_is_held_against_the_users_of_the_plans_rule() -> None:
    """40 by any activity, 10 by both: the account's plan counts 40 of 45, the number's 10 of 8."""
    active = {
        ("", "any"): {date(2026, 10, 2): 30, date(2026, 10, 9): 10},
        ("", "both"): {date(2026, 10, 2): 9},
        ("2", "any"): {date(2026, 10, 2): 20},
        ("2", "both"): {date(2026, 10, 2): 6, date(2026, 10, 9): 4},
    }
    data = prices(plan(mau_package=45), plan(number="2", mau_package=8, mau_rule="both"))
    whole, number = limits(data, active=active)
    assert (whole.number, whole.used, whole.left, whole.used_percent) == ("", 40, 5, Decimal("88.9"))
    # Half of the month has passed. New users come ever more slowly: fewer than 80 by its end.
    assert whole.method == "growth_curve"
    assert whole.projected is not None
    assert 45 <= whole.projected < 80
    assert whole.exhausted_on is not None
    assert whole.exhausted_on > "2026-10-16"
    assert (number.number, number.used, number.left, number.exhausted_on) == ("2", 10, 0, "2026-10-09")


def test_last_months_users_shape_the_projection_and_are_not_counted() -> None:
    """In September all 60 came in the first third: 40 by the middle of October stay 40."""
    active = {("", "any"): {date(2026, 9, 5): 60, date(2026, 10, 3): 40}}
    [use] = limits(prices(plan(mau_package=50)), active=active)
    assert (use.used, use.projected, use.exhausted_on, use.method) == (40, 40, None, "last_month")


def test_free_service_messages_are_each_numbers() -> None:
    """700 of 1,000 on number 1, 1,100 on number 2; what is free anyway uses up nothing."""
    rows = (
        delivered(OCTOBER, 700, "service"),
        delivered(OCTOBER, 5, "service", in_free_entry_point=True),
        delivered(OCTOBER, 9, "marketing"),
        delivered(OCTOBER, 1_100, "service", number="2"),
    )
    first, second = limits(prices(), *rows)
    assert (first.limit_name, first.number, first.used, first.left) == ("free_service", "1", 700, 300)
    assert (second.number, second.used, second.left, second.used_percent) == ("2", 1_100, 0, Decimal("110.0"))


def test_a_number_that_fell_silent_is_not_shown() -> None:
    """Free service messages of a month ago are shown beside none of this one; those of two months ago are not."""
    so_far = MonthSoFar(ACCOUNT, date(2026, 12, 1), datetime(2026, 12, 16), {}, ())  # noqa: DTZ001 - local time
    data = prices()
    rows = (
        delivered(date(2026, 10, 9), 300, "service"),
        delivered(date(2026, 10, 9), 300, "service", number="2"),
        delivered(date(2026, 11, 9), 300, "service", number="2"),
    )
    [use] = limits_of(replace(so_far, charges=charges_of(counts_of(*rows), data)), data)
    assert (use.number, use.used, use.method) == ("2", 0, "earlier_months")


def test_without_an_allotment_there_is_no_such_limit() -> None:
    """In September service was free without limit."""
    data = prices()
    counts = counts_of(delivered(date(2026, 9, 5), 2_000, "service"))
    so_far = MonthSoFar(ACCOUNT, date(2026, 9, 1), HALF, {}, charges_of(counts, data))
    assert limits_of(so_far, data) == []


def test_the_current_tier_is_the_one_of_the_next_message() -> None:
    """100 messages fill the first tier: the next is in the second, of which 900 are left; the last has no end."""
    data = prices(plan(volume_tiers="counted", mau_package=1))
    for count, limit, left in ((99, 100, 1), (100, 1000, 900), (1_000, None, None)):
        uses = limits(data, delivered(OCTOBER, count, "utility", country="KE"))
        [tier] = [use for use in uses if use.limit_name == "volume_tier"]
        assert (tier.market, tier.category, tier.used, tier.limit, tier.left) == (
            "Rest of Africa", "utility", count, limit, left,
        )  # fmt: skip
    assert tier.used_percent is None


def test_no_package_has_no_percentage() -> None:
    """0 users in the package: nothing to divide by, nothing left, never exhausted."""
    [use] = limits(prices(plan()), active={("", "any"): {OCTOBER: 3}})
    assert (use.limit, use.used, use.left, use.used_percent, use.exhausted_on) == (0, 3, 0, None, None)
