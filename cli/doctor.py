"""``doctor``: look at an installation and say what is wrong with it and what to do.

Owns the list of checks. It changes nothing; it works beside a running owner and without one.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click

from cli.context import EXPECTED_ERRORS, common_options, engine_of, run_async
from cli.doctor_cluster import cluster_findings
from cli.engine import Engine
from cli.findings import Finding
from runtime.settings import Settings, SettingsError, check_roles, load_settings

_FREE_BYTES_MIN = 1 << 30


@click.command("doctor")
@common_options
@run_async
async def doctor(config: Path | None, data: Path | None) -> None:
    """Check settings, disk, log, state and ClickHouse. Exits with 1 if something needs attention."""
    findings: list[Finding] = []
    try:
        settings = load_settings(config, {"data": data} if data is not None else None)
        check_roles(settings, "run")
    except SettingsError as error:
        findings += [
            Finding("settings", fault, "correct it in the settings file or environment")
            for fault in error.faults
        ]
    else:
        findings.append(Finding("settings", "valid"))
        findings += list(_disk(settings))
        findings += await _engine_findings(settings)
    for finding in findings:
        mark = "✗" if finding.advice else "✓"
        click.echo(
            f"{mark} {finding.subject}: {finding.state}"
            + (f"\n    → {finding.advice}" if finding.advice else "")
        )
    if any(finding.advice for finding in findings):
        raise SystemExit(1)


def _disk(settings: Settings) -> Iterator[Finding]:
    directory = settings.data.absolute()
    existing = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    state = f"{free / (1 << 30):.1f} GiB free for {directory}"
    yield Finding(
        "disk", state, "make room: acknowledged webhooks need disk" if free < _FREE_BYTES_MIN else ""
    )


async def _engine_findings(settings: Settings) -> list[Finding]:
    try:
        if settings.kafka_servers:
            return await cluster_findings(settings)
        async with engine_of(settings) as engine:
            return [finding async for finding in _look(engine)]
    except EXPECTED_ERRORS as error:
        return [Finding("start", type(error).__name__, str(error))]


async def _look(engine: Engine) -> AsyncIterator[Finding]:
    positions = await engine.positions()
    yield Finding("log", f"{sum(positions.values())} records in {len(positions)} partitions")
    await engine.wait_flushed(positions)
    yield Finding("worker and ClickHouse", "everything in the log is counted and in ClickHouse")
    letters = await engine.dead_letters(-1, 1)
    # Not a fault of the installation: one stray update would make it look ill for a month.
    state = "there are some; `convometer dlq list` says why, `dlq replay` counts what has been mended"
    yield Finding("dead letters", state if letters else "none")
