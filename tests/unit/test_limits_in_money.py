"""What users beyond a package will cost, and budgets of conversations: in the plan's currency, by whose plan it is."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec
import pytest

from metering.charges import ConversationCount
from metering.limits import LimitUse, MonthSoFar, limits_of
from schemas.money import parse_micros
from schemas.plans import Plan
from tests.support.prices import ACCOUNT, opened, plan, prices

OCTOBER = date(2026, 10, 1)
OVER = datetime(2026, 11, 1)  # noqa: DTZ001 - local time, as the core takes it
HALF = datetime(2026, 10, 16, 12)  # noqa: DTZ001 - the same


def packages(
    *plans: Plan,
    users: int = 0,
    active: dict[tuple[str, str], dict[date, int]] | None = None,
    now: datetime = OVER,
) -> list[LimitUse]:
    """Return October's packages; without more, so many users of the account on its first day."""
    counts = active or {("", "any"): {OCTOBER: users}}
    return limits_of(MonthSoFar(ACCOUNT, OCTOBER, now, counts, ()), prices(*plans))


@pytest.mark.parametrize(
    ("currency", "price", "beyond", "cost"),
    [
        ("USD", "0.05", 50, "2.50"),
        ("USD", "0.005", 1, "0.01"),
        ("USD", "0.004999", 1, "0.00"),
        ("USD", "0.0001", 25_049, "2.50"),
        ("USD", "0.0001", 25_050, "2.51"),
        ("CLP", "0.5", 1, "1"),
        ("CLP", "0.5", 3, "2"),
        ("KWD", "0.0005", 1, "0.001"),
        ("KWD", "0.000499", 1, "0.000"),
    ],
)
def test_users_beyond_the_package_cost_what_is_agreed(
    currency: str, price: str, beyond: int, cost: str
) -> None:
    """The sum, not each user's price, is rounded half-up to the currency's coins; it leaves as text, all digits."""
    terms = plan(currency=currency, mau_package=100, amau_price=parse_micros(price))
    [use] = packages(terms, users=100 + beyond)
    assert (use.projected_amau, use.projected_amau_cost, use.currency) == (beyond, Decimal(cost), currency)
    assert msgspec.json.decode(msgspec.json.encode(use))["projected_amau_cost"] == cost


def test_the_cost_is_that_of_the_projection() -> None:
    """In the middle of the month: of whom is expected, not of who is there."""
    terms = plan(mau_package=100, amau_price=parse_micros("0.05"))
    [use] = packages(terms, active={("", "any"): {date(2026, 10, day): 10 for day in range(1, 16)}}, now=HALF)
    assert use.used == 150
    assert use.projected is not None
    assert use.projected > 150
    assert use.projected_amau == use.projected - 100
    assert use.projected_amau_cost == (use.projected - 100) * Decimal("0.05")


def test_without_a_price_users_beyond_have_no_cost_and_none_beyond_cost_nothing() -> None:
    """No price is not a price of 0; where nobody is beyond, none is needed."""
    [beyond], [within] = packages(plan(mau_package=9), users=10), packages(plan(mau_package=10), users=10)
    assert (beyond.projected_amau, beyond.projected_amau_cost, beyond.currency) == (1, None, "USD")
    assert (within.projected_amau, within.projected_amau_cost) == (0, Decimal("0.00"))


def test_too_early_is_no_cost_at_all() -> None:
    """Neither 0 users beyond nor 0 money: nothing is said, but in which currency it would be."""
    morning = datetime(2026, 10, 1, 9)  # noqa: DTZ001 - local time
    [use] = packages(plan(mau_package=9, amau_price=parse_micros("1")), users=10, now=morning)
    assert (use.method, use.projected_amau, use.projected_amau_cost, use.currency) == (
        "too_early",
        None,
        None,
        "USD",
    )


