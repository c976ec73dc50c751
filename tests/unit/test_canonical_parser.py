"""The canonical JSON event: what is taken, what is refused, what is stamped."""

from __future__ import annotations

import orjson
import pytest

from schemas import canonical
from schemas.codec import decode_batch, encode_batch
from schemas.events import Event, Parsed
from schemas.refusing import UnparseableBody

RECEIVED_AT_MS = 1_793_664_000_000

MINIMAL: dict[str, object] = {
    "account": "9001",
    "number": "7001",
    "kind": "delivered",
    "message_id": "m1",
    "occurred_at": 1_793_577_600,
    "user_phone": "254700000001",
}
IDENTITY: dict[str, object] = {
    "account": "9001",
    "kind": "identity",
    "occurred_at": 1_793_577_600,
    "user_bsuid": "KE.2",
    "user_previous_bsuid": "KE.1",
}
FULL: dict[str, object] = {
    "provider": "netcore",
    "account": "9001",
    "number": "7001",
    "kind": "failed",
    "message_id": "m2",
    "occurred_at": 1_793_577_601,
    "received_at": 1,
    "country": "DE",
    "user_phone": "254700000001",
    "user_bsuid": "KE.1",
    "user_parent_bsuid": "KE.ENT.2",
    "participant": "254700000001",
    "number_display": "+1 555",
    "category": "utility",
    "template": True,
    "pricing_model": "PMP",
    "pricing_type": "regular",
    "billable": True,
    "conversation_id": "c1",
    "conversation_origin": "utility",
    "conversation_expires_at": 1_793_664_000,
    "referral": True,
    "error_code": 131_049,
}


def parse(content: object, *, keep_text: bool = False) -> Parsed:
    """Return what a JSON value holds at the tests' clock."""
    return canonical.parse(orjson.dumps(content), RECEIVED_AT_MS, keep_text=keep_text)


def test_the_smallest_event_is_completed() -> None:
    """Six fields are enough: provider, country and the received time are filled in."""
    assert parse(MINIMAL).events == [
        Event(
            provider="canonical",
            account="9001",
            number="7001",
            kind="delivered",
            message_id="m1",
            occurred_at=1_793_577_600,
            received_at=RECEIVED_AT_MS,
            country="KE",
            user_phone="254700000001",
        )
    ]


def test_every_field_is_taken_as_said_but_the_received_time() -> None:
    """All fields of a message's event are read by their names; ``received_at`` is always ours."""
    event = parse(FULL).events[0]
    assert {name: getattr(event, name) for name in Event.__struct_fields__} == {
        **FULL,
        "received_at": RECEIVED_AT_MS,
        "user_previous_bsuid": None,
        "volume_tier": None,
    }
    assert decode_batch(encode_batch([event])) == [event]


def test_unknown_fields_and_nulls_are_fine() -> None:
    """A field that the format does not know changes nothing, and null is the same as absent."""
    optional = {name: None for name in FULL if name not in MINIMAL}
    assert parse({**MINIMAL, **optional, "colour": {"deep": [1]}}).events == parse(MINIMAL).events


