"""Reads and writes rate cards and volume tiers in our own format, and gathers all of an installation.

Owns that format (docs/guides/rates.md) and what replaces what. The provider's own files are read by
``schemas.meta_rate_files``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.resources import files
from pathlib import Path

from schemas.market_files import (
    MARKETS_FILE,
    csv_lines,
    load_markets,
    parse_date,
    read_text,
    shipped_markets,
)
from schemas.money import Micros, decimal_of, is_currency, parse_micros
from schemas.rate_cards import RATE_CATEGORIES, Band, RateBook, RateCard, RateKey, TierTable
from schemas.rate_faults import (
    FaultList,
    RateFaults,
    check_bands,
    in_order,
    names_of_markets,
    unknown_market,
)

__all__ = ["RATE_COLUMNS", "RateFaults", "load_rate_book", "read_rate_file", "write_rate_file"]

RATE_COLUMNS = ("effective", "currency", "market", "category", "lower", "upper", "rate")
_SOURCE = re.compile(r"#\s*source:(.*)", re.IGNORECASE)
_BOUND = re.compile(r"[1-9]\d{0,14}", re.ASCII)

CardKey = tuple[date, str]
"""``(effective, currency)``"""


@dataclass(slots=True)
class _Reading:
    """What has been read of one file so far."""

    faults: FaultList
    markets: Collection[str]
    source: str = ""
    card_sources: dict[CardKey, str] = field(default_factory=dict)
    table_sources: dict[CardKey, str] = field(default_factory=dict)
    rates: dict[CardKey, dict[RateKey, tuple[int, Micros]]] = field(default_factory=dict)
    bands: dict[CardKey, dict[RateKey, list[tuple[int, int, int | None, Micros]]]] = field(
        default_factory=dict
    )
    untellable: set[tuple[CardKey, RateKey]] = field(default_factory=set)
    """Where a bound is not readable: whether those bands have gaps cannot be told."""


def read_rate_file(
    text: str, name: str, markets: Collection[str] | None = None
) -> tuple[tuple[RateCard, ...], tuple[TierTable, ...]]:
    """Return the cards and tier tables of a file, each by date and currency.

    Args:
        text: the file.
        name: what faults call it.
        markets: the names a rate may be for; None = those of the shipped mapping.

    Raises:
        RateFaults: with every fault of the file.
    """
    reading = _Reading(FaultList(name), names_of_markets(shipped_markets()) if markets is None else markets)
    block: list[str] = []
    header_seen = False
    for number, line in csv_lines(text, reading.faults):
        if isinstance(line, str):
            match = _SOURCE.fullmatch(line)
            if match:
                block.append(match.group(1))
            continue
        if block:
            reading.source, block = _one_line(" ".join(block)), []
        if header_seen:
            _read_row(number, line, reading)
            continue
        header_seen = True
        if tuple(line) != RATE_COLUMNS:
            raise RateFaults([*reading.faults.faults, _no_header(name, number, line)])
    if not reading.rates and not reading.bands and not reading.faults.faults:
        reading.faults.add(0, f"found no rates, expected the header {','.join(RATE_COLUMNS)} and rows")
    _check_all_bands(reading)
    reading.faults.raise_if_any()
    return _cards_of(reading), _tables_of(reading)


def is_own_format(text: str) -> bool:
    """Tell whether a file is meant to be in our format, with or without faults: by its first line."""
    first = text.removeprefix("\ufeff").lstrip()
    return first.startswith(("#", f"{RATE_COLUMNS[0]},")) or bool(re.match(r"\d{4}-\d{2}-\d{2},", first))


def _no_header(name: str, number: int, cells: list[str]) -> str:
    return (
        f"{name}:{number}: found {','.join(cells)[:80]!r}, expected the header {','.join(RATE_COLUMNS)} "
        "(a file of the provider is brought in by `convometer rates import`)"
    )


def _read_row(number: int, cells: list[str], reading: _Reading) -> None:
    faults = reading.faults
    if len(cells) != len(RATE_COLUMNS):
        faults.add(number, f"found {len(cells)} fields, expected {len(RATE_COLUMNS)}")
        return
    before = len(faults.faults)
    effective_text, currency, market, category, lower_text, upper_text, rate_text = cells
    effective, rate = date.min, 0
    try:
        effective = parse_date(effective_text)
    except ValueError as error:
        faults.add(number, f"effective: {error}")
    try:
        rate = parse_micros(rate_text)
    except ValueError as error:
        faults.add(number, f"rate: expected {error}; found {rate_text[:40]!r}")
    if not is_currency(currency):
        faults.add(number, f"found the currency {currency[:40]!r}, expected an ISO 4217 code such as USD")
    if market not in reading.markets:
        faults.add(number, unknown_market(market[:80], reading.markets))
    if category not in RATE_CATEGORIES:
        faults.add(number, f"found the category {category[:40]!r}, expected {' or '.join(RATE_CATEGORIES)}")
    card, key = (effective, currency), (market, category)
    if lower_text or upper_text:
        _read_band(number, (lower_text, upper_text), rate, (card, key), reading)
        return
    if len(faults.faults) > before:
        return
    reading.card_sources.setdefault(card, reading.source)
    first_line, _ = reading.rates.setdefault(card, {}).setdefault(key, (number, rate))
    if first_line != number:
        faults.add(number, f"{_named(card, key)} has a list rate on line {first_line} already")


def _read_band(
    number: int, bounds: tuple[str, str], rate: Micros, place: tuple[CardKey, RateKey], reading: _Reading
) -> None:
    """Take a band, even one whose rate is faulty: its bounds keep the others from looking as if they had a gap."""
    lower_text, upper_text = bounds
    card, key = place
    if not _BOUND.fullmatch(lower_text):
        reading.faults.add(number, f"lower: found {lower_text[:40]!r}, expected a whole number from 1")
        reading.untellable.add(place)
        return
    upper: int | None = 0
    if upper_text:
        upper = int(upper_text) if _BOUND.fullmatch(upper_text) else None
    if upper is None:
        reading.faults.add(number, f"upper: found {upper_text[:40]!r}, expected a whole number, or nothing")
    reading.table_sources.setdefault(card, reading.source)
    reading.bands.setdefault(card, {}).setdefault(key, []).append((number, int(lower_text), upper, rate))


def _named(card: CardKey, key: RateKey) -> str:
    return f"{card[1]} {card[0]}, {key[0]}, {key[1]}"


def _check_all_bands(reading: _Reading) -> None:
    for card, by_key in reading.bands.items():
        for key, bands in by_key.items():
            if (card, key) not in reading.untellable:
                lines = ((line, lower, upper) for line, lower, upper, _ in bands)
                check_bands(_named(card, key), lines, reading.faults)


def _cards_of(reading: _Reading) -> tuple[RateCard, ...]:
    return tuple(
        RateCard(
            currency,
            effective,
            {key: rate for key, (_, rate) in rates.items()},
            reading.card_sources[effective, currency],
        )
        for (effective, currency), rates in sorted(reading.rates.items(), key=lambda item: item[0])
    )


def _tables_of(reading: _Reading) -> tuple[TierTable, ...]:
    return tuple(
        TierTable(
            currency,
            effective,
            {
                key: in_order(Band(lower, upper or 0, rate) for _, lower, upper, rate in bands)
                for key, bands in by_key.items()
            },
            reading.table_sources[effective, currency],
        )
        for (effective, currency), by_key in sorted(reading.bands.items(), key=lambda item: item[0])
    )


def write_rate_file(cards: Iterable[RateCard], tables: Iterable[TierTable]) -> str:
    """Return the file that holds cards and tier tables; reading it gives the same back.

    Sources are written with single spaces, whatever spaces and line breaks they hold.

    Raises:
        ValueError: a card or table is empty, or is there twice; a file could not say so.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    source = ""
    header_written = False
    seen: set[tuple[type, CardKey]] = set()
    contents: list[RateCard | TierTable] = [*sorted(cards, key=_card_key), *sorted(tables, key=_card_key)]
    for content in contents:
        rows = _rows_of(content)
        identity = (type(content), _card_key(content))
        if not rows or identity in seen:
            what = "there twice" if rows else "empty"
            raise ValueError(f"the {content.currency} rates of {content.effective} are {what}")
        seen.add(identity)
        if _one_line(content.source) != source:
            source = _one_line(content.source)
            out.write(f"# source: {source}".rstrip() + "\n")
        if not header_written:
            writer.writerow(RATE_COLUMNS)
            header_written = True
        writer.writerows((content.effective, content.currency, *row) for row in rows)
    return out.getvalue()


