"""Whose update it is: contacts, senders, recipients and participants of Meta's webhooks."""

from __future__ import annotations

from itertools import permutations

import orjson
import pytest

from tests.support.meta_bodies import ADA, MESSAGE, STATUS, body, only_event, only_reason, parse

SENDERS: tuple[dict[str, object], ...] = (
    {"from": "5511900000001"},
    {"from": "254700000001"},
    {"from_user_id": "BR.1"},
    {"from": "551190000001"},
    {},
)


def users(list_name: str, named: list[dict[str, object]], *contacts: object) -> list[object]:
    """Return phone and BSUID of each update of a list, or the reason of its refusal, in the list's order."""
    template = MESSAGE if list_name == "messages" else STATUS
    bare = {name: value for name, value in template.items() if name not in ("from", "recipient_id")}
    updates = [{**bare, "id": str(index), **fields} for index, fields in enumerate(named)]
    parsed = parse(body(**{list_name: updates, "contacts": list(contacts)}))
    found: dict[str, object] = {
        event.message_id: (event.user_phone, event.user_bsuid) for event in parsed.events
    }
    for refusal in parsed.refusals:
        update = orjson.loads(refusal.payload)["entry"][0]["changes"][0]["value"][list_name][0]
        found[update["id"]] = refusal.reason
        assert only_reason(refusal.payload) == refusal.reason
    return [found[str(index)] for index in range(len(named))]


def test_a_second_sender_does_not_get_the_sole_contacts_user_id() -> None:
    """Two phones beside one contact stay two users: only the one that the contact names is completed."""
    assert users("messages", [{"from": "5511900000001"}, {"from": "254700000001"}], ADA) == [
        ("5511900000001", "BR.1"),
        ("254700000001", None),
    ]


def test_a_status_without_recipient_is_not_given_to_its_siblings_user() -> None:
    """Beside a status to somebody else, the sole contact says nothing about a status that names nobody."""
    assert users("statuses", [{"recipient_id": "254700000001"}, {}], ADA) == [
        ("254700000001", None),
        "no_user",
    ]
    assert users(
        "statuses", [{"recipient_id": "254700000001"}, {}, {"recipient_id": "5511900000001"}], ADA
    ) == [
        ("254700000001", None),
        "no_user",
        ("5511900000001", None),
    ]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        # Alone: Meta writes one person's `from` and `wa_id` differently now and then.
        ([{"from": "551190000001"}], [("551190000001", "BR.1")]),
        ([{}], [("5511900000001", "BR.1")]),
        ([{"from_user_id": "KE.2"}], [(None, "KE.2")]),
        # Not alone, but all who are named are the contact.
        ([{"from": "+5511900000001"}, {}], [("5511900000001", "BR.1")] * 2),
        ([{"from": "BR.1"}, {"from_user_id": "BR.1"}, {}], [("5511900000001", "BR.1")] * 3),
        (
            [{"from": "551190000001"}, {"from": "551190000001", "from_user_id": "BR.1"}, {}],
            [("551190000001", "BR.1"), ("551190000001", "BR.1"), ("5511900000001", "BR.1")],
        ),
        # Not alone, and nobody, somebody else or somebody unreadable is named.
        ([{}, {}], ["no_user", "no_user"]),
        ([{"from": "551190000001"}, {"from": "551190000001"}], [("551190000001", None)] * 2),
        ([{"from_user_id": "KE.2"}, {}], [(None, "KE.2"), "no_user"]),
        (
            [{"from": "5511900000001"}, {"from": "?"}, {}],
            [("5511900000001", "BR.1"), "invalid_field", "no_user"],
        ),
        (
            [{"from": "5511900000001"}, {"from_user_id": []}, {}],
            [("5511900000001", "BR.1"), "invalid_field", "no_user"],
        ),
        (
            [{"from": "5511900000001", "from_user_id": "KE.2"}, {}],
            [("5511900000001", "KE.2"), "no_user"],
        ),
    ],
)
def test_the_sole_contact_completes_only_whom_it_can_be(
    named: list[dict[str, object]], expected: list[object]
) -> None:
    """A contact that an update does not name completes it if it stands alone, or if all who are named are that one."""
    assert users("messages", named, ADA) == expected


def test_statuses_follow_the_rule_of_the_sole_contact() -> None:
    """A status without recipient is completed beside statuses to the contact; one with a recipient never is."""
    named: list[dict[str, object]] = [{"recipient_id": "5511900000001"}, {}, {"recipient_user_id": "BR.1"}]
    assert users("statuses", named, ADA) == [
        ("5511900000001", None),
        ("5511900000001", "BR.1"),
        ("5511900000001", "BR.1"),
    ]
    group: dict[str, object] = {
        "recipient_participant_id": "254700000001",
        "recipient_id": "120363000000000001",
    }
    assert users("statuses", [group, {}], ADA) == [("254700000001", None), "no_user"]


def test_who_an_update_is_of_does_not_depend_on_the_order_of_its_list() -> None:
    """Every order of the same messages beside the same contact gives each message the same user."""
    expected = dict(enumerate(users("messages", list(SENDERS), ADA)))
    for order in permutations(range(len(SENDERS))):
        found = users("messages", [SENDERS[index] for index in order], ADA)
        assert dict(zip(order, found, strict=True)) == expected


@pytest.mark.parametrize("recipient", ["", "  ", None])
def test_an_empty_recipient_is_absent(recipient: object) -> None:
    """A recipient of nothing but white space is completed from the contact like one that is not there."""
    event = only_event(body(statuses=[{**STATUS, "recipient_id": recipient}], contacts=[ADA]))
    assert (event.user_phone, event.user_bsuid) == ("5511900000001", "BR.1")


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ({"recipient_participant_id": "254700000001"}, ("254700000001", None, "254700000001")),
        ({"recipient_participant_user_id": "KE.2"}, (None, "KE.2", "KE.2")),
    ],
)
def test_a_participant_makes_a_group_status(
    fields: dict[str, object], user: tuple[str | None, str | None, str | None]
) -> None:
    """Participant fields say group without ``recipient_type``: the recipient is then the group, and no person."""
    status = {**STATUS, "recipient_id": "a group", **fields}
    event = only_event(body(statuses=[status], contacts=[ADA]))
    assert (event.user_phone, event.user_bsuid, event.participant) == user


def test_empty_participant_fields_make_no_group_status() -> None:
    """Participant fields with nothing in them leave a status what it is: one to a person."""
    status = {**STATUS, "recipient_participant_id": "", "recipient_participant_user_id": None}
    event = only_event(body(statuses=[status]))
    assert (event.user_phone, event.participant) == ("5511900000001", None)


@pytest.mark.parametrize("word", ["sent", "failed"])
def test_a_status_of_a_whole_group_says_why_it_is_refused(word: str) -> None:
    """A group status without participant has no user, and its detail tells that it is the group's."""
    parsed = parse(body(statuses=[{**STATUS, "status": word, "recipient_type": "group"}], contacts=[ADA]))
    assert [(refusal.reason, refusal.detail) for refusal in parsed.refusals] == [
        ("no_user", "recipient_participant_id: a status of the whole group, which names no participant")
    ]
