"""The generated identity histories: every rule of metering.md §7, done wrong in the oracle, must change many of them.

A rule that decides nothing in what is generated would not be tested by comparing the product with the oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache

import pytest

import tests.oracle.activity
from schemas.events import Event
from tests.oracle import identities, messages, people, totals
from tests.oracle.identities import MEMBER, Relations
from tests.oracle.identity_strategies import build_identity_history
from tests.oracle.messages import Message, at_earliest_second
from tests.oracle.people import expected_phones
from tests.oracle.strategies import time_zone_of
from tests.oracle.totals import expected_totals

HISTORIES = 500

Result = tuple[object, object]
Patch = Callable[[pytest.MonkeyPatch], None]


def _result(history: list[Event]) -> Result:
    return expected_totals(history, time_zone_of), expected_phones(history, time_zone_of)


@cache
def _lawful() -> tuple[Result, ...]:
    return tuple(_result(build_identity_history(seed)) for seed in range(HISTORIES))


# --- which person a phone was ---------------------------------------------------------------------------------


def _by_phone(
    choose: Callable[[list[int], int], int | None], tie: Callable[[Iterable[str]], str] = min
) -> Patch:
    """Return a patch: the sighting of a phone is taken at the chosen second, None for the phone itself."""

    def person_of_phone(relations: Relations, phone: str, instant: int) -> str:
        sightings = relations._sightings.get(phone, set())
        second = choose(sorted(each.at for each in sightings), instant) if sightings else None
        if second is None:
            return "phone " + phone
        return relations.person_of_bsuid(tie(each.bsuid for each in sightings if each.at == second))

    return lambda patch: patch.setattr(Relations, "person_of_phone", person_of_phone)


def _lawful_second(seconds: list[int], instant: int) -> int:
    return max((at for at in seconds if at <= instant), default=seconds[0])


def _first_after_else_last(seconds: list[int], instant: int) -> int:
    return min((at for at in seconds if at >= instant), default=seconds[-1])


def _nearest(seconds: list[int], instant: int) -> int:
    return min(seconds, key=lambda at: (abs(at - instant), at))


def _only_before(seconds: list[int], instant: int) -> int:
    return max((at for at in seconds if at < instant), default=seconds[0])


def _never_after(seconds: list[int], instant: int) -> int | None:
    return max((at for at in seconds if at <= instant), default=None)


def _last_after(seconds: list[int], instant: int) -> int:
    return max((at for at in seconds if at <= instant), default=seconds[-1])


def _first_before(seconds: list[int], instant: int) -> int:
    return min((at for at in seconds if at <= instant), default=seconds[0])


def _one_person_for_ever(patch: pytest.MonkeyPatch) -> None:
    """All BSUIDs ever seen with a phone, and the phone, are one person."""
    lawful = Relations.__init__

    def initialise(relations: Relations, events: Iterable[Event]) -> None:
        lawful(relations, events)
        for sightings in relations._sightings.values():
            first, *others = sorted({each.bsuid for each in sightings})
            for other in others:
                relations._link(first, other)

    patch.setattr(Relations, "__init__", initialise)


def _judged_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """A message is judged at its last event, not at its first."""
    lawful = Relations.person_of_phone

    def owner(relations: Relations, events: Sequence[Event]) -> str:
        carriers = at_earliest_second(event for event in events if event.user_bsuid is not None)
        if carriers:
            return relations.person_of_bsuid(min(str(event.user_bsuid) for event in carriers))
        phone = messages.phone_of(events)
        assert phone is not None
        return lawful(relations, phone, max(event.occurred_at for event in events))

    patch.setattr(Relations, "owner", owner)


# --- updates and what is seen together ------------------------------------------------------------------------


def _heard_as(change: Callable[[list[Event]], list[Event]]) -> Patch:
    """Return a patch: who is who is decided by what these changed events say."""
    lawful = Relations.__init__

    def initialise(relations: Relations, events: Iterable[Event]) -> None:
        lawful(relations, change(list(events)))

    return lambda patch: patch.setattr(Relations, "__init__", initialise)


def _replaced(event: Event, **fields: object) -> Event:
    names = {name: getattr(event, name) for name in event.__struct_fields__} | fields
    return Event(**names)


def _without_updates(events: list[Event]) -> list[Event]:
    return [_replaced(event, user_previous_bsuid=None) for event in events]


def _without_phones_of_updates(events: list[Event]) -> list[Event]:
    return [_replaced(event, user_phone=None) if event.kind == "identity" else event for event in events]


def _messages_are_sightings(events: list[Event]) -> list[Event]:
    """Add, for every two events of a message that name a phone and a BSUID, one that carries both."""
    return events + [
        _replaced(one, user_bsuid=other.user_bsuid)
        for one in events
        for other in events
        if (one.number, one.message_id, one.kind == "incoming")
        == (other.number, other.message_id, other.kind == "incoming")
        and "identity" not in (one.kind, other.kind)
        and (one.user_bsuid, other.user_phone) == (None, None)
    ]


def _updates_have_a_date(patch: pytest.MonkeyPatch) -> None:
    """Only the last update from an id counts, and only one step is followed."""
    lawful = Relations.__init__

    def initialise(relations: Relations, events: Iterable[Event]) -> None:
        everything = sorted(events, key=lambda event: event.occurred_at)
        lawful(relations, everything)
        renamed = {
            event.user_previous_bsuid: event.user_bsuid for event in everything if event.kind == "identity"
        }
        relations._same = {str(old): {str(new)} for old, new in renamed.items()}

    patch.setattr(Relations, "__init__", initialise)


def _updates_have_a_direction(patch: pytest.MonkeyPatch) -> None:
    """Updates are followed from previous to current, by the last update from each id, until none goes on."""
    lawful = Relations.__init__

    def initialise(relations: Relations, events: Iterable[Event]) -> None:
        everything = sorted(events, key=lambda event: event.occurred_at)
        lawful(relations, everything)
        renamed = {
            str(event.user_previous_bsuid): str(event.user_bsuid)
            for event in everything
            if event.kind == "identity"
        }
        relations._same = {}
        for old in renamed:
            passed = [old]
            while (following := renamed.get(passed[-1])) and following not in passed:
                passed.append(following)
            relations._same[old] = {passed[-1]}

    patch.setattr(Relations, "__init__", initialise)


# --- what is one message, and whose -----------------------------------------------------------------------------


def _owner_by(choose: Callable[[Sequence[Event]], Event]) -> Patch:
    """Return a patch: a message belongs to whom the chosen one of its events names."""

    def owner(relations: Relations, events: Sequence[Event]) -> str:
        carriers = [event for event in events if event.user_bsuid is not None]
        chosen = choose(carriers or events)
        if chosen.user_bsuid is not None:
            return relations.person_of_bsuid(chosen.user_bsuid)
        return relations.person_of_phone(str(chosen.user_phone), min(event.occurred_at for event in events))

    return lambda patch: patch.setattr(Relations, "owner", owner)


def _last_named(events: Sequence[Event]) -> Event:
    return max(events, key=lambda event: (event.occurred_at, event.user_key))


def _tie_named_last(events: Sequence[Event]) -> Event:
    return max(at_earliest_second(events), key=lambda event: event.user_key)


def _phone_before_bsuid(patch: pytest.MonkeyPatch) -> None:
    """A message belongs to the user of its earliest event, be it a phone."""

    def owner(relations: Relations, events: Sequence[Event]) -> str:
        first = min(at_earliest_second(events), key=lambda event: event.user_key)
        if first.user_bsuid is not None:
            return relations.person_of_bsuid(first.user_bsuid)
        return relations.person_of_phone(str(first.user_phone), first.occurred_at)

    patch.setattr(Relations, "owner", owner)


def _participants_as_they_stand(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(identities, "participant_key", lambda event: event.participant)


def _items_by(choose: Callable[[Relations, Event], object]) -> Patch:
    """Return a patch: events of one message key are one message if what is chosen is equal."""

    def items(relations: Relations, events: Sequence[Event]) -> dict[object, list[Event]]:
        found: dict[object, list[Event]] = {}
        for event in events:
            found.setdefault(choose(relations, event), []).append(event)
        return found

    return lambda patch: patch.setattr(Relations, "items", items)


def _linked(relations: Relations, event: Event) -> object:
    return frozenset(relations._linked[identities.names_of(event)[0]])


def _one_per_key(_relations: Relations, _event: Event) -> object:
    return ""


def _one_per_group_message(relations: Relations, event: Event) -> object:
    is_member = event.kind != "incoming" and identities.participant_key(event) == MEMBER
    return "" if is_member else _linked(relations, event)


def _one_per_name(_relations: Relations, event: Event) -> object:
    return event.user_key


def _one_per_owner(relations: Relations, event: Event) -> object:
    return relations.owner([event])


def _messages_link_no_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(identities, "meetings", lambda _events: [])


def _updates_link_no_names(patch: pytest.MonkeyPatch) -> None:
    lawful = identities.names_of
    patch.setattr(identities, "names_of", lambda event: lawful(_replaced(event, user_previous_bsuid=None)))


def _group_messages_link_names(patch: pytest.MonkeyPatch) -> None:
    lawful = identities.meetings
    patch.setattr(
        identities, "meetings", lambda events: lawful(_replaced(event, participant=None) for event in events)
    )


def _updates_are_counted(patch: pytest.MonkeyPatch) -> None:
    """An identity event counts as a message."""
    lawful = identities.outgoing_messages

    def outgoing_messages(events: Iterable[Event]) -> list[Message]:
        everything = list(events)
        further = [_replaced(event, kind="delivered") for event in everything if event.kind == "identity"]
        return lawful(everything + further)

    for module in (totals, people):
        patch.setattr(module, "outgoing_messages", outgoing_messages)


def _accounts_share_users(patch: pytest.MonkeyPatch) -> None:
    """What one account sees says who is who in another."""
    lawful = Relations.__init__
    everything: list[Event] = []

    def by_account(events: Iterable[Event]) -> dict[str, list[Event]]:
        everything[:] = list(events)
        found: dict[str, list[Event]] = {}
        for event in everything:
            found.setdefault(event.account, []).append(event)
        return found

    patch.setattr(identities, "by_account", by_account)
    patch.setattr(Relations, "__init__", lambda relations, _events: lawful(relations, everything))


# --- phones of a month ------------------------------------------------------------------------------------------


def _phone_by(choose: Callable[[Iterable[Event]], str | None]) -> Patch:
    return lambda patch: patch.setattr(tests.oracle.activity, "phone_of", choose)


def _last_phone(events: Iterable[Event]) -> str | None:
    carriers = [event for event in events if event.user_phone is not None]
    return max(((event.occurred_at, str(event.user_phone)) for event in carriers), default=(0, None))[1]


def _phone_of_the_first_event(events: Iterable[Event]) -> str | None:
    return min((event.user_phone for event in at_earliest_second(events) if event.user_phone), default=None)


def _phones_of_people(patch: pytest.MonkeyPatch) -> None:
    """Who has no phone in a scope does not count there."""
    patch.setattr(
        tests.oracle.activity, "phone_of", lambda events: messages.phone_of(events) or "without a phone"
    )


def _phones_of_late_words(patch: pytest.MonkeyPatch) -> None:
    """A phone that a status names weeks after the delivery counts."""
    patch.setattr(Message, "settled", lambda message: message)


FLIPS: dict[str, tuple[Patch, int]] = {
    "the first sighting after, else the last": (_by_phone(_first_after_else_last), 27),
    "the nearest sighting": (_by_phone(_nearest), 14),
    "the last sighting before, not at": (_by_phone(_only_before), 25),
    "no sighting after": (_by_phone(_never_after), 51),
    "the last sighting after": (_by_phone(_last_after), 8),
    "the first sighting before": (_by_phone(_first_before), 43),
    "the last sighting of all": (_by_phone(lambda seconds, _instant: seconds[-1]), 50),
    "of tied sightings the last by name": (_by_phone(_lawful_second, max), 28),
    "one person for ever": (_one_person_for_ever, 94),
    "judged at its last event": (_judged_at_the_end, 21),
    "no updates": (_heard_as(_without_updates), 49),
    "updates of one step": (_updates_have_a_date, 20),
    "updates of one direction": (_updates_have_a_direction, 11),
    "no phone of an update": (_heard_as(_without_phones_of_updates), 55),
    "messages are sightings": (_heard_as(_messages_are_sightings), 30),
    "the last name of a message": (_owner_by(_last_named), 19),
    "of tied names of a message the last": (_owner_by(_tie_named_last), 3),
    "the earliest name, be it a phone": (_phone_before_bsuid, 49),
    "participants as they stand": (_participants_as_they_stand, 28),
    "one message for every key": (_items_by(_one_per_key), 57),
    "one message for every group message": (_items_by(_one_per_group_message), 12),
    "one message for every name": (_items_by(_one_per_name), 192),
    "one message for every owner of an event": (_items_by(_one_per_owner), 119),
    "messages link no names": (_messages_link_no_names, 40),
    "updates link no names": (_updates_link_no_names, 11),
    "group messages link names": (_group_messages_link_names, 11),
    "updates are counted": (_updates_are_counted, 232),
    "accounts share users": (_accounts_share_users, 15),
    "the last phone of an item": (_phone_by(_last_phone), 15),
    "only the phone of its earliest event": (_phone_by(_phone_of_the_first_event), 16),
    "people without a phone are one": (_phones_of_people, 104),
    "late words count": (_phones_of_late_words, 7),
}


def changed_by(name: str) -> int:
    """Return in how many of the histories the flip changes a result."""
    lawful = _lawful()
    with pytest.MonkeyPatch.context() as patch:
        FLIPS[name][0](patch)
        return sum(_result(build_identity_history(seed)) != lawful[seed] for seed in range(HISTORIES))


@pytest.mark.parametrize("name", FLIPS)
def test_a_rule_done_wrong_changes_many_histories(name: str) -> None:
    """Of the first 500 seeds, at least as many as stated have another result: six tenths of what was measured."""
    assert changed_by(name) >= FLIPS[name][1]
