"""A final report for programs: one JSON object, or one value a line in csv.

Owns both shapes. They hold every value of the report under the names of ``schemas.final_report``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final

import msgspec

from schemas.final_report import FinalReport

CSV_COLUMNS: Final = ("section", "number", "line", "country", "item", "value", "currency")
_HEAD: Final = (
    "month",
    "account",
    "number",
    "time_zone",
    "first_day",
    "last_day",
    "generated_at",
    "is_final",
    "final_from",
    "price_data",
)
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20", "'")
"""The wide forms too: some spreadsheets read them alike. The apostrophe, so that no two texts become the same."""
_QUOTED: Final = frozenset(',"\r\n')

_Row = tuple[str, str, str, str, str, object, str]


def as_json(report: FinalReport) -> bytes:
    """Return the report as one JSON object; amounts are text, so that no reader makes binary fractions of them."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def as_csv(report: FinalReport) -> bytes:
    """Return every value on a line of its own (RFC 4180 with LF, UTF-8). An empty value = there is no price."""
    lines: list[tuple[str, ...]] = [CSV_COLUMNS]
    lines += [tuple(map(cell_text, row)) for row in _rows(report)]
    return csv_bytes(lines)


def csv_bytes(lines: Iterable[Sequence[str]]) -> bytes:
    """Return lines of cells as RFC 4180 with LF, UTF-8."""
    # A bare empty line is no record to most readers, and one with an empty cell to none.
    return "".join((",".join(map(_quoted, line)) or '""') + "\n" for line in lines).encode()


def cell_text(value: object) -> str:
    """Return a value as a cell of a csv: texts that no spreadsheet takes for a formula, the others as they are."""
    return safe_text(value) if isinstance(value, str) else _text(value)


def _quoted(cell: str) -> str:
    """Return a cell as RFC 4180 has it; Python's own writer leaves a lone CR bare where lines end in LF."""
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if _QUOTED.intersection(cell) else cell


def safe_text(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: accounts and numbers come from outside.

    A reader has the text back without one leading apostrophe, if there is any.
    """
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _rows(report: FinalReport) -> Iterator[_Row]:
    for name in _HEAD:
        yield "report", "", "", "", name, getattr(report, name), ""
    for licence in report.licences:
        yield from _items("licence", licence, number=licence.number, line=licence.licence)
    for mau in report.mau:
        yield from _items("mau", mau, number=mau.number, line=mau.rule)
    for line in report.conversations:
        yield from _items("conversations", line, line=line.type)
        for detail in line.details:
            # A plan that changed within the month gives a country a line for each price.
            where = "/".join((line.type, detail.type, detail.market, _text(detail.price), detail.currency))
            yield from _items("conversation_details", detail, line=where, country=detail.country)
    for outgoing in report.outgoing:
        yield from _items("outgoing", outgoing, line=outgoing.type)
    yield "incoming", "", "", "", "incoming_total", report.incoming_total, ""
    for provider in report.provider:
        where = "/".join(
            (provider.unit, provider.category, provider.market, _text(provider.rate), provider.currency)
        )
        yield from _items("provider", provider, line=where)
    for total in report.totals:
        yield from _items("totals", total, line=total.section)
    for fresh in report.freshness:
        yield from _items("freshness", fresh, line=str(fresh.partition))
    for place, note in enumerate(report.notes, 1):
        yield "notes", "", str(place), "", "note", note, ""


def _items(
    section: str, line_of: msgspec.Struct, *, number: str = "", line: str = "", country: str = ""
) -> Iterator[_Row]:
    """Yield the values of one line; what names the line is in the columns before."""
    currency = str(getattr(line_of, "currency", ""))
    named = {"number", "country", "currency", "details"}
    for name in line_of.__struct_fields__:
        if name not in named:
            value = getattr(line_of, name)
            assert isinstance(value, str | int | Decimal | date | None), name
            yield section, number, line, country, name, value, currency
