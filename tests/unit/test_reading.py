"""How bodies from files and input topics are read: never an exception, nothing lost."""

from __future__ import annotations

import orjson

from schemas.codec import decode_batch, partition_of
from streams.normalize import BATCH_EVENTS_MAX, Reading, event_appends

NOW_MS = 1_790_000_100_000
EVENT = (
    b'{"account":"a","number":"n","kind":"sent","message_id":"m","occurred_at":1790000000,'
    b'"user_phone":"4917012345678"}'
)
WEBHOOK = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"w","changes":[{"field":"messages","value":{"metadata":'
    b'{"phone_number_id":"n"},"messages":[{"from":"4917012345678","id":"i1","timestamp":"1790000000","type":"text",'
    b'"text":{"body":"%s"}}]}}]}]}'
)


def test_the_format_shows_by_itself() -> None:
    """A body with ``entry`` is a webhook body; objects and lists without it are canonical events."""
    reading = Reading()
    assert [event.account for event in reading.read(WEBHOOK % b"hi", NOW_MS).events] == ["w"]
    assert [event.account for event in reading.read(EVENT, NOW_MS).events] == ["a"]
    assert len(reading.read(b"[" + EVENT + b"," + EVENT + b"]", NOW_MS).events) == 2


def test_half_a_character_in_a_text_does_not_make_a_webhook_unreadable() -> None:
    """A cut emoji in a message's text changes neither the format seen nor what is counted."""
    parsed = Reading().read(WEBHOOK % b"\\ud83d", NOW_MS)
    assert (len(parsed.events), parsed.refusals) == (1, [])


def test_what_cannot_be_read_is_one_refusal_without_its_text() -> None:
    """Rubbish becomes one dead letter; only its size is kept, unless the settings keep text."""
    (refusal,) = Reading().read(b"rubbish", NOW_MS).refusals
    assert (refusal.reason, orjson.loads(refusal.payload)) == ("malformed", {"unreadable_bytes": 7})
    (kept,) = Reading(keep_text=True).read(b"rubbish", NOW_MS).refusals
    assert kept.payload == b"rubbish"


def test_only_known_accounts_are_admitted_when_the_settings_say_so() -> None:
    """Events of other accounts are refused with the event itself, so that they can be replayed."""
    parsed = Reading(known=frozenset({"other"})).read(EVENT, NOW_MS)
    assert parsed.events == []
    (refusal,) = parsed.refusals
    assert (refusal.reason, refusal.account) == ("unknown_account", "a")
    assert Reading().read(refusal.payload, NOW_MS).events[0].message_id == "m"


def test_events_are_packed_by_the_partition_that_owns_their_user() -> None:
    """No event stands in another partition's record, no record holds more than a batch, none is lost."""
    events = Reading().read(
        b"[" + b",".join([EVENT.replace(b"5678", b"%04d" % n) for n in range(900)]) + b"]", NOW_MS
    )
    seen = 0
    for append in event_appends(events.events * 3, 4, NOW_MS):
        for record in append.records:
            batch = decode_batch(record.value or b"")
            seen += len(batch)
            assert len(batch) <= BATCH_EVENTS_MAX
            assert {partition_of(event.account, event.user_key, 4) for event in batch} == {append.partition}
    assert seen == 2700
