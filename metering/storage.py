"""How a user's state lies in bounded pieces, so that an event rewrites only what it touches.

A user is a *head* and, once it has many messages, *buckets* of items by the leading bits of their keys. Up to
``INLINE_ITEMS_MAX`` items lie inside the head record itself: one read and one write for most users. When buckets grow
beyond ``BUCKET_ITEMS_MAX`` on average, their number doubles, so splitting costs a constant share of the writes.
Owns the layout and the storage encoding of the ``users`` table; does not own the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from metering.head import Head, name_from_key
from metering.state import Incoming, Message
from metering.user import User

INLINE_ITEMS_MAX = 64
BUCKET_ITEMS_MAX = 16
"""Items per bucket on average. Keys are spread evenly, so nearly every changed item rewrites a bucket of its own."""
BUCKET_BITS_MAX = 24
LAYOUT_VERSION = 1

_HEAD_PIECE = b"h"
_BUCKET_PIECE = b"m"
_EXPIRED_PIECE = b"x"
_ARRIVED_PIECE = b"t"
_MET_PIECE = b"w"

_ALIAS_TAG = b"\xc1"
"""First byte of a head record that only says under which key the user is now. MessagePack never begins with it."""


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """Items whose key begins with the same bits."""

    messages: dict[bytes, Message] = {}
    incoming: dict[bytes, Incoming] = {}


class StoredHead(msgspec.Struct, array_like=True, gc=False):
    """The head record. ``bits`` = 0: the items are here; else they lie in ``2 ** bits`` buckets."""

    layout: int
    head: Head
    bits: int
    bucket: Bucket
    bucketed_items: int = 0
    """Number of items in the buckets; counted so that growth needs no reading."""


_encode = msgspec.msgpack.Encoder().encode
_decode_head = msgspec.msgpack.Decoder(StoredHead).decode
_decode_bucket = msgspec.msgpack.Decoder(Bucket).decode

T = TypeVar("T", Message, Incoming)
Writes = dict[bytes, bytes | None]
"""Record key to new value; None removes the record."""


def user_prefix(account: str, user_key: str) -> bytes:
    """Return the prefix that all records of a user share. Neither part may contain NUL (parsers refuse it)."""
    return f"{account}\0{user_key}\0".encode()


def account_prefix(account: str) -> bytes:
    """Return the prefix that all users of an account share."""
    return f"{account}\0".encode()


def head_key(prefix: bytes) -> bytes:
    """Return the key of the head record."""
    return prefix + _HEAD_PIECE


def expired_key(prefix: bytes, item: bytes) -> bytes:
    """Return the key of the mark that says an item's state was dropped."""
    return prefix + _EXPIRED_PIECE + item


def is_head_key(key: bytes) -> bool:
    """Tell head records from all others. Prefixes end at the second NUL."""
    return key.endswith(b"\0" + _HEAD_PIECE) and key.count(b"\0") == 2


def expired_item(key: bytes) -> bytes | None:
    """Return the item of a mark's key, or None for other records."""
    _, _, piece = key.split(b"\0", 2)
    return piece[1:] if piece[:1] == _EXPIRED_PIECE else None


def arrived_prefix(prefix: bytes, source: str) -> bytes:
    """Return the prefix of the keys of a state's parts that have come for this user from another key."""
    return prefix + _ARRIVED_PIECE + source.encode() + b"/"


def arrived_key(prefix: bytes, source: str, part: int) -> bytes:
    """Return the key of one part; ascending in their order."""
    return arrived_prefix(prefix, source) + f"{part:08d}".encode()


def arrived_part(key: bytes) -> tuple[str, int] | None:
    """Return source and place of an arrived part's key, or None for other records."""
    _, _, piece = key.split(b"\0", 2)
    if piece[:1] != _ARRIVED_PIECE:
        return None
    source, _, part = piece[1:].rpartition(b"/")
    return source.decode(), int(part)


def met_key(account: str, item: bytes) -> bytes:
    """Return the key of the note under which user an item is. No user has an empty key."""
    return user_prefix(account, "") + _MET_PIECE + item


def is_met_key(key: bytes) -> bool:
    """Tell notes of where an item is from all other records."""
    _, user_key, piece = key.split(b"\0", 2)
    return not user_key and piece[:1] == _MET_PIECE


class Alias(msgspec.Struct, array_like=True, frozen=True):
    """Where a user is found whose names were joined to another's."""

    key: str
    """The user key to ask next. It comes before this one in ``metering.identity.key_order``."""
    joins: int = 0
    """How often another user was joined by way of this key."""


_decode_alias = msgspec.msgpack.Decoder(Alias).decode


def encode_alias(alias: Alias) -> bytes:
    """Return the head record of a key that stands for another."""
    return _ALIAS_TAG + _encode(alias)


def alias_of(head_record: bytes | None) -> Alias | None:
    """Return where a head record refers to, None if it is a user's own."""
    return (
        _decode_alias(head_record[1:]) if head_record is not None and head_record[:1] == _ALIAS_TAG else None
    )


def split_key(key: bytes) -> tuple[str, str]:
    """Return the account and the user key of a record."""
    account, user_key, _ = key.split(b"\0", 2)
    return account.decode(), user_key.decode()


def bucket_index(item: bytes, bits: int) -> int:
    """Return the bucket of an item: the leading bits of its key."""
    return int.from_bytes(item[:4]) >> (32 - bits) if bits else 0


