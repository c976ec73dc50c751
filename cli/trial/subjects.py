"""What is put on trial: one node over an embedded log, or several workers over Kafka.

Owns how it is started, fed and asked. Does not own the faults.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from cli.cluster import open_cluster
from cli.context import new_metrics
from cli.engine import Engine, QueryName, Row
from cli.options import connection_of, worker_options
from cli.remote import OwnerFailed, RemoteEngine
from cli.trial.processes import Child
from cli.trial.proxy import Door
from runtime.clock import SystemClock
from runtime.settings import KafkaSettings, Settings
from schemas.topics import INSTALLATION
from sinks.clickhouse.client import open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.reader import Filters
from streams.topic_specs import topic_specs

SESSION_SECONDS = 3.0
_CONNECT_SECONDS = 60.0


class Subject(Protocol):
    """A convometer on trial."""

    children: list[Child]
    door: Door | None
    """Between the workers and ClickHouse, where there is a server."""

    async def feed(self, lines: list[bytes]) -> None:
        """Feed lines until they are acknowledged, however often that takes."""
        ...

    async def settle(self) -> None:
        """Return once everything that was fed is in ClickHouse."""
        ...

    async def query(self, name: QueryName) -> list[Row]:
        """Answer a query."""
        ...

    async def add_worker(self) -> bool:
        """Start one more worker; False where there can be only one."""
        ...


class EmbeddedSubject:
    """``convometer run`` over a data directory."""

    def __init__(self, directory: Path) -> None:
        """Take an empty directory."""
        self._data = directory / "data"
        arguments = ["run", "--data", str(self._data), "--port", "0"]
        environment = {**_clean_environment(), "CONVOMETER_WORKER__FLUSH_INTERVAL_MS": "50"}
        self.children = [Child("node", arguments, environment, directory / "node.log")]
        self.door: Door | None = None
        self._engine: RemoteEngine | None = None

    async def _connected(self) -> RemoteEngine:
        deadline = asyncio.get_running_loop().time() + _CONNECT_SECONDS
        while self._engine is None:
            self._engine = await RemoteEngine.connect(self._data)
            if self._engine is None:
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError(f"the node does not answer:\n{self.children[0].last_words()}")
                await asyncio.sleep(0.05)
        return self._engine

    async def _hang_up(self) -> None:
        if self._engine is not None:
            engine, self._engine = self._engine, None
            await engine.close()

    async def feed(self, lines: list[bytes]) -> None:
        """See ``Subject.feed``."""
        while True:
            engine = await self._connected()
            try:
                await engine.ingest(lines, "meta", 1)
            except OwnerFailed:
                # Killed in the middle: some of it may be there already, which changes no number.
                await self._hang_up()
            else:
                return

    async def settle(self) -> None:
        """See ``Subject.settle``."""
        while True:
            engine = await self._connected()
            try:
                await engine.wait_flushed(await engine.positions())
            except OwnerFailed:
                await self._hang_up()
            else:
                return

    async def query(self, name: QueryName) -> list[Row]:
        """See ``Subject.query``."""
        return await (await self._connected()).query(name, Filters())

    async def add_worker(self) -> bool:
        """See ``Subject.add_worker``: an embedded log has one owner."""
        return False

    async def close(self) -> None:
        """Hang up."""
        await self._hang_up()


class KafkaSubject:
    """Workers over Kafka and a ClickHouse server, under a name of their own on both."""

    def __init__(
        self, settings: Settings, engine: Engine, directory: Path, door: Door, plans: Path | None
    ) -> None:
        """Take what ``open_kafka_subject`` has opened."""
        self.settings = settings
        self._plans = plans
        self._engine = engine
        self._directory = directory
        self.door: Door | None = door
        self.children: list[Child] = []

    async def add_worker(self) -> bool:
        """See ``Subject.add_worker``."""
        name = f"worker-{len(self.children) + 1}"
        assert self.door is not None
        environment = {
            **_clean_environment(),
            "CONVOMETER_BROKER": self.settings.broker,
            "CONVOMETER_CLICKHOUSE": _through(self.door, self.settings.clickhouse),
            "CONVOMETER_WORKER__FLUSH_INTERVAL_MS": "50",
            "CONVOMETER_KAFKA__PREFIX": self.settings.kafka.prefix,
            "CONVOMETER_KAFKA__REPLICATION_FACTOR": str(self.settings.kafka.replication_factor),
            "CONVOMETER_KAFKA__MIN_INSYNC_REPLICAS": str(self.settings.kafka.min_insync_replicas),
            "CONVOMETER_KAFKA__SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
        }
        if self._plans is not None:
            environment["CONVOMETER_PLANS"] = str(self._plans)
        arguments = ["worker", "--data", str(self._directory / name), "--port", "0"]
        child = Child(name, arguments, environment, self._directory / f"{name}.log")
        child.start()
        self.children.append(child)
        return True

    async def feed(self, lines: list[bytes]) -> None:
        """See ``Subject.feed``."""
        await self._engine.ingest(lines, "meta", 1)

    async def settle(self) -> None:
        """See ``Subject.settle``."""
        await self._engine.wait_flushed(await self._engine.positions())

    async def query(self, name: QueryName) -> list[Row]:
        """See ``Subject.query``."""
        return await self._engine.query(name, Filters())


@asynccontextmanager
async def open_embedded_subject(directory: Path) -> AsyncIterator[EmbeddedSubject]:
    """Give a running node."""
    subject = EmbeddedSubject(directory)
    for child in subject.children:
        child.start()
    try:
        yield subject
    finally:
        await subject.close()
        for child in subject.children:
            await child.stop()


@asynccontextmanager
async def open_kafka_subject(
    broker: str, clickhouse: str, name: str, directory: Path, workers: int, plans: Path | None = None
) -> AsyncIterator[KafkaSubject]:
    """Give running workers; topics and database are made for the trial, and removed after it.

    Args:
        broker: address of the Kafka cluster.
        clickhouse: address of the server.
        name: of the trial, which topics and database have as well.
        directory: for the workers' data and logs.
        workers: how many there are at first.
        plans: a file that the workers give notices by; the queries answer without it.
    """
    parts = urlsplit(clickhouse)
    settings = Settings(
        data=directory,
        broker=broker,
        clickhouse=urlunsplit(parts._replace(path=f"/{name.replace('-', '_')}")),
        kafka=KafkaSettings(prefix=f"{name}.", replication_factor=1, min_insync_replicas=1),
    )
    await asyncio.to_thread(_make_database, settings.clickhouse)
    door = Door(parts.hostname or "127.0.0.1", parts.port or 8123)
    await door.open()
    try:
        async with open_cluster(settings, new_metrics(), SystemClock()) as engine:
            subject = KafkaSubject(settings, engine, directory, door, plans)
            try:
                for _ in range(workers):
                    await subject.add_worker()
                yield subject
            finally:
                await asyncio.gather(*(child.stop() for child in subject.children))
    finally:
        await door.shut()
        await _remove_topics(settings)
        await asyncio.to_thread(_drop_database, settings.clickhouse)


def _make_database(address: str) -> None:
    client = open_client(address)
    migrate(client)
    client.close()


def _drop_database(address: str) -> None:
    client = open_client(address)
    client.command(f"DROP DATABASE IF EXISTS {client.database}")
    client.close()


async def _remove_topics(settings: Settings) -> None:
    connection = connection_of(settings)
    names = [spec.name for spec in topic_specs(worker_options(settings))]
    admin = connection.admin()
    await admin.start()
    try:
        await admin.delete_topics([connection.topic(name) for name in (*names, INSTALLATION)])
    finally:
        await admin.close()


def _through(door: Door, address: str) -> str:
    parts = urlsplit(address)
    credentials = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return urlunsplit(parts._replace(netloc=f"{credentials}127.0.0.1:{door.port}"))


def _clean_environment() -> Mapping[str, str]:
    """Return the names of our settings with no value: a trial takes nothing from the shell that starts it."""
    cleared = {name: "" for name in os.environ if name.startswith("CONVOMETER_")}
    # Its port is a fixed one, which whoever tries this out may be using.
    return {**cleared, "CONVOMETER_DASHBOARD__IS_ENABLED": "false"}
