"""Worked examples of licences and packages, each with its arithmetic (metering.md §8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.licence import licence_line, licence_periods, package
from schemas.final_report import LicenceLine
from schemas.money import MICROS, parse_micros, printed
from schemas.plans import Licence, Plan
from tests.oracle.licences import periods
from tests.support.prices import plan


def terms(activated: date, licence: Licence = "monthly", price: str = "120", **more: object) -> Plan:
    """Return a plan from its activation on."""
    own = plan(effective=activated, licence=licence, price=parse_micros(price), currency="EUR")
    return replace(own, **more)  # type: ignore[arg-type]  # fields of a plan, as each test needs


def line(month: str, *history: Plan) -> LicenceLine:
    """Return a month's licence line, which there must be."""
    year, number = month.split("-")
    found = licence_line(history, (int(year), int(number)))
    assert found is not None
    return found


def charged(month: str, *history: Plan) -> tuple[str, str, str, str]:
    """Return kind, validity and amount of a month."""
    found = line(month, *history)
    return found.period, str(found.valid_from), str(found.valid_until), str(found.charged)


MONTHLY = [
    # On the 1st: 30 of 30 days.
    (date(2026, 4, 1), "2026-04", ("activation", "2026-04-01", "2026-04-30", "120.00")),
    # In the middle: 16 of 30 days, 120 x 16/30.
    (date(2026, 4, 15), "2026-04", ("activation", "2026-04-15", "2026-04-30", "64.00")),
    # 29 February: 1 of 29 days, 120/29 = 4.1379...
    (date(2028, 2, 29), "2028-02", ("activation", "2028-02-29", "2028-02-29", "4.14")),
    # The 31st: 1 of 31 days, 120/31 = 3.8709...
    (date(2026, 1, 31), "2026-01", ("activation", "2026-01-31", "2026-01-31", "3.87")),
    (date(2026, 1, 31), "2026-02", ("renewal", "2026-02-01", "2026-02-28", "120.00")),
]
ANNUAL = [
    # On the 1st: 12 full months, 120 x (11 + 1) / 12.
    (date(2026, 4, 1), "2026-04", ("activation", "2026-04-01", "2027-03-31", "120.00")),
    # In the middle: 120 x (11 + 16/30) / 12 = 115.3333...
    (date(2026, 4, 15), "2026-04", ("activation", "2026-04-15", "2027-03-31", "115.33")),
    (date(2026, 4, 15), "2026-12", ("running", "2026-04-15", "2027-03-31", "0.00")),
    (date(2026, 4, 15), "2027-04", ("renewal", "2027-04-01", "2028-03-31", "120.00")),
    # 29 February: 120 x (11 + 1/29) / 12 = 110.3448...; 11 full months and one day end with January.
    (date(2028, 2, 29), "2028-02", ("activation", "2028-02-29", "2029-01-31", "110.34")),
    (date(2028, 2, 29), "2029-02", ("renewal", "2029-02-01", "2030-01-31", "120.00")),
    # The 31st: 120 x (11 + 1/31) / 12 = 110.3225...
    (date(2026, 1, 31), "2026-01", ("activation", "2026-01-31", "2026-12-31", "110.32")),
]


@pytest.mark.parametrize(("activated", "month", "expected"), MONTHLY)
def test_a_monthly_licence(activated: date, month: str, expected: tuple[str, ...]) -> None:
    """The activation month is charged by its remaining days, each later month whole."""
    assert charged(month, terms(activated)) == expected


@pytest.mark.parametrize(("activated", "month", "expected"), ANNUAL)
def test_an_annual_licence(activated: date, month: str, expected: tuple[str, ...]) -> None:
    """The remaining days and 11 months, then 12 months from the 1st; nothing within what is paid."""
    assert charged(month, terms(activated, "annual")) == expected


def test_there_is_no_licence_before_its_activation_nor_after_its_end() -> None:
    """Activated in April, until June: neither March nor July has a line."""
    ended = terms(date(2026, 4, 15), until=date(2026, 6, 30))
    assert licence_line([ended], (2026, 3)) is None
    assert charged("2026-06", ended) == ("renewal", "2026-06-01", "2026-06-30", "120.00")
    assert licence_line([ended], (2026, 7)) is None
    assert licence_line([terms(date(2026, 4, 15), "none", "0")], (2026, 5)) is None


def test_a_new_price_counts_for_an_annual_licence_from_its_renewal() -> None:
    """120 until July, then 150: the running year stays as it was paid, the renewal costs 150."""
    first = terms(date(2026, 4, 15), "annual")
    later = plan(
        effective=date(2026, 7, 1),
        activated=first.activated,
        licence="annual",
        price=parse_micros("150"),
        currency="EUR",
    )
    assert charged("2026-08", first, later) == ("running", "2026-04-15", "2027-03-31", "0.00")
    assert line("2026-08", first, later).plan_cost == Decimal("120.00")
    assert charged("2027-04", first, later) == ("renewal", "2027-04-01", "2028-03-31", "150.00")


