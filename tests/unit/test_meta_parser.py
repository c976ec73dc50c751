"""Meta's webhooks against their golden examples, and the rules that one example each cannot show."""

from __future__ import annotations

from pathlib import Path

import msgspec
import orjson
import pytest

import schemas
from schemas import meta
from schemas.codec import decode_batch, encode_batch
from schemas.events import REFUSAL_REASONS, Event
from schemas.redact import without_text
from tests.support.meta_bodies import (
    ADA,
    MESSAGE,
    RECEIVED_AT_MS,
    STATUS,
    body,
    only_event,
    only_reason,
    parse,
)

EXAMPLES = Path(schemas.__file__).parent / "examples" / "meta"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.json") if not path.name.endswith(".expected.json"))
DEFAULTS = dict(
    zip(Event.__struct_fields__[-len(Event.__struct_defaults__) :], Event.__struct_defaults__, strict=True)
)


def described(event: Event) -> dict[str, object]:
    """Return an event's fields by name, without those that have their default."""
    fields = {name: getattr(event, name) for name in Event.__struct_fields__}
    if event.volume_tier is not None:
        fields["volume_tier"] = msgspec.structs.asdict(event.volume_tier)
    return {name: value for name, value in fields.items() if name not in DEFAULTS or value != DEFAULTS[name]}


@pytest.mark.parametrize("name", NAMES)
def test_every_example_comes_to_what_is_written_beside_it(name: str) -> None:
    """A golden body yields exactly the events, refusals and ignored names of its expected file, in their order."""
    expected = orjson.loads((EXAMPLES / f"{name}.expected.json").read_bytes())

    parsed = meta.parse((EXAMPLES / f"{name}.json").read_bytes(), expected["received_at_ms"])

    assert [described(event) for event in parsed.events] == expected["events"]
    refusals = [
        {"reason": found.reason, "account": found.account, "detail": found.detail}
        for found in parsed.refusals
    ]
    assert refusals == expected["refusals"]
    assert parsed.ignored == expected["ignored"]


def test_the_examples_are_there_and_complete() -> None:
    """Every example has an expected file and the other way round, so that none is left out in silence."""
    expected = sorted(path.name.removesuffix(".expected.json") for path in EXAMPLES.glob("*.expected.json"))
    assert expected == NAMES
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_a_refused_update_can_be_replayed_on_its_own(name: str) -> None:
    """The payload of a refusal is a body of its own that is refused once again for the same reason."""
    for refusal in parse((EXAMPLES / f"{name}.json").read_bytes()).refusals:
        assert refusal.reason in REFUSAL_REASONS
        assert only_reason(refusal.payload) == refusal.reason


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b"{}",
        b'{"object":"whatsapp_business_account"}',
        b'{"object":"whatsapp_business_account","entry":{}}',
        b'{"object":1,"entry":[]}',
        b'{"entry":[]}',
        b'{"object":"a","entry":["\\ud83d"],}',
        b'{"object":"a","entry":[NaN,"\\ud83d"]}',
        b'{"object":"a","entry":[1e999,"\\ud83d"]}',
        b'{"object":"a","entry":["\\ud83d", "\\u00"]}',
        b'\xef\xbb\xbf{"object":"a","entry":["\\ud83d"]}',
        b"[" * 5_000,
    ],
)
def test_a_body_of_another_format_is_unparseable(content: bytes) -> None:
    """What is not a webhook object raises UnparseableBody, whatever the bytes."""
    with pytest.raises(meta.UnparseableBody):
        parse(content)


