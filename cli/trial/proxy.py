"""A door between the workers and ClickHouse that can be shut, and slammed in the middle of an insert."""

from __future__ import annotations

import asyncio
from contextlib import suppress

_PIECE_BYTES = 1 << 16


class Door:
    """Forwards TCP connections from a loopback port of its own to one address, while it is open."""

    def __init__(self, host: str, port: int) -> None:
        """Take where it leads to."""
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        """Take connections, on the port of last time if there was one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Cut every connection where it is, and take no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            out_reader, out_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, out_writer), (out_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        self._writers.add(sink)
        try:
            with suppress(OSError):
                while piece := await source.read(_PIECE_BYTES):
                    sink.write(piece)
                    await sink.drain()
        finally:
            self._writers.discard(sink)
            sink.close()
