"""All counter rows that a set of events must end in: the oracle's main function.

Owns the shape of the rows (``schemas.rows``) and on which local day each thing is counted. Does not own any
rule of metering: those are in the modules beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date

from schemas.events import Event
from schemas.rows import FAMILIES, CounterKey, Family
from tests.oracle.activity import first_activities
from tests.oracle.conversations import (
    FREE_ENTRY_POINT,
    Conversation,
    conversations,
    delivery_second,
    in_service_window,
    is_charged,
)
from tests.oracle.identities import by_person, incoming_messages, outgoing_messages
from tests.oracle.local_time import local_day
from tests.oracle.messages import IncomingMessage, Message

_WORDS = {None: -1, False: 0, True: 1}


class _Rows:
    """Adds up counter rows, every one from zero."""

    def __init__(self) -> None:
        self._values: dict[CounterKey, list[int]] = {}

    def add(self, family: Family, dimensions: tuple[int | str, ...], *measures: str) -> None:
        """Add one to each named measure of the row; ``dimensions`` are in the family's order, from day on."""
        schema = FAMILIES[family]
        assert len(dimensions) == len(schema.dimensions)
        values = self._values.setdefault((int(family), *dimensions), [0] * len(schema.measures))
        for measure in measures:
            values[schema.measures.index(measure)] += 1

    def add_report(self, event: Event) -> None:
        """Note a reported volume tier; the earliest report of a tier stays."""
        tier = event.volume_tier
        assert tier is not None
        year, month = map(int, tier.month.split("-"))
        day = (date(year, month, 1) - date(1970, 1, 1)).days
        key = (
            int(Family.VOLUME_TIERS),
            day,
            event.account,
            "",
            tier.region,
            tier.category,
            tier.lower,
            tier.upper,
        )
        known = self._values.setdefault(key, [event.occurred_at])
        known[0] = min(known[0], event.occurred_at)

    def as_tuples(self) -> dict[CounterKey, tuple[int, ...]]:
        """Return the rows; none is all zero, since a row begins with its first addition."""
        return {key: tuple(values) for key, values in self._values.items()}


def expected_totals(
    events: Iterable[Event], time_zone_of: Callable[[str], str] = lambda _account: "UTC"
) -> dict[CounterKey, tuple[int, ...]]:
    """Return the counter rows of a set of accepted events, in any order and with any repetitions.

    Args:
        events: what was accepted, identity events included; who is who is decided by all of them together.
        time_zone_of: gives the one IANA zone of an account, for all time.

    Returns:
        ``(family code, day, account, number, *further dimensions)`` as in ``schemas.rows`` (day = days since
        1970-01-01 of the account's local date) to the measures in the family's order, all-zero rows left out.
    """
    events = list(events)
    everything = [event for event in events if event.kind != "tier"]
    outgoing = outgoing_messages(everything)
    incoming = incoming_messages(everything)
    rows = _Rows()
    for event in events:
        if event.kind == "tier":
            rows.add_report(event)
    for message in outgoing:
        _add_message(rows, message, time_zone_of(message.account))
    for received in incoming:
        day = local_day(received.at, time_zone_of(received.account))
        rows.add(Family.INCOMING, (day, received.account, received.number, received.country), "count")
    for (account, _), items in by_person(outgoing, incoming).items():
        zone = time_zone_of(account)
        for number in items.numbers:
            _add_windows(rows, *items.on(number), zone)
        for first in first_activities(*items, zone):
            dimensions = (local_day(first.at, zone), account, first.number, first.country, first.rule)
            rows.add(Family.ACTIVE_USERS, dimensions, "users")
    return rows.as_tuples()


def _message_dimensions(message: Message, instant: int, zone: str) -> tuple[int | str, ...]:
    """Return the six dimensions that the families of messages share, on the local day of the instant."""
    return (
        local_day(instant, zone),
        message.account,
        message.number,
        message.country,
        message.category or "",
        _WORDS[message.template],
    )


def _add_message(rows: _Rows, message: Message, zone: str) -> None:
    """Count one outgoing message, each measure on the day of its own timestamp."""
    for measure, instant in (
        ("total", message.first_at),
        ("sent", message.sent_at),
        ("delivered", message.delivered_at),
        ("read", message.read_at),
        ("not_delivered", message.not_delivered_at),
    ):
        if instant is not None:
            rows.add(Family.MESSAGES, _message_dimensions(message, instant, zone), measure)
    if message.not_delivered_at is not None:
        dimensions = (*_message_dimensions(message, message.not_delivered_at, zone), message.error_code)
        rows.add(Family.FAILURES, dimensions, "not_delivered")


def _add_windows(
    rows: _Rows, outgoing: Sequence[Message], incoming: Sequence[IncomingMessage], zone: str
) -> None:
    """Count the deliveries and conversations of one person on one number."""
    found = conversations(outgoing, incoming)
    for message in outgoing:
        if message.delivered_at is not None:
            _add_delivery(rows, message, found, incoming, zone)
    for conversation in found:
        opener = conversation.opener
        day = local_day(conversation.opened_at, zone)
        charged = is_charged(conversation, incoming, zone)
        rows.add(
            Family.CONVERSATIONS,
            (day, opener.account, opener.number, opener.country, conversation.type, opener.category or ""),
            "total",
            "charged" if charged else "free",
        )


def _add_delivery(
    rows: _Rows,
    message: Message,
    found: Sequence[Conversation],
    incoming: Sequence[IncomingMessage],
    zone: str,
) -> None:
    """Count one delivered message with everything that pricing asks about it."""
    assert message.sent_at is not None
    pricing = message.pricing_event
    inside_entry_point = any(
        conversation.type == FREE_ENTRY_POINT and message.settled() in conversation.messages
        for conversation in found
    )
    rows.add(
        Family.DELIVERIES,
        (
            *_message_dimensions(message, delivery_second(message), zone),
            (pricing.pricing_type or "") if pricing else "",
            _WORDS[pricing.billable] if pricing else -1,
            int(in_service_window(message.sent_at, incoming)),
            int(inside_entry_point),
        ),
        "delivered",
    )
