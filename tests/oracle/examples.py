"""Short ways to write a history by hand and to read the oracle's answer to it.

Owns the constants and builders of worked examples. All instants are written as ``T0 + ...``; T0 is midnight UTC of
day 20,000 (2024-10-04). Does not own generated histories: those are in ``tests.oracle.strategies``.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

from schemas.events import Category, Event, Kind, PricingType
from schemas.rows import Family
from tests.oracle.totals import expected_totals

HOUR, DAY = 3_600, 86_400
D0 = 20_000
T0 = D0 * DAY
PMP = 20_270  # 2025-07-01: 2025 begins on day 20,089, and 181 days of it come before July
SERVICE_CHARGED = 20_727  # 2026-10-01: 20,089 + 365 + the 273 days before October


class Words(TypedDict, total=False):
    """Everything about an event that most examples leave at its default."""

    number: str
    phone: str | None
    bsuid: str
    country: str
    participant: str
    category: Category
    template: bool
    pricing_type: PricingType
    billable: bool
    origin: str
    expires_at: int
    referral: bool
    error_code: int


def event(kind: Kind, at: int, message_id: str, **words: Unpack[Words]) -> Event:
    """Return an event of account A, by default on number N with the user of one phone in DE."""
    return Event(
        provider="meta",
        account="A",
        number=words.get("number", "N"),
        kind=kind,
        message_id=message_id,
        occurred_at=at,
        received_at=at * 1_000,
        country=words.get("country", "DE"),
        user_phone=words.get("phone", "49170"),
        user_bsuid=words.get("bsuid"),
        participant=words.get("participant"),
        category=words.get("category"),
        template=words.get("template"),
        pricing_type=words.get("pricing_type"),
        billable=words.get("billable"),
        conversation_origin=words.get("origin"),
        conversation_expires_at=words.get("expires_at"),
        referral=words.get("referral", False),
        error_code=words.get("error_code"),
    )


def sent(at: int, message_id: str, **words: Unpack[Words]) -> Event:
    """Return a ``sent``."""
    return event("sent", at, message_id, **words)


def delivered(at: int, message_id: str, **words: Unpack[Words]) -> Event:
    """Return a ``delivered``."""
    return event("delivered", at, message_id, **words)


def failed(at: int, message_id: str, **words: Unpack[Words]) -> Event:
    """Return a ``failed``."""
    return event("failed", at, message_id, **words)


def incoming(at: int, message_id: str, **words: Unpack[Words]) -> Event:
    """Return an ``incoming``."""
    return event("incoming", at, message_id, **words)


def entry_point(at: int, message_id: str, expires_at: int) -> Event:
    """Return a ``delivered`` that says free entry point and when it ends."""
    return delivered(at, message_id, origin="referral_conversion", expires_at=expires_at)


Rows = dict[tuple[int | str, ...], tuple[int, ...]]


def rows(family: Family, *events: Event, zone: str = "UTC") -> Rows:
    """Return the family's rows, keys without family, account and number: (day, *further dimensions)."""
    totals = expected_totals(events, lambda _account: zone)
    return {(key[1], *key[4:]): value for key, value in totals.items() if key[0] == family}


def opened(*events: Event, zone: str = "UTC") -> list[tuple[int | str, str | int, tuple[int, ...]]]:
    """Return (day, type, (total, free, charged)) of the conversation rows, sorted."""
    found = rows(Family.CONVERSATIONS, *events, zone=zone)
    return sorted((key[0], key[2], value) for key, value in found.items())


def active(*events: Event, zone: str = "UTC") -> Rows:
    """Return the rows of active users, keys without family and account: (day, number, country, rule)."""
    totals = expected_totals(events, lambda _account: zone)
    return {(key[1], *key[3:]): value for key, value in totals.items() if key[0] == Family.ACTIVE_USERS}


def is_charged(*events: Event, zone: str = "UTC") -> bool:
    """Tell whether the one conversation of the events is charged."""
    ((_, _, measures),) = opened(*events, zone=zone)
    assert measures in ((1, 0, 1), (1, 1, 0))
    return measures == (1, 0, 1)
