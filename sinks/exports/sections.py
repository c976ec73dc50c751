"""The sections of the final report as tables: titles, columns and cells, the same for workbook and page.

Owns what people read over a column and in what order. Names of sections, columns and types are those of edna's page
"Final report on WhatsApp channel messages". Does not own how a cell looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, Literal

from schemas.final_report import ConversationLine, FinalReport, Freshness, MauLine, Total

Cell = str | int | Decimal | date | None
"""None = there is no price."""
Kind = Literal["text", "count", "money", "price", "percent", "date"]
"""money: rounded to the currency's coin; price: as agreed, unrounded."""

CONVERSATION_TYPES: Final = {
    "free_entry_point": "Free entry points",
    "incoming": "Incoming",
    "service": "Service",
    "authentication": "Authentication",
    "marketing": "Marketing",
    "unknown": "Unknown",
}
OUTGOING_TYPES: Final = {"chat": "Chat messages", "hsm": "HSM", "unclassified": "Unclassified"}
_LICENCES: Final = {"monthly": "Monthly", "annual": "Annual", "none": "None"}
_PERIODS: Final = {"activation": "activation", "renewal": "renewal", "running": "paid before"}
_MAU_RULES: Final = {"any": "or", "both": "and"}
_COUNTED_TYPES: Final = {"authentication_international": "Authentication, international"}
TITLE: Final = "Final report on WhatsApp channel messages"
CURRENCY: Final = "Currency"
WHOLE_ACCOUNT: Final = "Whole account"
NO_PLAN: Final = "no plan"
NOT_STATED: Final = "not stated"
FREE: Final = "free"
SEVERAL: Final = "several currencies"
NO_PRICE: Final = "no price"
NONE: Final = "none"
NOT_KNOWN: Final = "not known"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table."""

    title: str
    kind: Kind = "text"
    is_summed: bool = False
    """Its cells are added up below the table."""

    @property
    def is_number(self) -> bool:
        """Tell whether its cells are numbers, or say why there is none."""
        return self.kind not in ("text", "date")


@dataclass(frozen=True, slots=True)
class Section:
    """One table. Each row has a cell for each column; a column of money is in the currency of its row."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    totals: tuple[Total, ...] = field(default=())
    """Of the money in its last column of money by our own rule, one for each currency."""
    empty: str = ""
    """What to say when there is no row."""


def sum_of(section: Section, place: int) -> int | None:
    """Return the sum of a column of counts; None if it has no count at all, which is not 0."""
    values = [value for cells in section.rows if isinstance(value := cells[place], int)]
    return sum(values) if values else None


def sections_of(report: FinalReport) -> tuple[Section, ...]:
    """Return all sections in the order of the report."""
    return (
        _licence(report),
        _mau(report),
        _conversations(report),
        _details(report),
        _outgoing(report),
        _incoming(report),
        _provider(report),
    )


def _totals(report: FinalReport, section: str) -> tuple[Total, ...]:
    return tuple(total for total in report.totals if total.section == section)


def _scope(number: str) -> str:
    return number or WHOLE_ACCOUNT


def _licence(report: FinalReport) -> Section:
    columns = (
        Column("Number"),
        Column("License Period"),
        Column("License Validity Period, from", "date"),
        Column("License Validity Period, until", "date"),
        Column("Charged because of"),
        Column("License cost according to the billing plan", "money"),
        Column("Actual amount charged for the period", "money"),
        Column(CURRENCY),
        Column("VAT included, %", "percent"),
    )
    rows = tuple(
        (
            _scope(line.number),
            _LICENCES[line.licence],
            line.valid_from,
            line.valid_until,
            _PERIODS[line.period],
            line.plan_cost,
            line.charged,
            line.currency,
            NOT_STATED if line.vat_percent is None else line.vat_percent,
        )
        for line in report.licences
    )
    return Section(
        "licence", "License", columns, rows, _totals(report, "licence"), "No license in this month."
    )


def _mau(report: FinalReport) -> Section:
    columns = (
        Column("Number"),
        Column("License cost", "money"),
        Column("MAU in the package", "count"),
        Column("Current number of MAU", "count"),
        Column("MAU balance", "count"),
        Column("Current number of AMAU", "count"),
        Column("Price per AMAU", "price"),
        Column("Total for AMAU", "money"),
        Column(CURRENCY),
        Column("MAU: incoming or delivered", "count"),
        Column("MAU: incoming and delivered", "count"),
        Column("Phone numbers", "count"),
        Column("MAU counted by"),
    )
    rows = tuple(
        (
            _scope(line.number),
            *_plan_cells(line),
            line.currency,
            line.mau_any,
            line.mau_both,
            line.mau_phones,
            _MAU_RULES[line.rule],
        )
        for line in report.mau
    )
    return Section("amau", "MAU/AMAU", columns, rows, _totals(report, "amau"))


def _plan_cells(line: MauLine) -> tuple[Cell, ...]:
    """Return what the plan says; a number can have none of its own."""
    if line.package is None:
        return (NO_PLAN, NO_PLAN, line.mau, NO_PLAN, NO_PLAN, NO_PLAN, NO_PLAN)
    return (
        line.licence_cost,
        line.package,
        line.mau,
        line.balance,
        line.amau,
        line.amau_price,
        line.amau_total,
    )


