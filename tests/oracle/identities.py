"""Who is who (metering.md §7): which events are one message or incoming message, and whose it is.

Owns linking: everything is decided with the whole set of events at hand, so nothing here knows of an order. A
person is named by a string that means nothing but itself: two items are of one person if it is equal. Does not own
what is counted per person.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from schemas.events import Event
from tests.oracle.messages import IncomingMessage, Message, at_earliest_second, phone_of

NO_MESSAGES = ("identity", "tier")
"""Kinds of events that tell of no message."""
MEMBER = "\0member"
"""Stands for a participant that only repeats whose event it is."""


class Sighting(NamedTuple):
    """A phone and a BSUID were seen together at this UTC second."""

    at: int
    bsuid: str


class Relations:
    """What the events of one account say about its users: updates without a date, sightings with one."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._same: dict[str, set[str]] = {}
        self._sightings: dict[str, set[Sighting]] = {}
        self._linked: dict[str, set[str]] = {}
        everything = list(events)
        for names in [*map(names_of, everything), *meetings(everything)]:
            self._link_names(names)
        for event in everything:
            if event.user_bsuid is None:
                continue
            if event.kind == "identity" and event.user_previous_bsuid is not None:
                self._link(event.user_previous_bsuid, event.user_bsuid)
            if event.user_phone is not None:
                sighting = Sighting(event.occurred_at, event.user_bsuid)
                self._sightings.setdefault(event.user_phone, set()).add(sighting)

    def _link(self, one: str, other: str) -> None:
        """Make both ids, and all that either is linked with, one set that they share."""
        together = self._same.get(one, {one}) | self._same.get(other, {other})
        for bsuid in together:
            self._same[bsuid] = together

    def person_of_bsuid(self, bsuid: str) -> str:
        """Return the person to whom the BSUID belongs, the same for all that updates link with it."""
        return "bsuid " + min(self._same.get(bsuid, {bsuid}))

    def person_of_phone(self, phone: str, instant: int) -> str:
        """Return whose the phone was at the instant: of whom last seen with it by then, else first after it."""
        sightings = self._sightings.get(phone, set())
        known = [each for each in sightings if each.at <= instant]
        unknown = [each for each in sightings if each.at > instant]
        if not sightings:
            return "phone " + phone
        second = max(each.at for each in known) if known else min(each.at for each in unknown)
        return self.person_of_bsuid(min(each.bsuid for each in sightings if each.at == second))

    def owner(self, events: Sequence[Event]) -> str:
        """Return the person to whom one message belongs, incoming or outgoing: a BSUID decides before a phone."""
        carriers = at_earliest_second(event for event in events if event.user_bsuid is not None)
        if carriers:
            return self.person_of_bsuid(min(str(event.user_bsuid) for event in carriers))
        phone = phone_of(events)
        assert phone is not None, "an event without any identity is refused at the door"
        return self.person_of_phone(phone, min(event.occurred_at for event in events))

    def items(self, events: Sequence[Event]) -> dict[frozenset[str], list[Event]]:
        """Return the events of one message key by the linked names that they are about: each group is one item."""
        found: dict[frozenset[str], list[Event]] = {}
        for event in events:
            found.setdefault(frozenset(self._linked[names_of(event)[0]]), []).append(event)
        return found

    def _link_names(self, names: Iterable[str]) -> None:
        """Make the names, and all that any of them is linked with, one set that they share."""
        together = set[str]().union(*(self._linked.get(name, {name}) for name in names))
        for name in together:
            self._linked[name] = together


def names_of(event: Event) -> list[str]:
    """Return all names that an event mentions, marked by their kind."""
    bsuids = [bsuid for bsuid in (event.user_bsuid, event.user_previous_bsuid) if bsuid is not None]
    return [
        *([] if event.user_phone is None else ["phone " + event.user_phone]),
        *("bsuid " + each for each in bsuids),
    ]


def meetings(events: Iterable[Event]) -> list[set[str]]:
    """Return the names that meet on one message, not of a group: some events by phone alone, some by BSUID alone."""
    alone: dict[tuple[bool, str, str], set[str]] = {}
    for event in events:
        if event.kind in NO_MESSAGES or (event.kind != "incoming" and event.participant):
            continue
        if (event.user_phone is None) != (event.user_bsuid is None):
            key = (event.kind == "incoming", event.number, event.message_id)
            alone.setdefault(key, set()).update(names_of(event))
    return [names for names in alone.values() if len({name.split()[0] for name in names}) == 2]


def by_account(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Return the events of each account: nothing that one account sees says anything about another's users."""
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.account, []).append(event)
    return found


def participant_key(event: Event) -> str | None:
    """Return the participant as part of the message key."""
    if event.participant is not None and event.participant in (event.user_phone, event.user_bsuid):
        return MEMBER
    return event.participant


Key = tuple[str, str, str | None]


def _grouped(events: Iterable[Event], key_of: Callable[[Event], Key]) -> dict[Key, list[Event]]:
    found: dict[Key, list[Event]] = {}
    for event in events:
        found.setdefault(key_of(event), []).append(event)
    return found


def outgoing_messages(events: Iterable[Event]) -> list[Message]:
    """Return the outgoing messages of the events: one per key and linked names."""
    found: list[Message] = []
    for account, of_account in by_account(events).items():
        relations = Relations(of_account)
        statuses = [event for event in of_account if event.kind not in ("incoming", *NO_MESSAGES)]
        keyed = _grouped(statuses, lambda event: (event.number, event.message_id, participant_key(event)))
        for key, group in keyed.items():
            found += [
                Message(account, relations.owner(about), *key, tuple(about))
                for about in relations.items(group).values()
            ]
    return found


def incoming_messages(events: Iterable[Event]) -> list[IncomingMessage]:
    """Return the incoming messages of the events, one per key and linked names; the participant is no part of it."""
    found: list[IncomingMessage] = []
    for account, of_account in by_account(events).items():
        relations = Relations(of_account)
        copies = [event for event in of_account if event.kind == "incoming"]
        for (number, message_id, _), group in _grouped(
            copies, lambda event: (event.number, event.message_id, None)
        ).items():
            found += [
                IncomingMessage(account, relations.owner(about), number, message_id, tuple(about))
                for about in relations.items(group).values()
            ]
    return found


class Items(NamedTuple):
    """The messages of one person, and those from it."""

    outgoing: list[Message]
    incoming: list[IncomingMessage]

    def on(self, number: str) -> Items:
        """Return those of one number."""
        return Items(
            [each for each in self.outgoing if each.number == number],
            [each for each in self.incoming if each.number == number],
        )

    @property
    def numbers(self) -> set[str]:
        """Return the numbers that the person had to do with."""
        return {each.number for each in self.outgoing} | {each.number for each in self.incoming}


def by_person(
    outgoing: Iterable[Message], incoming: Iterable[IncomingMessage]
) -> dict[tuple[str, str], Items]:
    """Return all items by account and person."""
    found: dict[tuple[str, str], Items] = {}
    for message in outgoing:
        found.setdefault((message.account, message.person), Items([], [])).outgoing.append(message)
    for received in incoming:
        found.setdefault((received.account, received.person), Items([], [])).incoming.append(received)
    return found
