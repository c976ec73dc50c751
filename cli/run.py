"""``run``: gateway, worker and ClickHouse in one process over one data directory.

Owns signals and what a newcomer sees first. Ends with exit code 1 when anything inside fails: a supervisor starts
it again, and it goes on where it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
import httpx
import uvicorn
from pydantic import SecretStr

from cli.context import common_options, new_metrics, run_async, settings_of
from cli.node import Node
from cli.owner import OwnerServer
from gateway.app import create_app
from gateway.batching import BatchingAppender, BatchingLimits
from gateway.server import server_config
from runtime.clock import SystemClock
from runtime.logging import configure_logging
from runtime.memory import settle
from runtime.settings import Settings, check_roles
from streams.records import Record

_log = logging.getLogger("convometer")


@click.command("run")
@click.option("--demo", is_flag=True, help="Feed live demo traffic through the gateway.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the gateway (default: settings, 8080).")
@common_options
@run_async
async def run(demo: bool, port: int | None, config: Path | None, data: Path | None) -> None:
    """Run everything on this machine, in the foreground, until Ctrl-C."""
    settings = settings_of(config, data)
    check_roles(settings, "run")
    configure_logging(settings.log_format)
    # Their services report every start and stop of their parts: noise for whoever runs this.
    for name in ("faust", "mode", "uvicorn.error", "streams.embedded"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if port is not None:
        settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"port": port})})
    demo_secret = secrets.token_hex(16) if demo else None
    if demo_secret is not None:
        settings = settings.with_app_secret(SecretStr(demo_secret))
    metrics, clock = new_metrics(), SystemClock()
    # Bound first: a taken port is told before anything is opened, and the server could only end the process over it.
    listener = _listen(settings)
    node = await Node.start(settings, metrics, clock)
    owner = OwnerServer(node, settings.data)
    owner.start()
    appender = _appender(node)
    app = create_app(appender, settings, metrics, clock, readiness=node.readiness)
    server = _server(app, settings)
    feeding: asyncio.Task[None] | None = None
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="gateway")
    try:
        await _until_started(server, serving)
        settle()
        address = _address(listener)
        _greet(address, settings, demo)
        if demo_secret is not None:
            feeding = asyncio.create_task(_feed(address, demo_secret))
            feeding.add_done_callback(_demo_ended)
        asked_to_stop = await _until_stopped(node, serving)
    finally:
        if feeding is not None:
            feeding.cancel()
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        await appender.close()
        await owner.stop()
        await node.close()
    if node.worker.failure is not None:
        raise click.ClickException(f"stopped, because the worker failed: {node.worker.failure}")
    if not asked_to_stop:
        raise click.ClickException("stopped, because the gateway ended by itself; the log above says why")


def _appender(node: Node) -> BatchingAppender:
    async def append_record(topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        return await node.log.append(topic, partition, [Record(key, value, node.clock.now_ms())])

    gateway = node.settings.gateway
    limits = BatchingLimits(gateway.batch_linger_ms, gateway.batch_events_max, gateway.queue_events_max)
    return BatchingAppender(append_record, node.settings.partitions, limits, node.metrics, node.clock)


def _server(app: Callable[..., Awaitable[None]], settings: Settings) -> uvicorn.Server:
    config = server_config(app, settings.gateway)
    server = uvicorn.Server(config)
    # Our own handlers end gateway, worker and log in order; uvicorn's would end the gateway alone.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]
    return server


async def _until_started(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    while not server.started:
        if serving.done():
            raise click.ClickException("the gateway did not start; the log above says why")
        await asyncio.sleep(0.01)


def _listen(settings: Settings) -> socket.socket:
    gateway = settings.gateway
    try:
        family = socket.AF_INET6 if ":" in gateway.host else socket.AF_INET
        return socket.create_server((gateway.host, gateway.port), family=family, backlog=2048)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {gateway.host} port {gateway.port} ({error.strerror}); choose another with --port"
        ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greet(address: str, settings: Settings, demo: bool) -> None:
    click.echo(
        f"convometer is running: webhooks go to {address}/webhooks/meta, metrics are at {address}/metrics"
    )
    click.echo(f"data directory: {settings.data.absolute()}")
    if demo:
        command = f"{sys.argv[0]} usage --format table --data {settings.data}"
        click.echo(f"demo traffic is arriving; watch it in another terminal: {command}")
    elif not settings.gateway.app_secrets and not any(
        entry.app_secrets for entry in settings.accounts.values()
    ):
        click.echo(
            "no app secret is configured, so every webhook is refused: set CONVOMETER_GATEWAY__APP_SECRETS"
        )


async def _until_stopped(node: Node, serving: asyncio.Task[None]) -> bool:
    """Return when it is time to end, and whether that is because somebody asked for it."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    own = [asyncio.create_task(stopped.wait()), asyncio.create_task(node.worker.failed.wait())]
    await asyncio.wait([*own, serving], return_when=asyncio.FIRST_COMPLETED)
    for task in own:
        task.cancel()
    return stopped.is_set()


def _demo_ended(task: asyncio.Task[None]) -> None:
    """The demo's end is no reason to stop, but one to say so."""
    if not task.cancelled() and task.exception() is not None:
        _log.error("the demo traffic stopped", exc_info=task.exception())


async def _feed(address: str, secret: str) -> None:
    """Send demo webhooks through the real front door, signed."""
    from simulation.live import live_bodies  # noqa: PLC0415 - only the demo needs it

    clock = SystemClock()
    async with httpx.AsyncClient(base_url=address) as client:
        for delay_seconds, body in live_bodies(secrets.randbelow(1 << 31), clock.now_seconds):
            await asyncio.sleep(delay_seconds)
            signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            headers = {"X-Hub-Signature-256": f"sha256={signature}"}
            response = await client.post("/webhooks/meta", content=body, headers=headers)
            if response.status_code != 200:
                _log.warning("the gateway answered %d to demo traffic", response.status_code)
