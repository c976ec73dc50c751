"""Tables of the dashboard as files: csv for programs, a workbook for people.

Owns the shape of such a table, and both forms of it. Does not own which rows it has.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final, Literal

from sinks.exports.book import (
    COUNT_FORMAT,
    LINE_POINTS,
    PRICE_FORMAT,
    Looks,
    cell_name,
    money_format,
    naive,
    new_book,
)
from sinks.exports.flat import cell_text, csv_bytes
from sinks.exports.sections import NONE

if TYPE_CHECKING:
    from xlsxwriter.worksheet import Worksheet

TableKind = Literal["text", "count", "money", "price", "percent", "date", "moment"]
TableCell = str | int | Decimal | date | datetime | None
"""None = there is no value. A ``datetime`` has a zone."""

CELL_CHARACTERS_MAX: Final = 32_767
"""Longer ones have no room in a cell of a workbook; they end in "…" there. The csv has all of it."""
ROWS_MAX: Final = 1_000_000
"""A sheet has room for a few more."""
_SHEET_NAME_MAX: Final = 31
_NOT_IN_SHEET_NAMES: Final = str.maketrans(dict.fromkeys("[]:*?/\\'", " "))
_WIDTH_MAX: Final = 44
_WIDTH_MIN: Final = 11
_WIDTH_ROWS_MAX: Final = 1000
_ABOUT: Final = "About"


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column."""

    key: str
    """Its name for programs."""
    heading: str
    """Its name for people."""
    kind: TableKind = "text"
    is_summed: bool = False
    """Added up below the table; money by currency, if a column with key ``currency`` tells it."""

    @property
    def is_number(self) -> bool:
        """Tell whether its cells are numbers."""
        return self.kind not in ("text", "date", "moment")


@dataclass(frozen=True, slots=True)
class Table:
    """A table; each row has a cell for each column."""

    title: str
    columns: tuple[TableColumn, ...]
    rows: Sequence[tuple[TableCell, ...]]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.columns or any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError("a table has columns, and every row a cell for each")
        if len(self.rows) > ROWS_MAX:
            raise ValueError(f"a table has at most {ROWS_MAX:,} rows")

    @property
    def currency_place(self) -> int | None:
        """Return where the currency of a row stands."""
        return next((place for place, column in enumerate(self.columns) if column.key == "currency"), None)


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What everybody has to know who reads a table later."""

    account: str
    first_day: date
    last_day: date
    time_zone: str
    generated_at: datetime
    counted: str
    """Until when all that was received is counted, in words."""
    further: tuple[tuple[str, str], ...] = ()
    """Label and text, such as filters."""


def as_csv(table: Table) -> bytes:
    """Return the table as RFC 4180 with LF, UTF-8; the heads are the columns' keys, no value is empty."""
    heads = tuple(column.key for column in table.columns)
    return csv_bytes([heads, *(tuple(map(cell_text, row)) for row in table.rows)])


def as_xlsx(tables: Sequence[Table], facts: ExportFacts) -> bytes:
    """Return a workbook with a sheet for each table and one of facts; the same content gives the same bytes."""
    stream = io.BytesIO()
    title = ", ".join(table.title for table in tables)
    book = new_book(stream, f"{title}, account {facts.account}"[:250], facts.generated_at)
    looks = Looks(book)
    taken = {_ABOUT.lower(), "history"}
    for table in tables:
        name = _sheet_name(table.title, taken)
        _write_table(looks, looks.new_sheet(name, f"{title}  {facts.account}", has_head=True), table)
    _write_facts(looks, tables, facts)
    book.close()
    return stream.getvalue()


