"""Requests per second of the gateway against a bare server of the same framework that only reads the body.

All run under the same uvicorn options in a process of their own; one more process sends signed webhooks over keep-alive
connections on loopback. The gateway checks the signature, parses, batches and counts: once over a log that does
nothing, which is the gateway's own share, and once over the embedded log, where every answer waits for the disk. Rounds
alternate, medians count. From the repository's root::

    python -m bench.gateway --seconds 5 --rounds 3 --updates 1

Prints one JSON object. The exit status is 1 if the ratio of the durable gateway is below ``--bar``.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import orjson
import uvicorn
import uvloop
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cli.options import worker_options
from gateway.app import create_app
from gateway.batching import BatchingAppender, BatchingLimits
from gateway.port import AppendRecord
from gateway.server import server_config
from runtime.clock import SystemClock
from runtime.memory import settle
from runtime.metrics import Metrics
from runtime.settings import GatewaySettings, Settings
from streams.embedded.log import EmbeddedLog
from streams.records import Record
from streams.topic_specs import topic_specs

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "the-benchmark's-app-secret"
PATH = "/webhooks/meta"
WARM_UP_SECONDS = 1.0
START_SECONDS_MAX = 20.0
KINDS = ("bare", "gateway", "durable")
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def bare_app() -> Starlette:
    """Return the server to compare with: it reads the body and answers 200."""

    async def endpoint(request: Request) -> Response:
        await request.body()
        return Response(b'{"status":"ok"}', media_type="application/json")

    return Starlette(routes=[Route(PATH, endpoint, methods=["POST"])])


async def append_nowhere(_topic: str, _partition: int, _key: bytes | None, _value: bytes) -> int:
    """Be a log that is durable at once."""
    return 0


def append_to(log: EmbeddedLog, settings: Settings) -> AppendRecord:
    """Return how records get into an embedded log."""
    log.declare(topic_specs(worker_options(settings)))

    async def append_record(topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        return await log.append(topic, partition, [Record(key, value, time.time_ns() // 1_000_000)])

    return append_record


def gateway_app(settings: Settings, append_record: AppendRecord) -> Starlette:
    """Return the gateway over a log."""
    limits = BatchingLimits(
        settings.gateway.batch_linger_ms,
        settings.gateway.batch_events_max,
        settings.gateway.queue_events_max,
    )
    metrics, clock = Metrics(CollectorRegistry()), SystemClock()
    port = BatchingAppender(append_record, settings.partitions, limits, metrics, clock)
    return create_app(port, settings, metrics, clock)


def serve(kind: str, descriptor: int) -> None:
    """Serve on an inherited listening socket until terminated."""
    settings = Settings(gateway=GatewaySettings(app_secrets=(SecretStr(SECRET),)))
    listening = socket.socket(fileno=descriptor)
    with tempfile.TemporaryDirectory() as directory:
        if kind == "bare":
            app = bare_app()
        elif kind == "gateway":
            app = gateway_app(settings, append_nowhere)
        else:
            app = gateway_app(settings, append_to(EmbeddedLog.open(Path(directory)), settings))
        settle()
        uvicorn.Server(server_config(app)).run([listening])


def webhook(updates: int) -> bytes:
    """Return the body of one Meta webhook with delivered statuses of different users."""
    now_seconds = int(time.time())
    statuses = [
        {
            "id": f"wamid.HBgNNTUxMTkwMDAwMDAwMRUCABEYEjBBM{number:08}",
            "status": "delivered",
            "timestamp": str(now_seconds),
            "recipient_id": f"55119{number:08}",
            "recipient_user_id": f"BR.{10_000_000_000_000_000 + number}",
            "pricing": {
                "billable": True,
                "pricing_model": "PMP",
                "type": "regular",
                "category": "utility",
            },
        }
        for number in range(updates)
    ]
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": "700800900100200"},
        "statuses": statuses,
    }
    entry = {"id": "900100200300400", "changes": [{"field": "messages", "value": value}]}
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})


def http_request(body: bytes) -> bytes:
    """Return the whole request, signed."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n"
    )
    return head.encode() + body


