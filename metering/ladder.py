"""The rows of one message in short, and how two of them differ.

Owns which rows of the totals a message counts in, once its days and dimensions are known. Does not own how they are
found (``metering.evaluation``).
"""

from __future__ import annotations

import msgspec

from metering.state import PRICING_TYPE_BY_CODE
from metering.user import RowKey
from schemas.rows import Family

Differences = dict[RowKey, int]

# Plain numbers: an enumeration's members cost more to reach than all else about a row's key.
MESSAGES, DELIVERIES, FAILURES = int(Family.MESSAGES), int(Family.DELIVERIES), int(Family.FAILURES)


class Ladder(msgspec.Struct, frozen=True, gc=False):
    """A message's rows in short: its dimensions, the days on which it counts, and the detail of its last row."""

    number: str
    country: str
    category: str
    template: int
    total: int
    sent: int | None
    """A day like the others: None = not counted."""
    delivered: int | None
    read: int | None
    not_delivered: int | None
    pricing_type: int
    """Code; this and the following only of a delivered message."""
    billable: int
    service_window: int
    free_entry_point: int
    error_code: int
    """Only of a message that is not delivered."""


def add_count(differences: Differences, key: RowKey, count: int) -> None:
    """Add to one row."""
    differences[key] = differences.get(key, 0) + count


def add_ladder(differences: Differences, ladder: Ladder, sign: int) -> None:
    """Add every row of a message."""
    dimensions = _dimensions(ladder)
    for measure, day in enumerate(_days(ladder)):
        if day is not None:
            add_count(differences, (MESSAGES, measure, day, *dimensions), sign)
    detail = _detail(ladder)
    if detail:
        add_count(differences, detail, sign)


def replace_ladder(differences: Differences, old: Ladder, new: Ladder) -> None:
    """Add the rows in which two ladders differ."""
    dimensions = _dimensions(new)
    if dimensions != _dimensions(old):
        add_ladder(differences, old, -1)
        add_ladder(differences, new, 1)
        return
    for measure, (before, after) in enumerate(zip(_days(old), _days(new), strict=True)):
        if before != after:
            if before is not None:
                add_count(differences, (MESSAGES, measure, before, *dimensions), -1)
            if after is not None:
                add_count(differences, (MESSAGES, measure, after, *dimensions), 1)
    detail_gone, detail = _detail(old), _detail(new)
    if detail_gone != detail:
        if detail_gone:
            add_count(differences, detail_gone, -1)
        if detail:
            add_count(differences, detail, 1)


def _dimensions(ladder: Ladder) -> tuple[str, str, str, int]:
    return (ladder.number, ladder.country, ladder.category, ladder.template)


def _days(ladder: Ladder) -> tuple[int | None, ...]:
    """Return the days of a message's measures, in the order of their places."""
    return (ladder.total, ladder.sent, ladder.delivered, ladder.read, ladder.not_delivered)


def _detail(ladder: Ladder) -> RowKey | None:
    """Return the row of a delivery, or of a failure."""
    if ladder.delivered is not None:
        return (
            DELIVERIES,
            0,
            ladder.delivered,
            *_dimensions(ladder),
            PRICING_TYPE_BY_CODE[ladder.pricing_type],
            ladder.billable,
            ladder.service_window,
            ladder.free_entry_point,
        )
    if ladder.not_delivered is not None:
        return (FAILURES, 0, ladder.not_delivered, *_dimensions(ladder), ladder.error_code)
    return None
