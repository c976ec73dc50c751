"""Messages and active users: examples worked by hand (metering.md §2, §4) that judge oracle and product alike.

Conversations (§3) are in ``test_oracle_conversations.py``.
"""

from __future__ import annotations

import pytest

from schemas.events import Event
from schemas.rows import Family
from tests.oracle.examples import (
    D0,
    DAY,
    HOUR,
    T0,
    Rows,
    active,
    delivered,
    event,
    failed,
    incoming,
    rows,
    sent,
    totals,
)

pytestmark = pytest.mark.usefixtures("judge")

# --- §2 messages ---------------------------------------------------------------------------------------------


def test_each_measure_counts_on_the_day_of_its_own_timestamp() -> None:
    """A message that is sent, delivered and read on three days is spread over three rows."""
    events = (sent(T0, "m"), delivered(T0 + DAY, "m"), event("read", T0 + 2 * DAY, "m"))
    assert rows(Family.MESSAGES, *events) == {
        (D0, "DE", "", -1): (1, 1, 0, 0, 0),
        (D0 + 1, "DE", "", -1): (0, 0, 1, 0, 0),
        (D0 + 2, "DE", "", -1): (0, 0, 0, 1, 0),
    }


def test_a_read_alone_was_sent_and_delivered() -> None:
    """WhatsApp leaves out the delivered webhook when the user is in the chat."""
    assert rows(Family.MESSAGES, event("read", T0, "m")) == {(D0, "DE", "", -1): (1, 1, 1, 1, 0)}


def test_a_late_delivery_takes_back_the_failure() -> None:
    """Failed on day 0 and delivered on day 3: the total stays on day 0, nothing failed."""
    events = (failed(T0, "m", error_code=470), delivered(T0 + 3 * DAY, "m"))
    assert rows(Family.MESSAGES, *events) == {
        (D0, "DE", "", -1): (1, 0, 0, 0, 0),
        (D0 + 3, "DE", "", -1): (0, 1, 1, 0, 0),
    }
    assert rows(Family.FAILURES, *events) == {}


def test_a_failure_counts_on_its_earliest_day() -> None:
    """The code is the smallest of the earliest failures that carry one."""
    events = (
        sent(T0 - 1, "m", error_code=1),
        failed(T0, "m"),
        failed(T0 + DAY, "m", error_code=9),
        failed(T0 + DAY, "m", error_code=8),
        failed(T0 + 2 * DAY, "m", error_code=7),
    )
    assert rows(Family.FAILURES, *events) == {(D0, "DE", "", -1, 8): (1,)}
    assert rows(Family.FAILURES, failed(T0, "m")) == {(D0, "DE", "", -1, 0): (1,)}
    assert rows(Family.MESSAGES, *events) == {
        (D0 - 1, "DE", "", -1): (1, 1, 0, 0, 0),
        (D0, "DE", "", -1): (0, 0, 0, 0, 1),
    }


def test_an_error_code_of_zero_is_none() -> None:
    """A 0 that was said hides no later code, nor one of the same second, and alone it is the row of no code."""
    later = (failed(T0, "m", error_code=0), failed(T0 + 5, "m", error_code=7))
    tied = (failed(T0, "m", error_code=0), failed(T0, "m", error_code=7))
    assert rows(Family.FAILURES, *later) == {(D0, "DE", "", -1, 7): (1,)}
    assert rows(Family.FAILURES, *tied) == {(D0, "DE", "", -1, 7): (1,)}
    assert rows(Family.FAILURES, failed(T0, "m", error_code=0)) == {(D0, "DE", "", -1, 0): (1,)}


