"""windows, conversations and pricing words against examples worked by hand (metering.md §3, §5)."""

from __future__ import annotations

import pytest

from schemas.events import Category, Event
from schemas.rows import Family
from tests.oracle.examples import (
    D0,
    DAY,
    HOUR,
    PMP,
    SERVICE_CHARGED,
    T0,
    active,
    delivered,
    entry_point,
    event,
    incoming,
    is_charged,
    opened,
    rows,
    sent,
    totals,
)

pytestmark = pytest.mark.usefixtures("judge")

# --- §3 conversations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", ["utility", "service"])
@pytest.mark.parametrize(("gap", "count"), [(0, 1), (DAY - 1, 1), (DAY, 2)])
def test_a_conversation_lasts_24_hours(category: Category, gap: int, count: int) -> None:
    """A message at +24 h - 1 s belongs to it, at +24 h the next one opens."""
    found = opened(delivered(T0, "m1", category=category), delivered(T0 + gap, "m2", category=category))
    assert sum(measures[0] for _, _, measures in found) == count


def test_a_conversation_is_not_prolonged() -> None:
    """Messages at 0, 23 h and 25 h make two conversations: the window runs from its opening."""
    events = [delivered(T0 + hours * HOUR, f"m{hours}", category="utility") for hours in (0, 23, 25)]
    assert opened(*events) == [(D0, "utility", (1, 0, 1)), (D0 + 1, "utility", (1, 0, 1))]


def test_every_template_category_has_its_own_conversation() -> None:
    """marketing_lite is marketing, a template without category is unknown, international is apart."""
    events = (
        delivered(T0, "m1", category="marketing"),
        delivered(T0 + 1, "m2", category="marketing_lite"),
        delivered(T0 + 2, "m3", category="utility"),
        delivered(T0 + 3, "m4", category="authentication"),
        delivered(T0 + 4, "m5", category="authentication_international"),
        delivered(T0 + 5, "m6", template=True),
        delivered(T0 + 6, "m7", template=False),
        delivered(T0 + 7, "m8"),
        delivered(T0 + 8, "m9", category="service", template=True),
    )
    assert [key for _, key, _ in opened(*events)] == [
        "authentication",
        "authentication_international",
        "marketing",
        "unknown",
        "utility",
    ]


@pytest.mark.parametrize(
    ("event_", "type_"),
    [
        (delivered(T0, "m"), "service"),
        (delivered(T0, "m", template=False), "service"),
        (delivered(T0, "m", category="service", template=True), "service"),
        (delivered(T0, "m", category="utility", template=False), "utility"),
        (delivered(T0, "m", template=True), "unknown"),
        (delivered(T0, "m", category="marketing_lite"), "marketing"),
    ],
)
def test_the_category_decides_before_the_flag(event_: Event, type_: str) -> None:
    """Free-form is category service, or neither a template category nor a template flag."""
    assert [found for _, found, _ in opened(event_)] == [type_]


def test_a_template_opens_beside_an_open_service_conversation() -> None:
    """Free-form first, template later: two conversations; the other way round: one."""
    free_form, template = delivered(T0, "m1"), delivered(T0 + 1, "m2", category="utility")
    assert len(opened(free_form, template)) == 2
    assert len(opened(template, delivered(T0 + 2, "m1"))) == 1


def test_at_the_same_second_templates_come_first() -> None:
    """So a template and a free-form message delivered together make one conversation."""
    events = (delivered(T0, "m1"), delivered(T0, "m2", category="utility"))
    assert opened(*events) == [(D0, "utility", (1, 0, 1))]


def test_at_the_same_second_category_then_country_order_the_openers() -> None:
    """marketing before marketing_lite, and of two marketing messages the one to AT opens."""
    events = (
        delivered(T0, "m1", category="marketing_lite", country="AA"),
        delivered(T0, "m2", category="marketing", country="DE"),
        delivered(T0, "m3", category="marketing", country="AT"),
    )
    assert rows(Family.CONVERSATIONS, *events) == {(D0, "AT", "marketing", "marketing"): (1, 0, 1)}


