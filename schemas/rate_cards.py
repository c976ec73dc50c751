"""What the provider asks per message or conversation: rate cards and volume tiers, as data with a date.

Owns the values and how they are looked up. Reading them from files is ``schemas.rate_files`` (our own format) and
``schemas.meta_rate_files`` (Meta's).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from schemas.money import Micros

RATE_CATEGORIES: Final = (
    "marketing",
    "utility",
    "authentication",
    "authentication_international",
    "service",
)
"""What a card can have a rate for. ``marketing_lite`` costs what marketing costs."""
OTHER_MARKET: Final = "Other"

RateKey = tuple[str, str]
"""``(market, category)``"""


@dataclass(frozen=True, slots=True)
class RateCard:
    """All rates of one currency from one day on. It replaces the card before it whole: what it lacks has no rate."""

    currency: str
    effective: date
    """From its 00:00 in the account's time zone."""
    rates: Mapping[RateKey, Micros]
    source: str = ""
    """Where the figures come from, for people."""


@dataclass(frozen=True, slots=True)
class Band:
    """One step of a volume discount: what each message costs from the ``lower``-th to the ``upper``-th of a month."""

    lower: int
    """1 or more."""
    upper: int
    """0 = no limit."""
    rate: Micros


@dataclass(frozen=True, slots=True)
class TierTable:
    """All volume tiers of one currency from one day on; replaces the table before it whole."""

    currency: str
    effective: date
    bands: Mapping[RateKey, tuple[Band, ...]]
    """Ascending, without gaps, the first from 1. A market and category that is not here has no tiers."""
    source: str = ""


@dataclass(frozen=True, slots=True)
class MarketRow:
    """From a day on, a country belongs to a market (price zone)."""

    country: str
    """ISO 3166 alpha-2."""
    market: str
    effective: date | None = None
    """None = ever."""


@dataclass(frozen=True, slots=True)
class RateBook:
    """Every card, tier table and market of an installation."""

    cards: tuple[RateCard, ...] = ()
    tiers: tuple[TierTable, ...] = ()
    markets: tuple[MarketRow, ...] = ()
    _cards: dict[str, list[RateCard]] = field(init=False, default_factory=dict, repr=False, compare=False)
    _tiers: dict[str, list[TierTable]] = field(init=False, default_factory=dict, repr=False, compare=False)
    _markets: dict[str, list[MarketRow]] = field(init=False, default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Order everything by its date."""
        for card in sorted(self.cards, key=lambda card: card.effective):
            self._cards.setdefault(card.currency, []).append(card)
        for table in sorted(self.tiers, key=lambda table: table.effective):
            self._tiers.setdefault(table.currency, []).append(table)
        for row in sorted(self.markets, key=lambda row: row.effective or date.min):
            self._markets.setdefault(row.country, []).append(row)

    def market_of(self, country: str, day: date) -> str:
        """Return the market that a country belongs to on a day; one that is not listed belongs to ``Other``."""
        rows = self._markets.get(country, [])
        place = bisect_right(rows, day, key=lambda row: row.effective or date.min)
        return rows[place - 1].market if place else OTHER_MARKET

    def card(self, currency: str, day: date) -> RateCard | None:
        """Return the card in force on a day, or None where none is known."""
        cards = self._cards.get(currency, [])
        place = bisect_right(cards, day, key=lambda card: card.effective)
        return cards[place - 1] if place else None

    def rate(self, currency: str, market: str, category: str, day: date) -> Micros | None:
        """Return the list rate in force on a day; None = no rate, which is not 0."""
        card = self.card(currency, day)
        return card.rates.get((market, category)) if card else None

    def bands(self, currency: str, market: str, category: str, day: date) -> tuple[Band, ...]:
        """Return the volume tiers in force on a day; empty = there are none."""
        table = self.tier_table(currency, day)
        return table.bands.get((market, category), ()) if table else ()

    def tier_table(self, currency: str, day: date) -> TierTable | None:
        """Return the tier table in force on a day, or None where none is known."""
        tables = self._tiers.get(currency, [])
        place = bisect_right(tables, day, key=lambda table: table.effective)
        return tables[place - 1] if place else None

    def currencies(self) -> tuple[str, ...]:
        """Return the currencies of all cards and tier tables, sorted."""
        return tuple(sorted({*self._cards, *self._tiers}))

    def replacing(self, cards: Iterable[RateCard], tiers: Iterable[TierTable]) -> RateBook:
        """Return this book with each given card and table in the place of that of its currency and date, whole."""
        by_card = {(card.effective, card.currency): card for card in (*self.cards, *cards)}
        by_table = {(table.effective, table.currency): table for table in (*self.tiers, *tiers)}
        return RateBook(
            tuple(by_card[key] for key in sorted(by_card)),
            tuple(by_table[key] for key in sorted(by_table)),
            self.markets,
        )
