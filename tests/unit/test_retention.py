"""Edges of forgetting that generated histories seldom reach, worked by hand."""

from __future__ import annotations

from metering.calendar import Calendar
from metering.meter import MeteredUser, fold_metered, meter
from metering.retention import Cut
from metering.rules import DAY_SECONDS
from metering.user import AccountRules, User
from schemas.events import Event
from schemas.rows import Family
from tests.oracle.examples import HOUR, T0, delivered, event, incoming, sent
from tests.property.test_core_against_oracle import REGIMES

RULES = AccountRules(Calendar(), REGIMES)


def cut_at(instant: int) -> Cut:
    """Return the cut of the default retention: 16 days of horizon, 35 of messages."""
    return Cut(instant, instant - 19 * DAY_SECONDS)


def opened(user: MeteredUser, happened: Event) -> int:
    """Return by how many conversations an event changes the total."""
    differences = meter(user, [happened], RULES).differences
    return sum(value for key, value in differences.items() if key[:2] == (Family.CONVERSATIONS, 0))


def test_a_conversation_about_to_end_at_the_cut_still_takes_messages() -> None:
    """Folded a second before its end, it is open for that second and over after it."""
    user = MeteredUser(User())
    assert opened(user, delivered(T0, "a", category="marketing")) == 1
    fold_metered(user, cut_at(T0 + DAY_SECONDS - 1), RULES)
    assert opened(user, delivered(T0 + DAY_SECONDS - 1, "b", category="marketing")) == 0
    assert opened(user, delivered(T0 + DAY_SECONDS, "c", category="marketing")) == 1


def test_a_folded_conversation_turns_charged_when_a_later_message_in_it_is_billable() -> None:
    """The checkpoint restates the conversation's row; it does not open another."""
    user = MeteredUser(User())
    free = delivered(T0, "a", category="marketing", pricing_type="free_customer_service")
    meter(user, [free], RULES)
    fold_metered(user, cut_at(T0 + HOUR), RULES)
    billable = delivered(T0 + 2 * HOUR, "b", category="marketing", pricing_type="regular")
    changes = {
        key[1]: value
        for key, value in meter(user, [billable], RULES).differences.items()
        if key[0] == Family.CONVERSATIONS
    }
    assert changes == {1: -1, 2: 1}  # one free conversation less, one charged more


def test_a_message_remembers_its_service_window_when_the_incoming_message_is_dropped() -> None:
    """Sent an hour after an incoming message, delivered weeks later when that one is forgotten."""
    user = MeteredUser(User())
    meter(user, [incoming(T0, "i"), sent(T0 + HOUR, "a", category="utility")], RULES)
    for day in (15, 30):
        meter(user, [event("failed", T0 + day * DAY_SECONDS, "a")], RULES)
    fold_metered(user, cut_at(T0 + 25 * DAY_SECONDS), RULES)
    assert not user.user.incoming, "the incoming message is 35 days old"
    late = meter(user, [delivered(T0 + 42 * DAY_SECONDS, "a")], RULES)
    deliveries = [key for key in late.differences if key[0] == Family.DELIVERIES]
    assert [key[-2] for key in deliveries] == [1]


def test_an_event_that_would_change_a_dropped_row_is_late_and_alone() -> None:
    """Below the floor nothing is changed; the other events of the batch count."""
    user = MeteredUser(User())
    meter(user, [sent(T0, "a")], RULES)
    day = RULES.calendar.day(T0)
    batch = [
        event("sent", T0 + DAY_SECONDS, "a", category="marketing"),  # moves the row of the first day
        sent(T0 + DAY_SECONDS, "b"),
    ]
    result = meter(user, batch, RULES, floor_day=day + 1)
    assert result.outcomes == ["late", "counted"]
    assert {key[2] for key in result.differences} == {day + 1}
    assert meter(user, batch, RULES, floor_day=day + 1).outcomes == ["late", "duplicate"]


def test_an_event_of_a_dropped_message_is_set_aside() -> None:
    """Its key is among the expired: it opens no new message."""
    user = MeteredUser(User())
    meter(user, [sent(T0, "a")], RULES)
    dropped = fold_metered(user, cut_at(T0 + 40 * DAY_SECONDS), RULES)
    assert len(dropped) == 1
    result = meter(user, [delivered(T0 + 41 * DAY_SECONDS, "a")], RULES, expired=dropped)
    assert (result.outcomes, result.differences) == (["expired_status"], {})
