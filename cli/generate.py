"""``convometer generate``: simulated webhook traffic as NDJSON, with the numbers that metering it must give.

Owns options, files and pace. Does not own the world (``simulation``) and feeds nothing: pipe it into ``ingest``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import cast

import click
import orjson
from click.core import ParameterSource

from runtime.clock import Clock, SystemClock
from simulation.accounts import (
    ACCOUNTS_MAX,
    ConfigFault,
    config_text,
    make_accounts,
    varied_zones,
    zones_from_config,
)
from simulation.generator import EARLIEST_START, World, WorldOptions
from simulation.live import DEFAULT_UPDATES_PER_SECOND, live_bodies
from simulation.people import USERS_MAX
from simulation.truth import Row, Truth

_DEFAULT_START = "2026-11-02"
_DEFAULT_DAYS = 7
_FINITE_ONLY = ("start", "days", "truth", "messages_per_user_day", "bad_share", "config", "write_config")


def _finite(_context: click.Context, _parameter: click.Parameter, value: float) -> float:
    """Refuse ``nan`` and ``inf``: every comparison with ``nan`` is false, so a range lets it pass."""
    if not isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


@click.command("generate")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Equal seeds and options give equal bytes."
)
@click.option("--users", type=click.IntRange(1, USERS_MAX), default=1_000, show_default=True, help="People.")
@click.option("--days", type=click.IntRange(1, 800), default=_DEFAULT_DAYS, show_default=True, help="Length.")
@click.option(
    "--accounts",
    type=click.IntRange(1, ACCOUNTS_MAX),
    default=3,
    show_default=True,
    help="Businesses, from a fixed list of ids.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d"]),
    default=_DEFAULT_START,
    show_default=True,
    help="First day, in UTC. All of the traffic must lie in the past.",
)
@click.option(
    "--messages-per-user-day",
    type=click.FloatRange(0, 500),
    callback=_finite,
    default=0.6,
    show_default=True,
    help="Outgoing messages, on average.",
)
@click.option(
    "--bad-share",
    type=click.FloatRange(0, 0.5),
    callback=_finite,
    default=0.0,
    show_default=True,
    help="Updates that have to be refused, per good update.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    callback=_finite,
    default=0.0,
    help="Updates per second in real time; 0 = as fast as possible (with --live: 5).",
)
@click.option(
    "--truth",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows that the queries must return, as NDJSON.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="CONVOMETER_CONFIG",
    help="Settings file (TOML) with the accounts' time zones, for the truth.",
)
@click.option(
    "--write-config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a settings file with different time zones, and use them for the truth.",
)
@click.option("--live", is_flag=True, help="Never end, with times of now.")  # fmt: skip
@click.pass_context
def generate(
    context: click.Context,
    /,
    rate: float,
    truth: Path | None,
    config: Path | None,
    write_config: Path | None,
    live: bool,
    **world: object,
) -> None:
    """Write simulated WhatsApp webhooks (Meta's JSON, one body a line) in the order in which they arrive.

    The world has its sore points: repeats, disorder, retries days later, reads without deliveries, failures that
    are taken back, free entry points, people who hide their phone, change it, or get one that was somebody
    else's. --truth says what metering must come to.
    """
    clock = SystemClock()
    if live:
        _refuse_with_live(context)
        users, accounts = cast("int", world["users"]), cast("int", world["accounts"])
        bodies = _live(cast("int", world["seed"]), users, accounts, rate or DEFAULT_UPDATES_PER_SECOND, clock)
        _write(bodies, at_once=True)
        return
    options = _world_options(world, clock)
    zones = _zones(context, options, config, write_config)
    counted = Truth(zones) if truth is not None else None
    made = World(options, counted)
    made.settle()
    if truth is not None and counted is not None:
        _write_truth(truth, counted.rows())
    census, arrivals = made.census, made.arrivals
    click.echo(
        f"generate: {census.users} users, {census.messages} messages, {census.updates} updates, "
        f"{arrivals.duplicates} repeats, {arrivals.late} retries after more than an hour",
        err=True,
    )
    _write(_paced(made.bodies(), rate, clock), at_once=rate > 0)


def _refuse_with_live(context: click.Context) -> None:
    for name in _FINITE_ONLY:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} has no meaning with --live, which happens now and never ends")


def _world_options(world: dict[str, object], clock: Clock) -> WorldOptions:
    """Return the world's options.

    Raises:
        click.UsageError: the world would begin before the first price regime, or end in the future.
    """
    start = cast("datetime", world["start"]).replace(tzinfo=UTC)
    options = WorldOptions(
        seed=cast("int", world["seed"]),
        users=cast("int", world["users"]),
        days=cast("int", world["days"]),
        accounts=cast("int", world["accounts"]),
        start=int(start.timestamp()),
        messages_per_user_day=cast("float", world["messages_per_user_day"]),
        bad_share=cast("float", world["bad_share"]),
    )
    if options.start < EARLIEST_START:
        raise click.UsageError(
            f"--start {start:%Y-%m-%d} is too early: the first price regime is of 2023-06-01"
        )
    if options.end > clock.now_seconds():
        end = datetime.fromtimestamp(options.end, UTC)
        raise click.UsageError(
            f"--start {start:%Y-%m-%d} and --days {options.days} end at {end:%Y-%m-%d} 00:00 UTC, in the future, "
            "and updates from the future are refused when metered; choose an earlier --start, fewer --days, or --live"
        )
    return options


def _zones(
    context: click.Context, options: WorldOptions, config: Path | None, write_config: Path | None
) -> dict[str, str]:
    """Return the accounts' zones: those just written, those configured, or none (all UTC)."""
    accounts = make_accounts(options.accounts)
    if write_config is not None:
        if context.get_parameter_source("config") is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                "--config and --write-config exclude each other: which zones should count?"
            )
        zones = varied_zones(accounts)
        _write_file(write_config, config_text(zones).encode())
        return zones
    if config is None:
        return {}
    try:
        return zones_from_config(config.read_text(encoding="utf-8"), accounts)
    except (ConfigFault, UnicodeDecodeError) as fault:
        raise click.UsageError(f"--config {config}: {fault}") from fault
    except OSError as error:
        raise click.ClickException(f"cannot read {config}: {error.strerror}") from error