@pytest.mark.parametrize(
    ("events", "category", "template"),
    [
        ([sent(T0, "m"), sent(T0 + 1, "m", category="utility")], "utility", 1),
        ([sent(T0, "m", category="utility"), sent(T0, "m", category="marketing")], "marketing", 1),
        ([sent(T0, "m", category="utility"), sent(T0 + 1, "m", category="marketing")], "utility", 1),
        ([sent(T0, "m", category="service")], "service", 0),
        ([sent(T0, "m", category="referral_conversion")], "referral_conversion", -1),
        ([sent(T0, "m", template=False), sent(T0, "m", template=True)], "", 1),
        ([sent(T0, "m", template=False), sent(T0 + 1, "m", template=True)], "", 0),
        ([sent(T0, "m", category="marketing", template=False)], "marketing", 0),
        ([sent(T0, "m", category="marketing"), sent(T0 + 60 * DAY, "m", template=False)], "marketing", 0),
    ],
)
def test_category_and_template_come_from_the_earliest_that_says(
    events: list[Event], category: str, template: int
) -> None:
    """Ties: category alphabetically, template true; without a flag the category implies it."""
    (key,) = {key[1:] for key in rows(Family.MESSAGES, *events)}
    assert key == ("DE", category, template)


@pytest.mark.parametrize(
    ("events", "country"),
    [
        ([sent(T0, "m", country="IN"), sent(T0 + 1, "m", country="BR")], "IN"),
        ([sent(T0, "m", country="IN"), sent(T0, "m", country="BR")], "BR"),
        (
            [
                sent(T0, "m", country="BR", bsuid="X", phone=None),
                sent(T0 + 1, "m", country="IN", bsuid="X"),
                sent(T0 + 1, "m", country="FR", bsuid="X"),
                sent(T0 + 2, "m", country="AT", bsuid="X"),
            ],
            "FR",
        ),
        # Nobody is named by phone: the earliest event, and of two in its second the first by name.
        (
            [
                sent(T0, "m", country="IN", bsuid="X", phone=None),
                sent(T0, "m", country="BR", bsuid="X", phone=None),
                sent(T0 + 1, "m", country="AT", bsuid="X", phone=None),
            ],
            "BR",
        ),
    ],
)
def test_a_phone_decides_the_country_of_a_message(events: list[Event], country: str) -> None:
    """The earliest event with a phone, else the earliest; ties alphabetically."""
    assert {key[1] for key in rows(Family.MESSAGES, *events)} == {country}


def test_a_message_is_account_number_id_and_participant() -> None:
    """Two of each make separate messages; the same again does not, nor does another name of the user."""
    events = (
        sent(T0, "m"),
        sent(T0 + 5, "m"),
        sent(T0, "m", participant="P"),
        sent(T0, "m", number="N2"),
        sent(T0, "m", bsuid="X"),
        sent(T0, "m2"),
    )
    found = totals(*events)
    assert found[(int(Family.MESSAGES), D0, "A", "N", "DE", "", -1)] == (3, 3, 0, 0, 0)
    assert found[(int(Family.MESSAGES), D0, "A", "N2", "DE", "", -1)] == (1, 1, 0, 0, 0)


def test_an_incoming_message_counts_once_where_it_was_first_seen() -> None:
    """The participant is no part of its key, and a phone does not decide its country."""
    events = (
        incoming(T0 + DAY, "i", country="AT"),
        incoming(T0, "i", country="IN", participant="P"),
        incoming(T0, "i", country="DE"),
        incoming(T0, "j", country="BR", bsuid="X", phone=None),
        incoming(T0 + 1, "j", country="DE", bsuid="X"),
    )
    assert rows(Family.INCOMING, *events) == {(D0, "DE"): (1,), (D0, "BR"): (1,)}
    assert rows(Family.MESSAGES, *events) == {}


