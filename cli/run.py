"""``run``, ``gateway`` and ``worker``: the verbs that serve until they are told to stop.

Owns what a newcomer sees first, and the end: exit code 1 when anything inside fails, so that a supervisor starts it
again, and it goes on where it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
import socket
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import click
import httpx
from pydantic import SecretStr

from cli.context import common_options, new_metrics, run_async, settings_of
from cli.roles import Roles, embedded_roles, kafka_both, kafka_gateway, kafka_worker
from cli.serving import App, address_of, listen, quiet_libraries, serving, until_stopped
from gateway.app import create_app, create_probes
from runtime.clock import Clock, SystemClock
from runtime.logging import configure_logging
from runtime.memory import settle
from runtime.metrics import Metrics
from runtime.settings import Role, Settings, check_roles

_log = logging.getLogger("convometer")
_PORT = click.IntRange(0, 65_535)


@click.command("run")
@click.option("--demo", is_flag=True, help="Feed live demo traffic through the gateway.")
@click.option("--port", type=_PORT, help="Port of the gateway (default: settings, 8080).")
@common_options
@run_async
async def run(demo: bool, port: int | None, config: Path | None, data: Path | None) -> None:
    """Run everything on this machine, in the foreground, until Ctrl-C."""
    settings = _settings(config, data, "run")
    demo_secret = secrets.token_hex(16) if demo else None
    if demo_secret is not None:
        settings = settings.with_app_secret(SecretStr(demo_secret))
    listener = listen(settings.gateway.host, settings.gateway.port if port is None else port)
    metrics, clock = new_metrics(), SystemClock()
    open_roles = kafka_both if settings.kafka_servers else embedded_roles
    await _serve(open_roles(settings, metrics, clock), settings, metrics, clock, listener, demo_secret)


@click.command("gateway")
@click.option("--port", type=_PORT, help="Port (default: settings, 8080).")
@common_options
@run_async
async def gateway(port: int | None, config: Path | None, data: Path | None) -> None:
    """Take webhooks and append them to Kafka. Any number of gateways may run side by side."""
    settings = _settings(config, data, "gateway")
    listener = listen(settings.gateway.host, settings.gateway.port if port is None else port)
    metrics, clock = new_metrics(), SystemClock()
    await _serve(kafka_gateway(settings, metrics, clock), settings, metrics, clock, listener)


@click.command("worker")
@click.option("--port", type=_PORT, help="Port of probes and metrics (default: settings, 8081).")
@common_options
@run_async
async def worker(port: int | None, config: Path | None, data: Path | None) -> None:
    """Meter the partitions that Kafka assigns. As many workers as partitions may run side by side.

    Each worker needs a data directory of its own. Losing it costs time, not numbers.
    """
    settings = _settings(config, data, "worker")
    listener = listen(settings.worker.host, settings.worker.port if port is None else port)
    metrics, clock = new_metrics(), SystemClock()
    await _serve(kafka_worker(settings, metrics, clock), settings, metrics, clock, listener)


def _settings(config: Path | None, data: Path | None, role: Role) -> Settings:
    settings = settings_of(config, data)
    check_roles(settings, role)
    configure_logging(settings.log_format)
    quiet_libraries()
    return settings


async def _serve(
    opening: AbstractAsyncContextManager[Roles],
    settings: Settings,
    metrics: Metrics,
    clock: Clock,
    listener: socket.socket,
    demo_secret: str | None = None,
) -> None:
    """Open the roles, serve HTTP for them, and end when asked to or when something inside has ended."""
    feeding: asyncio.Task[None] | None = None
    async with opening as roles, serving(_app(roles, settings, metrics, clock), listener) as served:
        settle()
        address = address_of(listener)
        _greet(address, settings, roles, demo=demo_secret is not None)
        if demo_secret is not None:
            feeding = asyncio.create_task(_feed(address, demo_secret))
            feeding.add_done_callback(_demo_ended)
        failing = [roles.worker.failed.wait()] if roles.worker is not None else []
        try:
            asked_to_stop = await until_stopped(served, *failing)
        finally:
            if feeding is not None:
                feeding.cancel()
    failure = roles.worker.failure if roles.worker is not None else None
    if failure is not None:
        raise click.ClickException(f"stopped, because the worker failed: {failure}") from failure
    if not asked_to_stop:
        raise click.ClickException("stopped, because the HTTP server ended by itself; the log above says why")


def _app(roles: Roles, settings: Settings, metrics: Metrics, clock: Clock) -> App:
    if roles.appender is None:
        return create_probes(metrics, roles.readiness)
    return create_app(roles.appender, settings, metrics, clock, readiness=roles.readiness)


def _greet(address: str, settings: Settings, roles: Roles, *, demo: bool) -> None:
    if roles.appender is None:
        click.echo(f"convometer worker is running: probes and metrics are at {address}/metrics")
        return
    click.echo(
        f"convometer is running: webhooks go to {address}/webhooks/meta, metrics are at {address}/metrics"
    )
    if roles.worker is not None:
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
