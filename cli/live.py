"""A serving process and its settings: read at the start, and again while it serves.

Owns which loader that is, and what of the metering happens in which role. Does not own the rules of what may change.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from cli.context import new_metrics, settings_of
from cli.serving import quiet_libraries
from metering.calendar import ZoneRules, rules_agree_until
from runtime.clock import Clock, SystemClock
from runtime.logging import configure_logging
from runtime.metrics import Metrics
from runtime.reloading import Reloader, SettingsSource
from runtime.settings import Role, Settings, check_roles, settings_file
from runtime.settings_in_force import Metering, SettingsInForce, ZonesAgree


@dataclass(frozen=True, slots=True)
class Process:
    """What every part of a serving process goes by."""

    in_force: SettingsInForce
    metrics: Metrics
    clock: Clock
    reloader: Reloader

    @asynccontextmanager
    async def following(self, hangup: asyncio.Event) -> AsyncIterator[None]:
        """Follow changes of the settings until the block ends; at once whenever ``hangup`` is set.

        Inside, every partition of a sole worker must be open: which accounts are metered here must be known.
        """
        watching = asyncio.create_task(self.reloader.watch(hangup), name="settings")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def start_process(
    config: Path | None, data: Path | None, role: Role, demo_secret: str | None = None
) -> Process:
    """Load the settings of a role.

    Raises:
        SettingsError: with all faults.
    """

    def load() -> Settings:
        settings = settings_of(config, data)
        check_roles(settings, role)
        return settings if demo_secret is None else settings.with_app_secret(SecretStr(demo_secret))

    source = SettingsSource(settings_file(config), load)
    settings = source.load()
    configure_logging(settings.log_format)
    quiet_libraries()
    clock, metrics = SystemClock(), new_metrics(settings)
    in_force = SettingsInForce(settings, metering_of(settings, role), zones_agree_by(clock.now_seconds))
    return Process(in_force, metrics, clock, Reloader(source, in_force, metrics, clock))


def zones_agree_by(now_seconds: Callable[[], int]) -> ZonesAgree:
    """Return the question whether two lists of zones mean the same up to now."""

    def agree(old: ZoneRules, new: ZoneRules) -> bool:
        return rules_agree_until(old, new, now_seconds())

    return agree


def metering_of(settings: Settings, role: Role) -> Metering:
    """Return what of the metering happens in a process: on Kafka there may always be other workers."""
    if role == "gateway":
        return "none"
    return "shared" if settings.kafka_servers else "sole"
