"""The dead letter's layout: nothing of the update is lost, and people can read it."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetter, UnreadableDeadLetter, decode_dead_letter, encode_dead_letter
from schemas.events import REFUSAL_REASONS

LETTER = DeadLetter("no_time", "found nothing", "9001", 1_793_577_600_123, "gateway", b'{"id": 1,  "x":[]}')


@given(
    st.builds(
        DeadLetter,
        reason=st.sampled_from(REFUSAL_REASONS),
        detail=st.text(),
        account=st.text(),
        received_at=st.integers(0, 2**53),
        source=st.sampled_from(["gateway", "worker"]),
        payload=st.binary() | st.recursive(st.none() | st.text(), st.lists).map(orjson.dumps),
    )
)
def test_round_trip(letter: DeadLetter) -> None:
    """What is written is read again, the payload byte for byte, whether it is JSON or not."""
    assert decode_dead_letter(encode_dead_letter(letter)) == letter


@pytest.mark.parametrize("payload", [b"\r0", b'{"id":1}\n', b" []", b"\t"])
def test_white_space_around_a_payload_is_kept(payload: bytes) -> None:
    """JSON with white space around it comes back as it was."""
    letter = DeadLetter("malformed", "", "", 0, "worker", payload)
    assert decode_dead_letter(encode_dead_letter(letter)) == letter


def test_json_payload_is_readable_in_place() -> None:
    """A JSON payload stands in the record as JSON."""
    assert orjson.loads(encode_dead_letter(LETTER))["payload"] == {"id": 1, "x": []}


def test_lone_surrogates_do_not_lose_the_letter() -> None:
    """Text that UTF-8 cannot hold is replaced; the payload stays."""
    letter = DeadLetter("malformed", "found \ud800", "9001", 1, "gateway", b"\xff")
    assert decode_dead_letter(encode_dead_letter(letter)).payload == b"\xff"


@pytest.mark.parametrize(
    "record",
    [b"", b"\xff", b"[]", b'{"reason":"no_time"}', encode_dead_letter(LETTER).replace(b'"9001"', b"9001")],
)
def test_unreadable_records(record: bytes) -> None:
    """A record of another layout is told apart, not guessed at."""
    with pytest.raises(UnreadableDeadLetter):
        decode_dead_letter(record)