def _bucket_key(prefix: bytes, bits: int, index: int) -> bytes:
    # The depth is in the key: buckets of two depths never mix, whatever a crash leaves behind.
    return prefix + _BUCKET_PIECE + bytes([bits]) + index.to_bytes(4)


class UserRecord:
    """A user's stored form: knows which pieces were read and writes back only what changed."""

    __slots__ = ("_buckets", "alias", "bits", "prefix", "user")

    def __init__(
        self, prefix: bytes, stored: bytes | None, read: Callable[[list[bytes]], list[bytes | None]]
    ):
        """Decode a user.

        Args:
            prefix: from ``user_prefix``.
            stored: the head record, or None for a new user.
            read: reads further records; called once, with the keys of all buckets, when there are any.
        """
        self.prefix = prefix
        self.bits = 0
        self.user = User()
        self._buckets: dict[int, Bucket] = {}
        """While ``bits`` > 0: the user's items by bucket, the same objects as in ``user``."""
        self.alias = alias_of(stored)
        """Where the user is now, if not here: then there is no state."""
        if stored is None or self.alias is not None:
            return
        decoded = _decode_head(stored)
        if decoded.layout != LAYOUT_VERSION:
            raise ValueError(f"user record of layout {decoded.layout}; this version reads {LAYOUT_VERSION}")
        self.bits = decoded.bits
        self.user.head = decoded.head
        name_from_key(decoded.head, split_key(head_key(prefix))[1])
        self._take(decoded.bucket)
        if self.bits:
            keys = [_bucket_key(prefix, self.bits, index) for index in range(1 << self.bits)]
            for index, value in enumerate(read(keys)):
                if value is not None:
                    bucket = self._buckets[index] = _decode_bucket(value)
                    self._take(bucket)

    def _take(self, bucket: Bucket) -> None:
        self.user.messages.update(bucket.messages)
        self.user.incoming.update(bucket.incoming)

    def writes(self, touched: Iterable[bytes]) -> Writes:
        """Return the records to write after the given items (and perhaps the head) changed, came or went.

        Items change in place; one that was replaced by another object must be among the given ones.
        """
        item_count = len(self.user.messages) + len(self.user.incoming)
        bits = self.bits
        if bits or item_count > INLINE_ITEMS_MAX:
            while item_count > BUCKET_ITEMS_MAX << bits and bits < BUCKET_BITS_MAX:
                bits += 1
        while bits and item_count < BUCKET_ITEMS_MAX << bits >> 3:
            bits -= 1
        if bits != self.bits:
            return self._reshaped(bits, item_count)
        result: Writes = {head_key(self.prefix): self._head(item_count)}
        if bits:
            for index in {self._place(item) for item in touched}:
                result[_bucket_key(self.prefix, bits, index)] = self._encoded(index)
        return result

    def _reshaped(self, bits: int, item_count: int) -> Writes:
        old = (
            [_bucket_key(self.prefix, self.bits, index) for index in range(1 << self.bits)]
            if self.bits
            else []
        )
        result: Writes = dict.fromkeys(old)
        self.bits = bits
        self._buckets = self._distributed()
        result[head_key(self.prefix)] = self._head(item_count)
        if bits:
            for index in range(1 << bits):
                result[_bucket_key(self.prefix, bits, index)] = self._encoded(index)
        return result

    def _distributed(self) -> dict[int, Bucket]:
        """Return all items of the user by bucket; none while they lie in the head."""
        bits = self.bits
        if not bits:
            return {}
        buckets = {index: Bucket({}, {}) for index in range(1 << bits)}
        for item, message in self.user.messages.items():
            buckets[bucket_index(item, bits)].messages[item] = message
        for item, entry in self.user.incoming.items():
            buckets[bucket_index(item, bits)].incoming[item] = entry
        return buckets

    def _head(self, item_count: int) -> bytes:
        if self.bits:
            return _encode(StoredHead(LAYOUT_VERSION, self.user.head, self.bits, Bucket(), item_count))
        return _encode(
            StoredHead(LAYOUT_VERSION, self.user.head, 0, Bucket(self.user.messages, self.user.incoming))
        )

    def _place(self, item: bytes) -> int:
        """Bring an item's bucket in line with the user and return its index."""
        index = bucket_index(item, self.bits)
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = Bucket({}, {})
        _mirror(self.user.messages, bucket.messages, item)
        _mirror(self.user.incoming, bucket.incoming, item)
        return index

    def _encoded(self, index: int) -> bytes | None:
        bucket = self._buckets.get(index)
        return _encode(bucket) if bucket and (bucket.messages or bucket.incoming) else None

    def moved_to(self, alias: Alias | None) -> Writes:
        """Leave nothing here but a reference to another key, or nothing at all; return the writes for it."""
        result = self.removal()
        if alias is not None:
            result[head_key(self.prefix)] = encode_alias(alias)
        self.alias, self.user, self.bits, self._buckets = alias, User(), 0, {}
        return result

    def removal(self) -> Writes:
        """Return the writes that remove the user's head and buckets."""
        result: Writes = {head_key(self.prefix): None}
        if self.bits:
            result.update((_bucket_key(self.prefix, self.bits, i), None) for i in range(1 << self.bits))
        return result


def _mirror(items: dict[bytes, T], bucket: dict[bytes, T], item: bytes) -> None:
    value = items.get(item)
    if value is not None:
        bucket[item] = value
    else:
        bucket.pop(item, None)
