"""What is remembered of messages: values that only grow by *joining* (a join-semilattice).

Every field of ``Message`` and ``Incoming`` is the minimum (or maximum, or union) of what its events said, so
joining is commutative, associative and idempotent: events may come in any order, any number of times, and two
states of one message may be merged (metering.md, head; design decision 1). Times are UTC seconds; 0 means "never".

Field order is the storage format: append only.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from schemas.events import CATEGORIES, Event, says_free_entry_point

ITEM_ID_BYTES: Final = 12
"""96 bits: within one user the chance of two equal ids among a million is below 1e-16."""

GROUP_MARK: Final = b"g"
"""Ends the keys of group messages: one message id there stands for several members' messages."""

NO_CATEGORY: Final = 0
# Storage codes are the places in this tuple: append only, never sort. Comparison goes by name, not by code.
CATEGORY_BY_CODE: Final[tuple[str, ...]] = (
    "",
    "authentication",
    "authentication_international",
    "marketing",
    "marketing_lite",
    "referral_conversion",
    "service",
    "utility",
)
CODE_BY_CATEGORY: Final[dict[str | None, int]] = {
    None: NO_CATEGORY,
    **{name: code for code, name in enumerate(CATEGORY_BY_CODE) if name},
}
assert set(CODE_BY_CATEGORY) == {None, *CATEGORIES}, (
    "a new category needs a storage code at the end of the tuple"
)

PRICING_TYPE_BY_CODE: Final[tuple[str, ...]] = ("", "free_customer_service", "free_entry_point", "regular")
CODE_BY_PRICING_TYPE: Final[dict[str | None, int]] = {
    None: 0,
    **{name: code for code, name in enumerate(PRICING_TYPE_BY_CODE) if name},
}
UNSAID: Final = -1

Mention = tuple[int, int]
"""When an event named the user, and under which profile: ``(UTC seconds, index of the profile)``."""
MENTIONS_MAX: Final = 32
"""Of one item; the earliest are kept, so that joining stays independent of the order."""
_SENT, _DELIVERED, _READ, _FAILED = 1, 2, 4, 8


class Message(msgspec.Struct, array_like=True, gc=False):
    """One outgoing message (metering.md §2), keyed by the digest of number, message id and participant."""

    number: int
    """Index into the user's list of numbers."""
    sent: int = 0
    delivered: int = 0
    """Earliest ``delivered`` event; ``delivered_at`` also looks at ``read``."""
    read: int = 0
    failed: int = 0
    error_at: int = 0
    error_code: int = 0
    """Code of the earliest failed event that carries one, the smallest in a tie; 0 = none given."""
    last: int = 0
    """Latest event of any kind: retention counts from here."""
    phone_at: int = 0
    phone_country: str = ""
    """Country of the earliest event that carries a phone."""
    any_at: int = 0
    any_country: str = ""
    """Country of the earliest event without a phone."""
    category_at: int = 0
    category: int = NO_CATEGORY
    template_at: int = 0
    template: bool = False
    pricing_at: int = 0
    pricing_type: int = 0
    billable: int = UNSAID
    free_entry: tuple[tuple[int, int], ...] = ()
    """Events that say free entry point as (time, expiry or 0), only those that another does not make redundant."""
    service_window: int = UNSAID
    """Frozen when the state around ``sent_at`` is dropped: 1 = it lay in an open customer service window."""
    inside_free_entry: int = UNSAID
    """Frozen when the message's conversation is folded: 1 = it was delivered inside a free entry point."""
    profile: int = 0
    """Under which of the user's profiles (``metering.identity``) its earliest events named the user."""
    said: int = 0
    """Which of the times of sent, delivered, read and failed (bits 1, 2, 4, 8) ``profile`` said."""
    further: tuple[Mention, ...] = ()
    """What ``said`` cannot hold: other profiles, and other times than the earliest of a kind."""

    @property
    def delivered_at(self) -> int:
        """Return the earliest delivery: a read message was delivered."""
        return earliest(self.delivered, self.read)

    @property
    def sent_at(self) -> int:
        """Return the earliest of sent, delivered and read."""
        return earliest(self.sent, earliest(self.delivered, self.read))

    @property
    def first_at(self) -> int:
        """Return the earliest event of any kind."""
        return earliest(self.failed, self.sent_at)


class Incoming(msgspec.Struct, array_like=True, gc=False):
    """One incoming message, keyed by the digest of number and message id."""

    number: int
    at: int
    country: str
    """Country of the earliest event."""
    last: int
    referral_at: int = 0
    """Earliest event that says the message came from an ad."""
    profile: int = 0
    """Under which of the user's profiles the event at ``at`` named the user."""
    further: tuple[Mention, ...] = ()
    """Every other time and profile."""


T = TypeVar("T", Message, Incoming)


def earliest(one: int, other: int) -> int:
    """Return the earlier of two times of which 0 means never."""
    if not one:
        return other
    if not other or one < other:
        return one
    return other


