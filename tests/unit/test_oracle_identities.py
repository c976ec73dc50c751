"""linked identities against examples worked by hand (metering.md §7): who is who.

Messages under several names are in ``test_oracle_identities_messages.py``, phones of a month in
``test_oracle_identities_months.py``.
"""

from __future__ import annotations

import msgspec
import pytest

from schemas.events import Event
from tests.oracle.examples import (
    D0,
    DAY,
    HOUR,
    PMP,
    T0,
    active,
    delivered,
    event,
    incoming,
    mau,
    opened,
    people,
    phones,
    seen,
    sent,
    totals,
    update,
    whose,
)

pytestmark = pytest.mark.usefixtures("judge")

P, Q = "49170", "49171"


def user_count(*events: Event, rule: str = "any") -> int:
    """Return the active users of the whole account, added up over all months."""
    return sum(value[0] for key, value in active(*events).items() if key[1:] == ("", "", rule))


# --- BSUIDs and updates --------------------------------------------------------------------------------------


def test_an_event_with_a_bsuid_belongs_to_it() -> None:
    """One phone with two BSUIDs is two people: two active users and, an hour apart, two conversations."""
    events = (delivered(T0, "m1", bsuid="X"), delivered(T0 + HOUR, "m2", bsuid="Y"))
    assert user_count(*events) == 2
    assert opened(*events) == [(D0, "service", (2, 2, 0))]


@pytest.mark.parametrize("at", [T0 - 300 * DAY, T0, T0 + 300 * DAY])
@pytest.mark.parametrize(("previous", "current"), [("X", "Y"), ("Y", "X")])
def test_an_update_makes_both_one_user_whenever_it_is_dated(at: int, previous: str, current: str) -> None:
    """The second message, 23 h after the first, finds the conversation of the first open; one user is active."""
    events = (
        delivered(T0, "m1", bsuid="X", phone=None),
        delivered(T0 + 23 * HOUR, "m2", bsuid="Y", phone=None),
        update(at, previous, current),
    )
    assert opened(*events) == [(D0, "service", (1, 1, 0))]
    assert user_count(*events) == 1
    assert opened(*events[:2]) == [(D0, "service", (2, 2, 0))]


@pytest.mark.parametrize(
    ("updates", "users"),
    [
        ([], 3),
        ([("X", "Y")], 2),
        ([("X", "Y"), ("Y", "Z")], 1),  # a chain
        ([("Y", "Z"), ("X", "Y")], 1),  # told of in the other order
        ([("X", "Y"), ("X", "Z")], 1),  # one previous id, two current ones
        ([("X", "Z"), ("Y", "Z")], 1),
        ([("X", "Y"), ("Y", "X")], 2),  # a circle of two leaves Z out
        ([("X", "Y"), ("Y", "Z"), ("Z", "X")], 1),
        ([("X", "V"), ("Y", "W"), ("V", "W")], 2),  # by ids that no message carries; Z stays alone
        ([("X", "X")], 3),
    ],
)
def test_chains_and_circles_of_updates_are_one_user(updates: list[tuple[str, str]], users: int) -> None:
    """Three ids, each with one incoming message; every update of two unlinked ids makes one user less."""
    messages = [incoming(T0, f"i{bsuid}", bsuid=bsuid, phone=None) for bsuid in ("X", "Y", "Z")]
    told = [update(T0 + place, *each) for place, each in enumerate(updates)]
    assert user_count(*messages, *told) == users


def test_identity_events_count_nowhere() -> None:
    """An update alone is no message, no activity and no phone, whatever it names."""
    events = (update(T0, "X", "Y"), update(T0, "X", "Y", phone=P), event("identity", T0, "u", bsuid="X"))
    assert totals(*events) == {}
    assert people(*events) == {}
    assert phones(*events) == {}


def test_a_parent_bsuid_links_nobody() -> None:
    """Two BSUIDs of one parent are two people."""
    events = [incoming(T0, f"i{name}", bsuid=name, phone=None, parent_bsuid="PARENT") for name in ("X", "Y")]
    assert user_count(*events) == 2


def test_accounts_know_nothing_of_each_other() -> None:
    """An update and a sighting in account B link nobody in account A."""
    events = (
        incoming(T0, "i1", bsuid="X", phone=None),
        incoming(T0, "i2", bsuid="Y", phone=None),
        incoming(T0, "i3", phone=P),
        update(T0, "X", "Y", account="B"),
        sent(T0, "m", bsuid="X", phone=P, account="B"),
    )
    assert user_count(*events) == 3
    linked = (update(T0, "X", "Y"), sent(T0, "m", bsuid="X", phone=P))
    assert user_count(*events, *linked) == 1


# --- messages by phone only ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sightings", "owner"),
    [
        ([], set()),
        ([(0, "X")], {"X"}),  # at the second itself
        ([(-300 * DAY, "X")], {"X"}),
        ([(1, "X")], {"X"}),  # only after it
        ([(300 * DAY, "X")], {"X"}),
        ([(-2, "X"), (-1, "Y")], {"Y"}),  # the most recent before
        ([(-1, "X"), (0, "Y")], {"Y"}),  # at is more recent than before
        ([(-300 * DAY, "X"), (1, "Y")], {"X"}),  # before goes before after, however far
        ([(1, "Y"), (2, "X")], {"Y"}),  # the first after
        ([(-2, "Y"), (-1, "X"), (1, "Y")], {"X"}),
        ([(0, "Y"), (0, "X")], {"X"}),  # the same second: alphabetically
        ([(5, "Z"), (5, "Y"), (6, "X")], {"Y"}),
        ([(-1, "Z"), (-1, "Y"), (-2, "X")], {"Y"}),
    ],
)
def test_a_phone_belongs_to_whom_it_was_last_seen_with(
    sightings: list[tuple[int, str]], owner: set[str]
) -> None:
    """At or before the message's second, else first after it, else the phone is a user of its own."""
    events = [seen(T0 + at, bsuid) for at, bsuid in sightings]
    assert whose(delivered(T0, "m"), *events) == owner
    assert whose(incoming(T0, "i"), *events) == owner


