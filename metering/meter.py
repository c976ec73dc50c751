"""Metering: events in, differences out. ``(state, events) -> (state, differences, outcomes)``.

Owns the short cuts: only the numbers that an event touches are evaluated again, and the last evaluation is kept
beside the state. ``metering.user.contribution`` is the definition; a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import msgspec

from metering.retention import Cut, fold
from metering.state import (
    Incoming,
    Message,
    incoming_id_digest,
    incoming_of,
    join_incoming,
    join_message,
    message_id_digest,
    message_of,
)
from metering.user import (
    AccountRules,
    RowKey,
    User,
    activity_keys,
    conversation_keys,
    incoming_key,
    message_keys,
    view_number,
)
from schemas.events import Event

Outcome = Literal["counted", "duplicate", "late", "expired_status"]
Differences = dict[RowKey, int]
T = TypeVar("T")


@dataclass(slots=True)
class MeteredUser:
    """A user's state with its evaluation: for each number the keys it contributes, and those of its activity.

    ``touched_items`` collects the keys of items changed since the state was last stored.
    """

    user: User
    number_keys: dict[int, list[RowKey]] = field(default_factory=dict)
    activity: list[RowKey] = field(default_factory=list)
    evaluated: bool = False
    touched_items: set[bytes] = field(default_factory=set)

    def evaluate(self, rules: AccountRules) -> None:
        """Evaluate everything, unless that has been done since the state was loaded."""
        if self.evaluated:
            return
        for number in range(len(self.user.head.numbers)):
            self.number_keys[number] = number_keys(self.user, number, rules)
        self.activity = list(activity_keys(self.user, rules.calendar))
        self.evaluated = True

    def forget_evaluation(self) -> None:
        """Evaluate anew at the next use: the state was changed in another way than by ``meter``."""
        self.number_keys, self.activity, self.evaluated = {}, [], False


@dataclass(frozen=True, slots=True)
class Metered:
    """What a batch of one user's events came to: one outcome per event, in order, and the differences."""

    outcomes: list[Outcome]
    differences: Differences


def number_keys(user: User, number: int, rules: AccountRules) -> list[RowKey]:
    """Return the keys that one number contributes, activity aside."""
    view = view_number(user, number, rules)
    name = user.head.numbers[number]
    keys: list[RowKey] = []
    for item, message in user.messages.items():
        if message.number == number:
            keys.extend(message_keys(message, name, rules.calendar, view, item))
    keys.extend(
        incoming_key(entry, name, rules.calendar)
        for entry in user.incoming.values()
        if entry.number == number
    )
    keys.extend(conversation_keys(view.outcome.conversations, name, rules.calendar))
    return keys


def meter(
    metered: MeteredUser,
    events: Sequence[Event],
    rules: AccountRules,
    *,
    expired: Iterable[bytes] = (),
    floor_day: int = -(1 << 31),
) -> Metered:
    """Join events of one user into its state and return what changes in the totals.

    Args:
        metered: the user, folded up to the account's cut; changed in place.
        events: events of this user that are not before the cut, in any order.
        rules: calendar and regimes of the account.
        expired: keys of items whose state was dropped: their events are set aside, never counted again.
        floor_day: counter rows of earlier days have left the worker; an event that would change one is ``late``.
    """
    metered.evaluate(rules)
    expired = frozenset(expired)
    rows_before = (dict(metered.number_keys), metered.activity)
    undo = _Undo(metered)
    outcomes = [_join(metered, event, expired, undo) for event in events]
    differences = _evaluate_touched(metered, undo.touched_numbers, rules, rows_before)
    if all(key_day(key) >= floor_day for key in differences):
        return Metered(outcomes, differences)
    undo.restore(*rows_before)
    return _meter_one_by_one(metered, events, rules, expired, floor_day)


def key_day(key: RowKey) -> int:
    """Return the day of a row key."""
    day = key[2]
    assert isinstance(day, int)
    return day


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
    for event in events:
        one = meter(metered, [event], rules, expired=expired, floor_day=floor_day)
        outcomes.extend(one.outcomes)
        for key, value in one.differences.items():
            differences[key] = differences.get(key, 0) + value
    return Metered(outcomes, {key: value for key, value in differences.items() if value})


