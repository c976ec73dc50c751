"""Money: whole millionths of a currency inside, decimal text at the edges, never binary fractions.

Owns reading, printing and rounding of amounts, and what a currency's smallest coin is. Does not own prices.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import cache

MICROS = 1_000_000
"""Micro-units per unit of any currency. Prices finer than that are refused: Meta publishes four decimals."""
DECIMALS_MAX = 6
_INTEGER_DIGITS_MAX = 12
_AMOUNT = re.compile(rf"\d{{1,{_INTEGER_DIGITS_MAX}}}(?:\.\d{{1,{DECIMALS_MAX}}})?", re.ASCII)

Micros = int
"""Millionths of a unit of a currency."""


def parse_micros(text: str) -> Micros:
    """Return the micro-units of a price such as ``"0.0037"``.

    Raises:
        ValueError: not a plain decimal number of at most 12 digits before and 6 behind the point. There is no sign, no
            exponent and no thousands separator.
    """
    if not _AMOUNT.fullmatch(text):
        raise ValueError(
            f"an amount such as 0.0037, with at most {_INTEGER_DIGITS_MAX} digits before the point and {DECIMALS_MAX} "
            "behind it"
        )
    whole, _, decimals = text.partition(".")
    return int(whole) * MICROS + int(decimals.ljust(DECIMALS_MAX, "0"))


def decimal_of(micros: Micros) -> Decimal:
    """Return micro-units as a decimal number, without zeros behind its last digit; exact."""
    whole, rest = divmod(abs(micros), MICROS)
    digits = f"{rest:0{DECIMALS_MAX}}".rstrip("0")
    return Decimal(f"{'-' if micros < 0 else ''}{whole}{'.' if digits else ''}{digits}")


@cache
def minor_unit_digits(currency: str) -> int:
    """Return the decimals of a currency's smallest coin (ISO 4217), such as 2 of USD and 0 of CLP."""
    from babel.numbers import get_currency_precision  # noqa: PLC0415 - takes a moment to load

    return get_currency_precision(currency)


@cache
def is_currency(code: str) -> bool:
    """Tell whether a text is the ISO 4217 code of a currency."""
    from babel.numbers import is_currency as known  # noqa: PLC0415 - takes a moment to load

    return len(code) == 3 and code.isupper() and known(code)


def printed(amount: Fraction, currency: str) -> Decimal:
    """Return an amount of units rounded half-up to the currency's smallest coin, as it is printed on a line.

    The result has exactly the currency's decimals; sums of such results are exact (metering.md §8).
    """
    digits = minor_unit_digits(currency)
    scaled = amount * 10**digits
    magnitude = (abs(scaled.numerator) * 2 + scaled.denominator) // (2 * scaled.denominator)
    return Decimal(-magnitude if scaled < 0 else magnitude).scaleb(-digits)


def printed_micros(micros: Micros, currency: str) -> Decimal:
    """Return micro-units as ``printed`` does."""
    return printed(Fraction(micros, MICROS), currency)
