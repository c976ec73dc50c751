"""The record of the ``dead-letter`` topic: what could not be counted, why, and the update itself.

Owns the layout. Does not own who writes, keeps or replays dead letters.

A record is one JSON object::

    {"reason": "no_time", "detail": "...", "account": "9001", "received_at": 1793577600123, "source": "gateway",
     "payload": {...}}

A payload that is not JSON, or has white space around it, stands in ``payload_base64`` instead. New fields may be
added; readers skip what they do not know.
"""

from __future__ import annotations

from base64 import b64decode, b64encode

import msgspec
import orjson

from schemas.events import Refusal


class UnreadableDeadLetter(ValueError):
    """The record is not a dead letter of the layout above."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One update that was set aside."""

    reason: str
    """One of ``schemas.events.REFUSAL_REASONS``."""
    detail: str
    """What was found and what was expected, for people; it can hold user data, so it is never logged."""
    account: str
    """Empty if the update did not say."""
    received_at: int
    """UTC milliseconds."""
    source: str
    """The part that set it aside: ``gateway``, ``normalize``, ``worker`` or ``ingest``."""
    payload: bytes
    """The update, byte for byte as the refusal carried it."""


class _Layout(msgspec.Struct):
    reason: str
    detail: str
    account: str
    received_at: int
    source: str
    payload: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    payload_base64: str = ""


_decoder = msgspec.json.Decoder(_Layout)


def dead_letter_of(refusal: Refusal, received_at: int, source: str) -> DeadLetter:
    """Return the dead letter of a refusal; ``received_at`` is the receiver's clock in UTC milliseconds."""
    return DeadLetter(refusal.reason, refusal.detail, refusal.account, received_at, source, refusal.payload)


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """Return the record's value. A JSON payload is embedded as it stands, so that people can read the record."""
    record: dict[str, object] = {
        "reason": letter.reason,
        "detail": letter.detail,
        "account": letter.account,
        "received_at": letter.received_at,
        "source": letter.source,
    }
    if _is_bare_json(letter.payload):
        record["payload"] = orjson.Fragment(letter.payload)
    else:
        record["payload_base64"] = b64encode(letter.payload).decode()
    # Text cut from a hostile body may hold lone surrogates, which orjson refuses; keeping the letter matters more.
    try:
        return orjson.dumps(record)
    except orjson.JSONEncodeError:
        for name in ("reason", "detail", "account", "source"):
            record[name] = str(record[name]).encode("utf-8", "replace").decode()
        return orjson.dumps(record)


def decode_dead_letter(record: bytes) -> DeadLetter:
    """Return the dead letter of a record's value.

    Raises:
        UnreadableDeadLetter: not JSON, a field is missing or has another type, or the base64 is broken.
    """
    try:
        layout = _decoder.decode(record)
        payload = b64decode(layout.payload_base64, validate=True) or bytes(layout.payload)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableDeadLetter(f"dead letter: {error}") from error
    return DeadLetter(
        layout.reason, layout.detail, layout.account, layout.received_at, layout.source, payload
    )


def _is_bare_json(payload: bytes) -> bool:
    """Tell whether a payload is JSON without white space around it, which would be lost inside the record."""
    if payload != payload.strip():
        return False
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True
