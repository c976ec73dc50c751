"""One user's windows for people who ask: which is open, until when, and which conversations there were.

Owns reading them off the state. The conversations are those of the scan that is counted by (metering.md §3), not
another account of them.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

from metering.conversations import FREE_ENTRY_POINT, Conversation, scanner_of
from metering.head import NOBODY, Head
from metering.household import persons_of
from metering.identity import People, Person, is_one_person
from metering.rules import WINDOW_SECONDS
from metering.user import AccountRules, NumberScan, User, number_scan
from schemas.user_windows import UserWindow, UserWindows, WindowsAsked

CUSTOMER_SERVICE = "customer_service"


def windows_of(user: User, rules: AccountRules, asked: WindowsAsked) -> UserWindows:
    """Return what the state says of whoever the asked name belongs to at the time asked for.

    Other people may share names with that person, as phones pass from hand to hand: theirs is left out.

    Args:
        user: the stored user that the name leads to; may be empty.
        rules: of the account.
        asked: the question; whatever lies after its time is left out.
    """
    head = user.head
    if asked.user not in (*head.phones, *head.bsuids):
        return unknown(asked)
    if is_one_person(head):
        own, names = persons_of(user)[0], {*head.phones, *head.bsuids}
    else:
        people = People(head, user.messages.values(), user.incoming.values())
        person = _person_asked(head, people, asked)
        own = persons_of(user).get(person, User(Head(numbers=head.numbers)))
        names = _names_of(head, people, person, asked.at) | {asked.user}
    service: list[UserWindow] = []
    conversations: list[UserWindow] = []
    for index, number in enumerate(head.numbers):
        if asked.number in ("", number):
            scanned = number_scan(own, index, rules, asked.at + 1)
            service += _service_window(scanned.incoming_times, number, asked.at)
            conversations += _conversations(scanned, number, asked.at)
    return UserWindows(
        account=asked.account,
        user=asked.user,
        names=tuple(sorted(names)),
        is_known=True,
        customer_service=tuple(sorted(service, key=lambda each: each.number)),
        conversations=tuple(
            sorted(conversations, key=lambda each: (each.opened_at, each.number, each.type), reverse=True)
        ),
        kept_from=_instant(head.folded_until) if head.folded_until else None,
    )


def unknown(asked: WindowsAsked) -> UserWindows:
    """Return the answer about somebody of whom no state is kept."""
    return UserWindows(
        account=asked.account,
        user=asked.user,
        names=(),
        is_known=False,
        customer_service=(),
        conversations=(),
        kept_from=None,
    )


def _person_asked(head: Head, people: People, asked: WindowsAsked) -> Person:
    if asked.user in head.bsuids:
        index = head.bsuids.index(asked.user)
        return people.of_profile(
            next(place for place, (_, bsuid) in enumerate(head.profiles) if bsuid == index), asked.at
        )
    return people.of_phone(head.phones.index(asked.user), asked.at)


def _names_of(head: Head, people: People, person: Person, at: int) -> set[str]:
    """Return every name that a person has at an instant."""
    phones = {phone for place, phone in enumerate(head.phones) if people.of_phone(place, at) == person}
    bsuids = {
        head.bsuids[bsuid]
        for place, (_, bsuid) in enumerate(head.profiles)
        if bsuid != NOBODY and people.of_profile(place, at) == person
    }
    return phones | bsuids


def _service_window(incoming_times: list[int], number: str, at: int) -> list[UserWindow]:
    """Return the last customer service window: every message within one that is open makes it longer."""
    times = [time for time in incoming_times if time <= at]
    if not times:
        return []
    opened_at = times[-1]
    for time in reversed(times):
        if opened_at >= time + WINDOW_SECONDS:
            break
        opened_at = time
    ends_at = times[-1] + WINDOW_SECONDS
    return [UserWindow(CUSTOMER_SERVICE, number, _instant(opened_at), _instant(ends_at), at < ends_at)]


def _conversations(scanned: NumberScan, number: str, at: int) -> list[UserWindow]:
    scanner = scanner_of(
        scanned.checkpoint, scanned.deliveries, scanned.referrals, scanned.free_entry_seconds_at
    )
    messages: Counter[tuple[str, int]] = Counter()
    free_entry_opened_at = 0
    for delivery in scanned.deliveries:
        joined = scanner.take(delivery)
        if joined is None:
            opened = scanner.opened[-1] if scanner.opened else None
            if opened is not None and opened.type == FREE_ENTRY_POINT and opened.opened_at == delivery.at:
                free_entry_opened_at = delivery.at
            messages[FREE_ENTRY_POINT, free_entry_opened_at] += 1
        else:
            messages[joined.type, joined.opened_at] += 1
    # Of a conversation that was open when older messages were forgotten, nobody knows how many it had.
    return [
        *(_window(each, number, at, None) for each in scanner.brought),
        *(_window(each, number, at, messages[each.type, each.opened_at]) for each in scanner.opened),
    ]


def _window(conversation: Conversation, number: str, at: int, messages: int | None) -> UserWindow:
    return UserWindow(
        conversation.type,
        number,
        _instant(conversation.opened_at),
        _instant(conversation.ends_at),
        at < conversation.ends_at,
        messages,
        conversation.charged,
    )


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
