"""A final report as a workbook (xlsx) that a finance person can go on working with.

Owns sheets, formats and formulas. Numbers are numbers: whole and decimal values of up to 15 digits are exact in a cell,
longer ones stand as text. Sums below a table are formulas whose stored value is the report's own total.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Final

from schemas.final_report import FinalReport
from schemas.money import minor_unit_digits
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
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

EXACT_DIGITS: Final = 15
"""Decimal digits that a cell's binary number brings back unchanged."""
_WIDTH_MAX: Final = 44
_COUNT_FORMAT: Final = "#,##0"
_LINE_POINTS: Final = 15
_FOOTER_CHARACTERS: Final = 60
"""Of the account: a footer has room for 255, and codes in it can double them."""

NO_GUESSING: Final = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}
"""Options of a book whose texts stay texts, whatever they look like."""


def as_xlsx(report: FinalReport) -> bytes:
    """Return the workbook; the same report gives the same bytes."""
    from xlsxwriter.workbook import Workbook  # noqa: PLC0415 - not needed by other formats

    stream = io.BytesIO()
    # What begins like a formula or an address is text: accounts and numbers come from outside.
    book = Workbook(stream, NO_GUESSING)
    book.set_properties(
        {
            "title": f"Final report {report.month}, account {printable(report.account)}",
            "created": naive(report.generated_at),
        }
    )
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

    def _head(self, *, right: bool = False) -> Format:
        key = "head", right
        if key not in self._formats:
            self._formats[key] = self.book.add_format(
                {
                    "bold": True,
                    "text_wrap": True,
                    "valign": "vcenter",
                    "align": "right" if right else "left",
                    "indent": 0 if right else 1,
                    "bg_color": "#1F3A4D",
                    "font_color": "#FFFFFF",
                }
            )
        return self._formats[key]

    @cached_property
    def _text(self) -> Format:
        # Without an indent a text touches the number in the column before it.
        return self.book.add_format({"indent": 1})

    @cached_property
    def _title(self) -> Format:
        return self.book.add_format({"bold": True, "font_size": 15})

    @cached_property
    def _bold(self) -> Format:
        return self.book.add_format({"bold": True, "valign": "top"})

    @cached_property
    def _wrapped(self) -> Format:
        return self.book.add_format({"text_wrap": True, "valign": "top"})

    @cached_property
    def _total_text(self) -> Format:
        return self.book.add_format({"bold": True, "top": 1, "indent": 1})

    @cached_property
    def _date(self) -> Format:
        return self.book.add_format({"num_format": "yyyy-mm-dd", "align": "left", "indent": 1})

    @cached_property
    def _muted(self) -> Format:
        return self.book.add_format({"italic": True, "font_color": "#8A8A8A", "align": "right"})

    @cached_property
    def _long(self) -> Format:
        return self.book.add_format({"align": "right"})

    @cached_property
    def _long_total(self) -> Format:
        return self.book.add_format({"bold": True, "top": 1, "align": "right"})

    @cached_property
    def _moment(self) -> Format:
        return self.book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", "align": "left", "indent": 1})

    @cached_property
    def _formats(self) -> dict[tuple[str, bool], Format]:
        """Return those made so far: one for each way a cell looks, as a file has room for so many only."""
        return {}

    def _number(self, number_format: str, *, total: bool = False) -> Format:
        key = number_format, total
        if key not in self._formats:
            properties: dict[str, object] = {"num_format": number_format}
            if total:
                properties |= {"bold": True, "top": 1}
            self._formats[key] = self.book.add_format(properties)
        return self._formats[key]

    def _sheet(self, name: str, columns: Sequence[Column] = ()) -> Worksheet:
        sheet = self.book.add_worksheet(name)
        sheet.set_landscape()
        sheet.hide_gridlines(2)
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        # A name with & would be read as a code of the footer.
        account = printable(self.report.account)[:_FOOTER_CHARACTERS].replace("&", "&&")
        sheet.set_footer(f"&L{self.report.month}  {account}&C&A&R&P / &N")
        if columns:
            sheet.freeze_panes(1, 0)
            sheet.repeat_rows(0)
        return sheet

    def summary(self) -> None:
        """Write the first sheet: whose report, of what, and the totals."""
        sheet = self._sheet("Summary")
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, 2, 18)
        sheet.set_column(3, 3, 24)
        sheet.write_string(0, 0, TITLE, self._title)
        row = 2
        for label, value in facts_of(self.report):
            sheet.write_string(row, 0, label, self._bold)
            sheet.write_string(row, 1, value)
            row += 1
        row += 1
        for place, title in enumerate(("Total of", "Amount", "Currency", "Charged without a price")):
            sheet.write_string(row, place, title, self._head(right=place in (1, 3)))
        titles = {section.name: section.title for section in sections_of(self.report)}
        for total in self.report.totals:
            row += 1
            sheet.write_string(row, 0, titles[total.section], self._text)
            self._write(sheet, row, 1, total.amount, Column("", "money"), total.currency)
            sheet.write_string(row, 2, total.currency, self._text)
            self._write(sheet, row, 3, total.unpriced, Column("", "count"), "")
        for note in self.report.notes:
            row += 2
            sheet.merge_range(row, 0, row, 3, "", self._wrapped)
            sheet.write_string(row, 0, note, self._wrapped)
            sheet.set_row(row, 15 * (1 + len(note) // 85))

    def section(self, section: Section) -> None:
        """Write a section on a sheet of its own."""
        sheet = self._sheet(_sheet_name(section), section.columns)
        widths = [_width(section, place) for place in range(len(section.columns))]
        for place, (column, width) in enumerate(zip(section.columns, widths, strict=True)):
            sheet.write_string(0, place, column.title, self._head(right=column.is_number))
            sheet.set_column(place, place, width)
        lines = max(
            ceil((len(column.title) + 4) / width)
            for column, width in zip(section.columns, widths, strict=True)
        )
        sheet.set_row(0, _LINE_POINTS * lines + 4)
        currency_at = _currency_place(section)
        for number, cells in enumerate(section.rows, 1):
            currency = str(cells[currency_at]) if currency_at is not None else ""
            for place, (cell, column) in enumerate(zip(cells, section.columns, strict=True)):
                self._write(sheet, number, place, cell, column, currency)
        if not section.rows and section.empty:
            sheet.write_string(1, 0, section.empty, self._text)
        self._sums(sheet, section)
        self._totals(sheet, section)

    def _sums(self, sheet: Worksheet, section: Section) -> None:
        """Write the sums of counts below a table."""
        count = len(section.rows)
        summed = [place for place, column in enumerate(section.columns) if column.is_summed]
        if not count or not summed:
            return
        self._total_row(sheet, count + 1, "Total", len(section.columns))
        for place in summed:
            values = [value for cells in section.rows if isinstance(value := cells[place], int)]
            whole = sum_of(section, place)
            if whole is None:
                sheet.write_string(count + 1, place, NONE, self._long_total)
            else:
                formula = f"=SUM({_range(section, place)})"
                self._sum(sheet, (count + 1, place), formula, whole, values, _COUNT_FORMAT)

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
            self._total_row(sheet, row, f"Total {total.currency}", len(section.columns))
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
            money_format = _money_format(total.currency)
            self._sum(sheet, (row, place), formula, total.amount, values, money_format)
            sheet.write_string(row, currency_at, total.currency, self._total_text)

    def _sum(
        self,
        sheet: Worksheet,
        where: tuple[int, int],
        formula: str,
        whole: int | Decimal,
        values: Sequence[int | Decimal],
        number_format: str,
    ) -> None:
        """Write a sum as a formula, or as text where a program would not come to the same figure."""
        row, place = where
        if all(map(is_exact, (*values, whole))):
            sheet.write_formula(row, place, formula, self._number(number_format, total=True), float(whole))
        else:
            sheet.write_string(row, place, f"{Decimal(whole):f}", self._long_total)

    def _total_row(self, sheet: Worksheet, row: int, name: str, width: int) -> None:
        sheet.write_string(row, 0, name, self._total_text)
        for place in range(1, width):
            sheet.write_blank(row, place, None, self._total_text)

    def _write(
        self, sheet: Worksheet, row: int, place: int, cell: Cell, column: Column, currency: str
    ) -> None:
        if cell is None:
            sheet.write_string(
                row, place, NO_PRICE if column.kind in ("money", "price") else NONE, self._muted
            )
        elif isinstance(cell, str):
            sheet.write_string(row, place, cell, self._muted if column.is_number else self._text)
        elif isinstance(cell, date):
            sheet.write_datetime(row, place, cell, self._date)
        elif not is_exact(cell):
            sheet.write_string(
                row, place, f"{cell:f}" if isinstance(cell, Decimal) else str(cell), self._long
            )
        elif column.kind == "count":
            sheet.write_number(row, place, cell, self._number(_COUNT_FORMAT))
        elif column.kind == "price":
            sheet.write_number(row, place, cell, self._number("#,##0.00####"))
        elif column.kind == "percent":
            sheet.write_number(row, place, cell, self._number("General"))
        else:
            sheet.write_number(row, place, cell, self._number(_money_format(currency)))

    def about(self) -> None:
        """Write the last sheet: how far the input was counted."""
        sheet = self._sheet("About")
        sheet.set_column(0, 3, 26)
        sheet.write_string(0, 0, "Input counted in this report", self._bold)
        for place, title in enumerate(POSITION_TITLES):
            sheet.write_string(1, place, title, self._head(right=place < 2))
        for row, (partition, position, received, written) in enumerate(positions_of(self.report), 2):
            self._write(sheet, row, 0, partition, Column("", "count"), "")
            self._write(sheet, row, 1, position, Column("", "count"), "")
            for place, moment in ((2, received), (3, written)):
                if moment is None:
                    sheet.write_string(row, place, NOT_KNOWN, self._text)
                else:
                    sheet.write_datetime(row, place, naive(moment), self._moment)


def is_exact(number: int | Decimal) -> bool:
    """Tell whether a cell's binary number brings back every digit."""
    return len(Decimal(number).as_tuple().digits) <= EXACT_DIGITS


def naive(moment: datetime) -> datetime:
    """Return a moment in UTC as files have it: without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def printable(text: str) -> str:
    """Return a text without what the parts of the file outside of cells have no way to write."""
    return "".join(character if character.isprintable() else " " for character in text)


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
    return f"{_cell(1, place)}:{_cell(len(section.rows), place)}"


def _money_format(currency: str) -> str:
    digits = minor_unit_digits(currency) if currency else 2
    return _COUNT_FORMAT + (f".{'0' * digits}" if digits else "")


def _width(section: Section, place: int) -> int:
    """Return a width that shows the longest cell; long titles wrap."""
    longest = max((len(str(cells[place])) for cells in section.rows), default=0)
    return min(_WIDTH_MAX, max(11, longest + 3, min(15, len(section.columns[place].title) + 3)))


def _cell(row: int, place: int) -> str:
    from xlsxwriter.utility import xl_rowcol_to_cell  # noqa: PLC0415 - not needed by other formats

    return str(xl_rowcol_to_cell(row, place))
