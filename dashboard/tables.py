"""The tables that leave the dashboard as files: the same figures as on the page.

Owns their columns. How a table is written is ``sinks.exports.tables``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from dashboard.formats import country_name, time_text
from dashboard.ports import AccountInfo, Row
from dashboard.usage import TITLES, MessageLine, PartLine, Summary, Tile, integer
from dashboard.views import View
from metering.charges import Sums
from schemas.final_report import Freshness
from schemas.money import decimal_of
from sinks.exports.sections import counted_text
from sinks.exports.tables import ExportFacts, Table, TableCell, TableColumn


def summary_tables(summary: Summary) -> list[Table]:
    """Return the page's tables: by day first, as the csv has it, then the rest of a workbook."""
    return [
        _days(summary),
        tiles_table(summary),
        _parts("Numbers", "number", "Business number", summary.numbers),
        _parts("Countries", "country", "Country", summary.countries),
        _messages(summary.messages),
    ]


def _currencies(summary: Summary) -> list[str]:
    """Return the currencies that anything costs; none where whoever looks may not see money."""
    return [sums.currency for sums in summary.total.costs or ()]


def _cost_columns(currencies: Iterable[str]) -> tuple[TableColumn, ...]:
    """Return two columns a currency: what has no rate is no amount of 0."""
    return tuple(
        column
        for currency in currencies
        for column in (
            TableColumn(f"cost_{currency.lower()}", f"Cost, {currency}", "price", is_summed=True),
            TableColumn(
                f"unrated_{currency.lower()}", f"Without a rate, {currency}", "count", is_summed=True
            ),
        )
    )


def _cost_cells(costs: Sequence[Sums] | None, currencies: Sequence[str]) -> tuple[TableCell, ...]:
    by_currency = {sums.currency: sums for sums in costs or ()}
    cells: list[TableCell] = []
    for currency in currencies:
        sums = by_currency.get(currency)
        cells += [decimal_of(sums.amount), sums.unrated] if sums else [decimal_of(0), 0]
    return tuple(cells)


def _days(summary: Summary) -> Table:
    currencies = _currencies(summary)
    columns = (
        TableColumn("day", "Day", "date"),
        TableColumn("conversations", "Conversations", "count", is_summed=True),
        *(TableColumn(key, TITLES[key], "count", is_summed=True) for key in summary.series),
        TableColumn("messages_delivered", "Messages delivered", "count", is_summed=True),
        TableColumn("incoming", "Incoming", "count", is_summed=True),
        *_cost_columns(currencies),
    )
    rows = tuple(
        (
            line.day,
            line.total,
            *(line.conversations.get(key, 0) for key in summary.series),
            line.messages,
            line.incoming,
            *_cost_cells(line.costs, currencies),
        )
        for line in summary.days
    )
    return Table("Days", columns, rows)


def tiles_table(summary: Summary) -> Table:
    """Return the tiles."""
    currencies = _currencies(summary)
    columns = (
        TableColumn("type", "Type"),
        TableColumn("conversations", "Conversations", "count"),
        TableColumn("free", "Free", "count"),
        TableColumn("charged", "Charged", "count"),
        TableColumn("previous", "Period before", "count"),
        TableColumn("messages_delivered", "Messages delivered", "count"),
        *_cost_columns(currencies),
    )

    def row(title: str, tile: Tile) -> tuple[TableCell, ...]:
        counts = (tile.conversations, tile.free, tile.charged, tile.previous, tile.messages)
        return (title, *counts, *_cost_cells(tile.costs, currencies))

    rows = [row(tile.title, tile) for tile in summary.tiles]
    return Table("Summary", _unsummed(columns), (*rows, row("All", summary.total)))


def _unsummed(columns: tuple[TableColumn, ...]) -> tuple[TableColumn, ...]:
    """Return columns that are not added up: what is free stands under its own type as well."""
    return tuple(TableColumn(column.key, column.heading, column.kind) for column in columns)


def _parts(title: str, key: str, heading: str, lines: Iterable[PartLine]) -> Table:
    named = (TableColumn("name", "Name"),) if key == "country" else ()
    columns = (
        TableColumn(key, heading),
        *named,
        TableColumn("conversations", "Conversations", "count", is_summed=True),
        TableColumn("free", "Free", "count", is_summed=True),
        TableColumn("charged", "Charged", "count", is_summed=True),
        TableColumn("messages_delivered", "Messages delivered", "count", is_summed=True),
        TableColumn("incoming", "Incoming", "count", is_summed=True),
    )
    rows = tuple(
        (
            line.key,
            *((country_name(line.key),) if named else ()),
            line.total,
            line.free,
            line.charged,
            line.messages,
            line.incoming,
        )
        for line in lines
    )
    return Table(title, columns, rows)


def _messages(lines: Iterable[MessageLine]) -> Table:
    counts = ("total", "sent", "delivered", "read", "not_delivered", "pending")
    columns = (
        TableColumn("category", "Category"),
        *(TableColumn(name, name.replace("_", " ").capitalize(), "count", is_summed=True) for name in counts),
    )
    rows = tuple((TITLES[line.key], *(getattr(line, name) for name in counts)) for line in lines)
    return Table("Messages", columns, rows)


def details_table(rows: Iterable[Row]) -> Table:
    """Return every row of the conversations, as the query gives them."""
    counts = ("total", "free", "charged")
    columns = (
        TableColumn("day", "Day", "date"),
        TableColumn("account", "Account"),
        TableColumn("number", "Business number"),
        TableColumn("country", "Country"),
        TableColumn("type", "Type"),
        *(TableColumn(name, name.capitalize(), "count", is_summed=True) for name in counts),
    )
    return Table(
        "Rows",
        columns,
        tuple(
            (
                date.fromisoformat(str(row["day"])),
                *(str(row[name]) for name in ("account", "number", "country", "type")),
                *(integer(row[name]) for name in counts),
            )
            for row in rows
        ),
    )


def facts_of(view: View, info: AccountInfo, fresh: Sequence[Freshness], now: datetime) -> ExportFacts:
    """Return what figures are about, for whoever finds the file later."""
    return ExportFacts(
        account=f"{info.name} ({info.account})" if info.name else info.account,
        first_day=view.period.first,
        last_day=view.period.last,
        time_zone=info.zones_text(view.period.first, view.period.last),
        generated_at=now,
        counted=counted_text(fresh),
        further=(
            ("Business numbers", ", ".join(map(info.number_title, view.numbers)) or "all"),
            ("Countries", ", ".join(map(country_name, view.countries)) or "all"),
        ),
    )


def fact_lines(facts: ExportFacts) -> list[str]:
    """Return the same as lines of a mail."""
    return [
        *(f"{label}: {text}" for label, text in facts.further),
        f"Counted up to: {facts.counted}",
        f"Made at: {time_text(facts.generated_at)}",
    ]
