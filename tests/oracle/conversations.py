"""Windows of one (account, number, person): service windows, free entry points, conversations (metering.md §3).

Owns the scan and the question whether a conversation is charged. All functions take the messages of *one*
person on *one* number. Does not own how conversations are counted: that is ``tests.oracle.totals``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from tests.oracle.local_time import local_date
from tests.oracle.messages import (
    TEMPLATE_CATEGORIES,
    IncomingMessage,
    Message,
    says_billable,
    says_free_entry_point,
)

DAY_SECONDS = 86_400
FREE_ENTRY_POINT_SECONDS = 72 * 3_600
FREE_ENTRY_POINT_SECONDS_MAX = 8 * DAY_SECONDS
FREE_ENTRY_POINT = "free_entry_point"

# §5: utility templates inside the customer service window were free under this regime only.
UTILITY_EXEMPT_FIRST_DAY = date(2025, 7, 1)
UTILITY_EXEMPT_LAST_DAY = date(2026, 9, 30)


@dataclass(slots=True)
class Conversation:
    """One conversation or free entry point, open during [opened_at, ends_at) (UTC seconds).

    ``messages`` are those delivered while it was open that belong to it, settled, its opener first.
    """

    type: str
    opened_at: int
    ends_at: int
    messages: list[Message]

    @property
    def opener(self) -> Message:
        """Return the message that opened it: it gives the country and the raw category."""
        return self.messages[0]

    def is_open_at(self, instant: int) -> bool:
        """Tell whether the instant lies in the conversation's window."""
        return self.opened_at <= instant < self.ends_at


def in_service_window(instant: int, incoming: Sequence[IncomingMessage]) -> bool:
    """Tell whether the instant lies in [t, t + 24 h) of an incoming message at t."""
    return any(message.at <= instant < message.at + DAY_SECONDS for message in incoming)


def delivery_second(message: Message) -> int:
    """Return ``delivered_at`` of a message that was delivered."""
    assert message.delivered_at is not None
    return message.delivered_at


def conversation_type(message: Message) -> str:
    """Return the type of the conversation that the message opens outside free entry points."""
    if message.free_form:
        return "service"
    if message.category == "marketing_lite":
        return "marketing"
    if message.category in TEMPLATE_CATEGORIES:
        return str(message.category)
    return "unknown"


def scan_order(message: Message) -> tuple[int, int, str, str]:
    """Return the place of a settled message in the scan."""
    rank = 2 if message.free_form else 1
    if message.says_free_entry_point:
        rank = 0
    return (delivery_second(message), rank, message.category or "unknown", message.country)


def free_entry_point_end(opened_at: int, messages: Sequence[Message]) -> int:
    """Return when a free entry point opened at this second ends, by the provider's word or the default."""
    said = [
        event.conversation_expires_at
        for message in messages
        if delivery_second(message) == opened_at
        for event in message.events
        if says_free_entry_point(event) and event.conversation_expires_at is not None
    ]
    if said and opened_at < min(said) <= opened_at + FREE_ENTRY_POINT_SECONDS_MAX:
        return min(said)
    return opened_at + FREE_ENTRY_POINT_SECONDS


def follows_free_entry_point(instant: int, found: Sequence[Conversation]) -> bool:
    """Tell whether the instant comes less than 24 h after the end of the last free entry point, if any."""
    entry_points = [each for each in found if each.type == FREE_ENTRY_POINT]
    return bool(entry_points) and instant < entry_points[-1].ends_at + DAY_SECONDS


def conversations(outgoing: Sequence[Message], incoming: Sequence[IncomingMessage]) -> list[Conversation]:
    """Return all conversations and free entry points of one person on one number, in the order of opening."""
    delivered = sorted(
        (message.settled() for message in outgoing if message.delivered_at is not None), key=scan_order
    )
    unused_referrals = [message.at for message in incoming if message.referral]
    found: list[Conversation] = []
    for message in delivered:
        second = delivery_second(message)
        open_now = [each for each in found if each.is_open_at(second)]

        # Rule 1: while a free entry point is open, everything belongs to it.
        open_entry_points = [each for each in open_now if each.type == FREE_ENTRY_POINT]
        if open_entry_points:
            open_entry_points[0].messages.append(message)
            continue

        # Rule 2: a free entry point opens by a referral, or by the message's own word.
        referrals = [at for at in unused_referrals if second - DAY_SECONDS < at <= second]
        if referrals or message.says_free_entry_point:
            if not referrals and follows_free_entry_point(second, found):
                continue  # It belongs to one that is over: it opens nothing, and none of its rows can change.
            unused_referrals = [at for at in unused_referrals if at not in referrals]
            for conversation in open_now:
                conversation.ends_at = second
            end = free_entry_point_end(second, delivered)
            found.append(Conversation(FREE_ENTRY_POINT, second, end, [message]))
            continue

        # Rules 3 to 5: a template needs its own type open, free-form is content with any.
        of_type = conversation_type(message)
        homes = open_now if message.free_form else [each for each in open_now if each.type == of_type]
        if homes:
            min(homes, key=lambda each: (each.opened_at, each.type)).messages.append(message)
        else:
            found.append(Conversation(of_type, second, second + DAY_SECONDS, [message]))
    return found


def is_billable(message: Message, incoming: Sequence[IncomingMessage], zone: str) -> bool:
    """Tell whether a settled message is billable: by the provider's word, without one by the rule."""
    if message.pricing_event is not None:
        return says_billable(message.pricing_event)
    if message.free_form:
        return False
    if message.category != "utility":
        return True
    day = local_date(delivery_second(message), zone)
    exemption_in_force = UTILITY_EXEMPT_FIRST_DAY <= day <= UTILITY_EXEMPT_LAST_DAY
    assert message.sent_at is not None
    return not (exemption_in_force and in_service_window(message.sent_at, incoming))


def is_charged(conversation: Conversation, incoming: Sequence[IncomingMessage], zone: str) -> bool:
    """Tell whether the conversation is charged: any billable message does it, a free entry point never is."""
    if conversation.type == FREE_ENTRY_POINT:
        return False
    return any(is_billable(message, incoming, zone) for message in conversation.messages)