def test_at_the_same_second_service_opens_before_no_category() -> None:
    """A message without category stands as unknown in the order."""
    events = (delivered(T0, "m1"), delivered(T0, "m2", category="service"))
    assert rows(Family.CONVERSATIONS, *events) == {(D0, "DE", "service", "service"): (1, 1, 0)}


def test_the_opener_gives_day_country_and_raw_category() -> None:
    """A marketing_lite message to BR opens on its own local day; what follows from DE changes nothing."""
    events = (
        sent(T0 - 2 * DAY, "m1", category="marketing_lite", country="BR"),
        delivered(T0 - 1, "m1"),
        delivered(T0 + 1, "m2", category="marketing"),
    )
    assert rows(Family.CONVERSATIONS, *events) == {(D0 - 1, "BR", "marketing", "marketing_lite"): (1, 0, 1)}


@pytest.mark.parametrize(
    ("utility_at", "charged_type"), [(T0 + 1, "marketing"), (T0, "marketing"), (T0 - 1, "utility")]
)
def test_free_form_belongs_to_the_conversation_opened_first(utility_at: int, charged_type: str) -> None:
    """Both templates are free, so the billable free-form message shows where it belongs; ties go by type."""
    events = (
        delivered(T0, "m1", category="marketing", pricing_type="free_customer_service"),
        delivered(utility_at, "m2", category="utility", pricing_type="free_customer_service"),
        delivered(T0 + HOUR, "m3", category="service", pricing_type="regular"),
    )
    assert [type_ for _, type_, (_, _, charged) in opened(*events) if charged] == [charged_type]


def test_conversations_of_other_users_and_numbers_are_apart() -> None:
    """The same second on two numbers and for two users opens three conversations."""
    events = (delivered(T0, "m1"), delivered(T0, "m2", number="N2"), delivered(T0, "m3", phone="49171"))
    found = totals(*events)
    assert found[(int(Family.CONVERSATIONS), D0, "A", "N", "DE", "service", "")] == (2, 2, 0)
    assert found[(int(Family.CONVERSATIONS), D0, "A", "N2", "DE", "service", "")] == (1, 1, 0)


# --- §3 free entry points ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("referral_at", "type_"),
    [
        (T0 - DAY, "utility"),
        (T0 - DAY + 1, "free_entry_point"),
        (T0, "free_entry_point"),
        (T0 + 1, "utility"),
    ],
)
def test_a_referral_opens_a_free_entry_point_for_24_hours(referral_at: int, type_: str) -> None:
    """The referral must lie in (d - 24 h, d]; any message answers it, a template too."""
    found = opened(incoming(referral_at, "i", referral=True), delivered(T0, "m", category="utility"))
    assert [each for _, each, _ in found] == [type_]


@pytest.mark.parametrize(
    "word",
    [
        delivered(T0, "m", pricing_type="free_entry_point"),
        delivered(T0, "m", origin="referral_conversion"),
        delivered(T0, "m", category="referral_conversion"),
    ],
)
def test_the_providers_word_opens_a_free_entry_point(word: Event) -> None:
    """Any of the three words will do, no referral is needed; a referral flag on a status means nothing."""
    assert opened(word) == [(D0, "free_entry_point", (1, 1, 0))]
    assert opened(delivered(T0, "m", referral=True)) == [(D0, "service", (1, 1, 0))]


def test_everything_inside_a_free_entry_point_belongs_to_it_for_72_hours() -> None:
    """A billable template inside leaves it free; at +72 h the next conversation opens."""
    events = (
        incoming(T0, "i", referral=True),
        delivered(T0, "m1"),
        delivered(T0 + 72 * HOUR - 1, "m2", category="marketing", pricing_type="regular"),
        delivered(T0 + 72 * HOUR, "m3", category="marketing", pricing_type="regular"),
    )
    assert opened(*events) == [(D0, "free_entry_point", (1, 1, 0)), (D0 + 3, "marketing", (1, 0, 1))]
    inside = {(key[0], key[-1]): value for key, value in rows(Family.DELIVERIES, *events).items()}
    assert inside == {(D0, 1): (1,), (D0 + 2, 1): (1,), (D0 + 3, 0): (1,)}


