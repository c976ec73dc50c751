"""What every verb shares: its options, its settings, an engine, and errors that end in one readable line.

Owns exit codes: 0 done, 1 failed, 2 usage (click's own).
"""

from __future__ import annotations

import asyncio
import errno
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click
import uvloop
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry

from cli.cluster import KafkaAway, open_cluster
from cli.engine import Engine
from cli.node import Node, NotEmbedded
from cli.owner import OwnerServer
from cli.remote import OwnerFailed, RemoteEngine
from cli.serving import quiet_libraries
from runtime.clock import SystemClock
from runtime.logging import configure_logging
from runtime.memory import settle
from runtime.metrics import Metrics
from runtime.settings import Settings, SettingsError, load_settings
from schemas.plan_files import PlanFaults
from schemas.rate_files import RateFaults
from schemas.regimes import RegimeFaults
from sinks.clickhouse.client import BrokenParts, ClickHouseAway, ClickHouseRefused
from sinks.clickhouse.reader import Unanswerable
from streams.accounts import RulesChanged
from streams.embedded.log import LogFailed, LogOwned
from streams.embedded.records import LogUnfit
from streams.embedded.storage import DATABASE_NAME
from streams.kafka.topics import TopicsUnfit
from streams.processor import StateMismatch
from streams.store import StoreFailed
from streams.worker import PartitionStopped

P = ParamSpec("P")
_OWNER_WAIT_SECONDS = 15


class UnreadableInput(Exception):
    """An input file cannot be read to its end; what was read before is in the log."""


class WorkerFailed(Exception):
    """The worker inside a verb's own node stopped, so that what the verb took is durable but not counted."""

    def __init__(self, failure: BaseException) -> None:
        """Take what ended it; a fault of ours is named by its type, as its message alone may say little."""
        reason = (
            str(failure) if isinstance(failure, EXPECTED_ERRORS) else f"{type(failure).__name__}: {failure}"
        )
        super().__init__(
            f"the worker failed: {reason}. What was taken is kept in the log and is counted once the worker runs again"
        )


class NothingThere(RuntimeError):
    """A data directory without an installation."""

    def __init__(self, directory: Path) -> None:
        """Name the directory."""
        super().__init__(
            f"there is no installation in {directory}: check --data and CONVOMETER_DATA. `convometer run` and "
            "`convometer ingest` make one"
        )


# Errors that say themselves what to do; anything else is a fault of ours and shows its traceback.
EXPECTED_ERRORS: tuple[type[Exception], ...] = (
    SettingsError,
    PlanFaults,
    RateFaults,
    RegimeFaults,
    LogOwned,
    LogFailed,
    LogUnfit,
    StateMismatch,
    RulesChanged,
    NotEmbedded,
    NothingThere,
    StoreFailed,
    OwnerFailed,
    ClickHouseAway,
    ClickHouseRefused,
    BrokenParts,
    Unanswerable,
    UnreadableInput,
    WorkerFailed,
    KafkaAway,
    PartitionStopped,
    TopicsUnfit,
    KafkaError,
    LookupError,
    sqlite3.Error,
)


def common_options(command: Callable[P, None]) -> Callable[P, None]:
    """Add ``--config`` and ``--data``."""
    for option in (
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            help="Data directory (default: CONVOMETER_DATA, the settings, ./data).",
        ),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Settings file, TOML (default: CONVOMETER_CONFIG).",
        ),
    ):
        command = option(command)
    return command


def settings_of(config: Path | None, data: Path | None) -> Settings:
    """Return the settings of a verb.

    Raises:
        SettingsError: with all faults.
    """
    return load_settings(config, {"data": data} if data is not None else None)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn expected errors into one line on stderr and exit 1."""
    try:
        yield
    except EXPECTED_ERRORS as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        # What shells say of a process that Ctrl-C ended.
        raise SystemExit(128 + signal.SIGINT) from None
    except OSError as error:
        # Whoever closed the pipe has seen enough; that is click's to handle.
        if error.errno == errno.EPIPE:
            raise
        raise click.ClickException(str(error)) from error


def run_async(function: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a coroutine function a command body: an event loop, and readable errors."""

    @wraps(function)
    def body(*args: P.args, **kwargs: P.kwargs) -> None:
        with readable_errors():
            uvloop.run(function(*args, **kwargs))

    return body


def new_metrics(settings: Settings | None = None) -> Metrics:
    """Return metrics in a registry of their own, bounded as the settings say."""
    return Metrics(CollectorRegistry(), None if settings is None else settings.metrics)


@asynccontextmanager
async def engine_of(
    settings: Settings, *, catch_up: bool = False, create: bool = False
) -> AsyncIterator[Engine]:
    """Give the engine of the cluster, or of the data directory: its owner's, or a node of our own, which then owns it.

    With ``catch_up``, a node of our own first brings everything in the log to ClickHouse, so that a query right
    after a crash is as exact as one before it.

    Raises:
        NothingThere: the data directory holds no installation, and none is to be made: a question about a mistyped
            directory must not be answered with "no traffic".
    """
    configure_logging(settings.log_format, "WARNING")
    quiet_libraries()
    if settings.kafka_servers:
        async with open_cluster(settings, new_metrics(), SystemClock()) as cluster:
            yield cluster
        return
    log_directory = settings.log_directory
    if not create and log_directory is not None and not (log_directory / DATABASE_NAME).exists():
        raise NothingThere(settings.data)
    engine = await _open_engine(settings)
    if isinstance(engine, RemoteEngine):
        try:
            yield engine
        finally:
            await engine.close()
        return
    async with _owned(engine, settings.data):
        if catch_up:
            await engine.catch_up()
        yield engine


@asynccontextmanager
async def _owned(node: Node, data: Path) -> AsyncIterator[None]:
    """Let other verbs work with our node meanwhile: a long ingest answers them as ``run`` would.

    Raises:
        WorkerFailed: the node's worker stopped, whether or not the verb noticed.
    """
    settle()
    owner = OwnerServer(node, data)
    owner.start()
    try:
        try:
            yield
        finally:
            await owner.stop()
            await node.close()
    except RuntimeError as error:
        # What waited for the worker says only that it failed.
        if error.__cause__ is None or error.__cause__ is not node.worker.failure:
            raise
    if node.worker.failure is not None:
        raise WorkerFailed(node.worker.failure) from node.worker.failure


async def _open_engine(settings: Settings) -> RemoteEngine | Node:
    """Reach the owner, or become it.

    An owner that is just starting or stopping has the directory but no socket: it is given a moment.
    """
    clock = SystemClock()
    deadline = clock.monotonic_seconds() + _OWNER_WAIT_SECONDS
    while True:
        remote = await RemoteEngine.connect(settings.data)
        if remote is not None:
            return remote
        try:
            return await Node.start(settings, new_metrics(), clock)
        except LogOwned:
            if clock.monotonic_seconds() > deadline:
                raise
            await asyncio.sleep(0.2)
