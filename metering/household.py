"""A stored user taken apart into persons, and what all of them contribute to the totals (metering.md §7).

Owns the whole of a user's contribution: that of each person, and the difference between people and phones in
``mau_phones``. Does not own who is who (``metering.identity``) nor what one person contributes (``metering.user``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from metering.calendar import Calendar
from metering.conversations import Checkpoint, merged_checkpoint
from metering.evaluation import Evaluation
from metering.head import NOBODY, FoldedPerson, Head
from metering.identity import People, Person, is_one_person, is_plain
from metering.ladder import Differences, add_count
from metering.state import earliest
from metering.user import AccountRules, RowKey, User, unfolded_activity
from metering.user import contribution as contribution_of_one
from schemas.rows import Family

PHONES = "phones"
"""The rule under which a month's number of phones is counted, as its difference to the number of people."""


def contribution(user: User, rules: AccountRules) -> dict[RowKey, int]:
    """Return everything a user adds to the totals, from the state alone: the definition."""
    persons = persons_of(user)
    result: dict[RowKey, int] = {}
    for person in persons.values():
        for key, count in contribution_of_one(person, rules).items():
            result[key] = result.get(key, 0) + count
    if not is_plain(user.head):
        result.update(phone_corrections(persons.values(), rules.calendar))
    return result


def persons_of(user: User) -> dict[Person, User]:
    """Return the persons of a user, each with their own items and folded past; the items are the user's objects."""
    head = user.head
    if is_one_person(head):
        return {0: user if not head.others else _Part.all_of(user).user}
    return {person: part.user for person, part in _parts_of(user).items()}


@dataclass(slots=True)
class _Part:
    """What of a user is one person's."""

    user: User
    folded: list[FoldedPerson] = field(default_factory=list)

    @classmethod
    def empty(cls, head: Head) -> _Part:
        """Return a part without items."""
        own = Head(
            folded_until=head.folded_until,
            numbers=head.numbers,
            phones=head.phones,
            bsuids=head.bsuids,
            profiles=head.profiles,
            updates=head.updates,
        )
        return cls(User(own))

    @classmethod
    def all_of(cls, user: User) -> _Part:
        """Return all of a user as one person's; the items are shared."""
        part = cls.empty(user.head)
        part.user.messages, part.user.incoming = user.messages, user.incoming
        part.user.head.activity = user.head.activity
        part.folded = folded_persons(user.head)
        part.settle()
        return part

    def settle(self) -> None:
        """Bring the checkpoints of what was folded together."""
        numbers = {number for folded in self.folded for number in folded.checkpoints}
        self.user.head.checkpoints = {
            number: merged_checkpoint(
                [folded.checkpoints.get(number) or Checkpoint() for folded in self.folded]
            )
            for number in sorted(numbers)
        }


def folded_persons(head: Head) -> list[FoldedPerson]:
    """Return everybody's checkpoints."""
    first = [FoldedPerson(head.profile, head.checkpoints)] if head.checkpoints else []
    return [*first, *head.others]


def _parts_of(user: User) -> dict[Person, _Part]:
    head = user.head
    people = People(head, user.messages.values(), user.incoming.values())
    parts: dict[Person, _Part] = {}

    def part(person: Person) -> _Part:
        if person not in parts:
            parts[person] = _Part.empty(head)
        return parts[person]

    for item, message in user.messages.items():
        part(people.of_message(message)).user.messages[item] = message
    for item, entry in user.incoming.items():
        part(people.of_incoming(entry)).user.incoming[item] = entry
    for activity in head.activity:
        part(people.of_activity(activity)).user.head.activity.append(activity)
    for folded in folded_persons(head):
        part(people.of_profile(folded.profile, head.folded_until)).folded.append(folded)
    for own in parts.values():
        own.settle()
    return parts


@dataclass(slots=True)
class _Active:
    """Who is active in one scope of one month."""

    first_at: int = 0
    people: set[int] = field(default_factory=set)
    with_phone: set[int] = field(default_factory=set)
    phones: set[int] = field(default_factory=set)


def phone_corrections(persons: Iterable[User], calendar: Calendar) -> dict[RowKey, int]:
    """Return by how much the phones of a month differ from its people, in every scope where they do."""
    scopes: dict[tuple[int, str, str], _Active] = {}
    for place, person in enumerate(persons):
        for entry in [*person.head.activity, *unfolded_activity(person, calendar)]:
            number, at = person.head.numbers[entry.number], earliest(entry.incoming_at, entry.delivered_at)
            for scope in (("", ""), (number, ""), ("", entry.country), (number, entry.country)):
                active = scopes.setdefault((entry.month, *scope), _Active())
                active.first_at = earliest(active.first_at, at)
                active.people.add(place)
                if entry.phone != NOBODY:
                    active.with_phone.add(place)
                    active.phones.add(entry.phone)
    result: dict[RowKey, int] = {}
    for (_, number, country), active in scopes.items():
        difference = len(active.phones) - len(active.with_phone)
        if difference:
            day = calendar.day(active.first_at)
            result[Family.ACTIVE_USERS, 0, day, number, country, PHONES] = difference
    return result