class _Undo:
    """Remembers the items as they were, so that a batch can be taken back whole."""

    def __init__(self, metered: MeteredUser) -> None:
        self.metered = metered
        self.messages: dict[bytes, Message | None] = {}
        self.incoming: dict[bytes, Incoming | None] = {}
        self.number_count = len(metered.user.head.numbers)
        self.touched_before = set(metered.touched_items)
        self.touched_numbers: set[int] = set()

    def restore(self, number_keys_before: dict[int, list[RowKey]], activity_before: list[RowKey]) -> None:
        """Put everything back."""
        user = self.metered.user
        for item, message in self.messages.items():
            _put_back(user.messages, item, message)
        for item, entry in self.incoming.items():
            _put_back(user.incoming, item, entry)
        del user.head.numbers[self.number_count :]
        self.metered.number_keys = number_keys_before
        self.metered.activity = activity_before
        self.metered.touched_items = self.touched_before


def _put_back(items: dict[bytes, T], item: bytes, before: T | None) -> None:
    if before is None:
        del items[item]
    else:
        items[item] = before


def _join(metered: MeteredUser, event: Event, expired: frozenset[bytes], undo: _Undo) -> Outcome:
    user = metered.user
    item = incoming_id_digest(event) if event.kind == "incoming" else message_id_digest(event)
    if item in expired:
        return "expired_status"
    number = user.number_index(event.number)
    if event.kind == "incoming":
        changed = _join_incoming(user, item, incoming_of(event, number), undo)
    else:
        changed = _join_message(user, item, message_of(event, number), undo)
    if not changed:
        return "duplicate"
    metered.touched_items.add(item)
    undo.touched_numbers.add(number)
    return "counted"


def _join_message(user: User, item: bytes, said: Message, undo: _Undo) -> bool:
    known = user.messages.get(item)
    if known is None:
        undo.messages.setdefault(item, None)
        user.messages[item] = said
        return True
    undo.messages.setdefault(item, msgspec.structs.replace(known))
    return join_message(known, said)


def _join_incoming(user: User, item: bytes, said: Incoming, undo: _Undo) -> bool:
    known = user.incoming.get(item)
    if known is None:
        undo.incoming.setdefault(item, None)
        user.incoming[item] = said
        return True
    undo.incoming.setdefault(item, msgspec.structs.replace(known))
    return join_incoming(known, said)


def _evaluate_touched(
    metered: MeteredUser,
    touched: set[int],
    rules: AccountRules,
    rows_before: tuple[dict[int, list[RowKey]], list[RowKey]],
) -> Differences:
    if not touched:
        return {}
    differences: Differences = {}
    number_keys_before, activity_before = rows_before
    for number in touched:
        metered.number_keys[number] = number_keys(metered.user, number, rules)
        _subtract(differences, number_keys_before.get(number, []))
        _add(differences, metered.number_keys[number])
    metered.activity = list(activity_keys(metered.user, rules.calendar))
    _subtract(differences, activity_before)
    _add(differences, metered.activity)
    return {key: value for key, value in differences.items() if value}


def _add(differences: Differences, keys: Iterable[RowKey]) -> None:
    for key in keys:
        differences[key] = differences.get(key, 0) + 1


def _subtract(differences: Differences, keys: Iterable[RowKey]) -> None:
    for key in keys:
        differences[key] = differences.get(key, 0) - 1


def fold_metered(metered: MeteredUser, cut: Cut, rules: AccountRules) -> list[bytes]:
    """Fold a user up to the account's cut and return the keys of dropped items. Changes no number."""
    if cut.folded_until <= metered.user.head.folded_until:
        return []
    # Folding freezes flags on any item, so every piece is written again.
    metered.touched_items.update(metered.user.messages, metered.user.incoming)
    dropped = fold(metered.user, cut, rules)
    metered.forget_evaluation()
    return dropped
