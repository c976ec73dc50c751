"""How pages write numbers, amounts, changes and times. Exact: nothing is shortened to "1.2k"."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

import phonenumbers
from babel import Locale

from dashboard.usage import Change
from metering.charges import Sums
from schemas.money import decimal_of, printed_micros

NO_VALUE: Final = "–"  # noqa: RUF001 - an en dash is meant
_TERRITORIES: Final = Locale("en").territories


def number_text(value: int | Decimal | None) -> str:
    """Return a number with its thousands apart."""
    return NO_VALUE if value is None else f"{value:,}"


def percent_text(tenths: int) -> str:
    """Return tenths of a percent."""
    whole, rest = divmod(abs(tenths), 10)
    return f"{'−' if tenths < 0 else ''}{whole:,}.{rest} %"  # noqa: RUF001 - a minus sign is meant


def change_text(change: Change) -> str:
    """Return a change in words that need no colour."""
    tenths = change.percent_tenths
    if tenths is None:
        return "none before" if change.current else "none, as before"
    if change.current == change.previous:
        return "unchanged"
    return f"{'up' if change.current > change.previous else 'down'} {percent_text(abs(tenths))}"


def cost_texts(costs: Iterable[Sums] | None) -> list[str]:
    """Return one line a currency, rounded to its coin. What has no rate is said, not taken for 0."""
    lines = []
    for sums in costs or ():
        if not sums.charged:
            continue  # free units cost nothing in any currency
        amount = f"{printed_micros(sums.amount, sums.currency):,} {sums.currency}"
        if sums.unrated:
            amount = f"{amount} + {sums.unrated:,} without a rate" if sums.amount else "no rate"
        lines.append(amount)
    return lines


def exact_cost_text(costs: Iterable[Sums] | None) -> str:
    """Return the amounts unrounded."""
    return "; ".join(f"{decimal_of(sums.amount):,f} {sums.currency}" for sums in costs or ())


def country_name(code: str) -> str:
    """Return a country's English name; "ZZ" is not known."""
    return "Not known" if code in ("ZZ", "") else _TERRITORIES.get(code, code)


def phone_text(number: str) -> str:
    """Return digits as a phone number where they are one, else as they are."""
    if not number.isdigit():
        return number
    try:
        parsed = phonenumbers.parse(f"+{number}", None)
    except phonenumbers.NumberParseException:
        return number
    if not phonenumbers.is_possible_number(parsed):
        return number
    return str(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL))


def time_text(instant: datetime | None, zone: str = "UTC") -> str:
    """Return an instant to the second in a zone, with the zone's offset."""
    if instant is None:
        return "not known"
    local = instant.astimezone(ZoneInfo(zone) if zone != "UTC" else UTC)
    return f"{local:%Y-%m-%d %H:%M:%S} {_offset(local)}"


def _offset(local: datetime) -> str:
    offset = local.utcoffset()
    assert offset is not None, "the time has a zone"
    minutes = int(offset.total_seconds()) // 60
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"


def age_text(seconds: float) -> str:
    """Return a span of time in its largest two units."""
    whole = max(0, int(seconds))
    for unit_seconds, name, part_seconds, part in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= unit_seconds:
            first, rest = divmod(whole, unit_seconds)
            second = rest // part_seconds
            return f"{first} {name} {second} {part}" if second else f"{first} {name}"
    return f"{whole} s"


def month_text(first: date) -> str:
    """Return a month as people write it."""
    return f"{first:%B %Y}"
