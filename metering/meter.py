"""Metering: events in, differences out. ``(state, events) -> (state, differences, outcomes)``.

Owns joining a batch into the state, all of it or nothing. Does not own what that changes in the totals
(``metering.evaluation``) nor what is forgotten (``metering.retention``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from msgspec.structs import replace

from metering.head import Head
from metering.household import Household
from metering.ladder import Differences
from metering.retention import Cut, fold
from metering.state import (
    ITEM_ID_BYTES,
    Incoming,
    Message,
    incoming_id_digest,
    incoming_of,
    is_named_by,
    join_incoming,
    join_message,
    message_id_digest,
    message_of,
)
from metering.user import AccountRules, User, day_of
from schemas.events import Event

Outcome = Literal["counted", "duplicate", "late", "expired_status"]
T = TypeVar("T", Message, Incoming)
NO_FLOOR = -(1 << 31)


@dataclass(slots=True)
class MeteredUser:
    """A user's state with its evaluation, made when it is first needed.

    ``touched_items`` collects the keys of items changed since the state was last stored.
    """

    user: User
    evaluation: Household | None = None
    touched_items: set[bytes] = field(default_factory=set)
    is_touched: bool = False
    """Something changed since the state was last stored; without touched items only the head."""

    def evaluated(self, rules: AccountRules) -> Household:
        """Return the evaluation, made anew unless that has been done since the state was loaded."""
        if self.evaluation is None:
            self.evaluation = Household(self.user, rules)
        return self.evaluation

    def forget_evaluation(self) -> None:
        """Evaluate anew at the next use: the state was changed in another way than by ``meter``."""
        self.evaluation = None


Alone = tuple[bytes, bool]
"""An item that an event named by one name alone, under a profile new to it, and whether that was the BSUID."""


@dataclass(frozen=True, slots=True)
class Metered:
    """What a batch of one user's events came to: one outcome per event, in order, and the differences."""

    outcomes: list[Outcome]
    differences: Differences
    unrestated: int = 0
    """Number of differences left out: what became known of identities reached days whose rows have left the worker."""
    alone: list[Alone] = field(default_factory=list)


def meter(
    metered: MeteredUser,
    events: Sequence[Event],
    rules: AccountRules,
    *,
    expired: Iterable[bytes] = (),
    floor_day: int = NO_FLOOR,
) -> Metered:
    """Join events of one user into its state and return what changes in the totals.

    Args:
        metered: the user, folded up to the account's cut; changed in place.
        events: events of this user that are not before the cut, in any order.
        rules: calendar and regimes of the account.
        expired: keys of items whose state was dropped: their events are set aside, never counted again.
        floor_day: counter rows of earlier days have left the worker; an event that would change one is ``late``,
            unless it does so by what it says of identities: then those days stay as they are (metering.md §7).
    """
    evaluation = metered.evaluated(rules)
    expired = frozenset(expired)
    undo = _Undo(metered.user)
    outcomes = [_join(metered.user, event, expired, undo) for event in events]
    if not (undo.changed or undo.names_changed):
        return Metered(outcomes, {})
    differences = evaluation.update(undo.changed)
    if floor_day > NO_FLOOR and any(day_of(key) < floor_day for key in differences):
        if len(events) == 1 and undo.names_changed and not evaluation.is_plain:
            return _kept_above(metered, outcomes, differences, undo, floor_day)
        undo.restore()
        metered.forget_evaluation()
        return _meter_one_by_one(metered, events, rules, expired, floor_day)
    metered.touched_items.update(undo.changed)
    metered.is_touched = True
    return Metered(outcomes, differences, alone=undo.alone)


def _kept_above(
    metered: MeteredUser, outcomes: list[Outcome], differences: Differences, undo: _Undo, floor_day: int
) -> Metered:
    """Take an event that says who somebody is, and leave the days as they are that it comes too late for."""
    kept = {key: count for key, count in differences.items() if day_of(key) >= floor_day}
    metered.touched_items.update(undo.changed)
    metered.is_touched = True
    return Metered(outcomes, kept, len(differences) - len(kept), undo.alone)


def _meter_one_by_one(
    metered: MeteredUser,
    events: Sequence[Event],
    rules: AccountRules,
    expired: frozenset[bytes],
    floor_day: int,
) -> Metered:
    """Set aside just those events that reach below the floor."""
    if len(events) == 1:
        return Metered(["late"], {})
    outcomes: list[Outcome] = []
    differences: Differences = {}
    unrestated = 0
    alone: list[Alone] = []
    for event in events:
        one = meter(metered, [event], rules, expired=expired, floor_day=floor_day)
        outcomes.extend(one.outcomes)
        unrestated += one.unrestated
        alone += one.alone
        for key, value in one.differences.items():
            differences[key] = differences.get(key, 0) + value
    return Metered(outcomes, {key: value for key, value in differences.items() if value}, unrestated, alone)