def _card_key(content: RateCard | TierTable) -> CardKey:
    return content.effective, content.currency


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _rows_of(content: RateCard | TierTable) -> list[tuple[str, str, str, str, str]]:
    """Return market, category, lower, upper and rate of each row, by market and category."""

    def order(key: RateKey) -> tuple[str, int]:
        return key[0], RATE_CATEGORIES.index(key[1])

    if isinstance(content, RateCard):
        return [(*key, "", "", rate_text(content.rates[key])) for key in sorted(content.rates, key=order)]
    return [
        (*key, str(band.lower), str(band.upper or ""), rate_text(band.rate))
        for key in sorted(content.bands, key=order)
        for band in content.bands[key]
    ]


def rate_text(rate: Micros) -> str:
    """Return a rate as it is printed and written, with four decimals or as many as it needs."""
    text = f"{decimal_of(rate):f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.ljust(4, '0')}"


@dataclass(slots=True)
class _Gathered:
    """Cards and tables of several files, each once."""

    cards: dict[CardKey, RateCard] = field(default_factory=dict)
    tables: dict[CardKey, TierTable] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _files: dict[tuple[str, CardKey], str] = field(default_factory=dict)

    def take(self, text: str, name: str, markets: Collection[str]) -> None:
        try:
            cards, tables = read_rate_file(text, name, markets)
        except RateFaults as error:
            self.faults += error.faults
            return
        for card in cards:
            if self._is_first("card", card, name):
                self.cards[_card_key(card)] = card
        for table in tables:
            if self._is_first("tiers", table, name):
                self.tables[_card_key(table)] = table

    def _is_first(self, what: str, content: RateCard | TierTable, name: str) -> bool:
        first = self._files.setdefault((what, _card_key(content)), name)
        if first != name:
            self.faults.append(
                f"{name}: holds the {content.currency} {what} of {content.effective}, which {first} holds too"
            )
        return first == name


