"""The usage summary: tiles, trend by day, and the tables below, from the rows of the queries.

Owns which counts make up which tile (docs/spec/metering.md §3, the dashboard's column). Counts nothing itself: every
figure is a sum of rows, and the sums of all tiles are the totals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from dashboard.periods import Period
from metering.charge_sums import sums_of
from metering.charges import Charge, Sums

Row = dict[str, object]

FREE: Final = "free"
FREE_ENTRY_POINT: Final = "free_entry_point"
UNCLASSIFIED: Final = "unclassified"
TITLES: Final = {
    "marketing": "Marketing",
    "utility": "Utility",
    "authentication": "Authentication",
    "service": "Service",
    FREE_ENTRY_POINT: "Free entry points",
    UNCLASSIFIED: "Unclassified",
    FREE: "Free",
}
ALWAYS_SHOWN: Final = ("marketing", "utility", "authentication", "service")
_TILE_OF: Final = {
    "marketing": "marketing",
    "marketing_lite": "marketing",
    "utility": "utility",
    "authentication": "authentication",
    "authentication_international": "authentication",
    "service": "service",
    FREE_ENTRY_POINT: FREE_ENTRY_POINT,
    "referral_conversion": FREE_ENTRY_POINT,
}
MESSAGE_COLUMNS: Final = ("total", "sent", "delivered", "read", "not_delivered")


def tile_of(kind: str) -> str:
    """Return the tile that a conversation's type or a charge's category belongs to."""
    return _TILE_OF.get(kind, UNCLASSIFIED)


def tile_of_messages(category: str, template: object) -> str:
    """Return the tile that messages belong to: without a category what is no template is free-form, so service."""
    if category:
        return tile_of(category)
    return UNCLASSIFIED if template is True else "service"


@dataclass(frozen=True, slots=True)
class Change:
    """A figure against that of the period before."""

    current: int
    previous: int

    @property
    def percent_tenths(self) -> int | None:
        """Return by how many tenths of a percent it changed, rounded half away from zero; None = from nothing."""
        if not self.previous:
            return None
        difference = (self.current - self.previous) * 1000
        whole, rest = divmod(abs(difference), self.previous)
        rounded = whole + (2 * rest >= self.previous)
        return rounded if difference >= 0 else -rounded


@dataclass(slots=True)
class Tile:
    """One figure of the summary."""

    key: str
    conversations: int = 0
    free: int = 0
    charged: int = 0
    previous: int = 0
    """Conversations of the period before."""
    messages: int | None = 0
    """Delivered ones; of "free" those that nothing is charged for, None = not known without the charges."""
    costs: list[Sums] | None = None
    """By currency; None = whoever looks may not see money."""

    @property
    def title(self) -> str:
        """Return what people call it."""
        return TITLES.get(self.key, "All")

    @property
    def change(self) -> Change:
        """Return it against the period before."""
        return Change(self.conversations, self.previous)


@dataclass(slots=True)
class DayLine:
    """One day of the trend."""

    day: date
    conversations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By tile; "free" overlaps the others."""
    messages: int = 0
    """Delivered ones."""
    incoming: int = 0
    costs: list[Sums] | None = None

    @property
    def total(self) -> int:
        """Return all conversations of the day."""
        return sum(count for key, count in self.conversations.items() if key != FREE)


@dataclass(frozen=True, slots=True)
class PartLine:
    """What one business number or country has of the total."""

    key: str
    total: int
    free: int
    charged: int
    messages: int
    """Delivered ones."""
    incoming: int


@dataclass(frozen=True, slots=True)
class MessageLine:
    """Outgoing messages of one tile by what became of them."""

    key: str
    total: int
    sent: int
    delivered: int
    read: int
    not_delivered: int

    @property
    def pending(self) -> int:
        """Return those of which nobody knows yet (docs/spec/metering.md §8)."""
        return self.total - self.delivered - self.not_delivered


@dataclass(frozen=True, slots=True)
class Summary:
    """Everything that the overview shows of one view."""

    tiles: tuple[Tile, ...]
    """The conversations' types in order, those without any only if people expect them; last "free"."""
    days: tuple[DayLine, ...]
    numbers: tuple[PartLine, ...]
    countries: tuple[PartLine, ...]
    messages: tuple[MessageLine, ...]
    total: Tile
    incoming: int
    costs_fault: str = ""

    @property
    def series(self) -> tuple[str, ...]:
        """Return the keys of the stack, in order, and "free"."""
        return tuple(tile.key for tile in self.tiles)

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing at all happened."""
        return not (self.total.conversations or self.total.messages or self.incoming or self.messages)


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows of a view, of its own days and of those before."""

    conversations: Sequence[Row]
    usage: Sequence[Row]
    incoming: Sequence[Row]
    charges: Sequence[Charge] | None
    """None = whoever looks may not see money, or there is a fault."""
    costs_fault: str = ""
    """Why there are no costs, though whoever looks may see them."""