def test_at_the_same_second_the_free_entry_point_comes_first() -> None:
    """A marketing template and a message that says free entry point make one free entry point."""
    events = (
        delivered(T0, "m1", category="authentication"),
        delivered(T0, "m2", origin="referral_conversion"),
    )
    assert opened(*events) == [(D0, "free_entry_point", (1, 1, 0))]


def test_a_free_entry_point_closes_open_conversations() -> None:
    """It ends after an hour, and the utility conversation that would last until +24 h is gone."""
    events = (
        delivered(T0, "m1", category="utility"),
        entry_point(T0 + HOUR, "m2", expires_at=T0 + 2 * HOUR),
        delivered(T0 + 3 * HOUR, "m3", category="utility"),
    )
    assert opened(*events) == [(D0, "free_entry_point", (1, 1, 0)), (D0, "utility", (2, 0, 2))]


@pytest.mark.parametrize(
    ("said", "length"),
    [
        ([1], 1),
        ([8 * DAY], 8 * DAY),
        ([8 * DAY + 1], 72 * HOUR),
        ([0], 72 * HOUR),
        ([-DAY], 72 * HOUR),
        ([5 * DAY, 4 * DAY], 4 * DAY),
        ([5 * DAY, -1], 72 * HOUR),  # the earliest is taken first, then judged
    ],
)
def test_the_provider_says_when_a_free_entry_point_ends(said: list[int], length: int) -> None:
    """The earliest expiry of the messages delivered at that second, if after it and at most 8 days after."""
    opening = [entry_point(T0, f"m{place}", expires_at=T0 + value) for place, value in enumerate(said)]
    last_inside = delivered(T0 + length - 1, "in", category="utility") if length > 1 else opening[0]
    assert [type_ for _, type_, _ in opened(*opening, last_inside)] == ["free_entry_point"]
    assert len(opened(*opening, delivered(T0 + length, "out", category="utility"))) == 2


def test_expiries_of_others_do_not_count() -> None:
    """Neither an event that does not itself say free entry point, nor a message of another second."""
    events = (
        sent(T0 - 1, "m1", expires_at=T0 + HOUR),
        delivered(T0, "m1", origin="referral_conversion"),
        delivered(T0, "m2", origin="utility", expires_at=T0 + HOUR),
        entry_point(T0 + 1, "m3", expires_at=T0 + HOUR),
        delivered(T0 + 72 * HOUR - 1, "m4", category="utility"),
    )
    assert opened(*events) == [(D0, "free_entry_point", (1, 1, 0))]


@pytest.mark.parametrize(("gap", "count"), [(0, 1), (DAY - 1, 1), (DAY, 2)])
def test_the_word_alone_reopens_only_24_hours_after_the_end(gap: int, count: int) -> None:
    """Before that it belongs to the one that is over, opens nothing and is not inside an open one."""
    end = T0 + HOUR
    events = (entry_point(T0, "m1", expires_at=end), entry_point(end + gap, "m2", expires_at=end + 9 * DAY))
    assert sum(measures[0] for _, _, measures in opened(*events)) == count
    inside = [value for key, value in rows(Family.DELIVERIES, *events).items() if key[-1] == 1]
    assert sum(value[0] for value in inside) == count


def test_the_previous_free_entry_point_is_the_last_one() -> None:
    """Of three words, the third comes 7 days after the end of the first and 1 h after that of the second."""
    events = (
        entry_point(T0, "m1", expires_at=T0 + HOUR),
        entry_point(T0 + 7 * DAY, "m2", expires_at=T0 + 7 * DAY + HOUR),
        entry_point(T0 + 7 * DAY + 2 * HOUR, "m3", expires_at=T0 + 9 * DAY),
    )
    assert opened(*events) == [(D0, "free_entry_point", (1, 1, 0)), (D0 + 7, "free_entry_point", (1, 1, 0))]