def message_id_digest(event: Event) -> bytes:
    """Return the key of an outgoing message within its user: number, message id and participant.

    A participant that is the user, by phone or by user id, is the same participant (metering.md §7, Groups). Keys of
    group messages are longer by a byte.
    """
    participant = event.participant
    if not participant:
        return _digest(f"{event.number}\0{event.message_id}\0")
    if participant in (event.user_phone, event.user_bsuid):
        participant = "\1"
    return _digest(f"{event.number}\0{event.message_id}\0{participant}") + GROUP_MARK


def incoming_id_digest(event: Event) -> bytes:
    """Return the key of an incoming message within its user: number and message id."""
    return _digest(f"{event.number}\0{event.message_id}")


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=ITEM_ID_BYTES).digest()


def message_of(event: Event, number: int, profile: int = 0) -> Message:
    """Return what one status event alone says about its message.

    Args:
        event: a status.
        number: index of its number among the user's.
        profile: index of the profile under which it names the user.
    """
    at = event.occurred_at
    message = Message(number, last=at, profile=profile)
    kind = event.kind
    if kind == "sent":
        message.sent, message.said = at, _SENT
    elif kind == "delivered":
        message.delivered, message.said = at, _DELIVERED
    elif kind == "read":
        message.read, message.said = at, _READ
    elif kind == "failed":
        message.failed, message.said = at, _FAILED
        # A code of 0 that was said counts as none (metering.md §2).
        if event.error_code:
            message.error_at, message.error_code = at, event.error_code
    if event.user_phone:
        message.phone_at, message.phone_country = at, event.country
    else:
        message.any_at, message.any_country = at, event.country
    if event.category is not None:
        message.category_at, message.category = at, CODE_BY_CATEGORY[event.category]
    if event.template is not None:
        message.template_at, message.template = at, event.template
    if event.pricing_type is not None or event.billable is not None:
        message.pricing_at = at
        message.pricing_type = CODE_BY_PRICING_TYPE[event.pricing_type]
        message.billable = UNSAID if event.billable is None else int(event.billable)
    if says_free_entry_point(event):
        message.free_entry = ((at, event.conversation_expires_at or 0),)
    return message


def join_message(into: Message, other: Message) -> bool:
    """Join ``other`` into ``into`` and tell whether that changed anything. Both are about the same message."""
    mentions = None if _mentions_are_plain(into, other) else mentions_of(into) | mentions_of(other)
    changed = _join_times(into, other)
    if mentions is None:
        into.said |= other.said
    else:
        changed |= _set_mentions(into, mentions)
    if other.error_at and (
        not into.error_at or (other.error_at, other.error_code) < (into.error_at, into.error_code)
    ):
        into.error_at, into.error_code, changed = other.error_at, other.error_code, True
    if _comes_first(other.phone_at, other.phone_country, into.phone_at, into.phone_country):
        into.phone_at, into.phone_country, changed = other.phone_at, other.phone_country, True
    if _comes_first(other.any_at, other.any_country, into.any_at, into.any_country):
        into.any_at, into.any_country, changed = other.any_at, other.any_country, True
    if _comes_first(
        other.category_at, CATEGORY_BY_CODE[other.category], into.category_at, CATEGORY_BY_CODE[into.category]
    ):
        into.category_at, into.category, changed = other.category_at, other.category, True
    # The tie rule is "true before false", so the flag is compared upside down.
    if other.template_at and _comes_first(
        other.template_at, str(not other.template), into.template_at, str(not into.template)
    ):
        into.template_at, into.template, changed = other.template_at, other.template, True
    if other.pricing_at:
        changed |= _join_pricing(into, other)
    if other.free_entry and other.free_entry != into.free_entry:
        entries = _least_entries({*into.free_entry, *other.free_entry})
        changed |= entries != into.free_entry
        into.free_entry = entries
    return _join_frozen(into, other) or changed


def mentions_of(message: Message) -> set[Mention]:
    """Return when and under which profiles a message's events named the user."""
    said, profile = message.said, message.profile
    mentions = set(message.further)
    for bit, at in _times_of(message):
        if said & bit:
            mentions.add((at, profile))
    if not mentions:
        # Written before profiles were kept: then a user had one.
        mentions.add((message.first_at, profile))
    return mentions


def is_named_by(item: Message | Incoming, profile: int) -> bool:
    """Tell whether an event named the user of an item under a profile."""
    return item.profile == profile or any(further == profile for _, further in item.further)


def _times_of(message: Message) -> tuple[tuple[int, int], ...]:
    return (
        (_SENT, message.sent),
        (_DELIVERED, message.delivered),
        (_READ, message.read),
        (_FAILED, message.failed),
    )


