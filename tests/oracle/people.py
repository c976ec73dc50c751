"""People and phones of a month (metering.md §4, §7): how many were active, per scope.

Owns two numbers of a local month that no single day holds. Does not own when a person counts as active
(``tests.oracle.activity``), nor who that person is (``tests.oracle.identities``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from schemas.events import Event
from tests.oracle.activity import Activity, activities, scopes_of
from tests.oracle.identities import by_person, incoming_messages, outgoing_messages
from tests.oracle.local_time import local_month


class MonthScope(NamedTuple):
    """Where and when: a local month as ``YYYY-MM``, an account, a number ("" = all), a country ("" = all)."""

    month: str
    account: str
    number: str
    country: str


def expected_people(
    events: Iterable[Event], time_zone_of: Callable[[str], str] = lambda _account: "UTC"
) -> dict[tuple[str, str, str, str], int]:
    """Return ``mau`` (any rule) of every month and scope in which somebody was active.

    Args:
        events: what was accepted, in any order and with any repetitions.
        time_zone_of: gives the one IANA zone of an account, for all time.

    Returns:
        ``(month "YYYY-MM", account, number or "", country or "")`` to the number of people.
    """
    return {scope: len(people) for scope, people in _active(events, time_zone_of).items()}


def expected_phones(
    events: Iterable[Event], time_zone_of: Callable[[str], str] = lambda _account: "UTC"
) -> dict[tuple[str, str, str, str], int]:
    """Return ``mau_phones`` of every month and scope in which somebody was active; as ``expected_people``."""
    found: dict[tuple[str, str, str, str], int] = {}
    for scope, people in _active(events, time_zone_of).items():
        phones = {each.phone for signs in people.values() for each in signs if each.phone is not None}
        without_phone = [
            person for person, signs in people.items() if all(each.phone is None for each in signs)
        ]
        found[scope] = len(phones) + len(without_phone)
    return found


def _active(
    events: Iterable[Event], time_zone_of: Callable[[str], str]
) -> dict[MonthScope, dict[str, list[Activity]]]:
    """Return who was active in each month and scope, and by what there."""
    everything = list(events)
    found: dict[MonthScope, dict[str, list[Activity]]] = {}
    for (account, person), items in by_person(
        outgoing_messages(everything), incoming_messages(everything)
    ).items():
        for sign in activities(*items):
            year, month = local_month(sign.at, time_zone_of(account))
            for number, country in scopes_of(sign):
                scope = MonthScope(f"{year:04}-{month:02}", account, number, country)
                found.setdefault(scope, {}).setdefault(person, []).append(sign)
    return found
