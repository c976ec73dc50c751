"""Reads the lines of a file from its end, in blocks: what is newest in a log does not cost reading all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Final

BLOCK_BYTES: Final = 256 * 1024
_LINE_BYTES_MAX: Final = 1024 * 1024
_UNREADABLE: Final = b"\0"
"""Stands for a line that is longer than any entry of ours: it is not kept in memory."""


def lines_backwards(file: BinaryIO, bytes_max: int) -> Iterator[bytes]:
    """Return a file's lines, the last one first, as far as they lie within its last bytes whole."""
    at = file.seek(0, os.SEEK_END)
    first = max(0, at - bytes_max)
    rest = b""
    while at > first:
        length = min(BLOCK_BYTES, at - first)
        at = file.seek(at - length)
        # The first line of a block goes on in the block before it.
        rest, *lines = (file.read(length) + rest).split(b"\n")
        yield from reversed(lines)
        if len(rest) > _LINE_BYTES_MAX:
            rest = _UNREADABLE
    if first == 0:
        yield rest