@pytest.mark.parametrize("field", sorted(set(FULL) - set(MINIMAL) - {"received_at"}))
def test_an_empty_string_is_the_same_as_absent(field: str) -> None:
    """Producers that write "" for nothing are understood in every optional field."""
    assert parse({**MINIMAL, field: ""}).events == parse(MINIMAL).events


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"account": None}, "no_account"),
        ({"number": ""}, "no_number"),
        ({"message_id": None}, "no_message_id"),
        ({"occurred_at": None}, "no_time"),
        ({"user_phone": None}, "no_user"),
        ({"kind": None}, "unknown_kind"),
        ({"kind": "played"}, "unknown_kind"),
        ({"occurred_at": 1_793_664_301}, "from_the_future"),
        ({"occurred_at": 1_793_577_600_000}, "invalid_field"),
        ({"occurred_at": True}, "invalid_field"),
        ({"account": ["9001"]}, "invalid_field"),
        ({"account": -5}, "invalid_field"),
        ({"message_id": -5}, "invalid_field"),
        ({"participant": "p" * 513}, "invalid_field"),
        ({"user_phone": "call me"}, "invalid_field"),
        ({"user_bsuid": "a\0"}, "invalid_field"),
        ({"provider": "twilio"}, "invalid_field"),
        ({"country": "de"}, "invalid_field"),
        ({"country": "DEU"}, "invalid_field"),
        ({"country": 49}, "invalid_field"),
        ({"category": "MARKETING"}, "invalid_field"),
        ({"pricing_model": "ABC"}, "invalid_field"),
        ({"pricing_type": []}, "invalid_field"),
        ({"template": "yes"}, "invalid_field"),
        ({"referral": 1}, "invalid_field"),
        ({"referral": "maybe"}, "invalid_field"),
        ({"billable": {}}, "invalid_field"),
        ({"conversation_origin": "o" * 65}, "invalid_field"),
        ({"conversation_expires_at": "soon"}, "invalid_field"),
        ({"error_code": -1}, "invalid_field"),
    ],
)
def test_an_event_that_cannot_be_counted_is_refused(fields: dict[str, object], reason: str) -> None:
    """Missing keys and values outside the vocabulary are refused, and the payload is refused alike when replayed."""
    parsed = parse({**MINIMAL, **fields})
    assert [refusal.reason for refusal in parsed.refusals] == [reason]
    assert parsed.events == []
    assert [again.reason for again in parse(orjson.loads(parsed.refusals[0].payload)).refusals] == [reason]


def test_an_identity_update_needs_neither_number_nor_message_id() -> None:
    """Account, time and the two ids are enough; number and message id are then the word ``identity``."""
    event = parse(IDENTITY).events[0]
    assert event == Event(
        provider="canonical",
        account="9001",
        number="identity",
        kind="identity",
        message_id="identity",
        occurred_at=1_793_577_600,
        received_at=RECEIVED_AT_MS,
        country="KE",
        user_bsuid="KE.2",
        user_previous_bsuid="KE.1",
    )
    assert decode_batch(encode_batch([event])) == [event]


def test_an_identity_update_takes_what_it_is_given_about_the_person() -> None:
    """Phone, parent, country, number and message id are read; words about messages are not, whatever they are."""
    words = {"category": "MARKETING", "referral": True, "participant": [], "error_code": -1}
    person = {"user_phone": "254700000001", "user_parent_bsuid": "KE.ENT.2", "country": "DE"}
    keys = {"number": "7001", "message_id": "m1", "number_display": "+1 555", "provider": "meta"}
    event = parse({**IDENTITY, **person, **keys, **words}).events[0]
    said = {name: getattr(event, name) for name in (*person, *keys)}
    assert said == {**person, **keys}
    assert (event.category, event.referral, event.participant, event.error_code) == (None, False, None, None)


@pytest.mark.parametrize(
    ("fields", "reason", "detail"),
    [
        ({"account": None}, "no_account", "account"),
        ({"number": []}, "invalid_field", "number"),
        ({"message_id": "a\0"}, "invalid_field", "message_id"),
        ({"occurred_at": None}, "no_time", "occurred_at"),
        ({"user_bsuid": None}, "no_user", "neither"),
        ({"user_bsuid": None, "user_phone": "254700000001"}, "no_user", "user_bsuid is missing"),
        ({"user_previous_bsuid": None}, "no_user", "user_previous_bsuid is missing"),
        ({"user_previous_bsuid": ""}, "no_user", "user_previous_bsuid is missing"),
        ({"user_previous_bsuid": "KE.2"}, "invalid_field", "which is user_bsuid as well"),
        ({"user_previous_bsuid": "a\0"}, "invalid_field", "user_previous_bsuid"),
        ({"user_previous_bsuid": ["KE.1"]}, "invalid_field", "user_previous_bsuid"),
        ({"user_phone": "call me"}, "invalid_field", "user_phone"),
    ],
)
def test_an_identity_update_that_links_nothing_is_refused(
    fields: dict[str, object], reason: str, detail: str
) -> None:
    """One id, or the same twice, is refused with what is wrong, and again when its payload is replayed."""
    refusal = parse({**IDENTITY, **fields}).refusals[0]
    assert (refusal.reason, detail in refusal.detail) == (reason, True)
    assert [again.reason for again in parse(orjson.loads(refusal.payload)).refusals] == [reason]


