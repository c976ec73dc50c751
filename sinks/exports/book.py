"""What all workbooks share: how they begin, how their cells look, and how numbers and sums are written into them.

Owns formats and the rules for numbers. Numbers are numbers: whole and decimal values of up to 15 digits are exact in a
cell, longer ones stand as text. Does not own what stands on a sheet.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Final

from schemas.money import minor_unit_digits

if TYPE_CHECKING:
    from xlsxwriter.format import Format
    from xlsxwriter.workbook import Workbook
    from xlsxwriter.worksheet import Worksheet

EXACT_DIGITS: Final = 15
"""Decimal digits that a cell's binary number brings back unchanged."""
COUNT_FORMAT: Final = "#,##0"
PRICE_FORMAT: Final = "#,##0.00####"
LINE_POINTS: Final = 15
_FOOTER_CHARACTERS: Final = 70
"""Of what is named there: a footer has room for 255, and codes in it can double them."""


def new_book(stream: io.BytesIO, title: str, created: datetime) -> Workbook:
    """Return a workbook; the same content makes the same bytes."""
    from xlsxwriter.workbook import Workbook  # noqa: PLC0415 - not needed by other formats

    # What begins like a formula or an address is text: accounts and numbers come from outside.
    options = {
        "in_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    book = Workbook(stream, options)
    book.set_properties({"title": printable(title), "created": naive(created)})
    return book


@dataclass
class Looks:
    """How the cells of a workbook look, and how those with numbers are written."""

    book: Workbook

    def head(self, *, right: bool = False) -> Format:
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
    def text(self) -> Format:
        # Without an indent a text touches the number in the column before it.
        return self.book.add_format({"indent": 1})

    @cached_property
    def title(self) -> Format:
        return self.book.add_format({"bold": True, "font_size": 15})

    @cached_property
    def bold(self) -> Format:
        return self.book.add_format({"bold": True, "valign": "top"})

    @cached_property
    def wrapped(self) -> Format:
        return self.book.add_format({"text_wrap": True, "valign": "top"})

    @cached_property
    def total_text(self) -> Format:
        return self.book.add_format({"bold": True, "top": 1, "indent": 1})

    @cached_property
    def date(self) -> Format:
        return self.book.add_format({"num_format": "yyyy-mm-dd", "align": "left", "indent": 1})

    @cached_property
    def muted(self) -> Format:
        return self.book.add_format({"italic": True, "font_color": "#8A8A8A", "align": "right"})

    @cached_property
    def long(self) -> Format:
        return self.book.add_format({"align": "right"})

    @cached_property
    def long_total(self) -> Format:
        return self.book.add_format({"bold": True, "top": 1, "align": "right"})

    @cached_property
    def moment(self) -> Format:
        return self.book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss", "align": "left", "indent": 1})

    @cached_property
    def _formats(self) -> dict[tuple[str, bool], Format]:
        """Return those made so far: one for each way a cell looks, as a file has room for so many only."""
        return {}

    def number(self, number_format: str, *, total: bool = False) -> Format:
        key = number_format, total
        if key not in self._formats:
            properties: dict[str, object] = {"num_format": number_format}
            if total:
                properties |= {"bold": True, "top": 1}
            self._formats[key] = self.book.add_format(properties)
        return self._formats[key]

    def new_sheet(self, name: str, footer: str, *, has_head: bool) -> Worksheet:
        """Add a sheet that is ready for A4; its first row stays in view if it is a head."""
        sheet = self.book.add_worksheet(name)
        sheet.set_landscape()
        sheet.hide_gridlines(2)
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        # A name with & would be read as a code of the footer.
        shown = printable(footer)[:_FOOTER_CHARACTERS].replace("&", "&&")
        sheet.set_footer(f"&L{shown}&C&A&R&P / &N")
        if has_head:
            sheet.freeze_panes(1, 0)
            sheet.repeat_rows(0)
        return sheet

    def write_number(
        self, sheet: Worksheet, row: int, place: int, number: int | Decimal, number_format: str
    ) -> None:
        """Write a number, or its digits as text where a cell would not bring them back."""
        if is_exact(number):
            sheet.write_number(row, place, number, self.number(number_format))
        else:
            sheet.write_string(row, place, f"{Decimal(number):f}", self.long)

    def write_sum(
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
            sheet.write_formula(row, place, formula, self.number(number_format, total=True), float(whole))
        else:
            sheet.write_string(row, place, f"{Decimal(whole):f}", self.long_total)

    def total_row(self, sheet: Worksheet, row: int, name: str, width: int) -> None:
        """Begin a row of totals below a table."""
        sheet.write_string(row, 0, name, self.total_text)
        for place in range(1, width):
            sheet.write_blank(row, place, None, self.total_text)


def is_exact(number: int | Decimal) -> bool:
    """Tell whether a cell's binary number brings back every digit."""
    return len(Decimal(number).as_tuple().digits) <= EXACT_DIGITS


def naive(moment: datetime) -> datetime:
    """Return a moment in UTC as files have it: without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)


def printable(text: str) -> str:
    """Return a text without what the parts of the file outside of cells have no way to write."""
    return "".join(character if character.isprintable() else " " for character in text)


def money_format(currency: str) -> str:
    """Return the format of an amount: as many decimals as the currency has."""
    digits = minor_unit_digits(currency) if currency else 2
    return COUNT_FORMAT + (f".{'0' * digits}" if digits else "")


def cell_name(row: int, place: int) -> str:
    from xlsxwriter.utility import xl_rowcol_to_cell  # noqa: PLC0415 - not needed by other formats

    return str(xl_rowcol_to_cell(row, place))
