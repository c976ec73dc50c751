"""Reported volume tiers as counter rows: of each tier, the earliest report (metering.md §5).

Owns that minimum. The row itself is the state: a minimum needs no other, and neither order nor repetition of the
reports changes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from metering.calendar import day_number
from metering.user import RowKey
from schemas.events import Event, VolumeTier
from schemas.rows import Family
from streams.counters import Counters
from streams.linking import Changes
from streams.step import Step


def tier_day(event: Event) -> int:
    """Return the day of a tier's row: the 1st of its month."""
    return day_number(date.fromisoformat(f"{_tier(event).month}-01"))


def tier_changes(events: Iterable[Event], counters: Counters, step: Step) -> Changes:
    """Return the differences that bring the rows to the earliest reports, and count what became of each event."""
    earliest: dict[tuple[str, RowKey], int] = {}
    for event in events:
        place = (event.account, _row(event))
        counters.load([(event.account, {place[1]: 0})])
        known = earliest.get(place) or counters.value(*place)
        is_news = not known or event.occurred_at < known
        step.count(event, "counted" if is_news else "duplicate")
        if is_news:
            earliest[place] = event.occurred_at
    return [(account, {row: at - counters.value(account, row)}) for (account, row), at in earliest.items()]


def _row(event: Event) -> RowKey:
    tier = _tier(event)
    return (
        int(Family.VOLUME_TIERS),
        0,
        tier_day(event),
        "",
        tier.region,
        tier.category,
        tier.lower,
        tier.upper,
    )


def _tier(event: Event) -> VolumeTier:
    assert event.volume_tier is not None, "what is of kind tier has one"
    return event.volume_tier
