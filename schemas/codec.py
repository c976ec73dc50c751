"""Wire encoding of event records, and the partition that owns a user.

A record in the ``events`` topic starts with one byte that says what it is:

========  ==========================================================================
``0x01``  batch: MessagePack list of array-like ``Event`` (what gateway and normaliser write)
``0x02``  control: MessagePack array-like ``Control`` (backfill holds)
``{``     one canonical event as JSON, from a producer of one's own
========  ==========================================================================

A format is never changed in place: a new layout takes a new first byte, and old bytes stay readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec
from aiokafka.partitioner import murmur2

from schemas.events import Event

BATCH_TAG = 0x01
CONTROL_TAG = 0x02
JSON_TAG = 0x7B

_encoder = msgspec.msgpack.Encoder()
_batch_decoder = msgspec.msgpack.Decoder(list[Event])


class Control(msgspec.Struct, frozen=True, array_like=True):
    """An instruction to the worker that must stand in order with the events around it.

    ``hold`` keeps the account's cut where it is (metering.md §6: a backfill) until ``release`` with the same
    ``hold_id`` arrives, or until ``expires_at`` (UTC seconds, compared with the receiver's clock).
    """

    action: Literal["hold", "release"]
    account: str
    hold_id: str
    expires_at: int = 0


_control_decoder = msgspec.msgpack.Decoder(Control)


class UnreadableRecord(ValueError):
    """The record's bytes are not any of the known layouts; the record goes to the dead letter as malformed."""


def encode_batch(events: Sequence[Event]) -> bytes:
    """Return one batch record. All events must belong to the partition that the record is appended to."""
    return b"\x01" + _encoder.encode(events)


def encode_control(control: Control) -> bytes:
    """Return one control record."""
    return b"\x02" + _encoder.encode(control)


def decode_batch(record: bytes) -> list[Event]:
    """Return the events of a batch record.

    Raises:
        UnreadableRecord: the bytes after the tag are not a list of events.
    """
    try:
        return _batch_decoder.decode(memoryview(record)[1:])
    except msgspec.MsgspecError as error:
        raise UnreadableRecord(f"batch record: {error}") from error


def decode_control(record: bytes) -> Control:
    """Return the instruction of a control record.

    Raises:
        UnreadableRecord: the bytes after the tag are not a control.
    """
    try:
        return _control_decoder.decode(memoryview(record)[1:])
    except msgspec.MsgspecError as error:
        raise UnreadableRecord(f"control record: {error}") from error


@lru_cache(maxsize=1 << 18)
def partition_of(account: str, user_key: str, partition_count: int) -> int:
    """Return the partition that owns a user: Kafka's default partitioner over ``account|user_key``.

    Source: ``DefaultPartitioner`` of the Java client (murmur2, sign bit cleared, modulo), so that any Kafka
    producer that uses this key places a user where we do. Cached: the hash is pure Python.
    """
    hashed: int = murmur2(f"{account}|{user_key}".encode())
    return (hashed & 0x7FFFFFFF) % partition_count
