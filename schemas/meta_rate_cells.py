"""Single cells of Meta's rate files: currencies, rates, market names, dates, names of columns.

Owns the spellings seen in those files. Does not own their layout.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import date
from typing import Final

from schemas.money import Micros, is_currency, parse_micros
from schemas.rate_faults import unknown_market

NO_RATE: Final = frozenset({"", "n/a", "na", "-", "--", "\u2013", "\u2014"})
"""What stands where there is no rate, in lower case."""
_CURRENCY_TOKENS: Final = {
    "$US": "USD",
    "US$": "USD",
    "A$": "AUD",
    "AU$": "AUD",
    "\u00a3": "GBP",
    "GBD": "GBP",  # a slip in the provider's files; no currency has this code
    "\u20b9": "INR",
    "RP": "IDR",
    "R$": "BRL",
    "\u20ac": "EUR",
    "MX$": "MXN",
    "RM": "MYR",
    "S/": "PEN",
    "S$": "SGD",
}
_DOLLAR_SIGN: Final = frozenset({"USD", "AUD", "ARS", "CLP", "COP", "MXN", "SGD"})
"""Currencies whose amounts may be written with a bare ``$``, which alone names none of them."""
_MARKET_ALIASES: Final = {
    "rest of asia-pacific": "Rest of Asia Pacific",
    "rest of apac": "Rest of Asia Pacific",
    "turkiye": "Turkey",
    "t\u00fcrkiye": "Turkey",
    "uae": "United Arab Emirates",
    "uk": "United Kingdom",
}
_AMOUNT = re.compile(r"(?P<before>[^\d.,]*)(?P<number>[\d.,]*\d)(?P<behind>[^\d.,]*)", re.ASCII)
# A group after a leading 0 would be decimals behind a comma: "0,012" must not become 12.
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?", re.ASCII)
_COUNT = re.compile(r"\d{1,15}|[1-9]\d{0,2}(?:,\d{3}){1,4}", re.ASCII)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*\.?"
_EFFECTIVE = r"effective\b[\s:,]*(?:(?:from|on|as of|since|date|beginning|starting)\b[\s:,]*)*"
_DATES: Final = tuple(
    re.compile(_EFFECTIVE + form, re.IGNORECASE)
    for form in (
        rf"{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?[,\s]+(?P<year>\d{{4}})\b",
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+{_MONTH}[,\s]+(?P<year>\d{{4}})\b",
        r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})\b",
    )
)


def words_of(cell: str) -> str:
    """Return the letters of a column's name, in lower case: line breaks, hyphens and footnote marks do not count."""
    return re.sub(r"[^a-z]", "", cell.lower())


def is_no_rate(cell: str) -> bool:
    """Tell whether a cell says that there is no rate."""
    return cell.strip().lower() in NO_RATE


def currency_of(token: str) -> str | None:
    """Return the currency that a token names, or None."""
    token = token.strip().upper()
    known = _CURRENCY_TOKENS.get(token)
    return known or (token if is_currency(token) else None)


def read_rate(cell: str, currency: str) -> Micros:
    """Return a rate such as ``$0.0625`` or ``Rp 1,234.5``.

    Raises:
        ValueError: it is none, or is in another currency; the message says what was found.
    """
    match = _AMOUNT.fullmatch(cell.strip())
    if match is None:
        raise ValueError(f"found {cell[:40]!r}, expected a rate such as $0.0625")
    for sign in (match["before"].strip(), match["behind"].strip()):
        if not sign or currency_of(sign) == currency or (sign == "$" and currency in _DOLLAR_SIGN):
            continue
        raise ValueError(f"found {cell[:40]!r}, expected a rate in {currency}")
    number = match["number"]
    if _THOUSANDS.fullmatch(number):
        number = number.replace(",", "")
    if number.startswith("0") and number[1:2].isdigit():  # "0,0118" that was split at its comma
        raise ValueError(f"found {cell[:40]!r}, expected a rate such as $0.0625")
    try:
        return parse_micros(number)
    except ValueError as error:
        raise ValueError(f"expected {error}; found {cell[:40]!r}") from error


def read_count(cell: str) -> int:
    """Return a number of messages such as ``1,000,000``.

    Raises:
        ValueError: it is none.
    """
    if not _COUNT.fullmatch(cell.strip()):
        raise ValueError(f"found {cell[:40]!r}, expected a number of messages such as 1,000,000")
    return int(cell.strip().replace(",", ""))


def read_market(cell: str, markets: Collection[str]) -> str:
    """Return our name of a market.

    Raises:
        ValueError: the mapping has none; the message names similar ones.
    """
    wanted = _folded(cell)
    by_folded = {_folded(market): market for market in markets}
    found = by_folded.get(wanted) or by_folded.get(_folded(_MARKET_ALIASES.get(wanted, "")))
    if found is None:
        raise ValueError(unknown_market(" ".join(cell.split())[:80], markets))
    return found


def _folded(name: str) -> str:
    return " ".join(name.replace("&", " and ").casefold().split())


def effective_dates(lines: Iterable[str]) -> set[date]:
    """Return the days that lines of notes call effective.

    Days with the month as a number only, such as 10/1/2026, are passed over: which part is the month depends on the
    reader.
    """
    found = set()
    for line in lines:
        for form in _DATES:
            for match in form.finditer(line):
                month = match["month"].lower()
                number = int(month) if month.isdigit() else _MONTHS.index(month) + 1
                try:
                    found.add(date(int(match["year"]), number, int(match["day"])))
                except ValueError:
                    continue  # such as September 31
    return found
