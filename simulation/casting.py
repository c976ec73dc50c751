"""Who becomes what: which people hide their phone, change it, or get one that was somebody else's.

Owns the shares and the turning points of lives. Does not own what webhooks show of it (``simulation.guises``).
People are dealt from a deck, so that no kind is missing from a hundred of them, however rare it is.

When a phone passes on, its former owner is seen with it before, the new owner with the very first webhook after, and
nothing names the phone alone while it is on its way to somebody whom no webhook has shown with it: what happens in
such a gap nobody can tell from webhooks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Literal

import msgspec

from simulation.people import Manner, Person, Phase, PhoneBook, draw_country
from simulation.world import HOUR_SECONDS

Part = Literal[Manner, "renamed", "recycled", "recycled_by_phone"]

SHARES: dict[Part, int] = {
    "open": 64,
    "hidden": 8,
    "revealed": 5,
    "addressed": 3,
    "phone": 9,
    "paired": 5,
    "renamed": 4,
    "recycled": 1,  # each of these two brings a second person, the heir of the phone
    "recycled_by_phone": 1,
}
"""Cards of the deck from which people are dealt, about a hundred."""

_PARENT_SHARE = 0.2
_ABROAD_SHARE = 0.25
_SECOND_TURN_SHARE = 0.25

_RENAMED_MANNERS: tuple[Manner, ...] = ("open", "hidden", "paired", "open")

_SETBACK_SHARE = 0.8
"""Of the time that the former owner has the phone: when a message fails."""

# Longer than the last word on a message to the former owner can take (a failure comes within minutes).
_VACANCY_SECONDS_MIN = HOUR_SECONDS


class Casting:
    """Deals parts to the people of one world or show."""

    def __init__(self, rng: Random, phone_book: PhoneBook, begins_at: int, ends_at: int) -> None:
        """Take the source of chance, and the time [``begins_at``, ``ends_at``) in which lives turn."""
        self._rng = rng
        self._phone_book = phone_book
        self._begins_at = begins_at
        self._ends_at = ends_at
        self._deck: list[Part] = []
        # Variants of rare parts take turns; a draw could leave one of them out.
        self._renamed = count()
        self._recycled = count()

    def people(self, number: int, *, usernames: bool) -> Iterator[Person]:
        """Yield ``number`` people; an heir follows the former owner of the phone at once.

        Without ``usernames`` (before April 2026) everybody has one phone and appears by it alone.
        """
        index = 0
        while index < number:
            people = self._dealt(index, self._deal() if usernames else "phone", is_last=index + 1 == number)
            yield from people
            index += len(people)

    def _dealt(self, index: int, part: Part, *, is_last: bool) -> list[Person]:
        """Return the person of a part, and the heir if there is one and room for one."""
        if part == "renamed":
            return [self._renamed_person(index)]
        if part == "recycled":
            return self._succession(index, "open", has_heir=not is_last)
        if part == "recycled_by_phone":
            return self._succession(index, "paired", has_heir=not is_last)
        return [self._person(index, part)]

    def _deal(self) -> Part:
        if not self._deck:
            self._deck = [part for part, cards in SHARES.items() for _ in range(cards)]
            self._rng.shuffle(self._deck)
        return self._deck.pop()

    def _at(self, low: float, high: float, begins_at: int | None = None) -> int:
        """Return a moment between two shares of the time, or of the rest of it."""
        begin = self._begins_at if begins_at is None else begins_at
        return begin + int((self._ends_at - begin) * (low + self._rng.random() * (high - low)))

    def _phase(self, since: int, country: str) -> Phase:
        return Phase(since, country, self._phone_book.number(country))

    def _person(self, index: int, manner: Manner) -> Person:
        """Return somebody with one phone."""
        phase = self._phase(self._begins_at, draw_country(self._rng))
        person = Person(
            index, manner, (phase,), self._begins_at, self._ends_at, self._rng.random() < _PARENT_SHARE
        )
        if manner == "revealed":
            stretch = self._at(0.0, 0.5), self._at(0.6, 0.9)
            return msgspec.structs.replace(person, revealed=stretch)
        if manner == "addressed":
            return msgspec.structs.replace(person, setback_at=self._at(0.2, 0.9))
        return person

    def _renamed_person(self, index: int) -> Person:
        """Return somebody who changes the phone, now and then twice."""
        ordinal = next(self._renamed)
        person = self._person(index, _RENAMED_MANNERS[ordinal % len(_RENAMED_MANNERS)])
        phases = [*person.phases, self._next_phase(person, self._at(0.2, 0.5))]
        if self._rng.random() < _SECOND_TURN_SHARE:
            phases.append(self._next_phase(person, self._at(0.6, 0.8)))
        return self._told(msgspec.structs.replace(person, phases=tuple(phases)), ordinal)

    def _next_phase(self, person: Person, since: int) -> Phase:
        abroad = self._rng.random() < _ABROAD_SHARE
        return self._phase(since, draw_country(self._rng) if abroad else person.phases[0].country)

    @staticmethod
    def _told(person: Person, ordinal: int) -> Person:
        """Let the word of the new user id come in time, late, or twice."""
        return msgspec.structs.replace(person, is_told_late=ordinal % 3 == 1, is_told_twice=ordinal % 3 == 2)

    def _succession(self, index: int, manner: Manner, *, has_heir: bool) -> list[Person]:
        """Return the former owner of a phone, who gets another one or falls silent, and its heir."""
        former = self._person(index, manner)
        if not has_heir:
            return [former]
        ordinal = next(self._recycled)
        left_at = self._at(0.35, 0.5)
        setback_at = former.begins_at + int((left_at - former.begins_at) * _SETBACK_SHARE)
        former = msgspec.structs.replace(former, setback_at=setback_at)
        begins_at = max(self._at(0.05, 0.2, left_at), left_at + _VACANCY_SECONDS_MIN)
        phase = msgspec.structs.replace(former.phases[0], since=begins_at)
        heir = Person(index + 1, manner, (phase,), begins_at, self._ends_at, is_heir=True)
        heir = msgspec.structs.replace(heir, setback_at=self._at(0.5, 0.9, begins_at))
        if ordinal % 2:
            return [msgspec.structs.replace(former, ends_at=left_at), heir]
        phases = (*former.phases, self._next_phase(former, left_at))
        return [self._told(msgspec.structs.replace(former, phases=phases), ordinal // 2), heir]
