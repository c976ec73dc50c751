"""From events to charges over a change of rules: in the middle of a conversation, at the account's own midnight.

Judged twice, with the counts of the oracle and with those of the product.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from metering.charges import Charge, ConversationCount, Counts, DeliveryCount
from metering.pricing import charges_of
from schemas.events import Event
from schemas.rows import Family
from schemas.time_zones import ZoneInfo
from tests.oracle.examples import delivered, event, incoming, totals
from tests.support.prices import prices

pytestmark = pytest.mark.usefixtures("judge")

HOUR = 3600
JULY = int(datetime(2025, 7, 1, tzinfo=UTC).timestamp())
"""From here on each delivered message is charged; in UTC."""
OCTOBER = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp())
"""From here on utility in the service window and service beyond the allotment are charged; in UTC."""


def charged(*events: Event, zone: str = "UTC") -> list[tuple[str, str, str, int, int]]:
    """Return day, unit, category, free and charged of each line."""
    rows = totals(*events, zone=zone)
    deliveries, conversations = [], []
    for (family, day, _account, number, *rest), values in rows.items():
        local = date(1970, 1, 1) + timedelta(days=int(day))
        if family == Family.DELIVERIES:
            deliveries.append(DeliveryCount(local, str(number), *rest, *values))  # type: ignore[arg-type]
        elif family == Family.CONVERSATIONS:
            conversations.append(ConversationCount(local, str(number), str(rest[0]), str(rest[1]), *values))
    lines: list[Charge] = charges_of(Counts("A", tuple(deliveries), tuple(conversations)), prices())
    return [(str(line.day), line.unit, line.category, line.free, line.charged) for line in lines]


def test_a_conversation_over_the_switch_is_charged_at_its_start_and_its_later_messages_each() -> None:
    """Opened an hour before July: one conversation. A message an hour after it, in the same 24 hours: one message.

    The conversation that the later message would have opened counts nothing: July charges no conversations.
    """
    lines = charged(
        delivered(JULY - HOUR, "m1", category="marketing"),
        delivered(JULY + HOUR, "m2", category="marketing"),
        delivered(JULY + 24 * HOUR, "m3", category="marketing"),
    )
    assert lines == [
        ("2025-06-30", "conversation", "marketing", 0, 1),
        ("2025-07-01", "message", "marketing", 0, 1),
        ("2025-07-02", "message", "marketing", 0, 1),
    ]


def test_a_free_entry_point_over_the_switch_stays_free() -> None:
    """Opened in June by an answer to an advertisement: the conversation is free, and so are July's messages in it."""
    lines = charged(
        incoming(JULY - 2 * HOUR, "i1", referral=True),
        delivered(JULY - HOUR, "m1", category="marketing"),
        delivered(JULY + HOUR, "m2", category="marketing"),
        delivered(JULY + 72 * HOUR, "m3", category="marketing"),
    )
    assert lines == [
        ("2025-06-30", "conversation", "free_entry_point", 1, 0),
        ("2025-07-01", "message", "marketing", 1, 0),
        ("2025-07-04", "message", "marketing", 0, 1),
    ]


def test_the_last_second_before_the_switch_is_still_the_old_rule() -> None:
    """Utility in an open window: free at 23:59:59 of September, charged at 00:00 of October."""
    window = incoming(OCTOBER - HOUR, "i1")
    lines = charged(
        window,
        delivered(OCTOBER - 1, "m1", category="utility"),
        delivered(OCTOBER, "m2", category="utility"),
    )
    assert lines == [
        ("2026-09-30", "message", "utility", 1, 0),
        ("2026-10-01", "message", "utility", 0, 1),
    ]


def test_a_message_is_priced_under_the_rules_of_its_delivery_not_of_its_sending() -> None:
    """Sent in September's window, delivered in October: charged."""
    lines = charged(
        incoming(OCTOBER - HOUR, "i1"),
        event("sent", OCTOBER - 10, "m1", category="utility"),
        delivered(OCTOBER + 10, "m1", category="utility"),
    )
    assert lines == [("2026-10-01", "message", "utility", 0, 1)]


@pytest.mark.parametrize(
    "zone", ["Asia/Kolkata", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Kiritimati"]
)
def test_the_switch_is_at_the_accounts_own_midnight(zone: str) -> None:
    """One second before it and at it, by the account's clock, wherever that is."""
    midnight = int(datetime(2026, 10, 1, tzinfo=ZoneInfo(zone)).timestamp())
    lines = charged(
        incoming(midnight - HOUR, "i1"),
        delivered(midnight - 1, "m1", category="utility"),
        delivered(midnight, "m2", category="utility"),
        zone=zone,
    )
    assert lines == [
        ("2026-09-30", "message", "utility", 1, 0),
        ("2026-10-01", "message", "utility", 0, 1),
    ]


def test_the_unit_changes_at_the_accounts_own_midnight() -> None:
    """In Kolkata July begins at 18:30 UTC of 30 June: a template then is charged as a message."""
    midnight = int(datetime(2025, 7, 1, tzinfo=ZoneInfo("Asia/Kolkata")).timestamp())
    assert midnight < JULY
    lines = charged(
        delivered(midnight - 1, "m1", category="marketing", phone="4911"),
        delivered(midnight, "m2", category="marketing", phone="4922"),
        zone="Asia/Kolkata",
    )
    assert lines == [
        ("2025-06-30", "conversation", "marketing", 0, 1),
        ("2025-07-01", "message", "marketing", 0, 1),
    ]