def rate_file_paths(directory: Path | None) -> tuple[Path, ...]:
    """Return the rate files of the operator's directory, by name; none where there is no directory."""
    if directory is None or not directory.is_dir():
        return ()
    return tuple(path for path in sorted(directory.glob("*.csv")) if path.name != MARKETS_FILE)


def load_rate_book(directory: Path | None) -> RateBook:
    """Return everything that ships with convometer, with what the operator's directory puts in its place.

    A card or tier table of the directory replaces the shipped one of the same currency and date whole; its
    ``markets.csv`` replaces the whole mapping. A directory that is not there holds nothing.

    Raises:
        RateFaults: with every fault of every file of the directory.
    """
    shipped = _shipped()
    own = _Gathered()
    markets = shipped_markets()
    try:
        markets = load_markets(directory)
    except RateFaults as error:
        own.faults += error.faults
    names = names_of_markets(markets)
    for path in rate_file_paths(directory):
        try:
            text = read_text(path)
        except RateFaults as error:
            own.faults += error.faults
        else:
            own.take(text, str(path), names)
    if directory is not None and directory.exists() and not directory.is_dir():
        own.faults.append(f"{directory}: expected a directory of rate cards")
    if own.faults:
        raise RateFaults(own.faults)
    book = RateBook(tuple(shipped.cards.values()), tuple(shipped.tables.values()), markets)
    return book.replacing(own.cards.values(), own.tables.values())


def _shipped() -> _Gathered:
    shipped = _Gathered()
    names = names_of_markets(shipped_markets())
    for entry in sorted(files("schemas").joinpath("data", "rates").iterdir(), key=lambda entry: entry.name):
        shipped.take(entry.read_text("utf-8"), entry.name, names)
    if shipped.faults:
        raise RateFaults(shipped.faults)
    return shipped


def tiers_beside_cards(book: RateBook, keys: Sequence[tuple[str, date]]) -> list[str]:
    """Return, of some currencies and days, where the first tier is not the list rate, one sentence each.

    Cards and tiers come in files of their own, so that one may be of a later date than the other.
    """
    told = []
    for currency, day in keys:
        table = book.tier_table(currency, day)
        for (market, category), bands in sorted(table.bands.items()) if table else ():
            rate = book.rate(currency, market, category, day)
            if rate != bands[0].rate:
                listed = "there is no list rate" if rate is None else f"the list rate is {rate_text(rate)}"
                told.append(
                    f"on {day} the {currency} tiers of {market}, {category} begin with "
                    f"{rate_text(bands[0].rate)}, but {listed}"
                )
    return told
