"""A final report as a workbook (xlsx) that a finance person can go on working with.

Owns what stands on which sheet. Sums below a table are formulas whose stored value is the report's own total. How cells
look and when a number is one: ``sinks.exports.book``.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Final

from schemas.final_report import FinalReport
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
from sinks.exports.sections import (
    CURRENCY,
    NO_PRICE,
    NONE,
    NOT_KNOWN,
    POSITION_TITLES,
    TITLE,
    Cell,
    Column,
    Section,
    facts_of,
    positions_of,
    sections_of,
    sum_of,
)

if TYPE_CHECKING:
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

_WIDTH_MAX: Final = 44


def as_xlsx(report: FinalReport) -> bytes:
    """Return the workbook; the same report gives the same bytes."""
    stream = io.BytesIO()
    book = new_book(stream, f"Final report {report.month}, account {report.account}", report.generated_at)
    writer = _Writer(book, report)
    writer.summary()
    for section in sections_of(report):
        writer.section(section)
    writer.about()
    book.close()
    return stream.getvalue()


@dataclass
class _Writer:
    """Writes sheet after sheet."""

    book: Workbook
    report: FinalReport

    @cached_property
    def looks(self) -> Looks:
        """Return how its cells look."""
        return Looks(self.book)

    def _sheet(self, name: str, columns: Sequence[Column] = ()) -> Worksheet:
        footer = f"{self.report.month}  {self.report.account}"
        return self.looks.new_sheet(name, footer, has_head=bool(columns))

    def summary(self) -> None:
        """Write the first sheet: whose report, of what, and the totals."""
        sheet = self._sheet("Summary")
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 2, 18)
        sheet.set_column(3, 3, 24)
        sheet.write_string(0, 0, TITLE, self.looks.title)
        row = 2
        for label, value in facts_of(self.report):
            sheet.write_string(row, 0, label, self.looks.bold)
            sheet.write_string(row, 1, value)
            row += 1
        row += 1
        for place, title in enumerate(("Total of", "Amount", "Currency", "Charged without a price")):
            sheet.write_string(row, place, title, self.looks.head(right=place in (1, 3)))
        titles = {section.name: section.title for section in sections_of(self.report)}
        for total in self.report.totals:
            row += 1
            sheet.write_string(row, 0, titles[total.section], self.looks.text)
            self._write(sheet, row, 1, total.amount, Column("", "money"), total.currency)
            sheet.write_string(row, 2, total.currency, self.looks.text)
            self._write(sheet, row, 3, total.unpriced, Column("", "count"), "")
        for note in self.report.notes:
            row += 2
            sheet.merge_range(row, 0, row, 3, "", self.looks.wrapped)
            sheet.write_string(row, 0, note, self.looks.wrapped)
            sheet.set_row(row, 15 * (1 + len(note) // 85))

    def section(self, section: Section) -> None:
        """Write a section on a sheet of its own."""
        sheet = self._sheet(_sheet_name(section), section.columns)
        widths = [_width(section, place) for place in range(len(section.columns))]
        for place, (column, width) in enumerate(zip(section.columns, widths, strict=True)):
            sheet.write_string(0, place, column.title, self.looks.head(right=column.is_number))
            sheet.set_column(place, place, width)
        lines = max(
            ceil((len(column.title) + 4) / width)
            for column, width in zip(section.columns, widths, strict=True)
        )
        sheet.set_row(0, LINE_POINTS * lines + 4)
        currency_at = _currency_place(section)
        for number, cells in enumerate(section.rows, 1):
            currency = str(cells[currency_at]) if currency_at is not None else ""
            for place, (cell, column) in enumerate(zip(cells, section.columns, strict=True)):
                self._write(sheet, number, place, cell, column, currency)
        if not section.rows and section.empty:
            sheet.write_string(1, 0, section.empty, self.looks.text)
        self._sums(sheet, section)
        self._totals(sheet, section)

    def _sums(self, sheet: Worksheet, section: Section) -> None:
        """Write the sums of counts below a table."""
        count = len(section.rows)
        summed = [place for place, column in enumerate(section.columns) if column.is_summed]
        if not count or not summed:
            return
        self.looks.total_row(sheet, count + 1, "Total", len(section.columns))
        for place in summed:
            values = [value for cells in section.rows if isinstance(value := cells[place], int)]
            whole = sum_of(section, place)
            if whole is None:
                sheet.write_string(count + 1, place, NONE, self.looks.long_total)
            else:
                formula = f"=SUM({_range(section, place)})"
                self.looks.write_sum(sheet, (count + 1, place), formula, whole, values, COUNT_FORMAT)

    def _totals(self, sheet: Worksheet, section: Section) -> None:
        """Write the totals of money below the sums, one for each currency."""
        currency_at = _currency_place(section)
        if not section.rows or currency_at is None:
            return
        place = _total_place(section)
        added, sheet_of_added = section, ""
        if section.name == "conversations":
            # A line of several currencies, or with a country that has no price, has no amount; its countries have.
            added = next(each for each in sections_of(self.report) if each.name == "details")
            sheet_of_added = f"'{_sheet_name(added)}'!"
        added_currency_at = _currency_place(added)
        assert added_currency_at is not None, "both tables of conversations have money, or none has"
        first_row = len(section.rows) + 1 + any(column.is_summed for column in section.columns)
        for row, total in enumerate(section.totals, first_row):
            self.looks.total_row(sheet, row, f"Total {total.currency}", len(section.columns))
            formula = (
                f'=SUMIF({sheet_of_added}{_range(added, added_currency_at)},"{total.currency}",'
                f"{sheet_of_added}{_range(added, _total_place(added))})"
            )
            values = [
                value
                for cells in added.rows
                if isinstance(value := cells[_total_place(added)], Decimal)
                and cells[added_currency_at] == total.currency
            ]
            number_format = money_format(total.currency)
            self.looks.write_sum(sheet, (row, place), formula, total.amount, values, number_format)
            sheet.write_string(row, currency_at, total.currency, self.looks.total_text)

    def _write(
        self, sheet: Worksheet, row: int, place: int, cell: Cell, column: Column, currency: str
    ) -> None:
        if cell is None:
            sheet.write_string(
                row, place, NO_PRICE if column.kind in ("money", "price") else NONE, self.looks.muted
            )
        elif isinstance(cell, str):
            sheet.write_string(row, place, cell, self.looks.muted if column.is_number else self.looks.text)
        elif isinstance(cell, date):
            sheet.write_datetime(row, place, cell, self.looks.date)
        else:
            formats = {"count": COUNT_FORMAT, "price": PRICE_FORMAT, "percent": "General"}
            number_format = formats.get(column.kind) or money_format(currency)
            self.looks.write_number(sheet, row, place, cell, number_format)

    def about(self) -> None:
        """Write the last sheet: how far the input was counted."""
        sheet = self._sheet("About")
        sheet.set_column(0, 3, 26)
        sheet.write_string(0, 0, "Input counted in this report", self.looks.bold)
        for place, title in enumerate(POSITION_TITLES):
            sheet.write_string(1, place, title, self.looks.head(right=place < 2))
        for row, (partition, position, received, written) in enumerate(positions_of(self.report), 2):
            self._write(sheet, row, 0, partition, Column("", "count"), "")
            self._write(sheet, row, 1, position, Column("", "count"), "")
            for place, moment in ((2, received), (3, written)):
                if moment is None:
                    sheet.write_string(row, place, NOT_KNOWN, self.looks.text)
                else:
                    sheet.write_datetime(row, place, naive(moment), self.looks.moment)


def _sheet_name(section: Section) -> str:
    return section.title.replace("/", " and ")


def _currency_place(section: Section) -> int | None:
    return next((p for p, column in enumerate(section.columns) if column.title == CURRENCY), None)


def _total_place(section: Section) -> int:
    """Return the last amount by our own rule: those by the provider's webhooks stand beside it."""
    return max(
        place
        for place, column in enumerate(section.columns)
        if column.kind == "money" and "webhooks" not in column.title
    )


def _range(section: Section, place: int) -> str:
    return f"{cell_name(1, place)}:{cell_name(len(section.rows), place)}"


def _width(section: Section, place: int) -> int:
    """Return a width that shows the longest cell; long titles wrap."""
    longest = max((len(str(cells[place])) for cells in section.rows), default=0)
    return min(_WIDTH_MAX, max(11, longest + 3, min(15, len(section.columns[place].title) + 3)))
