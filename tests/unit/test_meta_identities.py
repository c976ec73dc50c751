"""Who became whom: ``user_id_update`` and the system messages that name two user ids."""

from __future__ import annotations

import orjson
import pytest

from schemas.codec import decode_batch, encode_batch
from schemas.redact import without_text
from tests.support.meta_bodies import MESSAGE, body, only_event, only_reason, parse

UPDATE: dict[str, object] = {
    "wa_id": "5511900000001",
    "detail": "User id for Ada has been updated.",
    "user_id": {"previous": "BR.1", "current": "BR.2"},
    "timestamp": "1793577600",
}
SYSTEM: dict[str, object] = {
    "type": "user_changed_number",
    "body": "User Ada changed from 5511900000001 to 5511900000002",
    "wa_id": "5511900000002",
    "user_id": "BR.2",
    "previous_user_id": "BR.1",
}
CHANGED: dict[str, object] = {
    "id": "wamid.Y1",
    "from": "5511900000001",
    "timestamp": "1793577600",
    "type": "system",
}


def updates(*updates: object, **value: object) -> bytes:
    """Return a webhook body with one ``user_id_update`` change."""
    content = body(user_id_update=list(updates), **value)
    return content.replace(b'"field":"messages"', b'"field":"user_id_update"')


def system(fields: dict[str, object], **message: object) -> bytes:
    """Return a webhook body with one system message."""
    return body(messages=[{**CHANGED, "system": {**SYSTEM, **fields}, **message}])


def test_an_update_names_both_ids_and_the_phone() -> None:
    """An element of ``user_id_update`` is an event from the previous to the current id, and survives the wire."""
    event = only_event(updates(UPDATE))
    assert (event.kind, event.user_previous_bsuid, event.user_bsuid, event.user_phone, event.user_key) == (
        "identity",
        "BR.1",
        "BR.2",
        "5511900000001",
        "BR.2",
    )
    assert decode_batch(encode_batch([event])) == [event]


def test_a_changed_phone_links_the_ids_and_goes_with_the_current_one() -> None:
    """Of a system message the phone is the new one; the sender's, the old one, is not that of the current id."""
    event = only_event(system({}))
    assert (event.kind, event.user_previous_bsuid, event.user_bsuid, event.user_phone) == (
        "identity",
        "BR.1",
        "BR.2",
        "5511900000002",
    )
    assert only_event(system({"wa_id": None})).user_phone is None


def test_the_sender_is_the_previous_id_where_none_is_said() -> None:
    """A system message from one id about another links the two; what is said goes before."""
    assert only_event(system({"previous_user_id": ""}, from_user_id="BR.7")).user_previous_bsuid == "BR.7"
    assert only_event(system({}, from_user_id="BR.7")).user_previous_bsuid == "BR.1"


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_user_id": None},
        {"user_id": ""},
        {"user_id": "BR.1"},
        {"type": "customer_identity_changed"},
        {"type": ["user_changed_number"]},
        {"type": None},
    ],
)
def test_other_system_messages_stay_ignored(fields: dict[str, object]) -> None:
    """Without two ids, or about something else, a system message is counted as ignored, by name."""
    parsed = parse(system(fields))
    assert (parsed.events, parsed.refusals, parsed.ignored) == ([], [], ["message:system"])


@pytest.mark.parametrize("fields", [None, "text", [SYSTEM]])
def test_a_system_message_of_another_shape_stays_ignored(fields: object) -> None:
    """Where the object should stand that says what happened, anything else says nothing."""
    assert parse(body(messages=[{**CHANGED, "system": fields}])).ignored == ["message:system"]


def test_the_ids_in_the_text_of_a_system_message_link_nobody() -> None:
    """The text is for people: a profile name stands in it, and it may say anything."""
    text = "User A changed from BR.7 to BR.8 changed from BR.1 to BR.2"
    assert parse(system({"previous_user_id": None, "body": text})).ignored == ["message:system"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"user_id": {"current": "BR.2"}}, "no_user"),
        ({"user_id": {"previous": " ", "current": "BR.2"}}, "no_user"),
        ({"user_id": {"previous": "BR.1"}}, "no_user"),
        ({"user_id": {"previous": "BR.2", "current": "BR.2"}}, "invalid_field"),
        ({"user_id": {"previous": "BR.1", "current": "B" * 513}}, "invalid_field"),
        ({"user_id": {"previous": "a\0", "current": "BR.2"}}, "invalid_field"),
        ({"user_id": {"previous": {"previous": "BR.1"}, "current": "BR.2"}}, "invalid_field"),
        ({"user_id": "BR.2"}, "no_user"),
        ({"user_id": None}, "no_user"),
        ({"parent_user_id": {"current": ["BR.ENT.1"]}}, "invalid_field"),
        ({"wa_id": "call me"}, "invalid_field"),
        ({"timestamp": None}, "no_time"),
        ({"timestamp": 1_793_664_301}, "from_the_future"),
        ({"timestamp": 1}, "invalid_field"),
    ],
)
def test_an_update_that_cannot_be_used_is_refused(fields: dict[str, object], reason: str) -> None:
    """Each element is judged by itself, with a reason, and its payload is refused alike when replayed."""
    parsed = parse(updates(UPDATE, {**UPDATE, **fields}, UPDATE))
    assert (len(parsed.events), [refusal.reason for refusal in parsed.refusals]) == (2, [reason])
    assert only_reason(parsed.refusals[0].payload) == reason


