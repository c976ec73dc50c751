"""A final report as a page (pdf), set by typst from a template that comes with the package.

Owns what the template is told: texts and printed numbers. All of it is data there, never markup.
"""

from __future__ import annotations

import json
import re
from datetime import date
from decimal import Decimal
from importlib.resources import as_file, files
from typing import Final

from schemas.final_report import FinalReport, Total
from sinks.exports.sections import (
    CURRENCY,
    NO_PRICE,
    NONE,
    POSITION_TITLES,
    TITLE,
    Cell,
    Column,
    Section,
    facts_of,
    positions_of,
    sections_of,
    sum_of,
    time_text,
)

_HEADINGS_MAX: Final = 120
"""Characters in the heads of a table that leave room on the page."""
_LONG_WORD: Final = re.compile(r"\S{17,}")
"""Longer than any number that a table prints, so that these stay whole."""
_TOGETHER_ROWS: Final = 14
_TOGETHER_LENGTH: Final = 40
_JOINERS: Final = "\u200c\u200d"
"""Invisible, but parts of words in Persian, Hindi and others."""
_BREAK: Final = "\u200b"


def as_pdf(report: FinalReport) -> bytes:
    """Return the page; the same report gives the same bytes."""
    import typst  # noqa: PLC0415 - takes a moment to load

    with as_file(files("sinks.exports") / "final_report.typ") as template:
        made: bytes = typst.compile(
            str(template),
            format="pdf",
            # Fonts of the machine would make the page depend on it.
            ignore_system_fonts=True,
            timestamp=int(report.generated_at.timestamp()),
            sys_inputs={"report": json.dumps(_content(report))},
        )
    return made


def _content(report: FinalReport) -> dict[str, object]:
    return {
        "title": TITLE,
        "facts": [[label, _breakable(value)] for label, value in facts_of(report)],
        "footer": {"month": report.month, "account": report.account, "number": report.number},
        "sections": [_section(section) for section in sections_of(report)],
        "notes": [_breakable(note) for note in report.notes],
        "position_titles": POSITION_TITLES,
        "positions": [
            [f"{partition:,}", f"{position:,}", time_text(received), time_text(written)]
            for partition, position, received, written in positions_of(report)
        ],
        "generated": [report.generated_at.year, report.generated_at.month, report.generated_at.day],
    }


def _section(section: Section) -> dict[str, object]:
    rows = [
        [_cell(cell, column) for cell, column in zip(cells, section.columns, strict=True)]
        for cells in section.rows
    ]
    headings = sum(len(column.title) for column in section.columns)
    return {
        "title": section.title,
        "columns": [
            {
                "title": column.title,
                "right": column.is_number,
                # What is left of the page's width goes to the texts that name a row.
                "grows": headings <= _HEADINGS_MAX and not column.is_number and column.title != CURRENCY,
            }
            for column in section.columns
        ],
        "rows": rows,
        "sums": _sums(section),
        "totals": [_total(total) for total in section.totals],
        "empty": section.empty,
        "together": _is_small(section),
    }


def _is_small(section: Section) -> bool:
    """Tell whether a table surely goes on one page, so that it need not be broken; one that does not would be cut."""
    longest = max((len(cell) for cells in section.rows for cell in cells if isinstance(cell, str)), default=0)
    return len(section.rows) + len(section.totals) <= _TOGETHER_ROWS and longest <= _TOGETHER_LENGTH


def _cell(cell: Cell, column: Column) -> dict[str, object]:
    missing = column.is_number and not isinstance(cell, int | Decimal)
    return {"text": _breakable(printed(cell, column)), "missing": missing}


def _sums(section: Section) -> list[str]:
    """Return the row of sums, or nothing where there is nothing to add up."""
    if len(section.rows) < 2 or not any(column.is_summed for column in section.columns):
        return []
    sums = [
        printed(sum_of(section, place), column) if column.is_summed else ""
        for place, column in enumerate(section.columns)
    ]
    return ["Total", *sums[1:]]


def _total(total: Total) -> str:
    amount = f"Total {total.currency} {printed(total.amount, Column('', 'money'))}"
    return amount + (f", without {total.unpriced:,} that have no price" if total.unpriced else "")


def printed(cell: Cell, column: Column) -> str:
    """Return a cell as people read it: thousands apart, no exponent, and a word where there is no price."""
    if cell is None:
        return NO_PRICE if column.kind in ("money", "price") else NONE
    if isinstance(cell, int | Decimal):
        return f"{cell:,f}" if isinstance(cell, Decimal) else f"{cell:,}"
    return cell.isoformat() if isinstance(cell, date) else cell


def _breakable(text: str) -> str:
    """Return a text whose long words can be broken: whatever it holds, it must not cover the figures beside it.

    Control characters are spaces here: no font has a shape for them, and they could end a line or turn its direction.
    """
    shown = "".join(each if each.isprintable() or each in _JOINERS else " " for each in text)
    return _LONG_WORD.sub(lambda word: _BREAK.join(word[0]), shown)
