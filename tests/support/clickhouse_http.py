"""ClickHouse's HTTP protocol in front of an embedded engine, so that tests reach the server code path.

Speaks what our client library needs and can be told to misbehave. It proves our HTTP code, not a real server:
authentication, Native revisions, replication and server-side batching of inserts are not there.
"""

from __future__ import annotations

import asyncio
import base64
import re
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import chdb
import lz4.frame  # type: ignore[import-untyped]
import zstandard
from aiohttp import web

PASSWORD: Final = "p@ss/word"
USER: Final = "meter"

_connect: Any = chdb.connect
_TRANSPORT_PARAMETERS: Final = frozenset(
    {
        "query",
        "database",
        "session_id",
        "query_id",
        "compress",
        "wait_end_of_query",
        "client_protocol_version",
        "send_progress_in_http_headers",
        "http_headers_progress_interval_ms",
        "enable_http_compression",
        "role",
        "cancel_http_readonly_queries_on_client_close",
    }
)
_INSERT: Final = re.compile(rb"\s*(INSERT INTO .*?) FORMAT (\w+)\n", re.DOTALL | re.IGNORECASE)
_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)
_CODE: Final = re.compile(r"Code:\s*(\d+)")


class Mode(Enum):
    """How the server behaves."""

    WELL = "well"
    FAILS = "fails"
    """Answers 500 without a ClickHouse error, like a proxy whose server is gone."""
    CUTS_INSERT = "cuts insert"
    """Closes the connection in an insert before anything is stored."""
    LOSES_ANSWER = "loses answer"
    """Stores an insert, then closes the connection without an answer."""
    STORES_HALF = "stores half"
    """Stores half of an insert's rows, then closes the connection, as a server may that dies between two parts."""
    CUTS_BODY = "cuts body"
    """Closes the connection after the first bytes of an insert, while the client still sends."""
    BUSY = "busy"
    """Answers 503 with Retry-After, like a proxy in front of a server that restarts."""
    SLOW = "slow"
    """Does everything right, but answers only after ``delay_seconds``."""
    ERROR = "error"
    """Answers an insert with the ClickHouse error ``error_code``, nothing stored."""
    LOCKED = "locked"
    """Knows the login no more."""


