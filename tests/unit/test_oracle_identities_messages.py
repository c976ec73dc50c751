"""messages of several names against examples worked by hand (metering.md §2, §7): which are one, whose.

Who is who otherwise is in ``test_oracle_identities.py``.
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
    active,
    delivered,
    event,
    failed,
    incoming,
    mau,
    rows,
    seen,
    sent,
    update,
    whose,
)
from tests.oracle.identities import incoming_messages, outgoing_messages

pytestmark = pytest.mark.usefixtures("judge")

P, Q = "49170", "49171"


def user_count(*events: Event) -> int:
    """Return the active users of the whole account, added up over all months."""
    return sum(value[0] for key, value in active(*events).items() if key[1:] == ("", "", "any"))


# --- messages under several names ----------------------------------------------------------------------------


def test_a_failure_by_phone_alone_is_of_the_same_message() -> None:
    """One message and not two, although the phone was never seen with X; a delivery takes the failure back."""
    events = (sent(T0, "m", bsuid="X", phone=None), failed(T0 + DAY, "m", phone=P))
    assert rows(Family.MESSAGES, *events) == {
        (D0, "DE", "", -1): (1, 1, 0, 0, 0),
        (D0 + 1, "DE", "", -1): (0, 0, 0, 0, 1),
    }
    was_delivered = delivered(T0 + 2 * DAY, "m", bsuid="X", phone=None)
    assert rows(Family.FAILURES, *events, was_delivered) == {}
    assert whose(*events, was_delivered) == {"X"}


def test_the_bsuid_of_a_message_decides_before_the_owner_of_its_phone() -> None:
    """The phone was X's, but an event of the message names Y, the earliest event by phone or not."""
    events = (seen(T0 - HOUR, "X"), sent(T0, "m", phone=P), delivered(T0 + 1, "m", bsuid="Y", phone=None))
    assert whose(*events) == {"Y"}
    assert whose(seen(T0, "X"), incoming(T0, "i"), incoming(T0, "i", bsuid="Y", phone=None)) == {"Y"}


def test_names_of_one_message_are_not_thereby_seen_together() -> None:
    """Another message by the same phone stays the phone's own: two users."""
    events = (sent(T0, "m", bsuid="X", phone=None), delivered(T0, "m", phone=P), delivered(T0, "m2", phone=P))
    assert user_count(*events) == 2
    assert user_count(*events, seen(T0, "X")) == 1


@pytest.mark.parametrize(
    ("events", "owner"),
    [
        ([sent(T0, "m", bsuid="Y"), delivered(T0 + 1, "m", bsuid="X")], {"Y"}),
        ([sent(T0, "m", bsuid="Y"), delivered(T0, "m", bsuid="X")], {"X"}),
        ([sent(T0, "m"), delivered(T0 + 1, "m", bsuid="Z"), event("read", T0 + 2, "m", bsuid="X")], {"Z"}),
        ([incoming(T0 + 1, "i", bsuid="X"), incoming(T0, "i", bsuid="Z")], {"Z"}),
        (
            [sent(T0, "m", bsuid="Z"), delivered(T0, "m", bsuid="Y"), update(T0, "Z", "X")],
            {"Y"},  # the ids are compared as they stand
        ),
    ],
)
def test_several_bsuids_of_a_message(events: list[Event], owner: set[str]) -> None:
    """Linked by their phone: one message, of the id on the earliest event that has one; ties alphabetically."""
    assert whose(*events) == owner


@pytest.mark.parametrize(("first", "second", "owner"), [(P, Q, "X"), (Q, P, "Y")])
def test_several_phones_of_a_message(first: str, second: str, owner: str) -> None:
    """P is X's and Q is Y's; both were Z's once, which links them.

    The phone of the earliest event is judged, at that second the first by name.
    """
    once = (seen(T0 - 9 * DAY, "Z", phone=P), seen(T0 - 9 * DAY, "Z", phone=Q))
    relations = (*once, seen(T0 - DAY, "X", phone=P), seen(T0 - DAY, "Y", phone=Q))
    earlier, later = sent(T0, "m", phone=first), delivered(T0 + 1, "m", phone=second)
    assert whose(earlier, later, *relations) == {owner}
    tied = (sent(T0, "m", phone=first), delivered(T0, "m", phone=second))
    assert whose(*tied, *relations) == {"X"}
    assert rows(Family.MESSAGES, earlier, later, *relations)[(D0, "DE", "", -1)] == (1, 1, 1, 0, 0)


# --- linked names ------------------------------------------------------------------------------------------------


def message_count(*events: Event) -> int:
    """Return how many of the outgoing and incoming messages with the id "same" there are."""
    outgoing = [message.message_id for message in outgoing_messages(events)]
    return [*outgoing, *(message.message_id for message in incoming_messages(events))].count("same")