def _write_table(looks: Looks, sheet: Worksheet, table: Table) -> None:
    wraps = 1
    for place, column in enumerate(table.columns):
        width = _width(table, place)
        sheet.write_string(0, place, column.heading, looks.head(right=column.is_number))
        sheet.set_column(place, place, width)
        # The filter's button takes the room of some letters.
        wraps = max(wraps, -(-(len(column.heading) + 7) // width))
    sheet.set_row(0, LINE_POINTS * wraps + 4)
    currency_at = table.currency_place
    for number, cells in enumerate(table.rows, 1):
        currency = str(cells[currency_at] or "") if currency_at is not None else ""
        for place, (cell, column) in enumerate(zip(cells, table.columns, strict=True)):
            _write_cell(looks, sheet, (number, place), cell, _number_format(column, currency))
    if not table.rows:
        sheet.write_string(1, 0, "No rows", looks.text)
        return
    sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)
    _write_totals(looks, sheet, table)


def _write_cell(
    looks: Looks, sheet: Worksheet, where: tuple[int, int], cell: TableCell, number_format: str
) -> None:
    row, place = where
    if cell is None:
        sheet.write_string(row, place, NONE, looks.muted)
    elif isinstance(cell, str):
        sheet.write_string(row, place, _fitting(cell), looks.text)
    elif isinstance(cell, bool):
        sheet.write_string(row, place, cell_text(cell), looks.text)
    elif isinstance(cell, datetime):
        sheet.write_datetime(row, place, naive(cell), looks.moment)
    elif isinstance(cell, date):
        sheet.write_datetime(row, place, cell, looks.date)
    else:
        looks.write_number(sheet, row, place, cell, number_format)


def _write_totals(looks: Looks, sheet: Worksheet, table: Table) -> None:
    """Write the sums: those of counts in one row, those of money in a row for each currency."""
    counts = [place for place, column in enumerate(table.columns) if column.is_summed]
    money: list[int] = []
    if table.currency_place is not None:
        money = [place for place in counts if table.columns[place].kind in ("money", "price")]
        counts = [place for place in counts if place not in money]
    row = len(table.rows) + 1
    if counts:
        looks.total_row(sheet, row, "Total", len(table.columns))
        for place in counts:
            values = _numbers(cells[place] for cells in table.rows)
            whole = sum(values, 0)
            number_format = _number_format(table.columns[place], "")
            looks.write_sum(
                sheet, (row, place), f"=SUM({_range(table, place)})", whole, values, number_format
            )
        row += 1
    currency_at = table.currency_place
    if not money or currency_at is None:
        return
    for currency in dict.fromkeys(str(cells[currency_at] or "") for cells in table.rows):
        if not _is_currency(currency):
            continue
        looks.total_row(sheet, row, f"Total {currency}", len(table.columns))
        for place in money:
            values = _numbers(cells[place] for cells in table.rows if cells[currency_at] == currency)
            formula = f'=SUMIF({_range(table, currency_at)},"{currency}",{_range(table, place)})'
            number_format = _number_format(table.columns[place], currency)
            looks.write_sum(sheet, (row, place), formula, sum(values, Decimal(0)), values, number_format)
        row += 1


def _write_facts(looks: Looks, tables: Sequence[Table], facts: ExportFacts) -> None:
    sheet = looks.new_sheet(_ABOUT, facts.account, has_head=False)
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 80)
    rows: list[tuple[str, TableCell]] = [
        ("Account", facts.account),
        ("First day", facts.first_day),
        ("Last day", facts.last_day),
        ("Time zone of days", facts.time_zone),
        ("Counted up to", facts.counted),
        ("Generated at (UTC)", facts.generated_at),
        *facts.further,
        *((f"Note on {table.title}", note) for table in tables for note in table.notes),
    ]
    for row, (label, value) in enumerate(rows):
        sheet.write_string(row, 0, _fitting(label), looks.bold)
        if isinstance(value, str):
            sheet.write_string(row, 1, _fitting(value), looks.wrapped)
        else:
            _write_cell(looks, sheet, (row, 1), value, COUNT_FORMAT)


def _number_format(column: TableColumn, currency: str) -> str:
    formats = {"count": COUNT_FORMAT, "price": PRICE_FORMAT, "percent": "General"}
    return formats.get(column.kind) or money_format(currency if _is_currency(currency) else "")


def _is_currency(text: str) -> bool:
    """Tell whether a text can be a currency's code: it goes into formulas."""
    return len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()


def _numbers(cells: Iterable[TableCell]) -> list[int | Decimal]:
    return [cell for cell in cells if isinstance(cell, int | Decimal) and not isinstance(cell, bool)]


def _range(table: Table, place: int) -> str:
    return f"{cell_name(1, place)}:{cell_name(len(table.rows), place)}"


def _fitting(text: str) -> str:
    return text if len(text) <= CELL_CHARACTERS_MAX else text[: CELL_CHARACTERS_MAX - 1] + "…"


def _sheet_name(title: str, taken: set[str]) -> str:
    """Return a name that a sheet can have and no other one has."""
    plain = "".join(each if each.isprintable() else " " for each in title).translate(_NOT_IN_SHEET_NAMES)
    base = " ".join(plain.split())[:_SHEET_NAME_MAX] or "Table"
    name, number = base, 2
    while name.lower() in taken:
        ending = f" {number}"
        name, number = base[: _SHEET_NAME_MAX - len(ending)] + ending, number + 1
    taken.add(name.lower())
    return name


def _width(table: Table, place: int) -> int:
    """Return a width that shows the longest cell of the first rows; long headings wrap."""
    cells = (row[place] for row in table.rows[:_WIDTH_ROWS_MAX])
    longest = max((_shown_length(cell) for cell in cells), default=0)
    return min(_WIDTH_MAX, max(_WIDTH_MIN, longest + 3, min(16, len(table.columns[place].heading) + 5)))


def _shown_length(cell: TableCell) -> int:
    if isinstance(cell, datetime):
        return len("2026-01-01 00:00:00")
    return len(f"{cell:,}") if isinstance(cell, int | Decimal) else len(str(cell))