def _conversations(report: FinalReport) -> Section:
    columns = [
        Column("Type"),
        Column("Total", "count", is_summed=True),
        Column("Free", "count", is_summed=True),
        Column("Charged", "count", is_summed=True),
    ]
    rows: list[tuple[Cell, ...]] = [
        (CONVERSATION_TYPES[line.type], line.total, line.free, line.charged) for line in report.conversations
    ]
    totals = _totals(report, "conversations")
    if totals:
        columns += [Column("Amount", "money"), Column(CURRENCY)]
        lines = zip(rows, report.conversations, strict=True)
        rows = [(*row, _line_amount(line), line.currency) for row, line in lines]
    return Section("conversations", "Conversations", tuple(columns), tuple(rows), totals)


def _line_amount(line: ConversationLine) -> Cell:
    """Return a line's amount, or why it has none: an amount of several currencies is not one without a price."""
    if line.amount is not None:
        return line.amount
    if len({detail.currency for detail in line.details if detail.currency}) > 1:
        return SEVERAL
    return None if line.charged else NONE


def _details(report: FinalReport) -> Section:
    columns = [
        Column("Type"),
        Column("Country"),
        Column("Market"),
        Column("Total", "count", is_summed=True),
        Column("Free", "count", is_summed=True),
        Column("Charged", "count", is_summed=True),
    ]
    details = [(line, detail) for line in report.conversations for detail in line.details]
    rows: list[tuple[Cell, ...]] = [
        (
            _COUNTED_TYPES.get(detail.type, CONVERSATION_TYPES[line.type]),
            detail.country,
            detail.market,
            detail.total,
            detail.free,
            detail.charged,
        )
        for line, detail in details
    ]
    totals = _totals(report, "conversations")
    if totals:
        # Where no plan prices conversations, there is nothing to say in these columns.
        columns += [Column("Price", "price"), Column("Amount", "money"), Column(CURRENCY)]
        rows = [
            (*row, FREE if line.type == "free_entry_point" else detail.price, detail.amount, detail.currency)
            for row, (line, detail) in zip(rows, details, strict=True)
        ]
    return Section(
        "details", "Conversations by country", tuple(columns), tuple(rows), totals, "No conversations."
    )


def _outgoing(report: FinalReport) -> Section:
    columns = (
        Column("Type"),
        *(
            Column(title, "count", is_summed=True)
            for title in ("Total", "Sent", "Delivered", "Read", "Not delivered", "Pending")
        ),
    )
    rows = tuple(
        (
            OUTGOING_TYPES[line.type],
            line.total,
            line.sent,
            line.delivered,
            line.read,
            line.not_delivered,
            line.pending,
        )
        for line in report.outgoing
    )
    return Section("outgoing", "Outgoing messages", columns, rows)


def _incoming(report: FinalReport) -> Section:
    columns = (Column("Number of incoming messages", "count"),)
    return Section("incoming", "Incoming messages", columns, ((report.incoming_total,),))


def _provider(report: FinalReport) -> Section:
    columns = (
        Column("Unit"),
        Column("Category"),
        Column("Market"),
        Column("Rate", "price"),
        Column("Total", "count", is_summed=True),
        Column("Free", "count", is_summed=True),
        Column("Charged", "count", is_summed=True),
        Column("Amount", "money"),
        Column("Charged by webhooks", "count", is_summed=True),
        Column("Amount by webhooks", "money"),
        Column(CURRENCY),
    )
    rows = tuple(
        (
            line.unit,
            line.category,
            line.market,
            line.rate,
            line.count,
            line.free,
            line.charged,
            line.amount,
            line.provider_charged,
            NONE if line.provider_charged is None else line.provider_amount,
            line.currency,
        )
        for line in report.provider
    )
    totals = _totals(report, "provider")
    return Section("provider", "Charges of the provider", columns, rows, totals, "Nothing was delivered.")


def facts_of(report: FinalReport) -> tuple[tuple[str, str], ...]:
    """Return what stands at the head of a report: label and value."""
    state = "final" if report.is_final else f"provisional, can change until {report.final_from}"
    return (
        ("Account", report.account),
        ("Number", _scope(report.number)),
        ("Month", f"{report.month} ({report.first_day} to {report.last_day}, {report.time_zone})"),
        ("State", state),
        ("Made at", time_text(report.generated_at)),
        ("Counted up to", counted_text(report.freshness)),
        ("Price data", report.price_data or "none"),
        ("VAT", _vat(report)),
    )


def counted_text(freshness: Sequence[Freshness]) -> str:
    """Return until when all input is counted: what the slowest partition has, as any user can be in it."""
    known = [each.received_until for each in freshness if each.received_until is not None]
    if not known:
        return NOT_KNOWN
    if len(known) < len(freshness):
        whole = f"{NOT_KNOWN} for {len(freshness) - len(known)} of {len(freshness)} partitions of the input"
        return (
            f"{whole}; the oldest of the others: {time_text(min(known))}, the newest: {time_text(max(known))}"
        )
    if min(known) == max(known):
        return time_text(min(known))
    return f"{time_text(min(known))} (newest input: {time_text(max(known))})"


def _vat(report: FinalReport) -> str:
    rates = sorted({line.vat_percent for line in report.licences if line.vat_percent is not None})
    stated = f": {', '.join(f'{rate:f} %' for rate in rates)}" if rates else ""
    return f"Prices of plans include VAT as given there{stated}"


def time_text(moment: datetime | None) -> str:
    """Return a moment to the second, with its zone."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else NOT_KNOWN


POSITION_TITLES: Final = ("Partition", "Next position", "Received until (UTC)", "Written at (UTC)")


def positions_of(report: FinalReport) -> Sequence[tuple[int, int, datetime | None, datetime]]:
    """Return how far each partition of the input is counted, under ``POSITION_TITLES``."""
    return [
        (each.partition, each.position, each.received_until, each.flushed_at) for each in report.freshness
    ]