class _Undo:
    """What a batch changed, and how it was, so that the batch can be taken back whole."""

    __slots__ = ("_incoming", "_messages", "_sizes", "_user", "alone", "changed", "names_changed")

    def __init__(self, user: User) -> None:
        self._user = user
        self._messages: dict[bytes, Message | None] = {}
        self._incoming: dict[bytes, Incoming | None] = {}
        self._sizes = [len(names) for names in _lists_of(user.head)]
        self.names_changed = False
        self.alone: list[Alone] = []
        self.changed: dict[bytes, None] = {}
        """Keys of changed items, in the order of their first change."""

    def join_message(self, item: bytes, said: Message) -> bool:
        """Join into a message, remembering how it was; tell whether that changed anything."""
        known = self._user.messages.get(item)
        if item not in self._messages:
            self._messages[item] = None if known is None else replace(known)
        if known is None:
            self._user.messages[item] = said
            return True
        return join_message(known, said)

    def join_incoming(self, item: bytes, said: Incoming) -> bool:
        """Join into an incoming message, remembering how it was; tell whether that changed anything."""
        known = self._user.incoming.get(item)
        if item not in self._incoming:
            self._incoming[item] = None if known is None else replace(known)
        if known is None:
            self._user.incoming[item] = said
            return True
        return join_incoming(known, said)

    def restore(self) -> None:
        """Put everything back."""
        _put_back(self._user.messages, self._messages)
        _put_back(self._user.incoming, self._incoming)
        # Names are only ever added at the end.
        for names, size in zip(_lists_of(self._user.head), self._sizes, strict=True):
            del names[size:]


def _lists_of(head: Head) -> tuple[list[Any], ...]:
    return (head.numbers, head.phones, head.bsuids, head.profiles, head.updates, head.seen)


def _put_back(items: dict[bytes, T], before: dict[bytes, T | None]) -> None:
    """Give items the fields they had. The objects stay: the stored form may hold on to them."""
    for item, old in before.items():
        if old is None:
            del items[item]
            continue
        for name in old.__struct_fields__:
            setattr(items[item], name, getattr(old, name))


def _join(user: User, event: Event, expired: frozenset[bytes], undo: _Undo) -> Outcome:
    if event.kind == "identity":
        return _join_identity(user.head, event, undo)
    head = user.head
    if event.occurred_at < head.folded_until:
        # The user came from a partition whose cut for the account is further on.
        return "late"
    is_incoming = event.kind == "incoming"
    item = incoming_id_digest(event) if is_incoming else message_id_digest(event)
    if item in expired:
        return "expired_status"
    number = head.number_index(event.number)
    profile_count = len(head.profiles)
    profile = head.profile_index(event.user_phone, event.user_bsuid)
    if not (event.user_phone and event.user_bsuid) and len(item) == ITEM_ID_BYTES:
        # Not of a group: there one message id is several users'.
        known = user.incoming.get(item) if is_incoming else user.messages.get(item)
        if known is None or not is_named_by(known, profile):
            undo.alone.append((item, event.user_phone is None))
    if is_incoming:
        changed = undo.join_incoming(item, incoming_of(event, number, profile))
    else:
        changed = undo.join_message(item, message_of(event, number, profile))
    if profile == profile_count:
        undo.names_changed = True
    if not changed:
        return "duplicate"
    undo.changed[item] = None
    return "counted"


def _join_identity(head: Head, event: Event, undo: _Undo) -> Outcome:
    """Take up that two BSUIDs are one person's, and with which phone the current one was seen."""
    before = sum(map(len, _lists_of(head)))
    current = head.profile_index(event.user_phone, event.user_bsuid)
    previous = head.profile_index(None, event.user_previous_bsuid)
    update = (head.profiles[previous][1], head.profiles[current][1])
    if update not in head.updates:
        head.updates.append(update)
    if event.user_phone and (event.occurred_at, current) not in head.seen:
        head.seen.append((event.occurred_at, current))
    head.last_at = max(head.last_at, event.occurred_at)
    if sum(map(len, _lists_of(head))) == before:
        return "duplicate"
    undo.names_changed = True
    return "counted"


def fold_metered(metered: MeteredUser, cut: Cut, rules: AccountRules) -> list[bytes]:
    """Fold a user up to the account's cut and return the keys of dropped items. Changes no number."""
    if cut.folded_until <= metered.user.head.folded_until:
        return []
    # Folding freezes flags on any item, so every piece is written again.
    metered.touched_items.update(metered.user.messages, metered.user.incoming)
    metered.is_touched = True
    dropped = fold(metered.user, cut, rules)
    metered.forget_evaluation()
    return dropped
