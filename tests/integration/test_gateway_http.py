"""The gateway behind a real HTTP server on loopback: large, chunked, slow and broken senders."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import orjson
import pytest
import uvicorn

from gateway.server import server_config
from runtime.settings import Settings
from tests.unit.gateway_fakes import Gateway, body_of, gateway_settings, sign

MIB = 1 << 20
BODY_SIZE_MAX = 3 * MIB
BODY_TIMEOUT_SECONDS = 0.5


class Server:
    """A gateway in a thread of its own, and its port."""

    def __init__(self) -> None:
        """Listen on a free port; the gateway's settings are those of production but for the body timeout."""
        changes = {"port": 0, "body_timeout_seconds": BODY_TIMEOUT_SECONDS, "buffered_bytes_max": 8 * MIB}
        settings = Settings(gateway=gateway_settings(**changes))
        self.gateway = Gateway(settings)
        self._server = uvicorn.Server(server_config(self.gateway.app()))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()

    @property
    def url(self) -> str:
        """Return the webhook's address."""
        return f"http://127.0.0.1:{self.port}/webhooks/meta"

    def connect(self) -> socket.socket:
        """Return a raw connection with a time limit."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all tests of this file; each test looks at differences."""
    with Server() as running:
        yield running


def head(headers: dict[str, str]) -> bytes:
    """Return the head of a webhook POST."""
    lines = ["POST /webhooks/meta HTTP/1.1", "Host: gateway"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(connection: socket.socket) -> tuple[int, str]:
    """Read one answer up to the end of the connection; return its status and error code."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65_536):
            received += chunk
    head_part, _, content = received.partition(b"\r\n\r\n")
    return int(head_part.split(b" ", 2)[1]), orjson.loads(content)["error"]["code"]


def test_signed_body_of_the_largest_size(server: Server) -> None:
    """A body of exactly 3 MiB with 1,000 updates, sent in chunks without Content-Length, is durable at 200."""
    before = len(server.gateway.log.events())
    body = body_of(1000)
    body += b" " * (BODY_SIZE_MAX - len(body))
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    response = httpx.post(server.url, content=pieces, headers=sign(body), timeout=20)
    assert "content-length" not in response.request.headers
    assert (response.status_code, response.json()["accepted"]) == (200, 1000)
    assert len(server.gateway.log.events()) - before == 1000


def test_chunked_body_beyond_the_limit(server: Server) -> None:
    """A body that does not declare its size is cut off at the limit with 413, whatever its signature says."""
    before = len(server.gateway.log.records)
    with server.connect() as connection:
        connection.sendall(head(sign(b"") | {"Transfer-Encoding": "chunked"}))
        connection.sendall(b"%x\r\n" % (BODY_SIZE_MAX + 1) + b"x" * (BODY_SIZE_MAX + 1))
        assert answer(connection) == (413, "body_too_large")
    assert len(server.gateway.log.records) == before


def test_declared_size_beyond_the_limit(server: Server) -> None:
    """A body that declares too much is refused before any of it is sent."""
    with server.connect() as connection:
        connection.sendall(head(sign(b"") | {"Content-Length": str(BODY_SIZE_MAX + 1)}))
        assert answer(connection) == (413, "body_too_large")


def test_unsigned_body_is_not_awaited(server: Server) -> None:
    """Without a signature the answer comes before the body, and the connection ends."""
    with server.connect() as connection:
        connection.sendall(head({"Content-Length": str(MIB)}))
        assert answer(connection) == (401, "signature_missing")


def test_slow_sender(server: Server) -> None:
    """A body that does not arrive in time is 408, and others are served meanwhile."""
    started = time.monotonic()
    with server.connect() as slow:
        slow.sendall(head(sign(b"") | {"Content-Length": "1000"}) + b"x" * 10)
        body = body_of(1)
        assert httpx.post(server.url, content=body, headers=sign(body)).status_code == 200
        assert answer(slow) == (408, "body_timeout")
    # The event loop's timers count whole milliseconds from when its round began, which is a little earlier.
    assert time.monotonic() - started >= BODY_TIMEOUT_SECONDS - 0.05


def test_sender_that_goes_away(server: Server) -> None:
    """A body that breaks off is not kept, and the gateway goes on."""
    body = body_of(1)
    before = len(server.gateway.log.records)
    with server.connect() as connection:
        connection.sendall(head(sign(body) | {"Content-Length": str(len(body))}) + body[:-1])
    deadline = time.monotonic() + 10
    while not server.gateway.sample("gateway_requests_total", route="/webhooks/meta", status="400"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(server.gateway.log.records) == before
    assert httpx.post(server.url, content=body, headers=sign(body)).status_code == 200


def test_all_bodies_together_are_bounded(server: Server) -> None:
    """Many senders with half a body each cannot fill the memory: the one too many is 503."""
    statuses = []
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(4)]
        for connection in connections:
            connection.sendall(head(sign(b"") | {"Content-Length": str(BODY_SIZE_MAX)}))
            connection.sendall(b"x" * (BODY_SIZE_MAX - MIB // 2))
        statuses = sorted(answer(connection)[0] for connection in connections)
    assert statuses[0] == 408
    assert statuses[-1] == 503
    body = body_of(1)
    assert httpx.post(server.url, content=body, headers=sign(body)).status_code == 200


def test_concurrent_senders_share_records(server: Server) -> None:
    """Many small requests at once are all durable, in fewer records than requests."""
    events, records = len(server.gateway.log.events()), len(server.gateway.log.records)
    body = body_of(1)
    senders = 8

    def send() -> None:
        with httpx.Client() as client:
            for _ in range(20):
                statuses.append(client.post(server.url, content=body, headers=sign(body)).status_code)

    statuses: list[int] = []
    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 160
    assert len(server.gateway.log.events()) - events == 160
    assert len(server.gateway.log.records) - records < 160


def test_answers_do_not_name_the_server(server: Server) -> None:
    """The server's make and version are nobody's business."""
    assert "server" not in httpx.get(f"http://127.0.0.1:{server.port}/healthz").headers
