"""Imports the rate cards and volume tiers that Meta publishes, from the files that an operator downloads.

Owns the layout of the list rates, and which layout a file has. Single cells are read by ``schemas.meta_rate_cells``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import PurePath
from typing import Final

from schemas.market_files import shipped_markets
from schemas.meta_rate_cells import effective_dates, is_no_rate, read_market, read_rate, words_of
from schemas.meta_rate_grid import GridRow, Importing, grid_of, notes_before
from schemas.meta_rate_tiers import read_tiers, tier_header
from schemas.money import Micros
from schemas.rate_cards import (
    OTHER_MARKET,
    RATE_CATEGORIES,
    MarketRow,
    RateBook,
    RateCard,
    RateKey,
    TierTable,
)
from schemas.rate_faults import FaultList, names_of_markets

_COLUMNS: Final = {
    "market": "market",
    "currency": "currency",
    "marketing": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authenticationinternational": "authentication_international",
    "authenticationintl": "authentication_international",
    "authinternational": "authentication_international",
    "authintl": "authentication_international",
    "service": "service",
}


@dataclass(frozen=True, slots=True)
class Imported:
    """What a file of the provider holds."""

    cards: tuple[RateCard, ...]
    tables: tuple[TierTable, ...]
    notes: tuple[str, ...]
    """What people should know of it: what was skipped, what is missing. Not faults."""

    @property
    def contents(self) -> tuple[RateCard | TierTable, ...]:
        """Return the cards and then the tables."""
        return (*self.cards, *self.tables)


def import_meta_file(
    data: bytes,
    name: str,
    effective: date | None,
    currency: str | None,
    markets: Sequence[MarketRow] | None = None,
) -> Imported:
    """Return the cards and tier tables of a CSV file or workbook of the provider.

    Args:
        data: the file.
        name: what faults and sources call it.
        effective: from when on; goes before what the file says. None = as the notes above its header say.
        currency: of rows that do not name theirs. A row that names another is a fault.
        markets: the market mapping; None = the shipped one.

    Raises:
        RateFaults: with every fault of the file.
    """
    rows_of_markets = shipped_markets() if markets is None else tuple(markets)
    importing = Importing(FaultList(name), names_of_markets(rows_of_markets), currency)
    rows = grid_of(data, importing)
    importing.faults.raise_if_any()
    tiers, lists = tier_header(rows), _list_header(rows)
    header = lists if tiers is None else tiers
    if header is None:
        importing.faults.add(
            0, "found no header, expected the columns Market, Currency, Marketing, Utility and so on"
        )
        importing.faults.raise_if_any()
        raise AssertionError("unreachable: a fault was just added")
    day = _effective(notes_before(rows, header), effective, importing)
    source = f"the provider's file {' '.join(PurePath(name).name.split())}, SHA-256 {hashlib.sha256(data).hexdigest()}"
    cards: tuple[RateCard, ...] = ()
    tables: tuple[TierTable, ...] = ()
    if tiers is not None:
        bands = read_tiers(rows, header, importing)
        tables = tuple(TierTable(code, day, bands[code], source) for code in sorted(bands))
    else:
        rates = _read_list(rows, header, importing)
        cards = tuple(RateCard(code, day, rates[code], source) for code in sorted(rates) if rates[code])
        _note_missing_markets(cards, RateBook(markets=rows_of_markets), importing)
    if not cards and not tables and not importing.faults.faults:
        importing.faults.add(0, "found no rates below the header")
    importing.faults.raise_if_any()
    return Imported(cards, tables, tuple(importing.notes))


def _effective(notes: Sequence[str], told: date | None, importing: Importing) -> date:
    """Return the day from which the file is in force; not to know it is a fault."""
    found = sorted(effective_dates(notes))
    said = " and ".join(map(str, found))
    if told is not None:
        if found and found != [told]:
            importing.note(f"the notes of the file say effective {said}; taken as {told}, as told")
        return told
    if len(found) == 1:
        return found[0]
    what = (
        f"the notes of the file say effective {said}" if found else "no line above the header says from when"
    )
    importing.faults.add(0, f"{what}; give the day by --effective")
    return date.min


def _list_header(rows: Sequence[GridRow]) -> int | None:
    """Return the place of the row that names the columns of list rates, or None."""
    for place, (_, cells) in enumerate(rows):
        names = {_COLUMNS.get(words_of(cell)) for cell in cells}
        if "market" in names and not names.isdisjoint(RATE_CATEGORIES):
            return place
    return None


@dataclass(slots=True)
class _List:
    """What has been read of a list of rates so far."""

    importing: Importing
    columns: dict[str, int]
    width: int
    rates: dict[str, dict[RateKey, Micros]] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    def cell(self, cells: list[str], column: str) -> str:
        """Return a cell of a row, empty where there is no such column."""
        place = self.columns.get(column)
        return cells[place] if place is not None else ""


def _read_list(
    rows: Sequence[GridRow], header: int, importing: Importing
) -> dict[str, dict[RateKey, Micros]]:
    """Return the rates below a header, by currency; whatever is wrong with them is a fault."""
    line, names = rows[header]
    columns: dict[str, int] = {}
    body = rows[header + 1 :]
    for place, name in enumerate(names):
        column = _COLUMNS.get(words_of(name))
        if column is None:
            if name or any(cells[place : place + 1] not in ([], [""]) for _, cells in body):
                shown = repr(" ".join(name.split())) if name else f"number {place + 1}, which has no name,"
                importing.note(f"the column {shown} was skipped: it is no rate per message that we know")
        elif column in columns:
            importing.faults.add(line, f"found the column {' '.join(name.split())!r} twice")
        else:
            columns[column] = place
    missing = [category for category in RATE_CATEGORIES if category not in columns]
    if missing:
        importing.note(f"no column for {', '.join(missing)}: no rates for that")
    reading = _List(importing, columns, len(names))
    for number, cells in body:
        _read_list_row(number, cells, reading)
    return reading.rates


def _read_list_row(line: int, cells: list[str], reading: _List) -> None:
    importing = reading.importing
    filled = [cell for cell in cells if cell]
    if len(filled) == 1 and cells[0]:
        importing.note(f"line {line} was skipped: {' '.join(cells[0].split())[:80]}")
        return
    if not max(reading.columns.values()) < len(cells) <= reading.width:
        # A cell too many, such as by a comma inside a number, would put rates under wrong names.
        importing.faults.add(line, f"found {len(cells)} columns, expected {reading.width} as in the header")
        return
    currency = importing.row_currency(line, reading.cell(cells, "currency"), None)
    try:
        market = read_market(reading.cell(cells, "market"), importing.markets)
    except ValueError as error:
        importing.faults.add(line, str(error))
        return
    if currency is None:
        return
    first = reading.lines.setdefault((currency, market), line)
    if first != line:
        importing.faults.add(line, f"{market} in {currency} is on line {first} already")
    rates = reading.rates.setdefault(currency, {})
    given = {category: reading.cell(cells, category) for category in RATE_CATEGORIES}
    if all(is_no_rate(cell) for cell in given.values()):
        importing.note(f"{market} has no rate in {currency} at all")
    for category, cell in given.items():
        if is_no_rate(cell):
            continue
        try:
            rates[market, category] = read_rate(cell, currency)
        except ValueError as error:
            importing.faults.add(line, f"{category}: {error}")


def _note_missing_markets(cards: Sequence[RateCard], book: RateBook, importing: Importing) -> None:
    """Note the markets in force on the day of a card for which it has no rates."""
    for card in cards:
        in_force = {book.market_of(row.country, card.effective) for row in book.markets} | {OTHER_MARKET}
        absent = sorted(in_force - {market for market, _ in card.rates})
        if absent:
            importing.note(f"no rates in {card.currency} for {', '.join(absent)}")
