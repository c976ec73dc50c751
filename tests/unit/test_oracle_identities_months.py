"""people and phones of a month against examples worked by hand (metering.md §4, §7)."""

from __future__ import annotations

import pytest

from schemas.events import Event
from tests.oracle.examples import (
    D0,
    DAY,
    HOUR,
    T0,
    delivered,
    event,
    failed,
    incoming,
    mau,
    phones,
    sent,
    update,
)

pytestmark = pytest.mark.usefixtures("judge")

P, Q = "49170", "49171"


def test_two_phones_of_one_person() -> None:
    """X writes from P, and from Q later in October: one person, two phones; in November from Q only: one, one."""
    events = (
        incoming(T0, "i1", bsuid="X", phone=P),
        incoming(T0 + DAY, "i2", bsuid="X", phone=Q),
        incoming(T0 + 40 * DAY, "i3", bsuid="X", phone=Q),  # 2024-11-13
    )
    assert mau(*events) == (1, 2)
    assert mau(*events, month="2024-11") == (1, 1)


def test_a_phone_recycled_within_a_month() -> None:
    """P is X's at first and Y's later: two people, one phone."""
    events = (incoming(T0, "i1", bsuid="X"), incoming(T0 + DAY, "i2", bsuid="Y"))
    assert mau(*events) == (2, 1)


def test_a_person_without_a_phone_counts_as_one() -> None:
    """X by BSUID twice, Y by BSUID once, and one person with P: 2 + 1 phones, 3 people."""
    events = (
        incoming(T0, "i1", bsuid="X", phone=None),
        incoming(T0 + DAY, "i2", bsuid="X", phone=None),
        incoming(T0, "i3", bsuid="Y", phone=None),
        incoming(T0, "i4", phone=P),
    )
    assert mau(*events) == (3, 3)


def test_one_item_with_a_phone_is_enough() -> None:
    """X once with P and once without: the phone only. Linked with Y, who has none: still the phone only."""
    events = (incoming(T0, "i1", bsuid="X"), incoming(T0, "i2", bsuid="X", phone=None))
    assert mau(*events) == (1, 1)
    other = incoming(T0, "i3", bsuid="Y", phone=None)
    assert mau(*events, other) == (2, 2)
    assert mau(*events, other, update(T0, "Y", "X")) == (1, 1)


def test_every_scope_has_its_own_phones() -> None:
    """X shows P on number N to DE, and no phone on N2 to BR: the account knows the phone, N2 and BR do not."""
    events = (
        delivered(T0, "m1", bsuid="X", phone=P, number="N", country="DE"),
        delivered(T0, "m2", bsuid="X", phone=None, number="N2", country="BR"),
        delivered(T0, "m3", bsuid="Y", phone=P, number="N2", country="DE"),
    )
    assert mau(*events) == (2, 1)  # X and Y; P
    assert mau(*events, number="N") == (1, 1)  # X; P
    assert mau(*events, number="N2") == (2, 2)  # X and Y; P and X without a phone
    assert mau(*events, country="DE") == (2, 1)  # X and Y; P
    assert mau(*events, country="BR") == (1, 1)  # X; X without a phone
    assert mau(*events, number="N2", country="DE") == (1, 1)  # Y; P
    assert mau(*events, number="N", country="BR") == (0, 0)
    assert ("2024-10", "A", "N", "BR") not in phones(*events)


@pytest.mark.parametrize(
    ("events", "first"),
    [
        # Of X: an item says Q first and P later. Another item says P, or Q, so that one or two are known.
        ([sent(T0, "m", bsuid="X", phone=Q), delivered(T0 + 1, "m", bsuid="X", phone=P)], {Q}),
        # The earliest event carries none.
        ([sent(T0, "m", bsuid="X", phone=None), delivered(T0 + 1, "m", bsuid="X", phone=P)], {P}),
        # Both at one second: the first by name.
        ([sent(T0, "m", bsuid="X", phone=Q), delivered(T0, "m", bsuid="X", phone=P)], {P}),
        ([incoming(T0, "i", bsuid="X", phone=Q), incoming(T0 + 1, "i", bsuid="X", phone=P)], {Q}),
        # A failure is an event of the message too, but a message that is not delivered is no item.
        ([failed(T0, "m", bsuid="X", phone=Q), delivered(T0 + 1, "m", bsuid="X", phone=P)], {Q}),
        ([sent(T0, "m", bsuid="X", phone=Q), incoming(T0, "i", bsuid="X", phone=P)], {P}),
        # Said more than 8 days after the delivery: too late for activity, and so for its phone.
        ([delivered(T0, "m", bsuid="X", phone=None), event("read", T0 + 8 * DAY, "m", bsuid="X")], {P}),
        (
            [delivered(T0, "m", bsuid="X", phone=None), event("read", T0 + 8 * DAY + 1, "m", bsuid="X")],
            {None},
        ),
        # Incoming messages have no such bound but for their referral.
        ([incoming(T0, "i", bsuid="X", phone=None), incoming(T0 + 9 * DAY, "i", bsuid="X")], {P}),
    ],
)
def test_an_item_has_the_phone_of_its_earliest_event_that_carries_one(
    events: list[Event], first: set[str | None]
) -> None:
    """A second item with that phone adds none, one with the other phone adds one; with none known, either is it."""
    assert mau(*events) == (1, 1)
    for phone in (P, Q):
        known = (first | {phone}) - {None}
        assert mau(*events, incoming(T0, "other", bsuid="X", phone=phone)) == (1, len(known))


def test_a_phone_of_nobody_else_is_a_person_and_a_phone() -> None:
    """By phone only it is both; it stays one person with one phone when X, not active itself, is seen with it."""
    assert mau(incoming(T0, "i", phone=P)) == (1, 1)
    assert mau(incoming(T0, "i", phone=P), sent(T0 + DAY, "m", bsuid="X", phone=P)) == (1, 1)
    assert mau(incoming(T0, "i1", phone=P), incoming(T0, "i2", phone=Q)) == (2, 2)


def test_months_of_phones_are_local() -> None:
    """2024-10-31 is day 20,027; Kolkata's November begins at 18:30 UTC of it."""
    midnight = (D0 + 28) * DAY - 5 * HOUR - 1_800
    events = (incoming(midnight - 1, "i1", bsuid="X", phone=P), incoming(midnight, "i2", bsuid="X", phone=Q))
    in_utc = {scope[0]: count for scope, count in phones(*events).items() if scope[2:] == ("", "")}
    assert in_utc == {"2024-10": 2}
    in_kolkata = phones(*events, zone="Asia/Kolkata")
    assert {scope[0]: count for scope, count in in_kolkata.items() if scope[2:] == ("", "")} == {
        "2024-10": 1,
        "2024-11": 1,
    }
