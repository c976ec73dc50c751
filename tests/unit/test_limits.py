"""What an event may hold: refused at both doors, not smuggled in by a batch record, always a row that can be stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from zoneinfo import available_timezones

import msgspec
import orjson
import pytest

from metering.calendar import Calendar
from schemas import canonical, meta
from schemas.codec import (
    Control,
    UnreadableRecord,
    decode_batch,
    decode_control,
    encode_batch,
    encode_control,
)
from schemas.events import Event, Parsed
from schemas.limits import EARLIEST_SECONDS, TIMESTAMP_LIMIT
from tests.support.partitions import Partitions

AT = 1_790_000_000
NOW_MS = (AT + 60) * 1000
END_MS = TIMESTAMP_LIMIT * 1000
DATE_DAYS = 1 << 16
"""Days from 1970-01-01 that ClickHouse's Date can hold."""
GOOD = Event(
    provider="canonical",
    account="A",
    number="1",
    kind="incoming",
    message_id="m",
    occurred_at=AT,
    received_at=NOW_MS,
    country="DE",
    user_phone="491700000001",
)
IDENTITY: dict[str, object] = {"kind": "identity", "user_bsuid": "DE.2", "user_previous_bsuid": "DE.1"}


def canonical_body(at: object) -> bytes:
    """Return a canonical event of a time."""
    return orjson.dumps(
        {
            "account": "A", "number": "1", "kind": "incoming", "message_id": "m", "user_phone": "491700000001",
            "occurred_at": at,
        }
    )  # fmt: skip


def meta_body(at: object) -> bytes:
    """Return a webhook body of Meta with one message of a time."""
    message = {"from": "491700000001", "id": "m", "timestamp": at, "type": "text"}
    value = {"metadata": {"phone_number_id": "1"}, "messages": [message]}
    entry = {"id": "A", "changes": [{"field": "messages", "value": value}]}
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})


DOORS = pytest.mark.parametrize(
    ("parse", "body"), [(canonical.parse, canonical_body), (meta.parse, meta_body)], ids=["canonical", "meta"]
)
Parse = Callable[[bytes, int], Parsed]
Body = Callable[[object], bytes]


@DOORS
@pytest.mark.parametrize("at", [1, 3600, "3600", EARLIEST_SECONDS - 1, TIMESTAMP_LIMIT, AT * 1000, 0, -1])
def test_a_time_that_no_event_can_have_is_refused_at_the_door(parse: Parse, body: Body, at: object) -> None:
    """Before 2009, in milliseconds or not positive is an invalid field, and again when its letter is replayed."""
    parsed = parse(body(at), END_MS * 2)
    assert (parsed.events, [refusal.reason for refusal in parsed.refusals]) == ([], ["invalid_field"])
    assert [again.reason for again in parse(parsed.refusals[0].payload, END_MS * 2).refusals] == [
        "invalid_field"
    ]


@DOORS
@pytest.mark.parametrize("at", [EARLIEST_SECONDS, str(EARLIEST_SECONDS), TIMESTAMP_LIMIT - 1])
def test_the_first_and_the_last_second_are_taken(parse: Parse, body: Body, at: object) -> None:
    """The bounds themselves are times, and come through a batch record."""
    events = parse(body(at), END_MS - 1).events
    assert [event.occurred_at for event in events] == [int(str(at))]
    assert decode_batch(encode_batch(events)) == events


def test_every_time_that_is_taken_has_a_day_that_a_row_can_hold() -> None:
    """In every zone the days of the first and the last second are ones that ClickHouse's Date takes."""
    for zone in sorted(available_timezones()):
        days = [Calendar((("", zone),)).day(at) for at in (EARLIEST_SECONDS, TIMESTAMP_LIMIT - 1)]
        assert 0 <= days[0] < days[1] < DATE_DAYS, zone


