"""What the overview must show, added up from the rows of the verbs, row by row.

Owns its own table of tiles (docs/spec/metering.md §3, the dashboard's column) and its own arithmetic of changes and
costs, so that a slip of the dashboard is not repeated here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from dashboard.periods import Duration, Period
from tests.support.dashboard_process import RunningDashboard

Rows = list[dict[str, Any]]

_TILES: Final = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authentication_international": "authentication",
    "service": "service",
    "free_entry_point": "free_entry_point",
    "referral_conversion": "free_entry_point",
}
_USUAL: Final = ("marketing", "utility", "authentication", "service")
_MESSAGE_TITLES: Final = {
    "marketing": "Marketing",
    "utility": "Utility",
    "authentication": "Authentication",
    "service": "Service",
    "free_entry_point": "Free entry points",
    "unclassified": "Unclassified",
}
"""In the order of the page."""
_STATES: Final = ("total", "sent", "delivered", "read", "not_delivered")


def tile_of(kind: str) -> str:
    """Return the tile of a conversation's type or of a charge's category."""
    return _TILES.get(kind, "unclassified")


def _tile_of_messages(row: dict[str, Any]) -> str:
    """Return the tile of outgoing messages: what has no category is free-form, unless it is a template."""
    return tile_of(row["category"] or ("unknown" if row["template"] is True else "service"))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is chosen on the overview; no numbers or countries = all of them."""

    period: Period
    numbers: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()

    def of(self, rows: Iterable[dict[str, Any]]) -> Rows:
        """Return those rows that are within what is chosen."""
        first, last = str(self.period.first), str(self.period.last)
        return [
            row
            for row in rows
            if first <= row["day"] <= last
            and (not self.numbers or row["number"] in self.numbers)
            and (not self.countries or row["country"] in self.countries)
        ]

    def before(self, duration: Duration) -> Chosen:
        """Return the same of the period that is compared with."""
        return Chosen(period_before(duration, self.period), self.numbers, self.countries)


def period_before(duration: Duration, period: Period) -> Period:
    """Return as many days right before; of This Month the same days of the month before."""
    length = period.last - period.first
    last = period.first - timedelta(days=1)
    if duration is Duration.THIS_MONTH:
        first = last.replace(day=1)
        return Period(first, min(first + length, last))
    return Period(last - length, last)


def figures_of(dashboard: RunningDashboard, chosen: Chosen) -> Counter[str]:
    """Return the counts of the tiles, "tile.figure" each, and those of all tiles together."""
    sums: Counter[str] = Counter()
    for row in chosen.of(dashboard.rows("conversations")):
        tile, total, free = tile_of(row["type"]), row["total"], row["free"]
        sums.update({f"{tile}.conversations": total, f"{tile}.free": free, "all-conversations": total})
        sums.update({"free.conversations": free, "free.total": total})
    for row in chosen.of(dashboard.rows("usage")):
        sums.update(
            {f"{_tile_of_messages(row)}.messages": row["delivered"], "all-messages": row["delivered"]}
        )
    for row in chosen.of(dashboard.rows("incoming")):
        sums["all-incoming"] += row["count"]
    # Whoever may see money is told how many messages were free by the rules of their day.
    sums["free.messages"] = sum(
        row["free"] for row in chosen.of(dashboard.rows("charges")) if row["unit"] == "message"
    )
    return sums


def costs_of(dashboard: RunningDashboard, chosen: Chosen) -> dict[str, list[str]]:
    """Return the cost of each tile that has one, and under "all" that of all together: one line a currency."""
    by_tile: dict[str, Rows] = {tile: [] for tile in ("all", *_USUAL)}
    for row in chosen.of(dashboard.rows("charges")):
        by_tile.setdefault(tile_of(row["category"]), []).append(row)
        by_tile["all"].append(row)
    return {tile: cost_lines(rows) or ["nothing charged"] for tile, rows in by_tile.items()}


def cost_lines(rows: Rows) -> list[str]:
    """Return what charges come to, a line for each currency; what has no rate on the card is said beside the sum."""
    lines = []
    for currency in sorted({row["currency"] for row in rows}):
        own = [row for row in rows if row["currency"] == currency]
        if not sum(row["charged"] for row in own):
            continue
        amount = exact_sum(own)
        unrated = sum(row["charged"] for row in own if row["amount"] is None)
        coins = amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
        more = f" + {unrated:,} without a rate" if unrated else ""
        lines.append("no rate" if unrated and not amount else f"{coins:,} {currency}{more}")
    return lines


def exact_sum(rows: Rows) -> Decimal:
    """Return the sum of the amounts, unrounded."""
    return sum((Decimal(row["amount"]) for row in rows if row["amount"] is not None), Decimal(0))


def changes_of(dashboard: RunningDashboard, chosen: Chosen, duration: Duration) -> dict[str, str]:
    """Return by tile, and under "all", how its conversations changed against the period before, in words."""
    now, then = _conversations(dashboard, chosen), _conversations(dashboard, chosen.before(duration))
    keys = {*now, *then, *_USUAL, "free", "all"}
    return {key: _change_in_words(now[key], then[key]) for key in keys}


def _conversations(dashboard: RunningDashboard, chosen: Chosen) -> Counter[str]:
    sums: Counter[str] = Counter()
    for row in chosen.of(dashboard.rows("conversations")):
        sums.update({tile_of(row["type"]): row["total"], "all": row["total"], "free": row["free"]})
    return sums


def _change_in_words(now: int, then: int) -> str:
    if not then:
        return "none before" if now else "none, as before"
    if now == then:
        return "unchanged"
    percent = (Decimal(abs(now - then) * 100) / then).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{'up' if now > then else 'down'} {percent:,} %"


def parts_of(dashboard: RunningDashboard, chosen: Chosen, column: str) -> list[list[int | str]]:
    """Return the lines of the table by "number" or "country": its key, then its counts; the largest first."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
    for row in chosen.of(dashboard.rows("conversations")):
        _add(sums[row[column]], (row["total"], row["free"], row["charged"], 0, 0))
    for row in chosen.of(dashboard.rows("usage")):
        _add(sums[row[column]], (0, 0, 0, row["delivered"], 0))
    for row in chosen.of(dashboard.rows("incoming")):
        _add(sums[row[column]], (0, 0, 0, 0, row["count"]))
    ordered = sorted(sums.items(), key=lambda item: (-item[1][0], -item[1][3], item[0]))
    return [[key, *counts] for key, counts in ordered]


def messages_of(dashboard: RunningDashboard, chosen: Chosen) -> list[list[int | str]]:
    """Return the lines of the outgoing messages: what became of them, and of how many nobody knows yet."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(_STATES))
    for row in chosen.of(dashboard.rows("usage")):
        _add(sums[_tile_of_messages(row)], [row[state] for state in _STATES])
    lines: list[list[int | str]] = []
    for key, title in _MESSAGE_TITLES.items():
        if key in sums:
            total, _, delivered, _, not_delivered = sums[key]
            lines.append([title, *sums[key], total - delivered - not_delivered])
    return lines


def _add(sums: list[int], counts: Sequence[int]) -> None:
    for place, count in enumerate(counts):
        sums[place] += count
