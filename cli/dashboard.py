"""The dashboard in a process: in ``run`` beside everything else, or by itself over a ClickHouse server.

Owns its wiring: files, the exports' process, the sampler, and what is printed for a first visit.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import click
from prometheus_client import CollectorRegistry

from cli.answering import server_answers
from cli.context import common_options, run_async
from cli.live import start_process
from cli.serving import App, address_of, listen, on_hangup, serving, until_stopped
from dashboard.access.audit import Audit
from dashboard.access.gate import Gate
from dashboard.access.sessions import Lifetimes, Sessions
from dashboard.access.throttle import Throttle
from dashboard.access.users import Users
from dashboard.app import create_app
from dashboard.assets import Assets, chart_script, keep_chart_script
from dashboard.live import LiveSampler
from dashboard.ports import Meter
from dashboard.recipients import Recipients
from dashboard.rendering import environment
from dashboard.site import Site
from gateway.app import create_metrics
from runtime.clock import Clock
from runtime.dashboard_metrics import DashboardMetrics
from runtime.memory import settle
from runtime.settings_in_force import SettingsInForce
from sinks.exports.pictures import javascript_bundle
from sinks.exports.pool import ExportPool
from sinks.mail import MailBudget

_log = logging.getLogger(__name__)
_PORT = click.IntRange(0, 65_535)
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard that is ready to be served."""

    app: App
    gate: Gate

    def first_visit(self, address: str) -> str:
        """Return where somebody goes first: a one-time link where nobody can sign in yet, else the address.

        The link is for the machine itself only: on any other address somebody else could be faster.
        """
        settings = self.gate.settings
        reached = settings.public_url or address
        if self.gate.users.all() or not self.gate.has_own_sign_in or not _is_loopback(settings.host):
            return reached
        return f"{reached}/link/{self.gate.sessions.make_link(self.gate.now_seconds())}"


@asynccontextmanager
async def open_dashboard(
    meter: Meter, in_force: SettingsInForce, clock: Clock, registry: CollectorRegistry
) -> AsyncIterator[Dashboard]:
    """Give a dashboard over what answers it, whose metrics are in the registry."""
    settings = in_force.settings
    own = settings.dashboard
    directory = settings.data / "dashboard"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    metrics = DashboardMetrics(registry)
    pool = ExportPool(own.export_queue_max, own.export_timeout_seconds)
    metrics.show_exports(lambda: pool.pending)
    audit = Audit(directory / "audit.ndjson", own.audit_bytes_max, metrics)
    lifetimes = Lifetimes(own.session_hours * 3600, own.session_idle_minutes * 60)
    sessions = Sessions(directory / "sessions.sqlite", lifetimes)
    recipients = Recipients(directory / "recipients.sqlite")
    gate = Gate(
        Users(settings.users_file),
        sessions,
        Throttle(own.sign_in_failures_max),
        audit,
        own,
        clock.now_seconds,
        _secret(directory / "secret"),
    )
    sampler = LiveSampler(meter.recent, clock.now_seconds)
    sampling = asyncio.create_task(sampler.run(), name="live")
    try:
        script = await asyncio.to_thread(chart_script, directory)
        if script is None:
            script = await pool.run(javascript_bundle)
            await asyncio.to_thread(keep_chart_script, directory, script)
        assets = Assets(script)
        site = Site(
            meter=meter,
            settings=lambda: in_force.settings,
            gate=gate,
            audit=audit,
            pool=pool,
            live=sampler,
            recipients=recipients,
            mail_budget=MailBudget(lambda: in_force.settings.dashboard.mail.mails_per_hour_max),
            clock=clock,
            templates=environment(),
            assets=assets.urls,
        )
        yield Dashboard(create_app(site, assets, version("convometer"), metrics), gate)
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        await pool.close()
        recipients.close()
        sessions.close()
        audit.close()


def _secret(path: Path) -> bytes:
    """Return the installation's secret, made at the first start and readable by this user only."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_SECRET_BYTES))
    secret = path.read_bytes()
    if len(secret) < _SECRET_BYTES:
        # The process was killed between making and filling it: nothing was signed with it yet.
        path.write_bytes(secret := secrets.token_bytes(_SECRET_BYTES))
    return secret


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@click.command("dashboard")
@click.option("--port", type=_PORT, help="Port (default: settings, 8082).")
@click.option("--metrics-port", type=_PORT, help="Port of its metrics (default: settings, 8083).")
@common_options
@run_async
async def dashboard(
    port: int | None, metrics_port: int | None, config: Path | None, data: Path | None
) -> None:
    """Serve the billing dashboard and its API over a ClickHouse server. Any number may run side by side.

    They share users by a common users file; each has sessions and an audit log of its own, in its data directory.
    """
    hangup = on_hangup()
    process = start_process(config, data, "dashboard")
    settings = process.in_force.settings
    settings.data.mkdir(parents=True, exist_ok=True)
    own, registry = settings.dashboard, process.metrics.registry
    listener = listen(own.host, own.port if port is None else port)
    # Not the visitors' port: metrics are the operator's.
    watched = listen(
        own.metrics_host, own.metrics_port if metrics_port is None else metrics_port, "--metrics-port"
    )
    async with (
        server_answers(process.in_force, process.clock) as answers,
        open_dashboard(answers, process.in_force, process.clock, registry) as opened,
        serving(opened.app, listener) as served,
        serving(create_metrics(process.metrics), watched) as serving_metrics,
        process.following(hangup),
    ):
        settle()
        first = opened.first_visit(address_of(listener))
        asked_to_stop = await until_stopped(
            served,
            serving_metrics,
            ready=lambda: click.echo(
                f"convometer dashboard is running: {first}; metrics are at {address_of(watched)}/metrics"
            ),
        )
    if not asked_to_stop:
        raise click.ClickException("stopped, because the HTTP server ended by itself; the log above says why")