@pytest.mark.parametrize(
    ("links", "count"),
    [
        ([], 2),
        ([update(T0 + 99 * DAY, "X", "Y")], 1),
        ([seen(T0, "X"), seen(T0 + DAY, "Y")], 1),  # by one phone, although it is that of two people
        ([seen(T0, "X", phone=P), seen(T0, "Y", phone=Q)], 2),
        ([seen(T0, "X", phone=P), update(T0, "Z", "Y", phone=P)], 1),  # by the phone of an update
        ([seen(T0, "X", phone=P), update(T0, "Z", "Y", phone=Q), seen(T0, "Z", phone=P)], 1),
        # By another message, which brings Y and a phone together; the phone was seen with X.
        ([sent(T0, "m", phone=P), failed(T0, "m", phone=None, bsuid="Y"), seen(T0, "X")], 1),
        ([incoming(T0, "i", phone=P), incoming(T0, "i", phone=None, bsuid="Y"), seen(T0, "X")], 1),
        # Not by two different messages of one id, nor by one of a group.
        ([sent(T0, "m", phone=P), sent(T0, "m", phone=None, bsuid="Y", number="N2"), seen(T0, "X")], 2),
        ([sent(T0, "m", phone=P), incoming(T0, "m", phone=None, bsuid="Y"), seen(T0, "X")], 2),
        (
            [
                sent(T0, "m", phone=P, participant=P),
                failed(T0, "m", phone=None, bsuid="Y", participant="Y"),
                seen(T0, "X"),
            ],
            2,
        ),
    ],
)
def test_a_message_id_of_two_users_is_one_message_only_if_their_names_are_linked(
    links: list[Event], count: int
) -> None:
    """X and Y under one id, outgoing, incoming and as members of a group."""
    out = [sent(T0, "same", bsuid=name, phone=None) for name in ("X", "Y")]
    came = [incoming(T0, "same", bsuid=name, phone=None) for name in ("X", "Y")]
    of_group = [sent(T0, "same", bsuid=name, phone=None, participant=name) for name in ("X", "Y")]
    for events in (out, came, of_group):
        assert message_count(*events, *links) == count


def test_two_phones_under_one_message_id_are_two_messages() -> None:
    """Nothing links them, until both were seen with one BSUID, or the message itself is told of by BSUID alone."""
    events = (sent(T0, "same", phone=P), delivered(T0, "same", phone=Q))
    assert message_count(*events) == 2
    assert message_count(*events, seen(T0, "X", phone=P), seen(T0, "X", phone=Q)) == 1
    assert message_count(*events, event("read", T0, "same", phone=None, bsuid="X")) == 1


# --- groups ------------------------------------------------------------------------------------------------------


def test_a_participant_that_names_the_user_again_is_not_part_of_the_key() -> None:
    """By phone, by BSUID or by either of both: one message, as soon as phone and BSUID have been seen together."""
    events = (
        sent(T0, "m", phone=P, participant=P),
        delivered(T0 + 1, "m", phone=None, bsuid="X", participant="X"),
        seen(T0 + DAY, "X"),
    )
    counted = {(D0, "DE", "", -1): (1, 1, 1, 0, 0), (D0 + 1, "DE", "", -1): (1, 1, 0, 0, 0)}
    assert rows(Family.MESSAGES, *events) == counted
    by_both = (event("read", T0 + 2, "m", bsuid="X", participant="X"), failed(T0 + 2, "m", participant=P))
    counted[(D0, "DE", "", -1)] = (1, 1, 1, 1, 0)
    assert rows(Family.MESSAGES, *events, *by_both) == counted


def test_every_member_of_a_group_has_a_message() -> None:
    """A message to two members is two deliveries and two active users, and none of it is the message to one."""
    events = (
        delivered(T0, "m", phone=P, participant=P),
        delivered(T0, "m", phone=None, bsuid="Y", participant="Y"),
    )
    assert rows(Family.MESSAGES, *events) == {(D0, "DE", "", -1): (2, 2, 2, 0, 0)}
    assert mau(*events) == (2, 2)
    alone = sent(T0, "m", phone=P)
    assert rows(Family.MESSAGES, *events, alone) == {(D0, "DE", "", -1): (3, 3, 2, 0, 0)}


def test_a_status_that_names_a_members_phone_and_bsuid_joins_both() -> None:
    """The phone was Z's, but in this group message it comes with X: three statuses, one message, of X."""
    events = (
        seen(T0 - DAY, "Z"),
        sent(T0, "m", phone=P, participant=P),
        delivered(T0 + 1, "m", bsuid="X", phone=P, participant=P),
        event("read", T0 + 2, "m", bsuid="X", phone=None, participant="X"),
    )
    assert rows(Family.MESSAGES, *events)[(D0, "DE", "", -1)] == (1, 1, 1, 1, 0)
    assert whose(*events) == {"X"}


def test_another_participant_is_part_of_the_key() -> None:
    """A participant that is not the event's own phone or BSUID tells messages apart, also for one user."""
    events = [delivered(T0, "m", bsuid="X", participant=name) for name in ("49172", "49173", "X", P)]
    assert rows(Family.MESSAGES, *events) == {(D0, "DE", "", -1): (3, 3, 3, 0, 0)}
    assert user_count(*events) == 1
