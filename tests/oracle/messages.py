"""Outgoing and incoming messages, and what their events say about them (metering.md §2).

Owns reading one message's attributes. Does not own which events are one message and whose it is
(``tests.oracle.identities``), nor anything else that needs a second message to decide: windows and conversations
are in ``tests.oracle.conversations``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from schemas.events import Event, Kind

TEMPLATE_CATEGORIES = (
    "marketing",
    "marketing_lite",
    "utility",
    "authentication",
    "authentication_international",
)
"""A message of one of these is a template (§2)."""
SETTLED_AFTER_SECONDS = 8 * 86_400
"""What is said later than this after the delivery no longer moves a conversation or activity."""


def at_earliest_second(events: Iterable[Event]) -> list[Event]:
    """Return those of the events that share the earliest ``occurred_at``; none of none."""
    candidates = list(events)
    earliest = min((event.occurred_at for event in candidates), default=None)
    return [event for event in candidates if event.occurred_at == earliest]


def says_free_entry_point(event: Event) -> bool:
    """Tell whether this one event says that it belongs to a free entry point (§3, rule 1)."""
    return (
        event.pricing_type == "free_entry_point"
        or event.conversation_origin == "referral_conversion"
        or event.category == "referral_conversion"
    )


def carries_pricing(event: Event) -> bool:
    """Tell whether the event carries the provider's word on pricing."""
    return event.pricing_type is not None or event.billable is not None


def says_billable(event: Event) -> bool:
    """Return the word of an event that carries pricing: its type decides, else ``billable``."""
    if event.pricing_type is not None:
        return event.pricing_type == "regular"
    return event.billable is True


def phone_of(events: Iterable[Event]) -> str | None:
    """Return the phone of the earliest event that carries one; ties alphabetically."""
    carriers = at_earliest_second(event for event in events if event.user_phone is not None)
    return min((str(event.user_phone) for event in carriers), default=None)


@dataclass(frozen=True, slots=True)
class Message:
    """One outgoing message of one person; ``events`` are all its statuses, never empty."""

    account: str
    person: str
    number: str
    message_id: str
    participant: str | None
    events: tuple[Event, ...]

    def earliest_at(self, *kinds: Kind) -> int | None:
        """Return the earliest UTC second of an event of one of these kinds, None without one."""
        return min((event.occurred_at for event in self.events if event.kind in kinds), default=None)

    @property
    def first_at(self) -> int:
        """Return the earliest second of all its events."""
        return min(event.occurred_at for event in self.events)

    @property
    def sent_at(self) -> int | None:
        """Return the earliest of sent, delivered, read."""
        return self.earliest_at("sent", "delivered", "read")

    @property
    def delivered_at(self) -> int | None:
        """Return the earliest of delivered and read: who read it got it."""
        return self.earliest_at("delivered", "read")

    @property
    def read_at(self) -> int | None:
        """Return the earliest read."""
        return self.earliest_at("read")

    @property
    def not_delivered_at(self) -> int | None:
        """Return the earliest failed, unless the message was delivered at any time."""
        return None if self.delivered_at is not None else self.earliest_at("failed")

    @property
    def category(self) -> str | None:
        """Return the category of the earliest event that carries one; ties alphabetically."""
        carriers = at_earliest_second(event for event in self.events if event.category is not None)
        return min((str(event.category) for event in carriers), default=None)

    @property
    def template(self) -> bool | None:
        """Return the flag of the earliest event that has one (ties: true), else what the category implies."""
        carriers = at_earliest_second(event for event in self.events if event.template is not None)
        if carriers:
            return any(event.template for event in carriers)
        if self.category in TEMPLATE_CATEGORIES:
            return True
        return False if self.category == "service" else None

    @property
    def country(self) -> str:
        """Return the country of the earliest event with a phone, else of the earliest event; ties by name."""
        with_phone = [event for event in self.events if event.user_phone is not None]
        return min(event.country for event in at_earliest_second(with_phone or self.events))

    @property
    def free_form(self) -> bool:
        """Tell whether the message is no template: the flag decides only where the category does not."""
        if self.category == "service":
            return True
        return self.category not in TEMPLATE_CATEGORIES and self.template is not True

    @property
    def pricing_event(self) -> Event | None:
        """Return the earliest event that carries pricing; ties: free first, then a fixed order."""
        carriers = at_earliest_second(event for event in self.events if carries_pricing(event))
        billable_order = (None, False, True)
        return min(
            carriers,
            key=lambda event: (
                says_billable(event),
                event.pricing_type or "",
                billable_order.index(event.billable),
            ),
            default=None,
        )

    @property
    def says_free_entry_point(self) -> bool:
        """Tell whether any of its events says free entry point."""
        return any(says_free_entry_point(event) for event in self.events)

    @property
    def error_code(self) -> int:
        """Return the smallest code of the earliest failed events that carry a code, 0 without one; 0 is no code."""
        carriers = at_earliest_second(
            event for event in self.events if event.kind == "failed" and event.error_code not in (None, 0)
        )
        return min((event.error_code or 0 for event in carriers), default=0)

    def settled(self) -> Message:
        """Return the delivered message as conversations and activity see it, without what came too late."""
        assert self.delivered_at is not None
        last_second = self.delivered_at + SETTLED_AFTER_SECONDS
        return replace(self, events=tuple(event for event in self.events if event.occurred_at <= last_second))


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """One message from a person; ``events`` are all copies of it, never empty."""

    account: str
    person: str
    number: str
    message_id: str
    events: tuple[Event, ...]

    @property
    def at(self) -> int:
        """Return the earliest second at which it is said to have come."""
        return min(event.occurred_at for event in self.events)

    @property
    def country(self) -> str:
        """Return the country of the earliest event; ties alphabetically."""
        return min(event.country for event in at_earliest_second(self.events))

    @property
    def referral(self) -> bool:
        """Tell whether one of its events, not too late a one, says that it came from an ad."""
        last_second = self.at + SETTLED_AFTER_SECONDS
        return any(event.referral and event.occurred_at <= last_second for event in self.events)
