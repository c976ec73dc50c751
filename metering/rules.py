"""The price rules that counting itself depends on, as effective-dated data (metering.md §3, §5).

Owns what counting asks of a regime. Reading the list is ``schemas.regimes``; rates and money are not here.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import date

import msgspec

from metering.calendar import day_number
from schemas.regimes import PriceRegimes, load_regimes

DAY_SECONDS = 86_400
WINDOW_SECONDS = DAY_SECONDS
"""Length of a conversation and of the customer service window."""
ATTRIBUTE_SECONDS = 8 * DAY_SECONDS
"""How long after its delivery a message's events can still decide its part in conversations and activity.

The longest window. Without a bound, a status weeks later could reopen what was folded long ago (metering.md §6).
"""
FREE_ENTRY_POINT_SECONDS_MAX = 8 * DAY_SECONDS
"""A provider's expiry further away than this is not believed."""


class RegimeRow(msgspec.Struct, frozen=True, rename={"start": "from"}, forbid_unknown_fields=True):
    """What counting takes from a regime; stored with what was counted by it.

    ``start`` is a local date, in force from its 00:00 in the account's zone.
    """

    start: date
    unit: str
    utility_free_in_service_window: bool
    free_entry_point_seconds: int


@dataclass(frozen=True, slots=True)
class Regimes:
    """The regimes in force over time. The first also covers everything before it."""

    rows: tuple[RegimeRow, ...]
    starts: tuple[int, ...]

    def at(self, day: int) -> RegimeRow:
        """Return the regime in force on a local day."""
        return self.rows[max(0, bisect_right(self.starts, day) - 1)]

    def effective_until(self, day: int) -> tuple[RegimeRow, ...]:
        """Return the rows that decide days up to and including this one: what state was built with."""
        return (
            tuple(row for row, start in zip(self.rows, self.starts, strict=True) if start <= day)
            or self.rows[:1]
        )


def regimes_of(rows: list[RegimeRow]) -> Regimes:
    """Return regimes from their rows.

    Raises:
        ValueError: there is no row, or the dates are not strictly ascending.
    """
    starts = tuple(day_number(row.start) for row in rows)
    if not rows or list(starts) != sorted(set(starts)):
        raise ValueError("regimes need at least one row, with strictly ascending 'from' dates")
    return Regimes(tuple(rows), starts)


def counting_rules(regimes: PriceRegimes) -> Regimes:
    """Return what counting takes from price regimes."""
    return regimes_of(
        [
            RegimeRow(row.start, row.unit, row.utility_free_in_service_window, row.free_entry_point_seconds)
            for row in regimes.rows
        ]
    )


def shipped_regimes() -> Regimes:
    """Return the rules of the regimes that ship with convometer."""
    return counting_rules(load_regimes())
