"""Short ways to write a history by hand and to read the answer to it.

The same examples judge the oracle and the product: ``judged_by`` says whose answer is read. Owns the constants and
builders of worked examples. All instants are written as ``T0 + ...``; T0 is midnight UTC of
day 20,000 (2024-10-04). Does not own generated histories: those are in ``tests.oracle.strategies``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypedDict, Unpack

from schemas.events import Category, Event, Kind, PricingType
from schemas.rows import Family
from tests.oracle.people import expected_people, expected_phones
from tests.oracle.totals import expected_totals

HOUR, DAY = 3_600, 86_400
D0 = 20_000
T0 = D0 * DAY
PMP = 20_270  # 2025-07-01: 2025 begins on day 20,089, and 181 days of it come before July
SERVICE_CHARGED = 20_727  # 2026-10-01: 20,089 + 365 + the 273 days before October


class Words(TypedDict, total=False):
    """Everything about an event that most examples leave at its default."""

    account: str
    number: str
    phone: str | None
    bsuid: str
    parent_bsuid: str
    previous: str
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
    """Return an event, by default of account A on number N with the user of one phone in DE."""
    return Event(
        provider="meta",
        account=words.get("account", "A"),
        number=words.get("number", "N"),
        kind=kind,
        message_id=message_id,
        occurred_at=at,
        received_at=at * 1_000,
        country=words.get("country", "DE"),
        user_phone=words.get("phone", "49170"),
        user_bsuid=words.get("bsuid"),
        user_parent_bsuid=words.get("parent_bsuid"),
        user_previous_bsuid=words.get("previous"),
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


def update(at: int, previous: str, current: str, phone: str | None = None, account: str = "A") -> Event:
    """Return an identity event: the user id ``previous`` becomes ``current``."""
    return event(
        "identity",
        at,
        f"{previous} becomes {current}",
        account=account,
        phone=phone,
        bsuid=current,
        previous=previous,
    )


def entry_point(at: int, message_id: str, expires_at: int) -> Event:
    """Return a ``delivered`` that says free entry point and when it ends."""
    return delivered(at, message_id, origin="referral_conversion", expires_at=expires_at)


Rows = dict[tuple[int | str, ...], tuple[int, ...]]
MonthCounts = dict[tuple[str, str, str, str], int]
"""By month, account, number ("" = all) and country ("" = all)."""
ZoneOf = Callable[[str], str]


class Judge(Protocol):
    """Whoever says what a set of events comes to."""

    def totals(self, events: Sequence[Event], time_zone_of: ZoneOf) -> Rows:
        """Return all rows but those of ``people`` and ``phones``, as ``expected_totals`` does."""
        ...

    def people(self, events: Sequence[Event], time_zone_of: ZoneOf) -> MonthCounts:
        """Return ``mau``, as ``expected_people`` does."""
        ...

    def phones(self, events: Sequence[Event], time_zone_of: ZoneOf) -> MonthCounts:
        """Return ``mau_phones``, as ``expected_phones`` does."""
        ...


class Oracle:
    """The brute-force answer."""

    def totals(self, events: Sequence[Event], time_zone_of: ZoneOf) -> Rows:
        """See ``Judge.totals``."""
        return expected_totals(events, time_zone_of)

    def people(self, events: Sequence[Event], time_zone_of: ZoneOf) -> MonthCounts:
        """See ``Judge.people``."""
        return expected_people(events, time_zone_of)

    def phones(self, events: Sequence[Event], time_zone_of: ZoneOf) -> MonthCounts:
        """See ``Judge.phones``."""
        return expected_phones(events, time_zone_of)


_judges: list[Judge] = [Oracle()]


@contextmanager
def judged_by(judge: Judge) -> Iterator[None]:
    """Let the functions below read another's answer."""
    _judges.append(judge)
    try:
        yield
    finally:
        _judges.pop()


def totals(*events: Event, zone: str = "UTC") -> Rows:
    """Return all rows, by family code and all dimensions."""
    return _judges[-1].totals(events, lambda _account: zone)


def people(*events: Event, zone: str = "UTC") -> MonthCounts:
    """Return the number of people by month and scope."""
    return _judges[-1].people(events, lambda _account: zone)


def phones(*events: Event, zone: str = "UTC") -> MonthCounts:
    """Return the number of phones by month and scope."""
    return _judges[-1].phones(events, lambda _account: zone)


def rows(family: Family, *events: Event, zone: str = "UTC") -> Rows:
    """Return the family's rows, keys without family, account and number: (day, *further dimensions)."""
    found = totals(*events, zone=zone)
    return {(key[1], *key[4:]): value for key, value in found.items() if key[0] == family}


def opened(*events: Event, zone: str = "UTC") -> list[tuple[int | str, str | int, tuple[int, ...]]]:
    """Return (day, type, (total, free, charged)) of the conversation rows, sorted."""
    found = rows(Family.CONVERSATIONS, *events, zone=zone)
    return sorted((key[0], key[2], value) for key, value in found.items())


def active(*events: Event, zone: str = "UTC") -> Rows:
    """Return the rows of active users, keys without family and account: (day, number, country, rule)."""
    found = totals(*events, zone=zone)
    return {(key[1], *key[3:]): value for key, value in found.items() if key[0] == Family.ACTIVE_USERS}


def mau(*events: Event, month: str = "2024-10", number: str = "", country: str = "") -> tuple[int, int]:
    """Return (people, phones) of one month and scope of account A; (0, 0) if nobody was active."""
    scope = (month, "A", number, country)
    return people(*events).get(scope, 0), phones(*events).get(scope, 0)


def seen(at: int, bsuid: str, phone: str = "49170") -> Event:
    """Return a phone and a BSUID seen together on a message that never arrives, so that nobody is active by it."""
    return sent(at, f"seen {at} {bsuid}", bsuid=bsuid, phone=phone)


def whose(*events: Event) -> set[str]:
    """Return whose the one activity of the events is: of X, Y and Z those with whom it makes one active user."""
    probes = [incoming(T0 + 20 * DAY, "probe", bsuid=name, phone=None) for name in ("X", "Y", "Z")]
    assert mau(*events)[0] == 1
    return {str(probe.user_bsuid) for probe in probes if mau(*events, probe)[0] == 1}


def is_charged(*events: Event, zone: str = "UTC") -> bool:
    """Tell whether the one conversation of the events is charged."""
    ((_, _, measures),) = opened(*events, zone=zone)
    assert measures in ((1, 0, 1), (1, 1, 0))
    return measures == (1, 0, 1)
