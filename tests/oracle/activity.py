"""Monthly active users (metering.md §4): when one person of one account first was active, per scope and rule.

Owns the two rules and the four scopes. Does not own plans or packages: they are read-time matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.oracle.local_time import local_month
from tests.oracle.messages import IncomingMessage, Message, phone_of


class Activity(NamedTuple):
    """One sign of life of a person: which way, at which UTC second, on which number, in which country."""

    is_incoming: bool
    at: int
    number: str
    country: str
    phone: str | None
    """The phone that its message names, if any."""


class FirstActivity(NamedTuple):
    """The person became active at this UTC second, in this scope ("" = all), under this rule."""

    at: int
    number: str
    country: str
    rule: str


def scopes_of(activity: Activity) -> tuple[tuple[str, str], ...]:
    """Return the four (number, country) in which the activity counts; "" = all."""
    number, country = activity.number, activity.country
    return (("", ""), (number, ""), ("", country), (number, country))


def activities(outgoing: Sequence[Message], incoming: Sequence[IncomingMessage]) -> list[Activity]:
    """Return every delivery and every incoming message; country and phone are the settled message's."""
    found = [
        Activity(True, message.at, message.number, message.country, phone_of(message.events))
        for message in incoming
    ]
    for message in outgoing:
        if message.delivered_at is not None:
            settled = message.settled()
            phone = phone_of(settled.events)
            found.append(Activity(False, message.delivered_at, message.number, settled.country, phone))
    return found


def first_activities(
    outgoing: Sequence[Message], incoming: Sequence[IncomingMessage], zone: str
) -> list[FirstActivity]:
    """Return one entry per local month, scope and rule under which this person of this account was active."""
    every = activities(outgoing, incoming)
    scopes = {scope for each in every for scope in scopes_of(each)}
    found: list[FirstActivity] = []
    for month in {local_month(each.at, zone) for each in every}:
        for number, country in scopes:
            in_scope = [
                each
                for each in every
                if local_month(each.at, zone) == month
                and number in ("", each.number)
                and country in ("", each.country)
            ]
            came = [each.at for each in in_scope if each.is_incoming]
            went = [each.at for each in in_scope if not each.is_incoming]
            if came or went:
                found.append(FirstActivity(min(came + went), number, country, "any"))
            if came and went:
                found.append(FirstActivity(max(min(came), min(went)), number, country, "both"))
    return found