def summary_of(counted: Counted, period: Period, previous: Period | None) -> Summary:
    """Return the summary of a period.

    Args:
        counted: rows whose days may lie in either period; others are left out.
        period: what is shown.
        previous: what it is compared with.
    """
    conversations = _within(counted.conversations, period)
    usage = _within(counted.usage, period)
    incoming = _within(counted.incoming, period)
    tiles = _tiles(conversations, usage)
    for row in _within(counted.conversations, previous):
        _count_before(tiles, row)
    if counted.charges is not None:
        _add_costs(tiles, [charge for charge in counted.charges if _holds(period, charge.day)])
    total = tiles.pop("total")
    return Summary(
        tiles=tuple(
            tiles[key] for key in TITLES if key in ALWAYS_SHOWN or key == FREE or not _is_nothing(tiles[key])
        ),
        days=_days(conversations, usage, incoming, counted.charges, period),
        numbers=_parts("number", conversations, usage, incoming),
        countries=_parts("country", conversations, usage, incoming),
        messages=_messages(usage),
        total=total,
        incoming=sum(integer(row["count"]) for row in incoming),
        costs_fault=counted.costs_fault,
    )


def integer(value: object) -> int:
    """Return a count of a row."""
    assert isinstance(value, int), "a count is a whole number"
    return value


def _holds(period: Period, day: date) -> bool:
    return period.first <= day <= period.last


def _within(rows: Iterable[Row], period: Period | None) -> list[Row]:
    """Return the rows of a period. Days of this form sort like texts."""
    if period is None:
        return []
    first, last = str(period.first), str(period.last)
    return [row for row in rows if first <= str(row["day"]) <= last]


def _is_nothing(tile: Tile) -> bool:
    return not (tile.conversations or tile.previous or tile.messages or tile.costs)


def _tiles(conversations: Iterable[Row], usage: Iterable[Row]) -> dict[str, Tile]:
    tiles = {key: Tile(key) for key in TITLES} | {FREE: Tile(FREE, messages=None), "total": Tile("total")}
    for row in conversations:
        free = integer(row["free"])
        for tile in (tiles[tile_of(str(row["type"]))], tiles["total"]):
            tile.conversations += integer(row["total"])
            tile.free += free
            tile.charged += integer(row["charged"])
        tiles[FREE].conversations += free
        tiles[FREE].free += free
    messages: dict[str, int] = defaultdict(int)
    for row in usage:
        messages[tile_of_messages(str(row["category"]), row["template"])] += integer(row["delivered"])
    for key, delivered in (*messages.items(), ("total", sum(messages.values()))):
        tiles[key].messages = delivered
    return tiles


def _count_before(tiles: dict[str, Tile], row: Row) -> None:
    tiles[tile_of(str(row["type"]))].previous += integer(row["total"])
    tiles["total"].previous += integer(row["total"])
    tiles[FREE].previous += integer(row["free"])


def _add_costs(tiles: dict[str, Tile], charges: list[Charge]) -> None:
    by_tile: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_tile[tile_of(charge.category)].append(charge)
    for key, tile in tiles.items():
        tile.costs = sums_of(by_tile[key])
    tiles["total"].costs = sums_of(charges)
    tiles[FREE].messages = sum(charge.free for charge in charges if charge.unit == "message")


def _days(
    conversations: Iterable[Row],
    usage: Iterable[Row],
    incoming: Iterable[Row],
    charges: Iterable[Charge] | None,
    period: Period,
) -> tuple[DayLine, ...]:
    lines = {str(day): DayLine(day) for day in period.days}
    for row in conversations:
        counts = lines[str(row["day"])].conversations
        counts[tile_of(str(row["type"]))] += integer(row["total"])
        counts[FREE] += integer(row["free"])
    for row in usage:
        lines[str(row["day"])].messages += integer(row["delivered"])
    for row in incoming:
        lines[str(row["day"])].incoming += integer(row["count"])
    if charges is not None:
        by_day: dict[date, list[Charge]] = defaultdict(list)
        for charge in charges:
            by_day[charge.day].append(charge)
        for line in lines.values():
            line.costs = sums_of(by_day[line.day])
    return tuple(lines.values())


def _parts(
    name: str, conversations: Iterable[Row], usage: Iterable[Row], incoming: Iterable[Row]
) -> tuple[PartLine, ...]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
    for row in conversations:
        sums[str(row[name])][0] += integer(row["total"])
        sums[str(row[name])][1] += integer(row["free"])
        sums[str(row[name])][2] += integer(row["charged"])
    for row in usage:
        sums[str(row[name])][3] += integer(row["delivered"])
    for row in incoming:
        sums[str(row[name])][4] += integer(row["count"])
    lines = [PartLine(key, *counts) for key, counts in sums.items()]
    return tuple(sorted(lines, key=lambda line: (-line.total, -line.messages, line.key)))


def _messages(usage: Iterable[Row]) -> tuple[MessageLine, ...]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * len(MESSAGE_COLUMNS))
    for row in usage:
        counts = sums[tile_of_messages(str(row["category"]), row["template"])]
        for place, column in enumerate(MESSAGE_COLUMNS):
            counts[place] += integer(row[column])
    return tuple(MessageLine(key, *sums[key]) for key in TITLES if key in sums)
