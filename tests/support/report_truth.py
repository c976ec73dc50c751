"""The sections of a final report, made from the JSON that the verb ``report`` prints: what page and files must show.

Owns its own words and order of columns, so that a slip in those of the exports is not repeated here. Cells are typed:
counts and amounts as numbers, days as dates, None = there is no price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

Cell = str | int | Decimal | date | None
Rows = list[list[Cell]]

CONVERSATIONS: Final = {
    "free_entry_point": "Free entry points",
    "incoming": "Incoming",
    "service": "Service",
    "authentication": "Authentication",
    "marketing": "Marketing",
    "unknown": "Unknown",
}
SHEETS: Final = {
    "licence": "License",
    "amau": "MAU and AMAU",
    "conversations": "Conversations",
    "details": "Conversations by country",
    "outgoing": "Outgoing messages",
    "incoming": "Incoming messages",
    "provider": "Charges of the provider",
}
"""The sheet of each section in a workbook."""
_PERIODS: Final = {"activation": "activation", "renewal": "renewal", "running": "paid before"}
_OUTGOING: Final = {"chat": "Chat messages", "hsm": "HSM", "unclassified": "Unclassified"}
_HEAD: Final = (
    "month",
    "account",
    "number",
    "time_zone",
    "first_day",
    "last_day",
    "is_final",
    "final_from",
    "price_data",
)
_CSV_SECTIONS: Final = {
    "licences": "licence",
    "mau": "mau",
    "conversations": "conversations",
    "outgoing": "outgoing",
    "provider": "provider",
    "totals": "totals",
}
OF_THE_MOMENT: Final = ("generated_at", "freshness")
"""What two reports of the same figures need not share."""


def sections_of(report: Mapping[str, Any]) -> dict[str, Rows]:
    """Return the rows of each section that has any, by the section's name on the page."""
    lines = report["conversations"]
    # Where nothing has a price nor could have one, there are no columns of money.
    columns = 6 if any(total["section"] == "conversations" for total in report["totals"]) else 4
    sections: dict[str, Rows] = {
        "licence": [_licence(line) for line in report["licences"]],
        "amau": [_active_users(line) for line in report["mau"]],
        "conversations": [_conversations(line)[:columns] for line in lines],
        "details": [_detail(line, detail) for line in lines for detail in line["details"]],
        "outgoing": [_outgoing(line) for line in report["outgoing"]],
        "incoming": [[report["incoming_total"]]],
        "provider": [_provider(line) for line in report["provider"]],
    }
    return {name: rows for name, rows in sections.items() if rows}


def money(text: str | None) -> Decimal | None:
    """Return an amount; None = there is none."""
    return None if text is None else Decimal(text)


def _licence(line: Mapping[str, Any]) -> list[Cell]:
    return [
        line["number"] or "Whole account",
        line["licence"].capitalize(),
        date.fromisoformat(line["valid_from"]),
        date.fromisoformat(line["valid_until"]),
        _PERIODS[line["period"]],
        money(line["plan_cost"]),
        money(line["charged"]),
        line["currency"],
        "not stated" if line["vat_percent"] is None else Decimal(line["vat_percent"]),
    ]


def _active_users(line: Mapping[str, Any]) -> list[Cell]:
    counts = [
        line["mau_any"],
        line["mau_both"],
        line["mau_phones"],
        {"any": "or", "both": "and"}[line["rule"]],
    ]
    scope = line["number"] or "Whole account"
    if line["package"] is None:
        none = "no plan"
        return [scope, none, none, line["mau"], none, none, none, none, "", *counts]
    return [
        scope,
        money(line["licence_cost"]),
        line["package"],
        line["mau"],
        line["balance"],
        line["amau"],
        money(line["amau_price"]),
        money(line["amau_total"]),
        line["currency"],
        *counts,
    ]


def _conversations(line: Mapping[str, Any]) -> list[Cell]:
    counts = [line["total"], line["free"], line["charged"]]
    return [CONVERSATIONS[line["type"]], *counts, money(line["amount"]), line["currency"]]


def _detail(line: Mapping[str, Any], detail: Mapping[str, Any]) -> list[Cell]:
    is_international = detail["type"] == "authentication_international"
    return [
        "Authentication, international" if is_international else CONVERSATIONS[line["type"]],
        detail["country"],
        detail["market"],
        detail["total"],
        detail["free"],
        detail["charged"],
        "free" if line["type"] == "free_entry_point" else money(detail["price"]),
        money(detail["amount"]),
        detail["currency"],
    ]


def _outgoing(line: Mapping[str, Any]) -> list[Cell]:
    states = ("total", "sent", "delivered", "read", "not_delivered", "pending")
    return [_OUTGOING[line["type"]], *(line[state] for state in states)]


def _provider(line: Mapping[str, Any]) -> list[Cell]:
    return [
        line["unit"],
        line["category"],
        line["market"],
        money(line["rate"]),
        line["count"],
        line["free"],
        line["charged"],
        money(line["amount"]),
        line["provider_charged"],
        "none" if line["provider_charged"] is None else money(line["provider_amount"]),
        line["currency"],
    ]


def summed(rows: Rows, places: range) -> list[int]:
    """Return the sums of some columns of counts."""
    return [sum(cell for row in rows if isinstance(cell := row[place], int)) for place in places]


SUMMED: Final = {
    "conversations": range(1, 4),
    "details": range(3, 6),
    "outgoing": range(1, 7),
    "provider": range(4, 7),
}
"""Columns of counts that a section adds up."""


def in_words(cell: Cell) -> str:
    """Return a cell as people read it: thousands apart, and a word where there is no price."""
    if cell is None:
        return "no price"
    return f"{cell:,}" if isinstance(cell, int | Decimal) else str(cell)


def values_of(report: Mapping[str, Any]) -> Counter[tuple[str, str, str, str]]:
    """Return each value of a report as its csv has it: section, item, value, currency; how often each is there."""
    found: Counter[tuple[str, str, str, str]] = Counter()
    for name in _HEAD:
        found["report", name, _csv_text(report[name]), ""] += 1
    for name, section in _CSV_SECTIONS.items():
        for line in report[name]:
            _add(found, section, line)
            for detail in line.get("details", ()):
                _add(found, "conversation_details", detail)
    found["incoming", "incoming_total", str(report["incoming_total"]), ""] += 1
    for note in report["notes"]:
        found["notes", "note", note, ""] += 1
    return found


def _add(found: Counter[tuple[str, str, str, str]], section: str, line: Mapping[str, Any]) -> None:
    for item, value in line.items():
        # These name the line, in columns of their own.
        if item not in {"number", "country", "currency", "details"}:
            found[section, item, _csv_text(value), line.get("currency", "")] += 1


def _csv_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def without_moment(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report without what depends on when it was made."""
    return {name: value for name, value in report.items() if name not in OF_THE_MOMENT}