def test_an_unused_referral_reopens_at_once() -> None:
    """A referral that came while one was open opens the next one right at its end."""
    events = (
        entry_point(T0, "m1", expires_at=T0 + HOUR),
        incoming(T0 + 60, "i", referral=True),
        delivered(T0 + HOUR, "m2"),
    )
    assert opened(*events) == [(D0, "free_entry_point", (2, 2, 0))]


def test_opening_uses_up_every_referral_of_24_hours() -> None:
    """Two referrals before one free entry point: after its end neither opens another."""
    events = (
        incoming(T0 - 20 * HOUR, "i1", referral=True),
        incoming(T0, "i2", referral=True),
        entry_point(T0, "m1", expires_at=T0 + HOUR),
        delivered(T0 + 2 * HOUR, "m2"),
    )
    assert opened(*events) == [(D0, "free_entry_point", (1, 1, 0)), (D0, "service", (1, 1, 0))]


# --- §3 charged ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "charged"),
    [
        ([delivered(T0, "m", pricing_type="regular", billable=False)], True),
        (
            [delivered(T0, "m", category="utility", pricing_type="free_customer_service", billable=True)],
            False,
        ),
        ([delivered(T0, "m", billable=True)], True),
        ([delivered(T0, "m", category="utility", billable=False)], False),
        ([delivered(T0, "m")], False),
        ([delivered(T0, "m", category="service", template=True)], False),
        ([delivered(T0, "m", category="utility")], True),
        ([delivered(T0, "m", template=True)], True),
        ([sent(T0, "m", billable=False), delivered(T0 + 1, "m", pricing_type="regular")], False),
        ([delivered(T0, "m", billable=False), sent(T0, "m", pricing_type="regular")], False),
        ([delivered(T0, "m1"), delivered(T0 + 1, "m2", billable=True)], True),
    ],
)
def test_the_earliest_word_on_pricing_decides(events: list[Event], charged: bool) -> None:
    """Type before ``billable``, free before billable in a tie, template by default; any message charges."""
    assert is_charged(*events) is charged


@pytest.mark.parametrize(
    ("at", "charged"),
    [
        (PMP * DAY - 1, True),
        (PMP * DAY, False),
        (SERVICE_CHARGED * DAY - 1, False),
        (SERVICE_CHARGED * DAY, True),
    ],
)
def test_utility_inside_the_service_window_is_exempt_under_one_regime(at: int, charged: bool) -> None:
    """From 2025-07-01 to 2026-09-30, utility only, and not against the provider's word."""
    asked = incoming(at - HOUR, "i")
    assert is_charged(asked, delivered(at, "m", category="utility")) is charged
    assert is_charged(asked, delivered(at, "m", category="marketing"))
    assert is_charged(asked, delivered(at, "m", category="utility", billable=True))


def test_the_regime_changes_at_local_midnight() -> None:
    """Kolkata reaches 2025-07-01 19,800 s before UTC does."""
    at = PMP * DAY - 19_800
    asked, answered = incoming(at - HOUR, "i"), delivered(at, "m", category="utility")
    assert not is_charged(asked, answered, zone="Asia/Kolkata")
    assert is_charged(asked, answered)


def test_the_regime_is_that_of_the_delivery() -> None:
    """Sent in the window a second before the exemption begins or ends, delivered as it does."""
    for switch, charged in ((PMP * DAY, False), (SERVICE_CHARGED * DAY, True)):
        asked, was_sent = incoming(switch - HOUR, "i"), sent(switch - 1, "m", category="utility")
        assert is_charged(asked, was_sent, delivered(switch, "m")) is charged


