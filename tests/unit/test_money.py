"""Amounts: read without binary fractions, printed rounded half-up to the smallest coin."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from schemas.money import decimal_of, is_currency, minor_unit_digits, parse_micros, printed, printed_micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("0.0037", 3_700),
        ("0.000001", 1),
        ("12", 12_000_000),
        ("007.5", 7_500_000),
        ("999999999999.999999", 999_999_999_999_999_999),
    ],
)
def test_plain_amounts_are_read_exactly(text: str, micros: int) -> None:
    """Whole and decimal digits become micro-units, digit by digit."""
    assert parse_micros(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".5",
        "5.",
        "-1",
        "+1",
        "1e3",
        "1,000",
        "0.0000001",
        "1000000000000",
        " 1",
        "1\n",
        "\u0661",
        "NaN",
        "1_0",
    ],
)
def test_what_is_not_a_plain_amount_is_refused(text: str) -> None:
    """Signs, exponents, separators, other digits and a seventh decimal are never guessed at."""
    with pytest.raises(ValueError, match="an amount such as"):
        parse_micros(text)


@pytest.mark.parametrize("micros", [0, 1, -1, 999_999, 1_000_000, -2_500_000, 123_456_789_012_345_678])
def test_micros_and_decimals_are_the_same_number(micros: int) -> None:
    """A decimal number has every digit of the micro-units, with its sign and without zeros behind."""
    number = decimal_of(micros)
    assert number == Decimal(micros) / 1_000_000
    assert "." not in f"{number:f}" or not f"{number:f}".endswith("0")


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (Fraction(1, 200), "USD", "0.01"),
        (Fraction(1, 200) - Fraction(1, 10**12), "USD", "0.00"),
        (Fraction(-1, 200), "USD", "-0.01"),
        (Fraction(5, 2), "CLP", "3"),
        (Fraction(249, 100), "CLP", "2"),
        (Fraction(1, 2000), "KWD", "0.001"),
        (Fraction(49, 100_000), "KWD", "0.000"),
        (Fraction(1, 3), "KWD", "0.333"),
        (Fraction(10), "USD", "10.00"),
        (Fraction(1000), "CLP", "1000"),
    ],
)
def test_printed_amounts_are_rounded_half_up(amount: Fraction, currency: str, text: str) -> None:
    """A half goes away from zero, and the result has exactly the decimals of the currency."""
    assert f"{printed(amount, currency):f}" == text


def test_micros_are_printed_by_the_same_rule() -> None:
    """Half a cent in micro-units is a cent."""
    assert printed_micros(5_000, "USD") == Decimal("0.01")
    assert printed_micros(4_999, "USD") == Decimal("0.00")


def test_currencies_are_those_of_iso_4217() -> None:
    """Codes in capitals are known with their decimals; symbols, slips and small letters are not codes."""
    assert [minor_unit_digits(code) for code in ("USD", "CLP", "KWD")] == [2, 0, 3]
    assert all(map(is_currency, ("USD", "BRL", "INR", "IDR", "AED")))
    assert not any(map(is_currency, ("usd", "GBD", "US", "$", "", "USDT")))
