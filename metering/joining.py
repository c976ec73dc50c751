"""Two stored users become one: their names turned out to be linked (metering.md §7).

Owns the join of two states and what it changes in the totals. Does not own who is who afterwards
(``metering.identity``) nor how a state travels between partitions (``streams``).

Nothing is taken out of the totals when a state leaves its partition: its contribution stays counted there, and the
join adds only the difference between what both contribute together and what each did alone. So the totals never
show a person gone while the state is under way, and what lies below the floor stays as it is on both sides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

from metering.head import NOBODY, FoldedActivity, FoldedPerson, Head, index_in
from metering.household import contribution, difference_of, folded_persons
from metering.ladder import Differences
from metering.meter import NO_FLOOR, MeteredUser
from metering.retention import Cut, fold
from metering.rules import DAY_SECONDS
from metering.state import Incoming, Message, join_incoming, join_message, with_profiles
from metering.user import AccountRules, User, day_of


class MovedState(msgspec.Struct, array_like=True, gc=False):
    """A user's state on its way to another key, or a part of it. Field order is the storage format."""

    head: Head | None
    """Only in the first part."""
    messages: dict[bytes, Message] = {}
    incoming: dict[bytes, Incoming] = {}
    marks: dict[bytes, bytes] = {}
    """Keys of dropped items, and the day of that."""

    def add(self, part: MovedState) -> None:
        """Add another part of the same state."""
        self.head = self.head or part.head
        self.messages.update(part.messages)
        self.incoming.update(part.incoming)
        self.marks.update(part.marks)


@dataclass(frozen=True, slots=True)
class Joined:
    """What a join came to."""

    differences: Differences
    removed: list[Message | Incoming] = field(default_factory=list)
    """The items of which the other side had already dropped the state: they were counted there, and stay so."""
    unrestated: int = 0
    """Number of differences left out: their days have left the worker."""
    is_beyond_state: bool = False
    """Of both sides activity had been dropped: for months that old a person may be counted as two."""


def folded_past(head: Head) -> int:
    """Return up to where a state stands for what is no more in its items; 0 = it has not folded anything.

    A user folded before its first event is as good as never folded.
    """
    folded = head.checkpoints or head.others or head.activity or head.last_at or head.gone_month != NOBODY
    return head.folded_until if folded else 0


def join_users(
    metered: MeteredUser,
    moved: MovedState,
    folded_until: int,
    rules: AccountRules,
    *,
    dropped_here: Collection[bytes] = (),
    floor_day: int = NO_FLOOR,
) -> Joined:
    """Join a state that has come from another key, and return what changes in the totals.

    Args:
        metered: the user that stays; changed in place.
        moved: the whole state of the other. Its contribution stays counted where it came from.
        folded_until: both are folded up to here first, which changes no number; at least as far as either is.
        rules: calendar and regimes of the account.
        dropped_here: those of the moved state's items whose state this user has dropped before.
        floor_day: counter rows of earlier days have left the worker and stay as they are.
    """
    own, other = metered.user, User(moved.head or Head(), moved.messages, moved.incoming)
    if not folded_past(other.head):
        other.head.folded_until = min(other.head.folded_until, folded_until)
    # Items that are due to go stay until the next sweep: the other side may know more of them.
    cut = Cut(folded_until, 0) if folded_until > DAY_SECONDS else None
    for user in (own, other):
        if cut is not None:
            fold(user, cut, rules)
    before = contribution(own, rules)
    for key, count in contribution(other, rules).items():
        before[key] = before.get(key, 0) + count
    is_beyond_state = NOBODY not in (own.head.gone_month, other.head.gone_month)
    _join_items(own, other, _join_heads(own.head, other.head))
    removed = _remove_counted(own, {*dropped_here, *moved.marks})
    metered.forget_evaluation()
    metered.touched_items.update(own.messages, own.incoming, removed)
    metered.is_touched = True
    differences = difference_of(before, metered.evaluated(rules).contribution())
    kept = {key: count for key, count in differences.items() if day_of(key) >= floor_day}
    return Joined(kept, list(removed.values()), len(differences) - len(kept), is_beyond_state)


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the numbers and profiles of one head are in another: ``places[old] = new``."""

    numbers: list[int]
    profiles: list[int]


def _join_heads(into: Head, other: Head) -> _Places:
    """Bring the names and the folded past of another head into one, under its indexes."""
    numbers = [into.number_index(number) for number in other.numbers]
    profiles = [into.profile_index(*other.names(index)) for index in range(len(other.profiles))]
    phones = [index_in(into.phones, phone) for phone in other.phones]
    bsuids = [index_in(into.bsuids, bsuid) for bsuid in other.bsuids]
    into.updates += [
        update
        for previous, current in other.updates
        if (update := (bsuids[previous], bsuids[current])) not in into.updates
    ]
    into.seen = sorted({*into.seen, *((at, profiles[profile]) for at, profile in other.seen)})
    into.last_at = max(into.last_at, other.last_at)
    into.gone_month = max(into.gone_month, other.gone_month)
    into.activity += [
        FoldedActivity(
            entry.month,
            numbers[entry.number],
            entry.country,
            entry.incoming_at,
            entry.delivered_at,
            profiles[entry.profile],
            NOBODY if entry.phone == NOBODY else phones[entry.phone],
        )
        for entry in other.activity
    ]
    persons = [
        FoldedPerson(
            profiles[person.profile],
            {numbers[number]: checkpoint for number, checkpoint in person.checkpoints.items()},
        )
        for person in folded_persons(other)
    ]
    if persons and not into.checkpoints:
        first = persons.pop(0)
        into.profile, into.checkpoints = first.profile, first.checkpoints
    into.others = [*into.others, *persons]
    return _Places(numbers, profiles)


def _join_items(into: User, other: User, places: _Places) -> None:
    for item, message in other.messages.items():
        own = replace(with_profiles(message, places.profiles), number=places.numbers[message.number])
        known = into.messages.setdefault(item, own)
        if known is not own:
            join_message(known, own)
    for item, entry in other.incoming.items():
        came = replace(with_profiles(entry, places.profiles), number=places.numbers[entry.number])
        known_entry = into.incoming.setdefault(item, came)
        if known_entry is not came:
            join_incoming(known_entry, came)


def _remove_counted(user: User, counted: Collection[bytes]) -> dict[bytes, Message | Incoming]:
    """Remove the items whose state was dropped on one of the sides: their rows there are final."""
    removed: dict[bytes, Message | Incoming] = {}
    for items in (user.messages, user.incoming):
        for item in [item for item in counted if item in items]:
            removed[item] = items.pop(item)
    return removed
