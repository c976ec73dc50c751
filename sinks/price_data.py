"""Reads everything that turns counts into money from its files, and notices when they change.

Owns which files those are. What is in them is checked by ``schemas.plan_files``, ``schemas.rate_files`` and
``schemas.regimes``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

import msgspec

from metering.charges import PriceData
from schemas.plan_files import load_plans
from schemas.rate_faults import names_of_markets
from schemas.rate_files import load_rate_book
from schemas.regimes import load_regimes

DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Prices:
    """Price data, and the digest by which a report says what it was made with."""

    data: PriceData
    digest: str


class PriceFiles:
    """The files of an installation. Safe for several threads."""

    def __init__(self, plans: Path | None = None, rate_cards: Path | None = None) -> None:
        """Take where plans and rate cards are; what is not there is what ships with convometer."""
        self._plans = plans
        self._rate_cards = rate_cards
        self._lock = Lock()
        self._stamp: tuple[tuple[str, int, int], ...] | None = None
        self._prices: Prices | None = None

    def read(self) -> Prices:
        """Return the price data of now; read again only where a file has changed.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: with all faults of the files.
        """
        with self._lock:
            stamp = tuple(self._stamps())
            if self._prices is None or stamp != self._stamp:
                rates = load_rate_book(self._rate_cards)
                markets = names_of_markets(rates.markets)
                data = PriceData(load_regimes(), rates, load_plans(self._plans, markets))
                self._prices, self._stamp = Prices(data, digest_of(data)), stamp
            return self._prices

    def _stamps(self) -> Iterator[tuple[str, int, int]]:
        paths = [self._plans] if self._plans else []
        if self._rate_cards is not None and self._rate_cards.is_dir():
            paths += [self._rate_cards, *sorted(self._rate_cards.glob("*.csv"))]
        for path in paths:
            try:
                status = path.stat()
            except OSError:
                yield str(path), 0, 0  # reading it says what is wrong
            else:
                yield str(path), status.st_mtime_ns, status.st_size


def digest_of(data: PriceData) -> str:
    """Return a text that is the same for the same data, in whatever files and order it stood."""
    rates = data.rates
    content = {
        "regimes": data.regimes.rows,
        "cards": sorted(
            (
                card.currency,
                card.effective,
                card.source,
                sorted((*key, rate) for key, rate in card.rates.items()),
            )
            for card in rates.cards
        ),
        "tiers": sorted(
            (
                table.currency,
                table.effective,
                table.source,
                sorted((*key, bands) for key, bands in table.bands.items()),
            )
            for table in rates.tiers
        ),
        "markets": sorted((row.country, str(row.effective or ""), row.market) for row in rates.markets),
        "plans": sorted(
            (
                {
                    **asdict(plan),
                    "conversation_prices": sorted(plan.conversation_prices.items()),
                    "conversation_market_prices": sorted(plan.conversation_market_prices.items()),
                }
                for plan in data.plans.plans
            ),
            key=lambda plan: (plan["account"], plan["number"], plan["effective"]),
        ),
    }
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:DIGEST_LENGTH]