class Household:
    """A user's contribution, kept up to date beside the state while the user is cached."""

    __slots__ = ("_corrections", "_parts", "_person_of", "_plain", "_rules", "_shape", "_user")

    def __init__(self, user: User, rules: AccountRules) -> None:
        """Evaluate all of a user."""
        self._user = user
        self._rules = rules
        self._build()

    @property
    def is_plain(self) -> bool:
        """Tell whether all names are one person's, with one phone at most."""
        return self._plain is not None

    def _build(self) -> None:
        user, head = self._user, self._user.head
        self._shape = _shape_of(head)
        self._plain: Evaluation | None = None
        self._parts: dict[Person, tuple[User, Evaluation]] = {}
        self._person_of: dict[bytes, Person] = {}
        self._corrections: dict[RowKey, int] = {}
        if is_plain(head) and not head.others:
            self._plain = Evaluation(user, self._rules)
            return
        persons = persons_of(user)
        self._parts = {key: (person, Evaluation(person, self._rules)) for key, person in persons.items()}
        self._person_of = _items_of(persons)
        self._corrections = phone_corrections(persons.values(), self._rules.calendar)

    def update(self, items: Iterable[bytes]) -> Differences:
        """Take up that the given items (and names) changed, in any way but being dropped; return what that changes."""
        shape = _shape_of(self._user.head)
        if self._plain is not None:
            if shape == self._shape or is_plain(self._user.head):
                self._shape = shape
                return self._plain.update(items)
            return self._rebuilt()
        persons = persons_of(self._user)
        person_of = _items_of(persons)
        if shape != self._shape or self._is_rearranged(persons, person_of):
            return self._rebuilt()
        return self._updated(items, persons, person_of)

    def contribution(self) -> Differences:
        """Return the whole contribution as last evaluated."""
        if self._plain is not None:
            return self._plain.contribution()
        result: Differences = dict(self._corrections)
        for _, evaluation in self._parts.values():
            for key, count in evaluation.contribution().items():
                add_count(result, key, count)
        return {key: count for key, count in result.items() if count}

    def _rebuilt(self) -> Differences:
        before = self.contribution()
        self._build()
        return difference_of(before, self.contribution())

    def _is_rearranged(self, persons: dict[Person, User], person_of: dict[bytes, Person]) -> bool:
        """Tell whether anything that was one person's is another's now."""
        known = self._person_of
        if any(known.get(item, person) != person for item, person in person_of.items()):
            return True
        return any(
            key not in persons
            or persons[key].head.activity != part.head.activity
            or persons[key].head.checkpoints != part.head.checkpoints
            for key, (part, _) in self._parts.items()
        )

    def _updated(
        self, items: Iterable[bytes], persons: dict[Person, User], person_of: dict[bytes, Person]
    ) -> Differences:
        by_person: dict[Person, list[bytes]] = {}
        for item in items:
            by_person.setdefault(person_of[item], []).append(item)
        differences: Differences = {}
        for key, own in by_person.items():
            if key not in self._parts:
                part = _Part.empty(self._user.head).user
                self._parts[key] = (part, Evaluation(part, self._rules))
            part, evaluation = self._parts[key]
            part.messages, part.incoming = persons[key].messages, persons[key].incoming
            for row, count in evaluation.update(own).items():
                add_count(differences, row, count)
        self._person_of = person_of
        before = self._corrections
        parts = [part for part, _ in self._parts.values()]
        self._corrections = phone_corrections(parts, self._rules.calendar)
        for row, count in difference_of(before, self._corrections).items():
            add_count(differences, row, count)
        return {row: count for row, count in differences.items() if count}


def _shape_of(head: Head) -> tuple[int, int, int]:
    """Return what changes whenever a head learns of a name or a link. They only grow between two folds."""
    return (len(head.profiles), len(head.updates), len(head.seen))


def _items_of(persons: dict[Person, User]) -> dict[bytes, Person]:
    """Return whose each item is. The two kinds of items never share a key: they are digests of different texts."""
    return {
        item: key
        for key, person in persons.items()
        for items in (person.messages, person.incoming)
        for item in items
    }


def difference_of(before: dict[RowKey, int], after: dict[RowKey, int]) -> Differences:
    """Return what must be added to one contribution to come to another."""
    result = dict(after)
    for row, count in before.items():
        add_count(result, row, -count)
    return {row: count for row, count in result.items() if count}
