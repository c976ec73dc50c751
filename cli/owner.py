"""The owner's socket: how other verbs reach the process that owns a data directory.

Owns the protocol: HTTP over a Unix socket in the directory, MessagePack bodies. Whoever may open the socket may do
everything, so it is made readable by the owner's user alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cli.engine import Engine, InputFormat, QueryName
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.notices import NoticesAsked
from sinks.clickhouse.reader import Filters

SOCKET_NAME = "owner.sock"
_SOCKET_PATH_BYTES_MAX = 100
"""Unix socket addresses are limited to about 108 bytes; longer directories are reached through /proc."""


class IngestCall(msgspec.Struct):
    """Arguments of ``Engine.ingest``."""

    lines: list[bytes]
    input_format: InputFormat
    first_line: int


class HoldCall(msgspec.Struct):
    """Arguments of ``Engine.hold``."""

    accounts: list[str]
    hold_id: str
    release: bool


class AcceptCall(msgspec.Struct):
    """Arguments of ``Engine.accept``."""

    topic: str
    partition: int


class QueryCall(msgspec.Struct):
    """Arguments of ``Engine.query``."""

    name: QueryName
    filters: Filters


class DeadLettersCall(msgspec.Struct):
    """Arguments of ``Engine.dead_letters``."""

    after: int
    limit: int


class Failure(msgspec.Struct):
    """What went wrong, for the person who called the verb."""

    message: str


Call = TypeVar("Call")


def create_owner_app(engine: Engine) -> Starlette:
    """Return the application that answers on the socket."""

    async def ingest(call: IngestCall) -> object:
        return await engine.ingest(call.lines, call.input_format, call.first_line)

    async def hold(call: HoldCall) -> object:
        await engine.hold(call.accounts, call.hold_id, call.release)
        return None

    async def positions(_: None) -> object:
        return await engine.positions()

    async def wait_flushed(call: dict[int, int]) -> object:
        await engine.wait_flushed(call)
        return None

    async def query(call: QueryCall) -> object:
        return await engine.query(call.name, call.filters)

    async def dead_letters(call: DeadLettersCall) -> object:
        return await engine.dead_letters(call.after, call.limit)

    async def accept(call: AcceptCall) -> object:
        await engine.accept(call.topic, call.partition)
        return None

    async def replay(call: list[int]) -> object:
        return await engine.replay(call)

    return Starlette(
        routes=[
            _route("ingest", IngestCall, ingest),
            _route("hold", HoldCall, hold),
            _route("positions", type(None), positions),
            _route("wait-flushed", dict[int, int], wait_flushed),
            _route("query", QueryCall, query),
            _route("charges", ChargesAsked, engine.charges),
            _route("report", ReportAsked, engine.report),
            _route("limits", LimitsAsked, engine.limits),
            _route("notices", NoticesAsked, engine.notices),
            _route("dead-letters", DeadLettersCall, dead_letters),
            _route("replay", list[int], replay),
            _route("accept", AcceptCall, accept),
        ]
    )


def _route(name: str, call_type: type[Call], answer: Callable[[Call], Awaitable[object]]) -> Route:
    decoder = msgspec.msgpack.Decoder(call_type)

    async def endpoint(request: Request) -> Response:
        try:
            result = await answer(decoder.decode(await request.body()))
        except Exception as error:  # whatever it is, the person at the other end must read it
            failure = Failure(f"{type(error).__name__}: {error}")
            return Response(msgspec.msgpack.encode(failure), status_code=500)
        return Response(msgspec.msgpack.encode(result))

    return Route(f"/{name}", endpoint, methods=["POST"])


def socket_path(data: Path) -> Path:
    """Return where the owner of a data directory listens."""
    return data.absolute() / SOCKET_NAME


class OwnerServer:
    """Serves an engine on the socket of its data directory."""

    def __init__(self, engine: Engine, data: Path) -> None:
        """Bind the socket. The caller owns the directory, so a socket that is there is left over from a crash."""
        path = socket_path(data)
        path.unlink(missing_ok=True)
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Nobody else's from the first moment on, not only after a chmod.
        mask = os.umask(0o177)
        try:
            with _short(path) as short:
                self._socket.bind(short)
        finally:
            os.umask(mask)
        config = uvicorn.Config(
            create_owner_app(engine),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to answer."""
        self._serving = asyncio.create_task(self._server._serve([self._socket]), name="owner-socket")

    async def stop(self) -> None:
        """Stop answering and remove the socket."""
        self._path.unlink(missing_ok=True)
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving


class _short:  # noqa: N801 - reads as a verb in a with statement
    """An address for a socket path that may be too long for the kernel: through the directory's descriptor."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) <= _SOCKET_PATH_BYTES_MAX:
            return str(self._path)
        self._descriptor = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


short_address = _short
