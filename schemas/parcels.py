"""What partitions send each other about linked users: records in the ``events`` topic that begin with ``0x03``.

Owns the layout. Does not own what they cause (``streams.linking``, ``streams.meeting``,
``streams.agreement``). A parcel is addressed to one
user key of one account, and lies in the partition that owns that key, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.codec import UNREADABLE, UnreadableRecord
from schemas.events import Key

PARCEL_TAG = 0x03
_RECORD_BYTES = 256 << 10
"""Parcels are packed into records of about this size; one parcel alone may be larger."""

_Count = Annotated[int, Meta(ge=0)]


class RoutedEvents(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """Events of a user whose state is under another key than theirs."""

    account: Key
    key: Key
    batch: bytes
    """A batch record (``schemas.codec``)."""


class Attach(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """``key`` and ``other`` belong to one user: the state is to lie under the one that comes first."""

    account: Key
    key: Key
    other: Key


class StatePart(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """A part of the state that was under ``source`` and now belongs to ``key``."""

    account: Key
    key: Key
    source: Key
    part: _Count
    """0 to ``parts`` - 1; they come in order."""
    parts: _Count
    state: bytes
    """A ``metering.joining.MovedState``."""


class Detach(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """The user under ``other`` is forgotten: ``key`` need not refer to it any longer."""

    account: Key
    key: Key
    other: Key


class Ask(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """``asker`` wants to forget an account's state before ``instant``: has everything before this record been read?

    Addressed to a partition, not to a key, as are all of the following.
    """

    account: Key
    asker: _Count
    instant: int
    """UTC seconds."""
    round: _Count


class Told(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """Partition ``teller`` has read everything that lay before the question, and passed on what is not its own."""

    account: Key
    teller: _Count
    instant: int
    round: _Count


class NamesSeen(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """In which ways events have named users of an account."""

    account: Key
    names_seen: Annotated[int, Meta(ge=0, le=3)]


class Walk(msgspec.Struct, array_like=True, frozen=True, tag=8):
    """Where a partition goes on telling of an account's messages. Addressed to itself."""

    account: Key
    after: bytes
    """Key of the last record that was looked at; empty = begin."""


class Meet(msgspec.Struct, array_like=True, frozen=True, tag=9):
    """An item is under ``key``. Addressed to the partition that the item's own key falls on."""

    account: Key
    key: Key
    item: Annotated[bytes, Meta(min_length=12, max_length=12)]
    by_bsuid: bool
    """An event named the item's user by BSUID alone; else by phone alone."""


KeyParcel = RoutedEvents | Attach | StatePart | Detach
Parcel = KeyParcel | Ask | Told | NamesSeen | Walk | Meet

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Parcel]).decode

NO_PARCELS = b"\x03" + _encode([])
"""A record that says nothing: whoever appends it learns when everything before it is done."""


def encode_parcels(parcels: Iterable[Parcel]) -> Iterator[bytes]:
    """Yield the records that hold the parcels, in their order."""
    packed: list[msgspec.Raw] = []
    size = 0
    for parcel in parcels:
        encoded = _encode(parcel)
        if packed and size + len(encoded) > _RECORD_BYTES:
            yield b"\x03" + _encode(packed)
            packed, size = [], 0
        packed.append(msgspec.Raw(encoded))
        size += len(encoded)
    if packed:
        yield b"\x03" + _encode(packed)


def decode_parcels(record: bytes) -> list[Parcel]:
    """Return the parcels of a record.

    Raises:
        UnreadableRecord: the bytes after the tag are no list of parcels.
    """
    try:
        parcels = _decode(memoryview(record)[1:])
    except UNREADABLE as error:
        raise UnreadableRecord(f"parcel record: {error}") from error
    for parcel in parcels:
        texts = (value for value in msgspec.structs.astuple(parcel) if isinstance(value, str))
        if any("\0" in text for text in texts):
            raise UnreadableRecord("parcel record: holds a NUL character in a key")
    return parcels