def _mentions_are_plain(into: Message, other: Message) -> bool:
    """Tell whether all mentions are at the earliest times of their kinds, under one profile: nearly always."""
    if into.profile != other.profile or into.further or other.further or not (into.said and other.said):
        return False
    for (bit, at), (_, known) in zip(_times_of(other), _times_of(into), strict=True):
        if at and known and (at != known or (into.said ^ other.said) & bit):
            return False
    return True


def _set_mentions(message: Message, mentions: set[Mention]) -> bool:
    """Store mentions beside the times as they are now; tell whether they are other ones than before."""
    before = (message.profile, message.said, message.further)
    kept = sorted(mentions)[:MENTIONS_MAX]
    profile, said, told = kept[0][1], 0, set()
    for bit, at in _times_of(message):
        if at and (at, profile) in mentions:
            said |= bit
            told.add((at, profile))
    after = (profile, said, tuple(mention for mention in kept if mention not in told))
    message.profile, message.said, message.further = after
    return after != before


def with_profiles(item: T, profiles: Sequence[int]) -> T:
    """Return an item whose mentions are under other indexes: ``profiles[old] = new``."""
    return replace(
        item,
        profile=profiles[item.profile],
        further=tuple(sorted((at, profiles[profile]) for at, profile in item.further)),
    )


def _join_times(into: Message, other: Message) -> bool:
    changed = False
    if other.sent and (not into.sent or other.sent < into.sent):
        into.sent, changed = other.sent, True
    if other.delivered and (not into.delivered or other.delivered < into.delivered):
        into.delivered, changed = other.delivered, True
    if other.read and (not into.read or other.read < into.read):
        into.read, changed = other.read, True
    if other.failed and (not into.failed or other.failed < into.failed):
        into.failed, changed = other.failed, True
    if other.last > into.last:
        into.last, changed = other.last, True
    return changed


def _join_frozen(into: Message, other: Message) -> bool:
    changed = False
    if other.service_window > into.service_window:
        into.service_window, changed = other.service_window, True
    if other.inside_free_entry > into.inside_free_entry:
        into.inside_free_entry, changed = other.inside_free_entry, True
    return changed


def _comes_first(at: int, tie: str, other_at: int, other_tie: str) -> bool:
    if not at:
        return False
    return not other_at or at < other_at or (at == other_at and tie < other_tie)


def _join_pricing(into: Message, other: Message) -> bool:
    if into.pricing_at and not _pricing_order(other) < _pricing_order(into):
        return False
    into.pricing_at, into.pricing_type, into.billable = (
        other.pricing_at,
        other.pricing_type,
        other.billable,
    )
    return True


def _pricing_order(message: Message) -> tuple[int, bool, str, int]:
    """Order of pricing events: earliest first; in the same second free before billable (metering.md §1, Ties)."""
    return (
        message.pricing_at,
        word_says_billable(message.pricing_type, message.billable),
        PRICING_TYPE_BY_CODE[message.pricing_type],
        message.billable,
    )


def word_says_billable(pricing_type: int, billable: int) -> bool:
    """Tell what the provider's word comes to: regular = yes, free_* = no, without a type ``billable`` decides."""
    if pricing_type:
        return PRICING_TYPE_BY_CODE[pricing_type] == "regular"
    return billable == 1


def _least_entries(entries: set[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the entries that no other makes redundant: none is both as early and expires as early as another.

    Ascending by time, so expiries fall strictly; no expiry counts as the latest.
    """
    kept: list[tuple[int, int]] = []
    for at, expires in sorted(entries, key=lambda entry: (entry[0], entry[1] or 1 << 62)):
        if not kept or (expires and (not kept[-1][1] or expires < kept[-1][1])):
            kept.append((at, expires))
    return tuple(kept)


def incoming_of(event: Event, number: int, profile: int = 0) -> Incoming:
    """Return what one ``incoming`` event alone says; arguments as of ``message_of``."""
    at = event.occurred_at
    return Incoming(number, at, event.country, at, at if event.referral else 0, profile)


def incoming_mentions(entry: Incoming) -> set[Mention]:
    """Return when and under which profiles the copies of an incoming message named the user."""
    return {(entry.at, entry.profile), *entry.further}


def join_incoming(into: Incoming, other: Incoming) -> bool:
    """Join ``other`` into ``into`` and tell whether that changed anything."""
    changed = False
    if other.at != into.at or other.profile != into.profile or other.further:
        kept = sorted(incoming_mentions(into) | incoming_mentions(other))[:MENTIONS_MAX]
        mentions = (kept[0][1], tuple(kept[1:]))
        changed = mentions != (into.profile, into.further)
        into.profile, into.further = mentions
    if (other.at, other.country) < (into.at, into.country):
        into.at, into.country, changed = other.at, other.country, True
    if other.last > into.last:
        into.last, changed = other.last, True
    if other.referral_at and (not into.referral_at or other.referral_at < into.referral_at):
        into.referral_at, changed = other.referral_at, True
    return changed
