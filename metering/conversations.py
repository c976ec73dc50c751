"""Conversations of one (account, number, user): the 24-hour windows that are billed (metering.md §3).

Owns the scan over delivered messages. It starts from a checkpoint and can return the next one, so that old
messages may be forgotten without changing a count. Does not own which events reach it, nor days and counters.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from operator import attrgetter
from typing import NamedTuple

import msgspec

from metering.rules import DAY_SECONDS, FREE_ENTRY_POINT_SECONDS_MAX, WINDOW_SECONDS
from metering.state import earliest

FREE_ENTRY_POINT = "free_entry_point"
SERVICE = "service"
UNKNOWN_TYPE = "unknown"

# Order within one second.
RANK_FREE_ENTRY, RANK_TEMPLATE, RANK_FREE_FORM = range(3)


class Delivery(msgspec.Struct, frozen=True, order=True, gc=False):
    """One delivered message as the scan sees it. The order of the fields is the order of the scan."""

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

    scanner = scanner_of(start, deliveries, referrals, free_entry_seconds_at)
    for delivery in deliveries:
        scanner.take(delivery)
    return Scan(
        [*scanner.brought, *scanner.opened],
        set(scanner.inside),
        scanner.free_entry_ends_at,
        scanner.unused_referrals(),
    )


def scanner_of(
    start: Checkpoint,
    deliveries: Sequence[Delivery],
    referrals: Sequence[int],
    free_entry_seconds_at: Sequence[int],
) -> Scanner:
    """Return the scanner of ``scan``, which has taken no delivery yet."""

    def end(opener: Delivery) -> int:
        position = bisect_left(deliveries, opener)
        from_opener = (deliveries[place] for place in range(position, len(deliveries)))
        return end_of_free_entry(from_opener, free_entry_seconds_at[position])

    return Scanner(state_of(start), sorted([*start.referrals, *referrals]), end)


class ScanState(msgspec.Struct, frozen=True, gc=False):
    """Where a scan stands between two deliveries, as a value: two scans that stand alike go on alike.

    What can have no effect on any later delivery is left out, so that equal futures mean equal states.
    """

    open: tuple[Conversation, ...] = ()
    """The open category and service conversations by type; none of them is ever changed in place."""
    free_entry_ends_at: int = 0
    referrals_used_until: int = 0
    """When the last free entry point opened: it used up every referral up to then that could matter later."""


class Scanner:
    """The scan's moving parts. It starts from a state and can be asked for the state it has come to.

    It changes only conversations that it opened itself: those brought with the state belong to others, too, and are
    replaced by changed copies.
    """

    __slots__ = (
        "_end_of_free_entry",
        "_open",
        "_referrals",
        "_referrals_used_until",
        "brought",
        "free_entry_ends_at",
        "inside",
        "opened",
        "turned",
    )

    def __init__(
        self, start: ScanState, referrals: Sequence[int], end_of_free_entry: Callable[[Delivery], int]
    ) -> None:
        """Go on from a state.

        Args:
            start: where the scan stands.
            referrals: times of the incoming messages that came from an ad, ascending.
            end_of_free_entry: tells when a free entry point that a delivery opens will end.
        """
        self.brought = list(start.open)
        """The conversations of the start, as they are by now."""
        self.opened: list[Conversation] = []
        """Those opened since, in order."""
        self.turned: list[Conversation] = []
        """Those of the start that were free and have become charged."""
        self.inside: list[bytes] = []
        """Items delivered inside a free entry point."""
        self.free_entry_ends_at = start.free_entry_ends_at
        self._open = {conversation.type: conversation for conversation in start.open}
        self._referrals = referrals
        self._referrals_used_until = start.referrals_used_until
        self._end_of_free_entry = end_of_free_entry

    def take(self, delivery: Delivery) -> Conversation | None:
        """Let one delivery open or join a conversation.

        Returns:
            That conversation, as it was before; None = the last free entry point.
        """
        at = delivery.at
        if at < self.free_entry_ends_at:
            self.inside.append(delivery.item)
            return None
        has_referral = bool(self._referrals) and self._has_unused_referral(at)
        if has_referral or delivery.says_free_entry:
            if has_referral or not self._follows_free_entry(at):
                self._open_free_entry(delivery)
            return None
        conversation = self._belongs_to(delivery)
        if conversation is None:
            return self._open_regular(delivery)
        if delivery.billable and not conversation.charged:
            self._charge(conversation)
        return conversation

    def state(self, at: int) -> ScanState:
        """Return where the scan stands after a delivery at ``at``."""
        still_open = [conversation for conversation in self._open.values() if conversation.ends_at > at]
        if len(still_open) > 1:
            still_open.sort(key=attrgetter("type"))
        return ScanState(
            tuple(still_open),
            # Later than a day after its end a free entry point has no more say (rule 2).
            self.free_entry_ends_at if self.free_entry_ends_at + DAY_SECONDS > at else 0,
            self._referrals_used_until if self._referrals_used_until + DAY_SECONDS > at else 0,
        )

    def unused_referrals(self) -> list[int]:
        """Return the referrals that no free entry point has used up; those out of reach may be missing."""
        return [at for at in self._referrals if at > self._referrals_used_until]

    def _has_unused_referral(self, at: int) -> bool:
        """Tell whether an unused referral lies in (at - 24 h, at].

        Opening uses up all referrals in the day up to it; older ones are out of any later message's reach. So the
        unused ones within reach are just those after the last opening.
        """
        position = bisect_right(self._referrals, at)
        return position > 0 and self._referrals[position - 1] > max(
            at - DAY_SECONDS, self._referrals_used_until
        )

    def _follows_free_entry(self, at: int) -> bool:
        return bool(self.free_entry_ends_at) and at < self.free_entry_ends_at + DAY_SECONDS

    def _open_free_entry(self, delivery: Delivery) -> None:
        at = delivery.at
        for conversation in list(self._open.values()):
            if at < conversation.ends_at:
                self._own(conversation).ends_at = at
        self._open.clear()
        self._referrals_used_until = at
        self.free_entry_ends_at = self._end_of_free_entry(delivery)
        self.opened.append(
            Conversation(FREE_ENTRY_POINT, at, self.free_entry_ends_at, delivery.category, delivery.country)
        )
        self.inside.append(delivery.item)

    def _belongs_to(self, delivery: Delivery) -> Conversation | None:
        """Return the open conversation that a delivery outside free entry points joins."""
        at = delivery.at
        if delivery.rank == RANK_TEMPLATE:
            conversation = self._open.get(delivery.conversation_type)
            return conversation if conversation is not None and at < conversation.ends_at else None
        first: Conversation | None = None
        for conversation in self._open.values():
            if at < conversation.ends_at and (first is None or _opened_before(conversation, first)):
                first = conversation
        return first

    def _open_regular(self, delivery: Delivery) -> Conversation:
        conversation = Conversation(
            delivery.conversation_type,
            delivery.at,
            delivery.at + WINDOW_SECONDS,
            delivery.category,
            delivery.country,
            delivery.billable,
        )
        self._open[delivery.conversation_type] = conversation
        self.opened.append(conversation)
        return conversation

    def _charge(self, conversation: Conversation) -> None:
        own = self._own(conversation)
        own.charged = True
        if own is not conversation:
            self.turned.append(own)

    def _own(self, conversation: Conversation) -> Conversation:
        """Return an open conversation to be changed: a copy in its place, if it was brought with the start."""
        for place, brought in enumerate(self.brought):
            if brought is conversation:
                self.brought[place] = self._open[conversation.type] = copy(conversation)
                return self.brought[place]
        return conversation


def _opened_before(one: Conversation, other: Conversation) -> bool:
    return (one.opened_at, one.type) < (other.opened_at, other.type)


def state_of(checkpoint: Checkpoint) -> ScanState:
    """Return the state that a checkpoint stands for, its referrals aside."""
    return ScanState(tuple(checkpoint.open), checkpoint.free_entry_ends_at)


def end_of_free_entry(from_opener: Iterable[Delivery], default_seconds: int) -> int:
    """Return when a free entry point ends: as the provider said, if that is credible, else by its length.

    The provider's word is the earliest expiry of the messages of this second that say free entry point. They are
    consecutive and the opener is the first of its second: only the second's first message can find no free entry
    point open and a referral unused, or say free entry point itself.

    Args:
        from_opener: the opening delivery and those after it, in order.
        default_seconds: the length in force when nothing credible is said.
    """
    opened_at = said = 0
    for delivery in from_opener:
        if not opened_at:
            opened_at = delivery.at
        if delivery.at != opened_at or not delivery.says_free_entry:
            break
        said = earliest(said, delivery.expires_at)
    believed = opened_at < said <= opened_at + FREE_ENTRY_POINT_SECONDS_MAX
    return said if believed else opened_at + default_seconds


def checkpoint_at(instant: int, outcome: Scan) -> Checkpoint:
    """Return what must be kept when everything before ``instant`` is forgotten."""
    return Checkpoint(
        [c for c in outcome.conversations if c.type != FREE_ENTRY_POINT and c.ends_at > instant],
        # Later than a day after its end a free entry point has no more say (rule 2).
        outcome.free_entry_ends_at if outcome.free_entry_ends_at + DAY_SECONDS > instant else 0,
        [at for at in outcome.unused_referrals if at > instant - DAY_SECONDS],
    )


def merged_checkpoint(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return the checkpoint of one person from those of several names, all of the same instant.

    Of each type the conversation that was opened first stays open; it is charged if that one was.
    """
    if len(checkpoints) == 1:
        return checkpoints[0]
    first: dict[str, Conversation] = {}
    for conversation in (each for checkpoint in checkpoints for each in checkpoint.open):
        known = first.get(conversation.type)
        if known is None or _merge_order(conversation) < _merge_order(known):
            first[conversation.type] = conversation
    return Checkpoint(
        [first[name] for name in sorted(first)],
        max((checkpoint.free_entry_ends_at for checkpoint in checkpoints), default=0),
        sorted({at for checkpoint in checkpoints for at in checkpoint.referrals}),
    )


def _merge_order(conversation: Conversation) -> tuple[int, str, str, bool, int]:
    return (
        conversation.opened_at,
        conversation.category,
        conversation.country,
        not conversation.charged,
        conversation.ends_at,
    )