def _write_truth(path: Path, rows: Iterable[Row]) -> None:
    _write_file(path, b"".join(orjson.dumps(row) + b"\n" for row in rows))


def _write_file(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


def _paced(bodies: Iterator[tuple[int, bytes]], rate: float, clock: Clock) -> Iterator[bytes]:
    """Yield the bodies so that at most ``rate`` updates a second come out on average; 0 = do not wait."""
    if rate == 0:
        yield from (body for _, body in bodies)
        return
    started = clock.monotonic_seconds()
    updates = 0
    for update_count, body in bodies:
        _sleep_until(started + updates / rate, clock)
        updates += update_count
        yield body


def _live(seed: int, users: int, accounts: int, rate: float, clock: Clock) -> Iterator[bytes]:
    due = clock.monotonic_seconds()
    traffic = live_bodies(seed, clock.now_seconds, updates_per_second=rate, users=users, accounts=accounts)
    for delay, body in traffic:
        due += delay
        _sleep_until(due, clock)
        yield body


def _sleep_until(due: float, clock: Clock) -> None:
    wait = due - clock.monotonic_seconds()
    if wait > 0:
        time.sleep(wait)


def _write(bodies: Iterable[bytes], *, at_once: bool) -> None:
    """Write one body a line, each ``at_once`` or in large pieces.

    A reader that has had enough (``| head``) is no failure.
    """
    output = click.get_binary_stream("stdout")
    try:
        for body in bodies:
            output.write(body + b"\n")
            if at_once:
                output.flush()
        output.flush()
    except BrokenPipeError:
        # The interpreter flushes standard output once more at exit; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