def test_a_body_with_too_many_updates_is_unparseable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of updates in one body holds for all its lists together."""
    monkeypatch.setattr(meta, "UPDATES_PER_BODY_MAX", 3)
    assert len(parse(body(statuses=[STATUS, STATUS], messages=[MESSAGE])).events) == 3
    with pytest.raises(meta.UnparseableBody):
        parse(body(statuses=[STATUS, STATUS], messages=[MESSAGE, MESSAGE]))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": None}, "no_message_id"),
        ({"id": " "}, "no_message_id"),
        ({"id": "x" * 513}, "invalid_field"),
        ({"id": "a\0b"}, "invalid_field"),
        ({"id": 1.5}, "invalid_field"),
        ({"id": True}, "invalid_field"),
        ({"id": -5}, "invalid_field"),
        ({"status": None}, "unknown_kind"),
        ({"status": ["sent"]}, "unknown_kind"),
        ({"status": "SENT"}, "unknown_kind"),
        ({"timestamp": ""}, "no_time"),
        ({"timestamp": 0}, "invalid_field"),
        ({"timestamp": -5}, "invalid_field"),
        ({"timestamp": 2**32}, "invalid_field"),
        ({"timestamp": "1793577600000"}, "invalid_field"),
        ({"timestamp": "\u0661\u0662\u0663"}, "invalid_field"),
        ({"timestamp": 1793664301}, "from_the_future"),
        ({"recipient_id": None}, "no_user"),
        ({"recipient_id": "+"}, "invalid_field"),
        ({"recipient_id": "123"}, "invalid_field"),
        ({"recipient_id": "1" * 21}, "invalid_field"),
        ({"recipient_id": -5511900000001}, "invalid_field"),
        ({"recipient_user_id": "B" * 513}, "invalid_field"),
        ({"recipient_user_id": {}}, "invalid_field"),
        ({"recipient_user_id": -5}, "invalid_field"),
        ({"recipient_parent_user_id": "a\0"}, "invalid_field"),
        ({"conversation": {"id": "a\0"}}, "invalid_field"),
        ({"conversation": {"origin": {"type": "a\0"}}}, "invalid_field"),
        ({"recipient_type": "group"}, "no_user"),
    ],
)
def test_a_status_that_cannot_be_counted_is_refused(fields: dict[str, object], reason: str) -> None:
    """Keys and times that are missing or unusable refuse the status, with the reason that says which."""
    assert only_reason(body(statuses=[{**STATUS, **fields}])) == reason


@pytest.mark.parametrize(
    ("entry_id", "metadata", "reason"),
    [
        (None, {"phone_number_id": "7001"}, "no_account"),
        ("", {"phone_number_id": "7001"}, "no_account"),
        ([], {"phone_number_id": "7001"}, "invalid_field"),
        (-5, {"phone_number_id": "7001"}, "invalid_field"),
        ("9" * 513, {"phone_number_id": "7001"}, "invalid_field"),
        ("9001", {}, "no_number"),
        ("9001", None, "no_number"),
        ("9001", {"phone_number_id": False}, "invalid_field"),
        ("9001", {"phone_number_id": -5}, "invalid_field"),
        ("9001", {"phone_number_id": "7001", "display_phone_number": "1\0"}, "invalid_field"),
    ],
)
def test_updates_without_origin_are_refused_one_by_one(
    entry_id: object, metadata: object, reason: str
) -> None:
    """A fault of the account or number refuses each update of the change, and each can be replayed."""
    refusals = parse(
        body(entry_id, metadata=metadata, statuses=[STATUS, STATUS], messages=[MESSAGE])
    ).refusals
    assert [refusal.reason for refusal in refusals] == [reason] * 3
    assert [only_reason(refusal.payload) for refusal in refusals] == [reason] * 3


def test_faults_of_the_surroundings_do_not_multiply_in_the_payloads() -> None:
    """Siblings repeat no large value of their change: the dead letter stays of the size of the body."""
    contacts = [{"wa_id": "5" * 100_000, "user_id": ["x" * 100_000]}]
    content = body("9" * 100_000, statuses=[STATUS] * 50, contacts=contacts)
    refusals = parse(content).refusals
    assert [refusal.reason for refusal in refusals] == ["invalid_field"] * 50
    assert sum(len(refusal.payload) for refusal in refusals) < len(content)


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"id": "x" * 512}, "message_id", "x" * 512),
        ({"id": 12}, "message_id", "12"),
        ({"id": 0}, "message_id", "0"),
        ({"conversation": {"id": -5}}, "conversation_id", None),
        ({"timestamp": " 1793577600 "}, "occurred_at", 1793577600),
        ({"timestamp": 2**32 - 1}, "occurred_at", None),
        ({"recipient_id": " +5511900000001 "}, "user_phone", "5511900000001"),
        ({"recipient_id": "US.ENT.1a"}, "user_bsuid", "US.ENT.1a"),
        ({"recipient_id": "US.1a", "recipient_user_id": "US.2b"}, "user_bsuid", "US.2b"),
        ({"recipient_user_id": "an id of tomorrow"}, "user_bsuid", "an id of tomorrow"),
        ({"conversation": {"origin": {"type": "o" * 64}}}, "conversation_origin", "o" * 64),
        ({"conversation": {"origin": {"type": "o" * 65}}}, "conversation_origin", None),
        ({"conversation": {"id": "c" * 513}}, "conversation_id", None),
        ({"conversation": {"expiration_timestamp": "soon"}}, "conversation_expires_at", None),
        ({"pricing": {"billable": "false"}}, "billable", False),
        ({"pricing": {"billable": 1}}, "billable", None),
        ({"pricing": {"type": []}}, "pricing_type", None),
        ({"pricing": {"pricing_model": {}}}, "pricing_model", None),
        ({"pricing": {"category": []}}, "category", None),
        ({"pricing": {"category": "new"}, "conversation": {"origin": {"type": "utility"}}}, "category", None),
        ({"status": "failed", "errors": [{"code": 2**31}]}, "error_code", None),
        ({"status": "failed", "errors": [{"code": True}]}, "error_code", None),
        ({"status": "failed", "errors": ["text"]}, "error_code", None),
        ({"status": "failed", "errors": [{"code": 0}]}, "error_code", 0),
    ],
)
def test_fields_of_a_status_are_read_within_their_limits(
    fields: dict[str, object], name: str, value: object
) -> None:
    """A value at its limit is taken; a describing field beyond it is read as not said and refuses nothing."""
    content = body(statuses=[{**STATUS, **fields}])
    if name == "occurred_at" and value is None:
        far_future_ms = 2**32 * 1000
        assert meta.parse(content, far_future_ms).events[0].occurred_at == 2**32 - 1
    else:
        assert getattr(only_event(content), name) == value


def with_surrogates(content: bytes) -> bytes:
    """Return a body with half of a surrogate pair, as an escape, wherever ``@`` stands."""
    return content.replace(b"@", b"\\ud83d")


def test_a_lone_surrogate_in_a_text_harms_nobody() -> None:
    """Half a character in a message's text, a name or a field nobody reads changes no event of the body."""
    messages = [{**MESSAGE, "text": {"body": "cut @"}, "@": "@"}, {**MESSAGE, "id": "\U0001f600 \\"}]
    content = body(messages=messages, contacts=[{**ADA, "profile": {"name": "@"}}])
    events = parse(with_surrogates(content)).events
    assert events == parse(content).events
    assert [event.message_id for event in events] == ["wamid.M1", "\U0001f600 \\"]


