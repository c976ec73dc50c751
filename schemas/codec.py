"""Wire encoding of event records, and the partition that owns a user.

A record in the ``events`` topic starts with one byte that says what it is:

========  ==========================================================================
``0x01``  batch: MessagePack list of array-like ``Event`` (what gateway and normaliser write)
``0x02``  control: MessagePack array-like ``Control`` (backfill holds)
``0x03``  what partitions tell each other about linked users (``schemas.parcels``)
``{``     one canonical event as JSON, from a producer of one's own
========  ==========================================================================

A format is never changed in place: a new layout takes a new first byte, and old bytes stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from aiokafka.partitioner import murmur2
from msgspec import Meta

from schemas.events import Event, Key
from schemas.limits import FUTURE_TOLERANCE_SECONDS, TIMESTAMP_LIMIT

BATCH_TAG = 0x01
CONTROL_TAG = 0x02
JSON_TAG = 0x7B

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(list[Event])
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises on bytes that are no record: half of a surrogate pair and nesting without end, too."""


class Control(msgspec.Struct, frozen=True, array_like=True):
    """An instruction to the worker that must stand in order with the events around it.

    ``hold`` keeps the account's cut where it is (metering.md §6: a backfill) until ``release`` with the same
    ``hold_id`` arrives, or until ``expires_at`` (UTC seconds, compared with the receiver's clock).
    """

    action: Literal["hold", "release"]
    account: Key
    hold_id: Key
    expires_at: Annotated[int, Meta(ge=0, lt=TIMESTAMP_LIMIT)] = 0


_control_decoder = msgspec.msgpack.Decoder(Control)


class UnreadableRecord(ValueError):
    """The record is not of any of the known layouts, or holds an event that no parser lets in.

    It goes to the dead letter as malformed, all of it: what wrote one such event was no producer of ours.
    """


def encode_batch(events: Sequence[Event]) -> bytes:
    """Return one batch record. All events must belong to the partition that the record is appended to."""
    return b"\x01" + _encoder.encode(events)


def encode_control(control: Control) -> bytes:
    """Return one control record."""
    return b"\x02" + _encoder.encode(control)


def decode_batch(record: bytes) -> list[Event]:
    """Return the events of a batch record.

    Raises:
        UnreadableRecord: the bytes after the tag are not a list of events, or one of these is outside the limits that
            parsers keep: without a user (an identity update: without two ids; a tier update: without a tier), from the
            future of its receiver, before 2009, too long, out of range.
    """
    try:
        events = _batch_decoder.decode(memoryview(record)[1:])
    except UNREADABLE as error:
        raise UnreadableRecord(f"batch record: {error}") from error
    for position, event in enumerate(events):
        fault = _fault_of(event)
        if fault is not None:
            raise UnreadableRecord(f"batch record: event {position}: {fault}")
    return events


def _fault_of(event: Event) -> str | None:
    """Return what is wrong with an event beyond single fields' bounds, which decoding has checked."""
    # Stored keys are parts with NUL between them.
    if "\0" in f"{event.account}{event.number}{event.message_id}{event.user_phone}{event.user_bsuid}":
        return "holds a NUL character in a key"
    fault = None
    if event.kind == "identity" or event.user_previous_bsuid is not None:
        fault = _identity_fault_of(event)
    elif event.kind == "tier" or event.volume_tier is not None:
        fault = _tier_fault_of(event)
    if fault is not None:
        return fault
    if event.participant is not None and "\0" in event.participant:
        return "holds a NUL character in its participant"
    if event.user_phone is None and event.user_bsuid is None and event.kind != "tier":
        return "neither a phone nor a user id"
    if (event.occurred_at - FUTURE_TOLERANCE_SECONDS) * 1000 > event.received_at:
        return f"occurred at {event.occurred_at} s, more than 5 minutes after {event.received_at} ms"
    return None


def _identity_fault_of(event: Event) -> str | None:
    """Return what is wrong with the ids of an event that is an identity update, or names a previous id."""
    if "\0" in f"{event.user_previous_bsuid}":
        return "holds a NUL character in its previous user id"
    if event.kind != "identity":
        return None
    if event.user_bsuid is None or event.user_previous_bsuid is None:
        return "an identity update without both user ids"
    if event.user_bsuid == event.user_previous_bsuid:
        return "an identity update from a user id to the same"
    return None


def _tier_fault_of(event: Event) -> str | None:
    """Return what is wrong with an event that is a tier update, or names a tier."""
    if event.kind != "tier" or event.volume_tier is None:
        return "a volume tier, and not of kind tier, or the reverse"
    if event.user_key:
        return "a tier update with a user"
    if "\0" in f"{event.volume_tier.region}{event.volume_tier.category}":
        return "holds a NUL character in its tier"
    return None


def decode_control(record: bytes) -> Control:
    """Return the instruction of a control record.

    Raises:
        UnreadableRecord: the bytes after the tag are not a control, or one outside the limits.
    """
    try:
        control = _control_decoder.decode(memoryview(record)[1:])
    except UNREADABLE as error:
        raise UnreadableRecord(f"control record: {error}") from error
    if "\0" in control.account:
        raise UnreadableRecord("control record: holds a NUL character in its account")
    return control


@lru_cache(maxsize=1 << 18)
def partition_of(account: str, user_key: str, partition_count: int) -> int:
    """Return the partition that owns a user: Kafka's default partitioner over ``account|user_key``.

    Source: ``DefaultPartitioner`` of the Java client (murmur2, sign bit cleared, modulo), so that any Kafka
    producer that uses this key places a user where we do. Cached: the hash is pure Python.
    """
    hashed: int = murmur2(f"{account}|{user_key}".encode())
    return (hashed & 0x7FFFFFFF) % partition_count