@pytest.mark.parametrize(
    ("fields", "message", "reason"),
    [
        ({}, {"timestamp": None}, "no_time"),
        ({}, {"id": "a\0"}, "invalid_field"),
        ({"wa_id": "?"}, {}, "invalid_field"),
        ({"user_id": 1.5}, {}, "invalid_field"),
        ({"previous_user_id": "B" * 513}, {}, "invalid_field"),
        ({"previous_user_id": 7, "user_id": "7"}, {}, "invalid_field"),
    ],
)
def test_a_system_message_whose_ids_cannot_be_used_is_refused(
    fields: dict[str, object], message: dict[str, object], reason: str
) -> None:
    """What says that ids changed is not dropped in silence, and its payload is refused alike when replayed."""
    (refusal,) = parse(system(fields, **message)).refusals
    assert (refusal.reason, only_reason(refusal.payload)) == (reason, reason)


def test_number_and_message_id_may_be_missing() -> None:
    """An identity update belongs to an account; what it does not name is ``identity``, what it does is taken."""
    for content in (updates(UPDATE, metadata=None), updates(UPDATE, metadata={"phone_number_id": " "})):
        event = only_event(content)
        assert (event.account, event.number, event.message_id) == ("9001", "identity", "identity")
    assert only_event(updates(UPDATE)).number == "7001"
    event = only_event(system({}, id=None))
    assert (event.number, event.message_id) == ("7001", "identity")
    assert only_event(system({})).message_id == "wamid.Y1"


@pytest.mark.parametrize("metadata", [{"phone_number_id": []}, {"phone_number_id": "a\0"}])
def test_a_number_that_is_no_key_is_refused(metadata: dict[str, object]) -> None:
    """Only a number that is not there is replaced."""
    assert only_reason(updates(UPDATE, metadata=metadata)) == "invalid_field"


def test_an_account_is_needed() -> None:
    """Identity updates without an account are refused like everything else."""
    content = updates(UPDATE).replace(b'"id":"9001"', b'"id":null')
    assert only_reason(content) == "no_account"


def test_no_contact_gives_an_update_its_phone_or_ids() -> None:
    """A contact beside updates may be somebody else's: what they do not say themselves stays unsaid."""
    contact = {"wa_id": "254700000001", "user_id": "KE.1", "parent_user_id": "KE.ENT.1"}
    bare = {name: value for name, value in UPDATE.items() if name != "wa_id"}
    half = {**UPDATE, "user_id": {"current": "BR.2"}}
    event = only_event(updates(bare, contacts=[contact]))
    assert (event.user_phone, event.user_bsuid, event.user_parent_bsuid, event.country) == (
        None,
        "BR.2",
        None,
        "BR",
    )
    payload = parse(updates(half, contacts=[contact])).refusals[0].payload
    assert b"254700000001" not in payload
    changed = {**CHANGED, "from": None, "system": {**SYSTEM, "wa_id": None}}
    assert only_event(body(messages=[changed], contacts=[contact])).user_phone is None


def test_a_system_message_does_not_take_a_siblings_contact() -> None:
    """A message beside a system message is completed by the contact that it names, as before."""
    contact = {"wa_id": "5511900000002", "user_id": "BR.2"}
    messages = [{**CHANGED, "system": SYSTEM}, {**MESSAGE, "from": "5511900000002"}]
    parsed = parse(body(messages=messages, contacts=[contact]))
    assert [(event.kind, event.user_phone, event.user_bsuid) for event in parsed.events] == [
        ("identity", "5511900000002", "BR.2"),
        ("incoming", "5511900000002", "BR.2"),
    ]


def test_a_change_without_updates_is_counted_once() -> None:
    """No list, an empty one and one with only errors are one ignored name each; no list at all is refused."""
    assert parse(updates()).ignored == ["value:empty"]
    assert parse(updates(errors=[{"code": 1}])).ignored == ["value:errors"]
    assert only_reason(updates().replace(b"[]", b'{"a":1}')) == "malformed"


def test_updates_are_read_where_they_belong() -> None:
    """A list of updates in a ``messages`` change, and messages in a ``user_id_update`` change, are not looked at."""
    assert parse(body(user_id_update=[UPDATE])).ignored == ["value:empty"]
    assert parse(updates(messages=[MESSAGE])).ignored == ["value:empty"]


def test_redaction_keeps_the_ids_and_nothing_else() -> None:
    """In a refused update both ids stay, the text does not; elsewhere ``previous`` and ``current`` are texts."""
    assert without_text({**UPDATE, "username": {"previous": "@ada", "current": "@lin"}, "current": "x"}) == {
        **UPDATE,
        "detail": "",
        "username": {"previous": "", "current": ""},
        "current": "",
    }
    nested = {"user_id": {"previous": {"note": "x", "body": "x"}, "detail": "x", "current": "BR.2"}}
    assert without_text({**nested, "mood_status": {"previous": "x"}}) == {
        "user_id": {"previous": {"note": "", "body": ""}, "detail": "", "current": "BR.2"},
        "mood_status": {"previous": ""},
    }
    refused = parse(system({"wa_id": "?"})).refusals[0]
    message = orjson.loads(refused.payload)["entry"][0]["changes"][0]["value"]["messages"][0]
    assert message["system"] == {**SYSTEM, "wa_id": "?", "body": ""}
