"""How counts and notices are written to their topics: as JSON, since other systems may read them."""

from __future__ import annotations

import msgspec
import orjson

from schemas.alerts import CountKey, MonthCount, Notice
from schemas.codec import UnreadableRecord


def encode_count(count: MonthCount) -> tuple[bytes, bytes]:
    """Return key and value of a record of ``mau.counts``."""
    return count_key(CountKey(count.account, count.number, count.month, count.partition)), _encode(count)


def count_key(key: CountKey) -> bytes:
    """Return the record key of a count."""
    return orjson.dumps(list(key))


def decode_count(value: bytes) -> MonthCount:
    """Return a count.

    Raises:
        UnreadableRecord: it is none of ours.
    """
    try:
        return _decode_count(value)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnreadableRecord(f"not a count: {error}") from error


def encode_notice(notice: Notice) -> bytes:
    """Return a notice as JSON."""
    return _encode(notice)


def decode_notice(value: bytes) -> Notice:
    """Return a notice.

    Raises:
        UnreadableRecord: it is none.
    """
    try:
        return _decode_notice(value)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnreadableRecord(f"not a notice: {error}") from error


_encode = msgspec.json.Encoder().encode
_decode_count = msgspec.json.Decoder(MonthCount).decode
_decode_notice = msgspec.json.Decoder(Notice).decode
