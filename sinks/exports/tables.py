"""Tables as files: csv for programs, a workbook for people. Both hold every value of the table.

Owns how a table is written. Does not own what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Final, Literal

from xlsxwriter import Workbook
from xlsxwriter.utility import xl_col_to_name

from sinks.exports.flat import quoted, safe_text
from sinks.exports.workbook import NO_GUESSING, is_exact, naive, printable

Cell = str | int | Decimal | date | bool | None
Kind = Literal["text", "count", "money", "date"]
_WIDTH_MAX: Final = 40
_SHEET_NAME_MAX: Final = 31
_NUMBER_FORMATS: Final = {"count": "#,##0", "money": "#,##0.00####", "date": "yyyy-mm-dd"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    key: str
    """Its name for programs."""
    heading: str
    """Its name for people."""
    kind: Kind = "text"
    is_summed: bool = False
    """Whether the workbook adds it up."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns. None = no value, which is not 0."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def as_csv(table: Table) -> bytes:
    """Return a table as RFC 4180 with LF, UTF-8, without totals; no cell is a formula to a spreadsheet."""
    lines = [",".join(column.key for column in table.columns)]
    lines += [",".join(quoted(_text(cell)) for cell in row) for row in table.rows]
    return ("\n".join(lines) + "\n").encode()


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, Decimal):
        return f"{cell:f}"
    return safe_text(cell) if isinstance(cell, str) else str(cell)


def as_xlsx(tables: Sequence[Table], facts: Sequence[tuple[str, str]], made_at: datetime) -> bytes:
    """Return a workbook: a sheet for each table, and what the figures are about on the last one.

    The same tables, facts and ``made_at`` (UTC) give the same bytes. Texts are never formulas, numbers or links.
    """
    stream = BytesIO()
    book = Workbook(stream, NO_GUESSING)
    book.set_properties({"title": printable(dict(facts).get("Account", "")), "created": naive(made_at)})
    looks = {
        "head": book.add_format(
            {
                "bold": True,
                "text_wrap": True,
                "valign": "vcenter",
                "bg_color": "#1F3A4D",
                "font_color": "#FFFFFF",
            }
        ),
        "text": book.add_format({"indent": 1}),
        "long": book.add_format({"align": "right"}),
        "bold": book.add_format({"bold": True, "top": 1}),
        **{kind: book.add_format({"num_format": text}) for kind, text in _NUMBER_FORMATS.items()},
        "total": book.add_format({"num_format": "#,##0.######", "bold": True, "top": 1}),
    }
    for table in tables:
        _write(book, table, looks)
    about = book.add_worksheet("About")
    about.set_column(0, 0, 24)
    about.set_column(1, 1, 80)
    for row, (name, value) in enumerate(facts):
        about.write_string(row, 0, printable(name), looks["text"])
        about.write_string(row, 1, printable(value), looks["text"])
    book.close()
    return stream.getvalue()


def _write(book: Workbook, table: Table, looks: dict[str, object]) -> None:
    sheet = book.add_worksheet(table.title[:_SHEET_NAME_MAX])
    sheet.freeze_panes(1, 1)
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(0)
    for place, column in enumerate(table.columns):
        sheet.set_column(place, place, _width(table, place))
        sheet.write_string(0, place, column.heading, looks["head"])
    for row, cells in enumerate(table.rows, start=1):
        for place, cell in enumerate(cells):
            _write_cell(sheet, row, place, cell, table.columns[place].kind, looks)
    if table.rows:
        sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)
        _write_totals(sheet, table, looks)


def _write_cell(
    sheet: Workbook, row: int, place: int, cell: Cell, kind: Kind, looks: dict[str, object]
) -> None:
    if cell is None:
        return
    if isinstance(cell, date):
        sheet.write_datetime(row, place, datetime(cell.year, cell.month, cell.day), looks["date"])  # noqa: DTZ001
    elif isinstance(cell, (int, Decimal)) and not isinstance(cell, bool):
        if is_exact(cell):
            sheet.write_number(row, place, cell, looks[kind])
        else:
            sheet.write_string(
                row, place, f"{cell:,f}" if isinstance(cell, Decimal) else f"{cell:,}", looks["long"]
            )
    else:
        sheet.write_string(row, place, printable(_plain(cell)), looks["text"])


def _plain(cell: str | bool) -> str:
    return str(cell).lower() if isinstance(cell, bool) else cell


def _write_totals(sheet: Workbook, table: Table, looks: dict[str, object]) -> None:
    """Write sums below the table, a row apart, so that sorting and filtering leave them alone."""
    if not any(column.is_summed for column in table.columns):
        return
    row = len(table.rows) + 2
    sheet.write_string(row, 0, "Total", looks["bold"])
    for place, column in enumerate(table.columns):
        values = [cells[place] for cells in table.rows]
        numbers = [value for value in values if isinstance(value, (int, Decimal))]
        if not column.is_summed or not all(map(is_exact, numbers)):
            continue
        total = sum(numbers)
        if is_exact(total):
            name = xl_col_to_name(place)
            sheet.write_formula(
                row, place, f"=SUM({name}2:{name}{len(table.rows) + 1})", looks["total"], total
            )


def _width(table: Table, place: int) -> int:
    longest = max((len(_text(cells[place])) for cells in table.rows[:1000]), default=0)
    # Thousands separators take room as well.
    return min(_WIDTH_MAX, max(10, len(table.columns[place].heading), longest + longest // 3 + 2))