def test_a_recycled_phone_is_two_people() -> None:
    """X had the phone until the evening, Y has it from the next day on; three messages by phone only.

    Seen with X at 0 h and with Y at 30 h. The messages of 10 h and 29 h are X's: the second one comes 19 h after the
    first and belongs to its conversation. That of 31 h is Y's and opens Y's own.
    """
    events = (
        seen(T0, "X"),
        delivered(T0 + 10 * HOUR, "m1"),
        delivered(T0 + 29 * HOUR, "m2"),
        seen(T0 + 30 * HOUR, "Y"),
        delivered(T0 + 31 * HOUR, "m3"),
    )
    assert opened(*events) == [(D0, "service", (1, 1, 0)), (D0 + 1, "service", (1, 1, 0))]
    assert mau(*events) == (2, 1)


def test_an_update_that_names_the_phone_is_a_sighting_of_the_current_id() -> None:
    """The link has no date, the sighting has: before the update's second the phone is still Z's."""
    relations = (seen(T0 - DAY, "Z"), update(T0, "X", "Y", phone=P))
    assert whose(delivered(T0 - 1, "m"), *relations) == {"Z"}
    assert whose(delivered(T0, "m"), *relations) == {"X", "Y"}
    assert whose(delivered(T0, "m"), relations[0], update(T0, "X", "Y")) == {"Z"}


def test_a_sighting_with_an_older_id_is_one_with_the_person() -> None:
    """Seen with X, which later became Y: the phone is that of both."""
    assert whose(delivered(T0, "m"), seen(T0, "X"), update(T0 + 99 * DAY, "X", "Y")) == {"X", "Y"}


def test_a_message_is_judged_at_its_earliest_second() -> None:
    """Sent at 0 h when the phone was X's, delivered at 2 h when it was Y's: X's; so is an incoming told of twice."""
    relations = (seen(T0 - HOUR, "X"), seen(T0 + HOUR, "Y"))
    assert whose(sent(T0, "m"), delivered(T0 + 2 * HOUR, "m"), *relations) == {"X"}
    assert whose(delivered(T0 + 2 * HOUR, "m"), *relations) == {"Y"}
    assert whose(incoming(T0, "i"), incoming(T0 + 2 * HOUR, "i"), *relations) == {"X"}


def test_events_of_any_age_are_sightings() -> None:
    """What is said more than 8 days after a delivery still says whose the phone and the message are."""
    late = T0 + 9 * DAY
    read = event("read", late, "m", bsuid="X")
    assert whose(delivered(T0, "m"), read) == {"X"}
    other = delivered(late, "other")
    assert user_count(delivered(T0, "m", bsuid="X", phone=None), read, other) == 1


# --- what follows for windows and activity --------------------------------------------------------------------


def test_windows_run_over_all_names_of_a_person() -> None:
    """Utility template by BSUID an hour after the user wrote by phone: free if the two are one, charged if not."""
    at = (PMP + 5) * DAY
    asked, answered = incoming(at, "i", phone=P), delivered(at + HOUR, "m", bsuid="X", category="utility")
    apart = msgspec.structs.replace(answered, user_phone=None)
    assert opened(asked, answered) == [(PMP + 5, "utility", (1, 1, 0))]
    assert opened(asked, apart) == [(PMP + 5, "utility", (1, 0, 1))]
    assert opened(asked, apart, seen(at + 99 * DAY, "X")) == [(PMP + 5, "utility", (1, 1, 0))]


def test_a_referral_under_another_name_opens_a_free_entry_point() -> None:
    """The referral came from X, the answer went to Y: only an update makes it a free entry point."""
    events = (
        incoming(T0, "i", bsuid="X", phone=None, referral=True),
        delivered(T0 + HOUR, "m", bsuid="Y", phone=None),
    )
    assert [type_ for _, type_, _ in opened(*events)] == ["service"]
    assert [type_ for _, type_, _ in opened(*events, update(T0, "X", "Y"))] == ["free_entry_point"]


def test_both_rules_hold_over_two_names() -> None:
    """Incoming by phone on day 0, delivered by BSUID on day 2: once linked, one user, under both on day 2."""
    events = (incoming(T0, "i", phone=P), delivered(T0 + 2 * DAY, "m", bsuid="X", phone=None))
    assert (user_count(*events), user_count(*events, rule="both")) == (2, 0)
    linked = active(*events, seen(T0 + 99 * DAY, "X"))
    scopes = [("", ""), ("N", ""), ("", "DE"), ("N", "DE")]
    assert {key: value for key, value in linked.items() if key[-1] == "any"} == {
        (D0, *scope, "any"): (1,) for scope in scopes
    }
    assert {key: value for key, value in linked.items() if key[-1] == "both"} == {
        (D0 + 2, *scope, "both"): (1,) for scope in scopes
    }
