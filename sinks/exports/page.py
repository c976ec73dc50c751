"""A final report as a page (pdf), set by typst from a template that comes with the package.

Owns what the template is told: texts and printed numbers. All of it is data there, never markup.
"""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from importlib.resources import as_file, files

from schemas.final_report import FinalReport
from sinks.exports.sections import Cell, Column, Section, facts_of, positions_of, sections_of

NO_PRICE = "no price"


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
        "title": "Final report on WhatsApp channel messages",
        "facts": facts_of(report),
        "footer": f"{report.account}{f' / {report.number}' if report.number else ''}, {report.month}",
        "sections": [_section(section) for section in sections_of(report)],
        "notes": report.notes,
        "positions": positions_of(report),
        "generated": [report.generated_at.year, report.generated_at.month, report.generated_at.day],
    }


def _section(section: Section) -> dict[str, object]:
    rows = [
        [printed(cell, column) for cell, column in zip(cells, section.columns, strict=True)]
        for cells in section.rows
    ]
    return {
        "title": section.title,
        "columns": [{"title": column.title, "right": column.is_number} for column in section.columns],
        "rows": rows,
        "sums": _sums(section),
        "totals": [
            f"Total {total.currency} {printed(total.amount, Column('', 'money'))}"
            + (f", without {total.unpriced:,} that have no price" if total.unpriced else "")
            for total in section.totals
        ],
        "empty": section.empty,
    }


def _sums(section: Section) -> list[str]:
    """Return the row of sums, or nothing where there is nothing to add up."""
    if len(section.rows) < 2 or not any(column.is_summed for column in section.columns):
        return []
    sums = []
    for place, column in enumerate(section.columns):
        whole = sum(value for cells in section.rows if isinstance(value := cells[place], int))
        sums.append(f"{whole:,}" if column.is_summed else "")
    return ["Total", *sums[1:]]


def printed(cell: Cell, column: Column) -> str:
    """Return a cell as people read it: thousands apart, no exponent, and a word where there is no price."""
    if cell is None:
        return NO_PRICE if column.kind in ("money", "price") else "none"
    if isinstance(cell, int | Decimal):
        return f"{cell:,f}" if isinstance(cell, Decimal) else f"{cell:,}"
    return cell.isoformat() if isinstance(cell, date) else cell