def test_a_whole_pair_and_an_escaped_backslash_stay_beside_a_lone_surrogate() -> None:
    """Reading a body with a lone surrogate changes no other escape in it."""
    content = body(statuses=[{**STATUS, "id": "#"}], lone="@").replace(
        b"#", b"\\ud83d\\ude00 \\\\ud83d \\u00e9"
    )
    assert only_event(with_surrogates(content)).message_id == "\U0001f600 \\ud83d \u00e9"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": "wamid.@"}, "invalid_field"),
        ({"timestamp": "@"}, "invalid_field"),
        ({"recipient_id": "@5511900000001"}, "invalid_field"),
        ({"recipient_user_id": "@"}, "invalid_field"),
        ({"recipient_parent_user_id": "@"}, "invalid_field"),
        ({"conversation": {"id": "@"}}, "invalid_field"),
        ({"status": "@"}, "unknown_kind"),
        ({"status": "@", "errors": [{"@": "@"}], "@": ["@"]}, "unknown_kind"),
    ],
)
@pytest.mark.parametrize("keep_text", [False, True])
def test_a_lone_surrogate_in_a_used_string_refuses_its_update(
    fields: dict[str, object], reason: str, keep_text: bool
) -> None:
    """The update alone is refused, its siblings count, and its payload is encodable and refused alike when replayed."""
    content = with_surrogates(body(statuses=[STATUS, {**STATUS, **fields}, STATUS]))
    parsed = parse(content, keep_text=keep_text)
    assert (len(parsed.events), [refusal.reason for refusal in parsed.refusals]) == (2, [reason])
    parsed.refusals[0].detail.encode()
    assert orjson.loads(parsed.refusals[0].payload)
    assert only_reason(parsed.refusals[0].payload) == reason