@pytest.mark.parametrize(
    ("zone", "at", "day"),
    [
        ("Asia/Kolkata", T0 - 5 * HOUR - 1_801, D0 - 1),  # UTC+5:30: midnight is 19,800 s earlier
        ("Asia/Kolkata", T0 - 5 * HOUR - 1_800, D0),
        ("America/Sao_Paulo", T0 + 3 * HOUR - 1, D0 - 1),  # UTC-3
        ("America/Sao_Paulo", T0 + 3 * HOUR, D0),
        ("Australia/Lord_Howe", (D0 + 3) * DAY - 11 * HOUR - 1, D0 + 2),  # UTC+11 since the 6th (day 20,002)
        ("Australia/Lord_Howe", (D0 + 2) * DAY - 10 * HOUR - 1_800, D0 + 2),  # UTC+10:30 before
        ("Pacific/Apia", T0 - 13 * HOUR, D0),  # UTC+13
        # 2025-10-26 is day 20,387 (20,089 + 298) and 25 hours long: it begins at UTC+2 and ends at UTC+1.
        ("Europe/Berlin", 20_387 * DAY - 2 * HOUR - 1, 20_386),
        ("Europe/Berlin", 20_387 * DAY - 2 * HOUR, 20_387),
        ("Europe/Berlin", 20_388 * DAY - HOUR - 1, 20_387),
        ("Europe/Berlin", 20_388 * DAY - HOUR, 20_388),
    ],
)
def test_days_are_the_accounts_own(zone: str, at: int, day: int) -> None:
    """A second belongs to the day that a clock in the account's zone shows."""
    assert rows(Family.INCOMING, incoming(at, "i"), zone=zone) == {(day, "DE"): (1,)}


# --- §4 active users -----------------------------------------------------------------------------------------


def test_a_user_is_active_once_in_each_of_four_scopes() -> None:
    """Under both, the day is that of the later of the two first activities."""
    events = (delivered(T0, "m1"), incoming(T0 + 2 * DAY, "i1"), incoming(T0 + 3 * DAY, "i2"))
    scopes = [("", ""), ("N", ""), ("", "DE"), ("N", "DE")]
    any_rows: Rows = {(D0, *scope, "any"): (1,) for scope in scopes}
    both_rows: Rows = {(D0 + 2, *scope, "both"): (1,) for scope in scopes}
    assert active(*events) == any_rows | both_rows


def test_both_over_two_numbers_holds_for_the_account_only() -> None:
    """Incoming on N2 from AT, delivered on N to DE: both in the whole account, nowhere narrower."""
    events = (delivered(T0, "m1"), incoming(T0 + DAY, "i1", number="N2", country="AT"))
    assert active(*events) == {
        (D0, "", "", "any"): (1,),
        (D0, "N", "", "any"): (1,),
        (D0, "", "DE", "any"): (1,),
        (D0, "N", "DE", "any"): (1,),
        (D0 + 1, "N2", "", "any"): (1,),
        (D0 + 1, "", "AT", "any"): (1,),
        (D0 + 1, "N2", "AT", "any"): (1,),
        (D0 + 1, "", "", "both"): (1,),
    }


def test_users_add_up_and_undelivered_messages_do_not_count() -> None:
    """Two users on one day are two; one who only failed or was only sent to is none."""
    events = (
        incoming(T0, "i1", phone="49171"),
        incoming(T0, "i2", phone="49172"),
        failed(T0, "m1", phone="49173"),
        sent(T0, "m2", phone="49174"),
    )
    assert active(*events)[(D0, "", "", "any")] == (2,)


@pytest.mark.parametrize(("zone", "months"), [("UTC", 1), ("Asia/Kolkata", 2)])
def test_months_are_local(zone: str, months: int) -> None:
    """2024-10-31 is day 20,027: at 18:29 and 18:30 UTC Kolkata crosses into November, UTC does not."""
    midnight = (D0 + 28) * DAY - 19_800
    events = (incoming(midnight - 1, "i1"), incoming(midnight, "i2"))
    found = {key: value for key, value in active(*events, zone=zone).items() if key[1:] == ("", "", "any")}
    assert len(found) == months
    assert (
        active(incoming(midnight - 1, "i"), delivered(midnight, "m"), zone="Asia/Kolkata")
        .keys()
        .isdisjoint({(D0 + 28, "", "", "both"), (D0 + 27, "", "", "both")})
    )
