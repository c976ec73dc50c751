"""``selftest``: put an installation of this version on trial, and say whether one number was wrong."""

from __future__ import annotations

import asyncio
import secrets
import signal
import tempfile
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cli.context import run_async
from cli.serving import quiet_libraries
from cli.trial.faults import FaultPlan
from cli.trial.subjects import Subject, open_embedded_subject, open_kafka_subject
from cli.trial.trial import Outcome, make_traffic, run_trial
from runtime.logging import configure_logging
from simulation.generator import WorldOptions

_START = datetime(2026, 9, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    seed: int | None
    users: int
    days: int
    kills: int
    rebalance: bool
    sink_down: bool
    duplicate: bool
    late: bool
    broker: str | None
    clickhouse: str | None
    workers: int


@click.command("selftest")
@click.option(
    "--seed", type=int, help="Repeats a run: traffic, and the order of its faults (default: random)."
)
@click.option("--users", type=click.IntRange(1, 100_000), default=300, show_default=True, help="People.")
@click.option("--days", type=click.IntRange(4, 60), default=30, show_default=True, help="Days of traffic.")
@click.option("--kill9", "kills", type=click.IntRange(0), default=0, help="kill -9 a process so many times.")
@click.option("--rebalance", is_flag=True, help="Workers join, leave, and sleep beyond their session.")
@click.option("--sink-down", is_flag=True, help="ClickHouse goes away and comes back.")
@click.option("--duplicate", is_flag=True, help="Webhooks come twice.")
@click.option("--late", is_flag=True, help="Webhooks come days late.")
@click.option("--broker", help="kafka://HOST:PORT,...: on Kafka (default: an embedded node).")
@click.option(
    "--clickhouse", help="http(s)://USER:PASSWORD@HOST:PORT: with --broker; a database is made and dropped."
)
@click.option("--workers", type=click.IntRange(1, 4), default=2, show_default=True, help="With --broker.")
@run_async
async def selftest(**chosen: Any) -> None:
    """Run everything with generated traffic and faults, and compare what was counted with the truth.

    It works in a temporary directory, and on Kafka and ClickHouse under a name of its own: nothing that is there is
    touched. Exit code 0 means that nothing was lost, doubled or wrong.
    """
    options = Options(**chosen)
    if (options.broker is None) != (options.clickhouse is None):
        raise click.UsageError("--broker and --clickhouse go together")
    if options.broker is None and (options.rebalance or options.sink_down):
        raise click.UsageError("--rebalance and --sink-down need --broker: an embedded node is one process")
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    again = f"the same options with --seed {seed} repeat the run"
    configure_logging("text", "ERROR")
    quiet_libraries()
    plan = FaultPlan(options.kills, options.rebalance, options.sink_down, options.duplicate, options.late)
    world = WorldOptions(seed=seed, users=options.users, days=options.days, start=int(_START.timestamp()))
    traffic = await asyncio.to_thread(make_traffic, world, plan)
    click.echo(f"{len(traffic.lines)} webhook bodies, {options.kills} kills, seed {seed}", err=True)
    with tempfile.TemporaryDirectory(prefix="convometer-selftest-") as directory:
        async with _subject(options, Path(directory)) as subject:
            _stop_on_sigterm()
            try:
                outcome = await run_trial(subject, traffic, plan, seed)
            except Exception as error:
                words = "\n".join(f"--- {child.name}\n{child.last_words()}" for child in subject.children)
                raise click.ClickException(f"the trial did not end: {error}\n{words}\n{again}") from error
    _print(outcome)
    if not outcome.verdict.is_exact:
        for example in outcome.verdict.examples:
            click.echo(f"  {example}", err=True)
        raise click.ClickException(f"{outcome.verdict.wrong} numbers are wrong; {again}")


def _stop_on_sigterm() -> None:
    """End in order, so that no process of the trial is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def _subject(options: Options, directory: Path) -> AbstractAsyncContextManager[Subject]:
    if options.broker is None or options.clickhouse is None:
        return open_embedded_subject(directory)
    name = f"convometer-selftest-{secrets.token_hex(4)}"
    return open_kafka_subject(options.broker, options.clickhouse, name, directory, options.workers)


def _print(outcome: Outcome) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    rows = {
        "webhook bodies": outcome.lines,
        "updates in them": outcome.updates,
        **{f"fault: {name}": count for name, count in sorted(outcome.faults.items())},
        "processes started again": outcome.restarts,
        "numbers compared": outcome.verdict.cells,
        "lost": outcome.verdict.lost,
        "double": outcome.verdict.double,
        "wrong": outcome.verdict.wrong,
    }
    for name, count in rows.items():
        table.add_row(name, f"{count:,}")
    Console().print(table)