def test_a_previous_id_is_unknown_to_events_of_messages() -> None:
    """Only identity updates replace an id: elsewhere the field is one that the format does not know."""
    assert parse({**MINIMAL, "user_previous_bsuid": ["KE.1"]}).events == parse(MINIMAL).events


def test_a_list_is_judged_one_by_one() -> None:
    """In a list every element is an event or a refusal; a bad one leaves the others alone."""
    parsed = parse([MINIMAL, 5, {**MINIMAL, "message_id": "m2"}, [], {"account": "9001"}])
    assert [event.message_id for event in parsed.events] == ["m1", "m2"]
    assert [(refusal.reason, refusal.account) for refusal in parsed.refusals] == [
        ("malformed", ""),
        ("malformed", ""),
        ("no_number", "9001"),
    ]


def test_both_spellings_of_the_international_category_and_a_bsuid_as_phone_are_read() -> None:
    """The hyphen of Meta's price is taken, and a user id in the phone's field counts as what it is."""
    event = parse(
        {**MINIMAL, "category": "authentication-international", "user_phone": "BR.1", "billable": "true"}
    ).events[0]
    assert (event.category, event.user_phone, event.user_bsuid, event.country, event.billable) == (
        "authentication_international",
        None,
        "BR.1",
        "BR",
        True,
    )


def test_text_in_unknown_fields_does_not_reach_the_payload_unless_asked() -> None:
    """A refused event loses texts of fields that the format does not know."""
    bad = {**MINIMAL, "kind": "posted", "note": "SECRET"}
    assert b"SECRET" not in parse(bad).refusals[0].payload
    assert b"SECRET" in parse(bad, keep_text=True).refusals[0].payload


def test_a_lone_surrogate_refuses_only_the_event_that_uses_it() -> None:
    """Half a surrogate pair in a key refuses its event, in an unknown field none, and siblings count."""
    events = [MINIMAL, {**MINIMAL, "message_id": "@"}, {**MINIMAL, "message_id": "m2", "note": "@"}]
    content = orjson.dumps(events).replace(b"@", b"\\ud83d")
    parsed = canonical.parse(content, RECEIVED_AT_MS, keep_text=True)
    assert [event.message_id for event in parsed.events] == ["m1", "m2"]
    assert [refusal.reason for refusal in parsed.refusals] == ["invalid_field"]
    again = canonical.parse(parsed.refusals[0].payload, RECEIVED_AT_MS)
    assert [refusal.reason for refusal in again.refusals] == ["invalid_field"]


@pytest.mark.parametrize("content", [b"", b"{", b"5", b'"text"', b"null", b"[" * 2_000, b"\xff"])
def test_a_body_of_another_format_is_unparseable(content: bytes) -> None:
    """What is neither an object nor a list of JSON raises UnparseableBody."""
    with pytest.raises(UnparseableBody):
        canonical.parse(content, RECEIVED_AT_MS)


def test_a_list_has_at_most_a_thousand_events() -> None:
    """A thousand events are taken, one more makes the body unparseable."""
    assert len(parse([MINIMAL] * 1_000).events) == 1_000
    with pytest.raises(UnparseableBody):
        parse([MINIMAL] * 1_001)