def test_a_new_price_and_currency_count_for_a_monthly_licence_from_their_month() -> None:
    """120 EUR in June, 130 USD in July."""
    first = terms(date(2026, 4, 15))
    later = plan(
        effective=date(2026, 7, 1), activated=first.activated, price=parse_micros("130"), currency="USD"
    )
    june, july = line("2026-06", first, later), line("2026-07", first, later)
    assert (june.charged, june.currency, july.charged, july.currency) == (
        Decimal("120.00"), "EUR", Decimal("130.00"), "USD",
    )  # fmt: skip
    assert july.period == "renewal"


def test_a_monthly_licence_can_become_an_annual_one() -> None:
    """A new activation on 1 July: the whole year is charged."""
    later = terms(date(2026, 7, 1), "annual", "1000")
    assert charged("2026-07", terms(date(2026, 4, 15)), later) == (
        "activation", "2026-07-01", "2027-06-30", "1000.00",
    )  # fmt: skip


def test_amounts_are_rounded_to_the_currencys_coin() -> None:
    """1000 x 16/31 = 516.129: 516 CLP, 516.129 KWD, 516.13 USD; half a coin goes up."""
    for currency, expected in (("CLP", "516"), ("KWD", "516.129"), ("USD", "516.13")):
        own = plan(effective=date(2026, 1, 16), price=parse_micros("1000"), currency=currency)
        assert str(line("2026-01", own).charged) == expected
    assert printed(Fraction(5, 1000), "USD") == Decimal("0.01")
    assert printed(Fraction(-5, 1000), "USD") == Decimal("-0.01")


@pytest.mark.parametrize(
    ("mau", "in_package", "expected"),
    [
        (99, 100, (1, 0, "0.00")),
        # Exhausted exactly.
        (100, 100, (0, 0, "0.00")),
        # Over by one: 1 x 0.05.
        (101, 100, (0, 1, "0.05")),
        # No package: everybody is beyond it, 7 x 0.05.
        (7, 0, (0, 7, "0.35")),
    ],
)
def test_a_package(mau: int, in_package: int, expected: tuple[int, int, str]) -> None:
    """What is left, who is beyond, and what they cost."""
    used = package(mau, terms(date(2026, 1, 1), mau_package=in_package, amau_price=parse_micros("0.05")))
    assert (used.balance, used.amau, str(used.amau_total)) == expected


def test_users_beyond_the_package_are_rounded_once() -> None:
    """31 x 0.0125 = 0.3875, one line: 0.39, not 31 times 0.01."""
    own = terms(date(2026, 1, 1), amau_price=parse_micros("0.0125"))
    assert package(31, own).amau_total == Decimal("0.39")


def test_users_beyond_the_package_without_a_price_have_none() -> None:
    """Nothing agreed is not 0; nobody beyond the package costs nothing all the same."""
    own = terms(date(2026, 1, 1), mau_package=10)
    assert package(11, own).amau_total is None
    assert package(10, own).amau_total == Decimal("0.00")


@settings(max_examples=200, deadline=None)
@given(
    st.dates(date(2023, 1, 1), date(2029, 12, 31)),
    st.sampled_from(["monthly", "annual"]),
    st.integers(0, 2000),
)
def test_periods_are_those_of_the_calendar_day_by_day(activated: date, licence: Licence, price: int) -> None:
    """They tile the calendar without a gap, charged once each, as the oracle finds by counting days."""
    own = plan(effective=activated, licence=licence, price=price * MICROS, currency="EUR")
    last = activated + timedelta(days=1200)
    expected = list(periods(own, last))
    found = licence_periods([own], last)
    assert [(period.first, period.last, period.charged) for period in found] == [
        (first, end, share * price) for first, end, share in expected
    ]
    assert all(later.first == one.last + timedelta(days=1) for one, later in pairwise(found))


@settings(max_examples=100, deadline=None)
@given(st.dates(date(2023, 1, 1), date(2029, 12, 31)), st.sampled_from(["monthly", "annual"]))
def test_the_months_of_three_years_charge_every_period_once(activated: date, licence: Licence) -> None:
    """The printed amounts of 36 months are those of the periods that begin in them."""
    own = plan(effective=activated, licence=licence, price=parse_micros("119.99"), currency="EUR")
    months = [divmod(activated.year * 12 + activated.month - 1 + place, 12) for place in range(36)]
    total = sum(line(f"{year}-{month + 1}", own).charged for year, month in months)
    year, month = months[-1]
    last = date(year + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)
    shares = [share for _, _, share in periods(own, last)]
    assert total == sum(printed(Fraction("119.99") * share, "EUR") for share in shares)
