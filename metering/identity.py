"""Which of a user's names are one person, and whose each item is (metering.md §7).

A stored *user* holds everything under names that were ever linked. Nearly always that is one person. It can be
several: a phone passes from one person to another. Who is who is a pure function of what the items and the head say,
so it comes out the same in whatever order things became known.

Owns that function. Does not own what a person contributes (``metering.household``) nor how states come together
(``metering.joining``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain

from metering.head import NOBODY, FoldedActivity, Head
from metering.state import Incoming, Mention, Message, incoming_mentions, mentions_of

Person = int
"""Who: the least index of a person's BSUIDs; a phone without BSUID is ``-1 - index``."""

_Sighting = tuple[int, str, Person]
"""``(time, BSUID, person)``: in order of time, ties alphabetically."""


def key_order(user_key: str) -> tuple[bool, str]:
    """Return the order of user keys: of two that are linked, the state lies under the one that comes first.

    BSUIDs come before phones, since most events are addressed to them. The order alone decides, so that references
    from key to key can never form a circle.
    """
    return (user_key.isascii() and user_key.isdigit(), user_key)


def is_one_person(head: Head) -> bool:
    """Tell whether all names are one person's, whatever the items say."""
    bsuids, phones = len(head.bsuids), len(head.phones)
    if not bsuids:
        return phones <= 1
    if phones and len({phone for phone, bsuid in head.profiles if NOBODY not in (phone, bsuid)}) < phones:
        return False
    return bsuids == 1 or len(set(_roots(head))) == 1


def is_plain(head: Head) -> bool:
    """Tell whether the names are one person with at most one phone: no question of identity can arise."""
    return len(head.phones) <= 1 and is_one_person(head)


def _roots(head: Head) -> list[int]:
    """Return for each BSUID the least index among those that updates link it with."""
    roots = list(range(len(head.bsuids)))
    for previous, current in head.updates:
        one, other = sorted((roots[previous], roots[current]))
        if one != other:
            roots = [one if root == other else root for root in roots]
    return roots


class People:
    """Whose is what, in one user."""

    __slots__ = ("_head", "_roots", "_sightings")

    def __init__(
        self, head: Head, messages: Iterable[Message] = (), incoming: Iterable[Incoming] = ()
    ) -> None:
        """Take up who was seen together, from the head and the items."""
        self._head = head
        self._roots = _roots(head)
        self._sightings: dict[int, list[_Sighting]] = {}
        found: set[tuple[int, _Sighting]] = set()
        told = chain(head.seen, *map(mentions_of, messages), *map(incoming_mentions, incoming))
        for at, profile in told:
            phone, bsuid = head.profiles[profile]
            if NOBODY not in (phone, bsuid):
                found.add((phone, (at, head.bsuids[bsuid], self._roots[bsuid])))
        for phone, sighting in sorted(found):
            self._sightings.setdefault(phone, []).append(sighting)

    def of_mentions(self, mentions: Iterable[Mention], first_at: int) -> Person:
        """Return whose an item is.

        Args:
            mentions: when and under which profiles its events named the user; not empty.
            first_at: the item's earliest time, UTC seconds.
        """
        head = self._head
        pairs = [(at, head.profiles[profile]) for at, profile in mentions]
        named = [(at, head.bsuids[bsuid], bsuid) for at, (_, bsuid) in pairs if bsuid != NOBODY]
        if named:
            return self._roots[min(named)[2]]
        _, _, phone = min((at, head.phones[phone], phone) for at, (phone, _) in pairs)
        return self.of_phone(phone, first_at)

    def of_phone(self, phone: int, at: int) -> Person:
        """Return who had a phone at an instant: who was seen with it last, else first after it, else the phone."""
        sightings = self._sightings.get(phone)
        if not sightings:
            return -1 - phone
        # Of several in the last second the first by name counts.
        place = bisect_right(sightings, at, key=lambda sighting: sighting[0])
        if place:
            at = sightings[place - 1][0]
            while place > 1 and sightings[place - 2][0] == at:
                place -= 1
            return sightings[place - 1][2]
        return sightings[0][2]

    def of_profile(self, profile: int, at: int) -> Person:
        """Return whom a profile names at an instant."""
        phone, bsuid = self._head.profiles[profile]
        return self._roots[bsuid] if bsuid != NOBODY else self.of_phone(phone, at)

    def of_message(self, message: Message) -> Person:
        """Return whose a message is."""
        return self.of_mentions(mentions_of(message), message.first_at)

    def of_incoming(self, entry: Incoming) -> Person:
        """Return whose an incoming message is."""
        return self.of_mentions(incoming_mentions(entry), entry.at)

    def of_activity(self, entry: FoldedActivity) -> Person:
        """Return whose folded activity is."""
        times = [at for at in (entry.incoming_at, entry.delivered_at) if at]
        return self.of_profile(entry.profile, min(times))


def phone_of(head: Head, mentions: Iterable[Mention]) -> int:
    """Return the index of the phone of an item's earliest event that carries one, else ``NOBODY``."""
    carried = (
        (at, head.phones[phone], phone)
        for at, profile in mentions
        if (phone := head.profiles[profile][0]) != NOBODY
    )
    return min(carried, default=(0, "", NOBODY))[2]


def deciding_profile(head: Head, mentions: Iterable[Mention]) -> int:
    """Return the profile that decides whose an item is: that of its earliest event with a BSUID, else the earliest."""

    def order(mention: Mention) -> tuple[bool, int, str]:
        phone, bsuid = head.names(mention[1])
        return (bsuid is None, mention[0], bsuid or phone or "")

    return min(mentions, key=order)[1]


def profile_of(head: Head, person: Person) -> int:
    """Return a profile that names a person, one with a BSUID where there is one; 0 if none does."""
    if person < 0:
        wanted = {(-1 - person, NOBODY)}
    else:
        roots = _roots(head)
        wanted = {pair for pair in head.profiles if pair[1] != NOBODY and roots[pair[1]] == person}
    return next((index for index, pair in enumerate(head.profiles) if pair in wanted), 0)
