"""Input files as streams of bytes: plain, standard input, or packed by gzip or zstandard.

Owns unpacking, and that an archive which was cut is never taken for a whole one.
"""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import zstandard

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PACKED_BYTES = 1 << 16
"""Read at once: what one piece unpacks to is in memory as a whole."""
_STANDARD_INPUT = 0


class ByteStream(Protocol):
    """What is read from an input."""

    def read1(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes as soon as there are any; none = the end.

        Raises:
            EOFError: a packed file ends too early. One that is broken raises its format's own errors.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def open_input(path: Path) -> ByteStream:
    """Open a file by its suffix, ``-`` as standard input.

    Raises:
        EOFError: a packed file of no bytes: not even its header is there.
        OSError: it cannot be opened.
    """
    if str(path) == "-":
        return _StandardInput()
    if path.suffix not in (".gz", ".zst"):
        return path.open("rb")
    if path.stat().st_size == 0:
        raise EOFError(f"{path} is empty: it was cut before its first byte")
    return gzip.open(path) if path.suffix == ".gz" else io.BufferedReader(_Zstandard(path.open("rb")))


class _StandardInput:
    """Standard input without Python's buffer, whose lock is held by whoever waits for the next line.

    To close that buffer, or to end the process, while a thread reads a silent pipe would wait for the pipe.
    """

    def read1(self, size: int, /) -> bytes:
        return os.read(_STANDARD_INPUT, size)

    def close(self) -> None:
        """Leave it to the process."""


class _Zstandard(io.RawIOBase):
    """Unpacks a file of one or more zstandard frames; one that has no end is an error."""

    def __init__(self, packed: BinaryIO) -> None:
        """Take the packed file, which is closed with this one."""
        self._packed = packed
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._left = b""
        """Packed bytes behind the end of a frame."""
        self._unpacked = memoryview(b"")

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill a buffer as far as the next piece goes; 0 = the end of the last frame."""
        while not self._unpacked:
            packed = self._left or self._packed.read(_PACKED_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the archive ends in the middle of a frame: it was cut")
                return 0
            self._unpacked = memoryview(self._unpack(packed))
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._unpacked))
        target[:count], self._unpacked = self._unpacked[:count], self._unpacked[count:]
        return count

    def _unpack(self, packed: bytes) -> bytes:
        frame = self._frame = self._frame or self._decompressor.decompressobj()
        unpacked = frame.decompress(packed)
        self._left = b""
        if frame.eof:
            self._left, self._frame = frame.unused_data, None
        return unpacked

    def close(self) -> None:
        """Close the packed file too."""
        self._packed.close()
        super().close()
