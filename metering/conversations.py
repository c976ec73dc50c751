"""Conversations of one (account, number, user): the 24-hour windows that are billed (metering.md §3).

Owns the scan over delivered messages. It starts from a checkpoint and can return the next one, so that old
messages may be forgotten without changing a count. Does not own which events reach it, nor days and counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from metering.rules import DAY_SECONDS, FREE_ENTRY_POINT_SECONDS_MAX, WINDOW_SECONDS

FREE_ENTRY_POINT = "free_entry_point"
SERVICE = "service"
UNKNOWN_TYPE = "unknown"

# Order within one second.
RANK_FREE_ENTRY, RANK_TEMPLATE, RANK_FREE_FORM = range(3)


class Delivery(NamedTuple):
    """One delivered message as the scan sees it. The tuple order is the order of the scan."""

    at: int
    rank: int
    category_order: str
    """Category by name, ``unknown`` without one: decides who comes first within a second."""
    country: str
    item: bytes
    """Key of the message; makes the order total."""
    conversation_type: str
    """The type a template opens; ``service`` for free-form."""
    category: str
    """Category before folding, "" = none."""
    says_free_entry: bool
    expires_at: int
    """Earliest expiry among its events that say free entry point; 0 = none."""
    billable: bool


class Conversation(msgspec.Struct, array_like=True, gc=False):
    """One conversation. ``ends_at`` is exclusive and shortens when a free entry point closes it."""

    type: str
    opened_at: int
    ends_at: int
    category: str
    country: str
    charged: bool = False


class Checkpoint(msgspec.Struct, array_like=True, gc=False):
    """What must be known at an instant to go on scanning: nothing before it will ever be looked at again."""

    open: list[Conversation] = []
    """Category and service conversations that were open."""
    free_entry_ends_at: int = 0
    """End of the last free entry point; 0 = there was none."""
    referrals: list[int] = []
    """Times of unused referrals that a message may still use."""


class Scan(NamedTuple):
    """Outcome of a scan: conversations (those of the checkpoint first) and who was inside a free entry point."""

    conversations: list[Conversation]
    inside_free_entry: set[bytes]
    free_entry_ends_at: int
    unused_referrals: list[int]


def scan(
    start: Checkpoint,
    deliveries: Sequence[Delivery],
    referrals: Sequence[int],
    free_entry_seconds_at: Sequence[int],
) -> Scan:
    """Go through a user's deliveries on one number.

    Args:
        start: state at the instant from which ``deliveries`` and ``referrals`` are complete.
        deliveries: ascending.
        referrals: times of incoming messages that came from an ad, ascending, those of ``start`` not among them.
        free_entry_seconds_at: for each delivery, the length of a free entry point opened by it.
    """
    scanner = _Scanner(start, deliveries, referrals)
    for position, seconds in enumerate(free_entry_seconds_at):
        scanner.take(position, seconds)
    return Scan(scanner.conversations, scanner.inside, scanner.free_entry_ends_at, scanner.referrals)


class _Scanner:
    """The scan's moving parts."""

    def __init__(self, start: Checkpoint, deliveries: Sequence[Delivery], referrals: Sequence[int]) -> None:
        self.deliveries = deliveries
        self.conversations = [
            Conversation(c.type, c.opened_at, c.ends_at, c.category, c.country, c.charged) for c in start.open
        ]
        self.open = {conversation.type: conversation for conversation in self.conversations}
        self.free_entry_ends_at = start.free_entry_ends_at
        self.referrals = sorted([*start.referrals, *referrals])
        self.inside: set[bytes] = set()

    def take(self, position: int, free_entry_seconds: int) -> None:
        """Let one delivery open or join a conversation."""
        delivery = self.deliveries[position]
        if delivery.at < self.free_entry_ends_at:
            self.inside.add(delivery.item)
            return
        has_referral = any(delivery.at - DAY_SECONDS < at <= delivery.at for at in self.referrals)
        if delivery.says_free_entry and not has_referral and self._follows_free_entry(delivery):
            return
        if delivery.says_free_entry or has_referral:
            self._open_free_entry(position, free_entry_seconds)
        else:
            self._take_regular(delivery)

    def _follows_free_entry(self, delivery: Delivery) -> bool:
        return bool(self.free_entry_ends_at) and delivery.at < self.free_entry_ends_at + DAY_SECONDS

    def _open_free_entry(self, position: int, seconds: int) -> None:
        delivery = self.deliveries[position]
        at = delivery.at
        self.referrals = [r for r in self.referrals if not at - DAY_SECONDS < r <= at]
        for conversation in self.open.values():
            conversation.ends_at = min(conversation.ends_at, at)
        self.open.clear()
        expires_at = self._expiry(position)
        believed = at < expires_at <= at + FREE_ENTRY_POINT_SECONDS_MAX
        self.free_entry_ends_at = expires_at if believed else at + seconds
        self.conversations.append(
            Conversation(FREE_ENTRY_POINT, at, self.free_entry_ends_at, delivery.category, delivery.country)
        )
        self.inside.add(delivery.item)

    def _expiry(self, position: int) -> int:
        """Return the earliest expiry of the messages of this second that say free entry point; 0 = none.

        They are consecutive and the opener is the first of its second: only the second's first message can find
        no free entry point open and a referral unused, or say free entry point itself.
        """
        at = self.deliveries[position].at
        found = []
        for delivery in self.deliveries[position:]:
            if delivery.at != at or not delivery.says_free_entry:
                break
            if delivery.expires_at:
                found.append(delivery.expires_at)
        return min(found, default=0)

    def _take_regular(self, delivery: Delivery) -> None:
        if delivery.rank == RANK_TEMPLATE:
            conversation = self.open.get(delivery.conversation_type)
            if conversation is None or delivery.at >= conversation.ends_at:
                conversation = self._open_regular(delivery)
        else:
            conversation = self._first_opened(delivery.at) or self._open_regular(delivery)
        conversation.charged = conversation.charged or delivery.billable

    def _first_opened(self, at: int) -> Conversation | None:
        still_open = [conversation for conversation in self.open.values() if at < conversation.ends_at]
        return min(
            still_open, key=lambda conversation: (conversation.opened_at, conversation.type), default=None
        )

    def _open_regular(self, delivery: Delivery) -> Conversation:
        conversation = Conversation(
            delivery.conversation_type,
            delivery.at,
            delivery.at + WINDOW_SECONDS,
            delivery.category,
            delivery.country,
        )
        self.open[delivery.conversation_type] = conversation
        self.conversations.append(conversation)
        return conversation


def checkpoint_at(instant: int, outcome: Scan) -> Checkpoint:
    """Return what must be kept when everything before ``instant`` is forgotten."""
    return Checkpoint(
        [c for c in outcome.conversations if c.type != FREE_ENTRY_POINT and c.ends_at > instant],
        # Later than a day after its end a free entry point has no more say (rule 2).
        outcome.free_entry_ends_at if outcome.free_entry_ends_at + DAY_SECONDS > instant else 0,
        [at for at in outcome.unused_referrals if at > instant - DAY_SECONDS],
    )