def test_lone_surrogates_around_an_update_are_judged_like_its_own() -> None:
    """In the account or number they refuse what stands below; elsewhere in the envelope they are harmless."""
    content = body(metadata={"phone_number_id": "@"}, statuses=[STATUS]), body("@", statuses=[STATUS])
    for refused in content:
        assert only_reason(with_surrogates(refused)) == "invalid_field"
    parsed = parse(with_surrogates(b'{"object":"@","entry":["@",{"id":"1","changes":[{"field":"@"}]}]}'))
    assert ([refusal.reason for refusal in parsed.refusals], parsed.ignored) == (
        ["malformed"],
        ["field:other"],
    )


def test_an_unusable_contact_refuses_nobody() -> None:
    """Contacts only complete: a bad value in one is read as absent where the update itself names its user."""
    contact = {"wa_id": ["x"], "user_id": 1.5, "parent_user_id": "a\0"}
    event = only_event(body(messages=[MESSAGE], contacts=[contact]))
    assert (event.user_phone, event.user_bsuid, event.user_parent_bsuid) == ("5511900000001", None, None)


def test_the_received_time_is_the_receivers() -> None:
    """``received_at`` is the clock given, and five minutes of the sender's clock ahead are still accepted."""
    assert only_event(body(statuses=[STATUS])).received_at == RECEIVED_AT_MS
    assert only_event(body(statuses=[{**STATUS, "timestamp": 1793664300}])).occurred_at == 1793664300


def test_one_bad_update_leaves_its_siblings_alone() -> None:
    """Between two good updates a bad one of any kind is refused and both others are accepted."""
    bad_updates: list[object] = [None, 1, "text", [], {}, {"id": {}}, {**STATUS, "status": 5}]
    for bad in bad_updates:
        parsed = parse(body(statuses=[STATUS, bad, STATUS]))
        assert (len(parsed.events), len(parsed.refusals)) == (2, 1)


def test_message_text_does_not_reach_the_payload_unless_asked() -> None:
    """A refusal's payload holds no text, caption, name or location of a person, but its ids and times."""
    bad: dict[str, object] = {
        **MESSAGE,
        "timestamp": "never",
        "text": {"body": "SECRET"},
        "image": {"caption": "SECRET", "id": "7"},
        "location": {"latitude": 12.25, "name": "SECRET"},
        "poll": {"question": "SECRET"},
    }
    contact = {"wa_id": "5511900000001", "profile": {"name": "SECRET"}}
    for content in (body(messages=[bad], contacts=[contact]), body(messages={"a": bad, "text": "SECRET"})):
        payload = parse(content).refusals[0].payload
        assert b"SECRET" not in payload
        assert b"12.25" not in payload
        assert b"wamid.M1" in payload
        assert b"SECRET" in parse(content, keep_text=True).refusals[0].payload


def test_the_detail_quotes_no_text_that_stands_where_an_update_should() -> None:
    """A string in place of an update may be what somebody wrote: the detail only names its type."""
    parsed = parse(body(messages=["SECRET"]))
    assert "SECRET" not in parsed.refusals[0].detail


def test_redaction_keeps_structure_and_bounds_depth() -> None:
    """Texts become empty and content numbers 0 under the same keys; errors stay; deep nesting ends in null."""
    update: dict[str, object] = {
        "id": "wamid.1",
        "location": {"latitude": 1.5, "live": True},
        "errors": [{"title": "not delivered"}],
        "unknown": ["SECRET", 7],
        "referral": {"source_id": "12", "headline": "SECRET"},
    }
    assert without_text(update) == {
        "id": "wamid.1",
        "location": {"latitude": 0, "live": True},
        "errors": [{"title": "not delivered"}],
        "unknown": ["", 7],
        "referral": {"source_id": "12", "headline": ""},
    }
    deep: object = "bottom"
    for _ in range(5_000):
        deep = [deep]
    assert orjson.dumps(without_text(deep)) == b"[" * 64 + b"null" + b"]" * 64


def test_accepted_events_survive_the_wire() -> None:
    """Every event of every example is the same after encoding and decoding a batch."""
    for name in NAMES:
        events = parse((EXAMPLES / f"{name}.json").read_bytes()).events
        assert decode_batch(encode_batch(events)) == events
