"""Reads which country belongs to which market (price zone), and since when.

Owns the format of ``markets.csv`` and where the mapping comes from. Does not own rates.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path

from schemas.rate_cards import MarketRow
from schemas.rate_faults import FaultList, RateFaults

MARKETS_FILE = "markets.csv"
MARKET_COLUMNS = ("country", "market", "effective")
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def decoded(data: bytes, faults: FaultList) -> str:
    """Return the text of a file; one that is not UTF-8 is a fault, and no text."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        faults.add(0, f"found bytes that are not UTF-8 at offset {error.start}, expected text in UTF-8")
        return ""


def csv_lines(text: str, faults: FaultList) -> Iterator[tuple[int, list[str] | str]]:
    """Give the lines of a CSV file of ours with their numbers: cells without spaces around, or a comment as text.

    Empty lines are passed over. A field never spans lines.
    """
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text.removeprefix("\ufeff")), start=1):
        stripped = line.strip()
        if stripped.startswith("#"):
            yield number, stripped
            continue
        if not stripped.strip(",; \t"):  # also what spreadsheets leave of an empty line
            continue
        try:
            cells = [cell.strip() for cell in next(csv.reader([line], strict=True))]
        except csv.Error as error:
            faults.add(number, f"found a line that is not CSV ({error})")
            continue
        # A comment with a comma is put in quotes by a spreadsheet that saves the file.
        yield number, cells[0] if cells[0].startswith("#") else cells


def parse_date(text: str) -> date:
    """Return a date written YYYY-MM-DD.

    Raises:
        ValueError: it is not one; the message says what was found and what is expected.
    """
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"found {text[:40]!r}, expected a date such as 2026-10-01")


def read_market_file(text: str, name: str) -> tuple[MarketRow, ...]:
    """Return the mapping that a ``markets.csv`` holds.

    Raises:
        RateFaults: with every fault.
    """
    faults = FaultList(name)
    rows: list[MarketRow] = []
    lines: dict[tuple[str, date | None], int] = {}
    header_seen = False
    for number, cells in csv_lines(text, faults):
        if isinstance(cells, str):
            continue
        if not header_seen:
            header_seen = True
            if tuple(cells) != MARKET_COLUMNS:
                faults.add(
                    number, f"found {','.join(cells)!r}, expected the header {','.join(MARKET_COLUMNS)}"
                )
            continue
        row = _market_row(number, cells, faults)
        if row is None:
            continue
        first = lines.setdefault((row.country, row.effective), number)
        if first != number:
            faults.add(number, f"{row.country} has a market of the same date on line {first}")
        rows.append(row)
    if not rows and not faults.faults:
        faults.add(0, "found no rows, expected a country and its market on each line")
    faults.raise_if_any()
    return tuple(rows)


def _market_row(number: int, cells: list[str], faults: FaultList) -> MarketRow | None:
    if len(cells) != len(MARKET_COLUMNS):
        faults.add(number, f"found {len(cells)} fields, expected {len(MARKET_COLUMNS)}")
        return None
    country, market, effective = cells
    good = True
    if not _COUNTRY.fullmatch(country):
        faults.add(number, f"country: found {country[:40]!r}, expected two capital letters (ISO 3166)")
        good = False
    if not market or not market.isprintable():
        faults.add(number, "market: expected the name of a market")
        good = False
    day: date | None = None
    if effective:
        try:
            day = parse_date(effective)
        except ValueError as error:
            faults.add(number, f"effective: {error}")
            good = False
    return MarketRow(country, market, day) if good else None


@cache
def shipped_markets() -> tuple[MarketRow, ...]:
    """Return the mapping that ships with convometer."""
    return read_market_file(files("schemas").joinpath("data", MARKETS_FILE).read_text("utf-8"), MARKETS_FILE)


def load_markets(directory: Path | None) -> tuple[MarketRow, ...]:
    """Return the mapping in force: ``markets.csv`` of the operator's directory, else the shipped one.

    Raises:
        RateFaults: that file cannot be read, or with every fault in it.
    """
    path = directory / MARKETS_FILE if directory is not None else None
    if path is None or not path.exists():
        return shipped_markets()
    return read_market_file(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        RateFaults: it cannot be read, or is not UTF-8.
    """
    faults = FaultList(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RateFaults([f"{path}: cannot be read ({error.strerror or error})"]) from error
    text = decoded(data, faults)
    faults.raise_if_any()
    return text
