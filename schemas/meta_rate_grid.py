"""Opens Meta's rate files as rows of text: CSV, or the sheet of a workbook.

Owns file formats, and what an import knows while it reads. Does not own what the rows mean.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schemas.market_files import decoded
from schemas.meta_rate_cells import currency_of, is_no_rate
from schemas.rate_faults import FaultList

if TYPE_CHECKING:
    from openpyxl.worksheet.worksheet import Worksheet

GridRow = tuple[int, list[str]]
"""The line (or row of a sheet) on which it begins, and its cells without spaces around."""
LIST_SHEET: Final = "List rates"
_ZIP_MAGIC: Final = b"PK\x03\x04"
_SHOWN_DIGITS: Final = 15
"""What a spreadsheet shows of a number; behind them is only the noise of its binary fractions."""


@dataclass(slots=True)
class Importing:
    """What an import knows while it reads one file."""

    faults: FaultList
    markets: frozenset[str]
    currency: str | None
    """As told by the caller."""
    notes: list[str] = field(default_factory=list)
    """What people should know of the file, such as columns that were skipped."""

    def note(self, text: str) -> None:
        """Take a note, once."""
        if text not in self.notes:
            self.notes.append(text)

    def row_currency(self, line: int, cell: str, before: str | None) -> str | None:
        """Return the currency of a row, or None after a fault.

        Args:
            line: of the row.
            cell: what it says; empty = nothing.
            before: the currency of the row before, for files that say it only once.
        """
        if is_no_rate(cell):
            found = before or self.currency
            if found is None:
                self.faults.add(line, "found no currency; give it by --currency")
            return found
        found = currency_of(cell)
        if found is None and self.currency is not None:
            self.note(f"the currency {cell!r} was taken as {self.currency}, as told")
            return self.currency
        if found is None:
            self.faults.add(
                line, f"found the currency {cell[:40]!r}, which names none; give it by --currency"
            )
        elif self.currency not in (None, found):
            self.faults.add(
                line, f"found the currency {cell[:40]!r} ({found}), expected {self.currency} as told"
            )
            return None
        return found


def is_workbook(data: bytes) -> bool:
    """Tell whether a file is a workbook (or another archive)."""
    return data.startswith(_ZIP_MAGIC)


def grid_of(data: bytes, importing: Importing) -> list[GridRow]:
    """Return the rows of a file that hold anything; what prevents reading it is a fault."""
    rows = _workbook_rows(data, importing) if is_workbook(data) else _csv_rows(data, importing.faults)
    return [(line, cells) for line, cells in rows if any(cells)]


def _csv_rows(data: bytes, faults: FaultList) -> list[GridRow]:
    reader = csv.reader(io.StringIO(decoded(data, faults), newline=""), strict=True)
    rows: list[GridRow] = []
    line = 1
    try:
        for cells in reader:
            rows.append((line, [cell.strip() for cell in cells]))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.add(line, f"found a line that is not CSV ({error})")
    return rows


def _workbook_rows(data: bytes, importing: Importing) -> list[GridRow]:
    from openpyxl import load_workbook  # noqa: PLC0415 - takes a while to load, and CSV is the usual case

    try:
        values = load_workbook(io.BytesIO(data), data_only=True)
        formulas = load_workbook(io.BytesIO(data))
    except Exception as error:  # a damaged archive fails in many ways
        importing.faults.add(0, f"found a workbook that cannot be read ({type(error).__name__}: {error})")
        return []
    names = [sheet.title for sheet in values.worksheets]
    chosen = next((name for name in names if name.strip().casefold() == LIST_SHEET.casefold()), None)
    if chosen is None:
        importing.faults.add(0, f"found the sheets {', '.join(names)}, expected one called {LIST_SHEET!r}")
        return []
    for name in names:
        if name != chosen:
            importing.note(f"the sheet {name!r} was skipped")
    return _sheet_rows(values[chosen], formulas[chosen], importing.faults)


def _sheet_rows(values: Worksheet, formulas: Worksheet, faults: FaultList) -> list[GridRow]:
    rows: list[GridRow] = []
    pairs = zip(values.iter_rows(values_only=True), formulas.iter_rows(values_only=True), strict=True)
    for number, (row, written) in enumerate(pairs, start=1):
        rows.append((number, [_cell_text(value) for value in row]))
        if any(value is None and source is not None for value, source in zip(row, written, strict=True)):
            # Without this, a formula that was never computed would look like "no rate".
            faults.add(number, "found a formula without a value; open the workbook and save it again")
    return rows


def _cell_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{Decimal(f'{value:.{_SHOWN_DIGITS}g}'):f}"
    if isinstance(value, datetime | date):
        return f"{value:%Y-%m-%d}"
    return str(value).strip()


def notes_before(rows: Sequence[GridRow], header: int) -> list[str]:
    """Return the lines of notes above the header, each as one text: an unquoted date has commas of its own."""
    return [",".join(cells) for _, cells in rows[:header]]