class ClickHouseHttp:
    """The server, in a thread of its own, over a chDB connection on an engine that this process has open."""

    def __init__(self, connection_string: str) -> None:
        """Take what ``chdb.connect`` needs: the path with the options that the engine was opened with."""
        self._connection_string = connection_string
        self._connection: Any = None
        self._executor = ThreadPoolExecutor(1)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self.mode = Mode.WELL
        self.good_inserts = 0
        """Inserts that are still answered before ``mode`` applies to inserts."""
        self.delay_seconds = 0.0
        self.error_code = 0
        self.port = 0

    def __enter__(self) -> ClickHouseHttp:
        self._connection = _connect(self._connection_string)
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._executor.shutdown()
        self._connection.close()

    def address(self, database: str, password: str = "p%40ss%2Fword") -> str:
        """Return the address of a database on this server."""
        return f"http://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Listen, on the port of last time if there was one."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def stop(self) -> None:
        """Stop listening and cut every connection."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)

    async def _start(self) -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_post("/", self._post)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _post(self, request: web.Request) -> web.StreamResponse:
        refused = await self._refused(request)
        if refused is not None:
            return refused
        if self.mode is Mode.SLOW:
            await asyncio.sleep(self.delay_seconds)
        body = _decompressed(await request.read(), request.headers.get("Content-Encoding", ""))
        statement = request.query.get("query", "").encode()
        body = statement + b"\n" + body if statement else body
        is_insert = _INSERT.match(body) is not None
        faulty = is_insert and self.mode is not Mode.WELL and self._spend_good_insert()
        if faulty and self.mode is Mode.CUTS_INSERT:
            return _cut(request)
        if faulty and self.mode is Mode.ERROR:
            return _error(f"Code: {self.error_code}. DB::Exception: as the test wants it.")
        loop = asyncio.get_running_loop()
        half = faulty and self.mode is Mode.STORES_HALF
        response = await loop.run_in_executor(self._executor, self._run, body, dict(request.query), half)
        return _cut(request) if half or (faulty and self.mode is Mode.LOSES_ANSWER) else response

    async def _refused(self, request: web.Request) -> web.Response | None:
        """Return the answer to a request whose body is not looked at."""
        if self.mode is Mode.FAILS:
            return web.Response(status=500, text="upstream is gone")
        if self.mode is Mode.BUSY:
            return web.Response(status=503, text="try again", headers={"Retry-After": "1"})
        login = request.headers.get("Authorization") or ""
        if login != _basic(USER, PASSWORD) or self.mode is Mode.LOCKED:
            return _error("Code: 516. DB::Exception: meter: Authentication failed. (AUTHENTICATION_FAILED)")
        if self.mode is Mode.CUTS_BODY and request.headers.get("Transfer-Encoding") == "chunked":
            # Only inserts are sent in pieces.
            await request.content.readany()
            return _cut(request)
        return None

    def _spend_good_insert(self) -> bool:
        """Tell whether no more inserts are to be answered well."""
        if self.good_inserts:
            self.good_inserts -= 1
            return False
        return True

    def _run(self, body: bytes, query: dict[str, str], half: bool = False) -> web.Response:
        parameters = {
            name.removeprefix("param_"): value for name, value in query.items() if name.startswith("param_")
        }
        settings = {
            name: value
            for name, value in query.items()
            if name not in _TRANSPORT_PARAMETERS and not name.startswith("param_")
        }
        try:
            self._connection.query(f"USE `{query.get('database', 'default')}`")
            for name, value in settings.items():
                self._connection.query(f"SET {name} = '{value}'")
            inserted = _INSERT.match(body)
            if inserted:
                return self._insert(inserted, body[inserted.end() :], half)
            return self._query(body.decode(), parameters)
        except Exception as error:
            return _error(str(error))
        finally:
            for name in settings:
                self._connection.query(f"SET {name} = DEFAULT")

    def _insert(self, inserted: re.Match[bytes], data: bytes, half: bool) -> web.Response:
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            Path(file.name).write_bytes(data)
            into, layout = inserted[1].decode(), inserted[2].decode()
            if data[:6].upper() == b"VALUES":
                self._connection.query(f"{into} {data.decode()}")
            elif half:
                rows = f"file('{file.name}', '{layout}')"
                count = int(self._connection.query(f"SELECT count() FROM {rows}", "TabSeparated").bytes())
                self._connection.query(f"{into} SELECT * FROM {rows} LIMIT {count // 2}")
            else:
                self._connection.query(f"{into} FROM INFILE '{file.name}' FORMAT {layout}")
        return web.Response(headers={"X-ClickHouse-Summary": "{}"})

    def _query(self, sql: str, parameters: dict[str, str]) -> web.Response:
        layout = _FORMAT.search(sql)
        name = layout[1] if layout else "TabSeparatedWithNames"
        answer: bytes = self._connection.query(sql, name, params=parameters).bytes() or b""
        headers = {"X-ClickHouse-Summary": "{}", "X-ClickHouse-Timezone": "UTC"}
        if not layout and answer:
            answer = answer.split(b"\n", 1)[1]
            name = "TabSeparated"
        if layout or answer:
            headers["X-ClickHouse-Format"] = name
        return web.Response(body=answer, headers=headers)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _error(message: str) -> web.Response:
    found = _CODE.search(message)
    return web.Response(
        status=500, text=message, headers={"X-ClickHouse-Exception-Code": found[1] if found else "1002"}
    )


def _cut(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()


def _decompressed(body: bytes, encoding: str) -> bytes:
    """Undo the compression of a request, which is many frames one after the other."""
    if encoding == "lz4":
        pieces = []
        while body:
            frame = lz4.frame.LZ4FrameDecompressor()
            pieces.append(frame.decompress(body))
            body = frame.unused_data or b""
        return b"".join(pieces)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
    assert encoding in {"", "identity"}, f"the client compressed with {encoding}"
    return body
