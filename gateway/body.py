"""Reads a request body within bounds of size, time and total memory.

Owns the counting of bytes. Does not look into them.
"""

from __future__ import annotations

from starlette.types import Message, Receive, Scope

from gateway.deadline import Deadlines
from gateway.errors import RequestRefused


class BodyReader:
    """Reads bodies; one instance bounds what all requests together hold before they are authenticated."""

    def __init__(self, size_bytes_max: int, buffered_bytes_max: int, timeout_seconds: float) -> None:
        """Take the bounds: one body, all bodies together, and the time for one."""
        self._size_bytes_max = size_bytes_max
        self._buffered_bytes_max = buffered_bytes_max
        self._deadlines = Deadlines(timeout_seconds)
        self._buffered_bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Return the whole body.

        Raises:
            RequestRefused: 413 too large (reading stops there), 408 too slow, 503 too many bytes held, 400 cut off.
        """
        declared = header(scope, b"content-length")
        if declared.isdecimal() and int(declared) > self._size_bytes_max:
            raise self._too_large()
        try:
            with self._deadlines.limit():
                message = await receive()
                # Nearly every body comes in one piece.
                if message["type"] == "http.request" and not message.get("more_body", False):
                    body: bytes = message.get("body", b"")
                    if len(body) > self._size_bytes_max:
                        raise self._too_large()
                    return body
                return await self._read_pieces(message, receive)
        except TimeoutError:
            raise RequestRefused(
                408,
                "body_timeout",
                "the body did not arrive in time",
                "send it faster, or raise gateway.body_timeout_seconds",
                close=True,
            ) from None

    async def _read_pieces(self, message: Message, receive: Receive) -> bytes:
        pieces: list[bytes] = []
        held_bytes = 0
        try:
            while True:
                if message["type"] == "http.disconnect":
                    raise RequestRefused(
                        400, "body_incomplete", "the sender went away", "repeat it", close=True
                    )
                piece: bytes = message.get("body", b"")
                if held_bytes + len(piece) > self._size_bytes_max:
                    raise self._too_large()
                self._take(len(piece))
                held_bytes += len(piece)
                pieces.append(piece)
                if not message.get("more_body", False):
                    return b"".join(pieces)
                message = await receive()
        finally:
            self._buffered_bytes -= held_bytes

    def _too_large(self) -> RequestRefused:
        return RequestRefused(
            413,
            "body_too_large",
            f"the body is larger than {self._size_bytes_max} bytes",
            "send fewer updates in one body, or raise gateway.body_size_bytes_max",
            close=True,
        )

    def _take(self, size_bytes: int) -> None:
        """Account for bytes being held, or refuse if all requests together would hold too many."""
        if self._buffered_bytes + size_bytes > self._buffered_bytes_max:
            raise RequestRefused(
                503,
                "too_many_bodies",
                "too many bodies are being received at once",
                "repeat it later",
                retry_seconds=1,
                close=True,
            )
        self._buffered_bytes += size_bytes


def header(scope: Scope, name: bytes) -> str:
    """Return the first header of a name (in lower case), empty if there is none.

    Straight from the scope: building Starlette's ``Headers`` for one look costs more than the look.
    """
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""