def test_an_empty_package_is_paid_for_from_the_first_user_on() -> None:
    """All of three are beyond 0; there is no day on which nothing was used up."""
    [use] = packages(plan(mau_package=0, amau_price=parse_micros("2")), users=3)
    assert (use.limit, use.left, use.used_percent, use.exhausted_on) == (0, 0, None, None)
    assert (use.projected_amau, use.projected_amau_cost) == (3, Decimal("6.00"))


def test_a_number_pays_by_its_own_plan_and_rule() -> None:
    """The account: 12 by any activity, in dollars; number 2: 7 by both, in euros; number 3 has no plan."""
    active = {
        ("", "any"): {OCTOBER: 12}, ("", "both"): {OCTOBER: 8},
        ("2", "any"): {OCTOBER: 9}, ("2", "both"): {OCTOBER: 7},
        ("3", "any"): {OCTOBER: 3},
    }  # fmt: skip
    whole = plan(mau_package=10, amau_price=parse_micros("1"))
    own = plan(number="2", currency="EUR", mau_package=5, mau_rule="both", amau_price=parse_micros("0.1"))
    uses = [
        (use.number, use.used, use.projected_amau, use.projected_amau_cost, use.currency)
        for use in packages(whole, own, active=active)
    ]
    assert uses == [("", 12, 2, Decimal("2.00"), "USD"), ("2", 7, 2, Decimal("0.20"), "EUR")]


def budgets(*plans: Plan, rows: tuple[ConversationCount, ...], now: datetime = OVER) -> list[LimitUse]:
    """Return October's budgets of conversations."""
    uses = limits_of(MonthSoFar(ACCOUNT, OCTOBER, now, {}, (), rows), prices(*plans))
    return [use for use in uses if use.limit_name == "conversation_budget"]


def test_a_budget_counts_charged_conversations_of_whose_it_is() -> None:
    """The account's counts those of all numbers, a number's its own; free ones and other months count for neither."""
    rows = (
        opened(OCTOBER, 10, charged=6),
        opened(date(2026, 10, 2), 5, "service", charged=0),
        opened(date(2026, 10, 3), 7, "utility", number="2"),
        opened(date(2026, 9, 30), 99),
        opened(date(2026, 11, 1), 99),
    )
    whole, number = budgets(plan(conversation_budget=12), plan(number="2", conversation_budget=20), rows=rows)
    assert (whole.number, whole.limit, whole.used, whole.left) == ("", 12, 13, 0)
    assert (whole.used_percent, whole.exhausted_on) == (Decimal("108.3"), "2026-10-03")
    assert (number.number, number.limit, number.used, number.left) == ("2", 20, 7, 13)
    assert (number.used_percent, number.exhausted_on) == (Decimal("35.0"), None)
    assert {use.projected_amau_cost for use in (whole, number)} == {None}


def test_without_a_budget_there_is_none() -> None:
    """0 is none; a number without one of its own is in the account's alone."""
    rows = (opened(OCTOBER, 10, number="2"),)
    assert budgets(plan(), plan(number="2"), rows=rows) == []
    [use] = budgets(plan(conversation_budget=100), plan(number="2"), rows=rows)
    assert (use.number, use.used) == ("", 10)


def test_a_budget_that_nothing_was_spent_of_is_shown() -> None:
    """Somebody set it, so its owner is to see that it is whole; where it will end is too early to say."""
    [use] = budgets(plan(conversation_budget=100), rows=(), now=HALF)
    assert (use.used, use.left, use.used_percent, use.projected) == (0, 100, Decimal("0.0"), None)


def test_a_budget_follows_the_months_before() -> None:
    """Ten a day since August: 155 in 15.5 days of 31 make about 310, and 200 of them on the 20th."""
    begin, noon = date(2026, 8, 1).toordinal(), HALF.toordinal()
    whole_days = tuple(opened(date.fromordinal(day), 10) for day in range(begin, noon))
    [use] = budgets(plan(conversation_budget=200), rows=(*whole_days, opened(HALF.date(), 5)), now=HALF)
    assert (use.used, use.method) == (155, "earlier_months")
    assert use.projected == pytest.approx(310, rel=0.02)
    assert use.exhausted_on == "2026-10-20"