@pytest.mark.parametrize(
    "fields",
    [
        {"occurred_at": 3600},
        {"occurred_at": EARLIEST_SECONDS - 1},
        {"occurred_at": -1},
        {"occurred_at": TIMESTAMP_LIMIT, "received_at": END_MS - 1},
        {"occurred_at": 1 << 63, "received_at": 1 << 63},
        {"occurred_at": AT + 361},
        {"received_at": -1},
        {"received_at": END_MS},
        {"account": ""},
        {"account": "a" * 513},
        {"account": "\0partition"},
        {"number": ""},
        {"number": "1\0" + "2"},
        {"message_id": ""},
        {"message_id": "m\0"},
        {"message_id": "m" * 513},
        {"participant": "p\0"},
        {"participant": "p" * 513},
        {"user_phone": None},
        {"user_phone": ""},
        {"user_phone": "4917\0" + "1"},
        {"user_phone": "4" * 21},
        {"user_bsuid": ""},
        {"user_bsuid": "DE.\0"},
        {"user_bsuid": "b" * 513},
        {"user_parent_bsuid": "b" * 513},
        {"country": ""},
        {"country": "DEU"},
        {"number_display": "1" * 513},
        {"conversation_id": "c" * 513},
        {"conversation_origin": "o" * 65},
        {"conversation_expires_at": 0},
        {"conversation_expires_at": TIMESTAMP_LIMIT},
        {"error_code": -1},
        {"error_code": 1 << 31},
        {"provider": "twilio"},
        {"kind": "played"},
        {"category": "MARKETING"},
        {"user_previous_bsuid": ""},
        {"user_previous_bsuid": "b" * 513},
        {"user_previous_bsuid": "DE.\0"},
        {**IDENTITY, "user_previous_bsuid": None},
        {**IDENTITY, "user_previous_bsuid": "DE.\0"},
        {**IDENTITY, "user_previous_bsuid": "DE.2"},
        {**IDENTITY, "user_bsuid": None},
        {**IDENTITY, "user_bsuid": None, "user_phone": None},
    ],
)
def test_a_batch_record_smuggles_in_nothing_that_a_parser_refuses(fields: dict[str, object]) -> None:
    """One event outside the limits makes the record unreadable, wherever in it the event stands."""
    good = [GOOD, msgspec.structs.replace(GOOD, **IDENTITY)]
    assert decode_batch(encode_batch(good)) == good
    bad = msgspec.structs.replace(GOOD, **fields)
    with pytest.raises(UnreadableRecord, match="batch record"):
        decode_batch(encode_batch([GOOD, bad]))


NOT_UTF8 = b"\xed\xa0\x80"
DEEP = b"\x91" * 200_000


@pytest.mark.parametrize(
    "record",
    [
        encode_batch([GOOD]).replace(b"\xa1A", b"\xa3" + NOT_UTF8),
        encode_batch([GOOD]).replace(b"\xdc\x00\x18", b"\xdc\x00\x19") + DEEP,
        encode_batch([GOOD])[:-1],
        encode_batch([GOOD]) + b"\0",
        b"\x01",
    ],
    ids=["half of a surrogate pair", "nested without end", "cut", "longer", "empty"],
)
def test_bytes_that_are_no_batch_are_unreadable(record: bytes) -> None:
    """Whatever the bytes, the worker hears of it as a record that is to be set aside."""
    with pytest.raises(UnreadableRecord):
        decode_batch(record)


@pytest.mark.parametrize(
    "record",
    [
        encode_control(Control("hold", "", "id", AT)),
        encode_control(Control("hold", "\0partition", "id", AT)),
        encode_control(Control("hold", "A", "i" * 513, AT)),
        encode_control(Control("hold", "A", "id", TIMESTAMP_LIMIT)),
        encode_control(Control("hold", "A", "id", -1)),
        encode_control(Control("hold", "A", "id", AT)).replace(b"\xa1A", b"\xa3" + NOT_UTF8),
        encode_control(Control("hold", "A", "id", AT)).replace(b"\x94", b"\x95") + DEEP,
    ],
)
def test_a_control_outside_the_limits_is_unreadable(record: bytes) -> None:
    """A hold names an account that there can be, and ends."""
    assert decode_control(encode_control(Control("hold", "A", "id", AT))).expires_at == AT
    with pytest.raises(UnreadableRecord, match="control record"):
        decode_control(record)


def test_the_worker_sets_such_records_aside_and_goes_on(tmp_path: Path) -> None:
    """Between two good records, bad ones reach no counter and stop nothing."""
    partitions = Partitions(tmp_path, 1, lambda _: "America/Sao_Paulo")
    (partition,) = partitions.partitions
    last = msgspec.structs.replace(GOOD, message_id="m2")
    partition.log += [
        encode_batch([GOOD]),
        encode_batch([msgspec.structs.replace(GOOD, message_id="old", occurred_at=3600)]),
        encode_batch([GOOD]).replace(b"\xa1A", b"\xa3" + NOT_UTF8),
        encode_control(Control("hold", "\0partition", "id", AT)),
        encode_batch([last]),
    ]
    partition.work(Random(1))
    assert [refusal.reason for refusal in partition.refusals] == ["malformed"] * 3
    assert sum(values[0] for key, values in partitions.totals().items() if key[0] == 5) == 2
    assert min(int(key[1]) for key in partitions.totals()) > 0
    partitions.close()
