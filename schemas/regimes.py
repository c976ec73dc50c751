"""Price regimes: how the provider charges, as data with a date (metering.md §5).

Owns the shape of a regime, which one is in force, and reading the list. What counting itself takes from it is in
``metering.rules``; what pricing takes from it is in ``metering.pricing``.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Literal

import msgspec


class RegimeFaults(ValueError):
    """A list of regimes cannot be used; says why."""


class PriceRegime(msgspec.Struct, frozen=True, rename={"start": "from"}, forbid_unknown_fields=True):
    """One regime. It is in force from 00:00 of ``start`` in the account's zone until the next one begins."""

    start: date
    unit: Literal["conversation", "message"]
    """What is charged: each conversation that is opened, or each delivered message."""
    utility_free_in_service_window: bool
    free_entry_point_seconds: int
    """How long a free entry point lasts whose end the provider does not say."""
    service: Literal["free", "charged"]
    """What free-form messages, or service conversations, come to."""
    service_allotment: int = 0
    """How many of them a month are free all the same, in order of delivery."""
    service_allotment_per: Literal["account", "number"] = "number"


@dataclass(frozen=True, slots=True)
class PriceRegimes:
    """All regimes, oldest first. The first also covers everything before it."""

    rows: tuple[PriceRegime, ...]

    def at(self, day: date) -> PriceRegime:
        """Return the regime in force on a local day."""
        return self.rows[max(0, bisect_right(self.rows, day, key=lambda row: row.start) - 1)]

    def last_day(self, regime: PriceRegime) -> date:
        """Return the last day on which a regime is in force."""
        place = self.rows.index(regime) + 1
        return self.rows[place].start - timedelta(days=1) if place < len(self.rows) else date.max


def read_regimes(content: bytes, name: str) -> PriceRegimes:
    """Return regimes from the JSON list of a file.

    Raises:
        RegimeFaults: not such a list, empty, or the dates are not ascending firsts of a month. A month has one regime,
            since allotments and tiers are counted by months.
    """
    try:
        rows = msgspec.json.decode(content, type=list[PriceRegime])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise RegimeFaults(f"{name}: {error}") from error
    starts = [row.start for row in rows]
    if not rows or starts != sorted(set(starts)):
        raise RegimeFaults(f"{name}: expected at least one regime, with strictly ascending `from` dates")
    for row in rows:
        if row.start.day != 1:
            raise RegimeFaults(f"{name}: found from {row.start}, expected the first of a month")
        if row.service_allotment < 0 or (row.service_allotment and row.service == "free"):
            raise RegimeFaults(
                f"{name}: found service_allotment {row.service_allotment} from {row.start}, expected 0 or more, and 0 "
                "where service is free"
            )
    return PriceRegimes(tuple(rows))


def load_regimes(path: Path | None = None) -> PriceRegimes:
    """Return the regimes of a file, or those that ship with convometer.

    Raises:
        RegimeFaults: the file cannot be read or used.
    """
    if path is None:
        return read_regimes((files("schemas") / "data" / "regimes.json").read_bytes(), "regimes.json")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RegimeFaults(f"{path}: {error.strerror or error}") from error
    return read_regimes(content, str(path))
