"""Record headers of the Faust transport as the opaque bytes that the log keeps."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


def encode_headers(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Return headers as bytes; order and repeated names are kept."""
    return _encoder.encode(headers)


def decode_headers(headers: bytes) -> list[tuple[str, bytes]]:
    """Return the headers that ``encode_headers`` was given.

    Raises:
        msgspec.MsgspecError: something else wrote these headers.
    """
    return _decoder.decode(headers)