class Sender(asyncio.Protocol):
    """One keep-alive connection that sends its request again as soon as it is answered.

    It does as little as it can: on two processors the sender must not be what is measured.
    """

    def __init__(self, request: bytes, seconds: list[float]) -> None:
        """Take what to send, and where to note how long each answer took."""
        self._request = request
        self._seconds = seconds
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are no subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        """Note an answer and send the next; head and body may come apart, and the body ends in a brace."""
        if data.startswith(b"HTTP/1.1 ") and not data.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"unexpected answer: {data[:300]!r}")
        if data.endswith(b"}"):
            self._seconds.append(time.perf_counter() - self._sent_at)
            self._send()

    def _send(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._sent_at = time.perf_counter()
            self._transport.write(self._request)


async def send_for(port: int, request: bytes, connections: int, duration_seconds: float) -> list[float]:
    """Send for a while; return the seconds that each answer took."""
    loop = asyncio.get_running_loop()
    seconds: list[float] = []
    transports = []
    for _ in range(connections):
        transport, _protocol = await loop.create_connection(
            lambda: Sender(request, seconds), "127.0.0.1", port
        )
        transports.append(transport)
    await asyncio.sleep(WARM_UP_SECONDS)
    seconds.clear()
    await asyncio.sleep(duration_seconds)
    taken = seconds.copy()
    for transport in transports:
        transport.close()
    return taken


def processor_seconds(process_id: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


@contextmanager
def served(kind: str) -> Iterator[tuple[int, int]]:
    """Start a server process; yield its port and process id; end it."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        descriptor = listening.fileno()
        command = [sys.executable, "-m", "bench.gateway", "--serve", kind, "--descriptor", str(descriptor)]
        with subprocess.Popen(command, pass_fds=[descriptor]) as process:
            try:
                yield listening.getsockname()[1], process.pid
            finally:
                process.terminate()


def await_answer(port: int, request: bytes) -> None:
    """Return once the server answers its first request."""
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS_MAX) as connection:
        connection.sendall(request)
        if not connection.recv(65_536).startswith(b"HTTP/1.1 200"):
            raise SystemExit("the server refuses the benchmark's request")


def measure(kind: str, request: bytes, arguments: argparse.Namespace) -> dict[str, float]:
    """Return one round's figures of one server."""
    with served(kind) as (port, process_id):
        await_answer(port, request)
        before = processor_seconds(process_id)
        sending = send_for(port, request, arguments.connections, arguments.seconds)
        seconds = sorted(uvloop.run(sending))
        # The warm-up's share is in the processor time but not in the requests.
        used = (
            (processor_seconds(process_id) - before)
            * arguments.seconds
            / (arguments.seconds + WARM_UP_SECONDS)
        )
    return {
        "requests_per_second": len(seconds) / arguments.seconds,
        "processor_microseconds": used / len(seconds) * 1e6,
        "p50_ms": seconds[len(seconds) // 2] * 1000,
        "p99_ms": seconds[len(seconds) * 99 // 100] * 1000,
    }


def compare(arguments: argparse.Namespace) -> int:
    """Measure the servers in turn, print the medians and the ratios, return the exit status."""
    body = webhook(arguments.updates)
    request = http_request(body)
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            rounds[kind].append(measure(kind, request, arguments))
    medians = {
        kind: {name: round(median(one[name] for one in figures), 2) for name in figures[0]}
        for kind, figures in rounds.items()
    }
    bare = medians["bare"]
    result = {
        "updates_per_body": arguments.updates,
        "body_bytes": len(body),
        "connections": arguments.connections,
        **medians,
        "ratio_requests": {kind: ratio(medians[kind], bare, "requests_per_second") for kind in KINDS[1:]},
        "ratio_processor": {kind: ratio(bare, medians[kind], "processor_microseconds") for kind in KINDS[1:]},
    }
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
    return 0 if ratio(medians["durable"], bare, "requests_per_second") >= arguments.bar else 1


def ratio(figures: dict[str, float], reference: dict[str, float], name: str) -> float:
    """Return how one figure compares."""
    return round(figures[name] / reference[name], 3)


def main() -> int:
    """Read the command line and run one side of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of one round (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each server (default 3)")
    parser.add_argument("--connections", type=int, default=128, help="keep-alive connections (default 128)")
    parser.add_argument("--updates", type=int, default=1, help="updates in one body (default 1)")
    parser.add_argument("--bar", type=float, default=0.7, help="lowest ratio that passes (default 0.7)")
    parser.add_argument("--serve", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--descriptor", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.descriptor)
        return 0
    return compare(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
