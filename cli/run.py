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
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import httpx

from cli.context import common_options, run_async
from cli.dashboard import open_dashboard
from cli.live import Process, start_process
from cli.roles import Roles, embedded_roles, kafka_both, kafka_gateway, kafka_worker
from cli.serving import App, address_of, listen, on_hangup, serving, until_stopped
from gateway.app import create_app, create_probes
from gateway.windows import WindowsEndpoint
from runtime.clock import Clock, SystemClock
from runtime.memory import settle
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce

_log = logging.getLogger("convometer")
_PORT = click.IntRange(0, 65_535)
OpenRoles = Callable[[SettingsInForce, Metrics, Clock], AbstractAsyncContextManager[Roles]]


@click.command("run")
@click.option("--demo", is_flag=True, help="Feed live demo traffic through the gateway.")
@click.option("--port", type=_PORT, help="Port of the gateway (default: settings, 8080).")
@click.option("--dashboard-port", type=_PORT, help="Port of the dashboard (default: settings, 8082).")
@common_options
@run_async
async def run(
    demo: bool, port: int | None, dashboard_port: int | None, config: Path | None, data: Path | None
) -> None:
    """Run everything on this machine, in the foreground, until Ctrl-C."""
    hangup = on_hangup()
    demo_secret = secrets.token_hex(16) if demo else None
    process = start_process(config, data, "run", demo_secret)
    settings = process.in_force.settings
    listener = listen(settings.gateway.host, settings.gateway.port if port is None else port)
    own = settings.dashboard
    dashboard_listener = None
    if own.is_enabled:
        dashboard_listener = listen(
            own.host, own.port if dashboard_port is None else dashboard_port, "--dashboard-port"
        )
    open_roles = kafka_both if settings.kafka_servers else embedded_roles
    await _serve(open_roles, process, listener, hangup, demo_secret, dashboard_listener)


@click.command("gateway")
@click.option("--port", type=_PORT, help="Port (default: settings, 8080).")
@common_options
@run_async
async def gateway(port: int | None, config: Path | None, data: Path | None) -> None:
    """Take webhooks and append them to Kafka. Any number of gateways may run side by side."""
    hangup = on_hangup()
    process = start_process(config, data, "gateway")
    settings = process.in_force.settings.gateway
    listener = listen(settings.host, settings.port if port is None else port)
    await _serve(kafka_gateway, process, listener, hangup)


@click.command("worker")
@click.option("--port", type=_PORT, help="Port of probes and metrics (default: settings, 8081).")
@common_options
@run_async
async def worker(port: int | None, config: Path | None, data: Path | None) -> None:
    """Meter the partitions that Kafka assigns. As many workers as partitions may run side by side.

    Each worker needs a data directory of its own. Losing it costs time, not numbers.
    """
    hangup = on_hangup()
    process = start_process(config, data, "worker")
    settings = process.in_force.settings.worker
    listener = listen(settings.host, settings.port if port is None else port)
    await _serve(kafka_worker, process, listener, hangup)


async def _serve(
    open_roles: OpenRoles,
    process: Process,
    listener: socket.socket,
    hangup: asyncio.Event,
    demo_secret: str | None = None,
    dashboard_listener: socket.socket | None = None,
) -> None:
    """Open the roles, serve HTTP for them, and end when asked to or when something inside has ended."""
    feeding: asyncio.Task[None] | None = None
    opening = open_roles(process.in_force, process.metrics, process.clock)
    async with (
        opening as roles,
        serving(_app(roles, process), listener) as served,
        _dashboard(roles, process, dashboard_listener) as shown,
        process.following(hangup),
    ):
        settle()
        address = address_of(listener)
        greet = partial(
            _greet,
            address,
            process.in_force.settings,
            roles,
            demo=demo_secret is not None,
            first_visit=shown.first_visit,
        )
        if demo_secret is not None:
            feeding = asyncio.create_task(_feed(address, demo_secret))
            feeding.add_done_callback(_demo_ended)
        failing = [roles.worker.failed.wait()] if roles.worker is not None else []
        try:
            asked_to_stop = await until_stopped(served, *shown.served, *failing, ready=greet)
        finally:
            if feeding is not None:
                feeding.cancel()
    failure = roles.worker.failure if roles.worker is not None else None
    if failure is not None:
        raise click.ClickException(f"stopped, because the worker failed: {failure}") from failure
    if not asked_to_stop:
        raise click.ClickException("stopped, because the HTTP server ended by itself; the log above says why")


@dataclass(frozen=True, slots=True)
class _Shown:
    """The dashboard of this process, if it serves one."""

    served: tuple[asyncio.Task[None], ...] = ()
    first_visit: str = ""


@asynccontextmanager
async def _dashboard(roles: Roles, process: Process, listener: socket.socket | None) -> AsyncIterator[_Shown]:
    if listener is None or roles.meter is None:
        yield _Shown()
        return
    async with (
        open_dashboard(roles.meter, process.in_force, process.clock, process.metrics.registry) as opened,
        serving(opened.app, listener) as served,
    ):
        yield _Shown((served,), opened.first_visit(address_of(listener)))


def _app(roles: Roles, process: Process) -> App:
    if roles.appender is None:
        return create_probes(process.metrics, roles.readiness, _windows(roles, process))
    return create_app(
        roles.appender, process.in_force, process.metrics, process.clock, readiness=roles.readiness
    )


def _windows(roles: Roles, process: Process) -> WindowsEndpoint | None:
    """Return what answers dashboards elsewhere about users whose state is here."""
    if roles.worker is None:
        return None

    def tokens() -> list[str]:
        return [token.get_secret_value() for token in process.in_force.settings.worker.query_tokens]

    return WindowsEndpoint(roles.worker.windows, tokens)


def _greet(address: str, settings: Settings, roles: Roles, *, demo: bool, first_visit: str) -> None:
    if roles.appender is None:
        click.echo(f"convometer worker is running: probes and metrics are at {address}/metrics")
        return
    click.echo(
        f"convometer is running: webhooks go to {address}/webhooks/meta, metrics are at {address}/metrics"
    )
    if first_visit:
        click.echo(f"the dashboard is at {first_visit}")
        if "/link/" in first_visit:
            click.echo(
                "that link signs you in once, within 15 minutes; for later: convometer user add NAME --role admin"
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