@pytest.mark.parametrize(("asked_at", "window"), [(-DAY, 0), (-DAY + 1, 1), (0, 1), (1, 0)])
def test_the_service_window_is_judged_at_sent_at(asked_at: int, window: int) -> None:
    """[t, t + 24 h) of an incoming message; the message is delivered days later."""
    at = (PMP + 5) * DAY
    was_sent = sent(at, "m", category="utility")
    events = (incoming(at + asked_at, "i"), was_sent, delivered(at + 2 * DAY, "m"))
    assert is_charged(*events) is (window == 0)
    assert rows(Family.DELIVERIES, *events) == {(PMP + 7, "DE", "utility", 1, "", -1, window, 0): (1,)}


def test_only_the_same_number_and_user_open_a_service_window() -> None:
    """Incoming messages of another number or user leave it shut."""
    others = (incoming(T0, "i", number="N2"), incoming(T0, "j", phone="49171"))
    assert {key[-2] for key in rows(Family.DELIVERIES, *others, delivered(T0, "m"))} == {0}


def test_deliveries_keep_the_providers_raw_word() -> None:
    """Type and billable of the one chosen event: free before billable, then by type, then none before no."""
    events = (
        delivered(T0, "m", pricing_type="regular"),
        delivered(T0, "m", pricing_type="free_customer_service", billable=True),
        delivered(T0, "m", pricing_type="free_customer_service", billable=False),
        event("read", T0 + 1, "m", billable=True, category="utility"),
    )
    expected = {(D0, "DE", "utility", 1, "free_customer_service", 0, 0, 0): (1,)}
    assert rows(Family.DELIVERIES, *events) == expected
    tied = (delivered(T0, "m", pricing_type="free_entry_point"), delivered(T0, "m", billable=True))
    assert rows(Family.DELIVERIES, *tied) == {(D0, "DE", "", -1, "free_entry_point", -1, 0, 1): (1,)}
    tied = (delivered(T0, "m", pricing_type="free_customer_service"), delivered(T0, "m", billable=False))
    assert rows(Family.DELIVERIES, *tied) == {(D0, "DE", "", -1, "", 0, 0, 0): (1,)}
    only_billable = delivered(T0, "m", billable=True)
    assert rows(Family.DELIVERIES, only_billable) == {(D0, "DE", "", -1, "", 1, 0, 0): (1,)}


@pytest.mark.parametrize(
    ("late", "type_", "charged"), [(8 * DAY, "marketing", True), (8 * DAY + 1, "service", False)]
)
def test_what_is_said_after_8_days_no_longer_moves_a_conversation(
    late: int, type_: str, charged: bool
) -> None:
    """Category and pricing that come later still name the message and the delivery."""
    events = (
        delivered(T0, "m", bsuid="X", phone=None, country="BR"),
        event("read", T0 + late, "m", bsuid="X", category="marketing", pricing_type="regular"),
    )
    country = "DE" if charged else "BR"
    measures = (1, 0, 1) if charged else (1, 1, 0)
    category = "marketing" if charged else ""
    assert rows(Family.CONVERSATIONS, *events) == {(D0, country, type_, category): measures}
    assert rows(Family.DELIVERIES, *events) == {(D0, "DE", "marketing", 1, "regular", -1, 0, 0): (1,)}
    assert {key[2] for key in active(*events)} == {"", country}


@pytest.mark.parametrize(("late", "type_"), [(8 * DAY, "free_entry_point"), (8 * DAY + 1, "service")])
def test_a_referral_or_its_word_counts_for_8_days(late: int, type_: str) -> None:
    """A copy that brings the referral, or a status that says free entry point, in time or too late."""
    copies = (incoming(T0, "i"), incoming(T0 + late, "i", referral=True))
    assert [found for _, found, _ in opened(*copies, delivered(T0, "m"))] == [type_]
    words = (delivered(T0, "m"), event("read", T0 + late, "m", origin="referral_conversion"))
    assert [found for _, found, _ in opened(*words)] == [type_]
