"""Opens what answers the dashboard: the node of this process, or a ClickHouse server, Kafka and the workers.

Owns which of them is asked for what. Does not own the answers (``cli.answers``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.errors import KafkaError

from cli.answers import Answers
from cli.cluster import check_schema
from cli.dead_letters import newest_letters
from cli.engine import DeadLetterRow
from cli.node import Node
from cli.options import connection_of
from cli.prices import Prices
from cli.worker_windows import WorkerWindows
from dashboard.ports import RefusedUnavailable
from runtime.clock import Clock
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from sinks.clickhouse.client import ClientPool, open_client
from streams.kafka.installation import read_installation
from streams.kafka.log import KafkaWorkerLog
from streams.threads import in_thread
from streams.worker import Worker

_log = logging.getLogger(__name__)


def node_answers(node: Node, in_force: SettingsInForce) -> Answers:
    """Return what answers in the process of a node."""
    return Answers(
        in_force,
        node.prices,
        node.clients,
        node.clock,
        node.in_query_thread,
        newest_dead_letters=node.newest_dead_letters,
        ask_windows=node.windows,
    )


@asynccontextmanager
async def server_answers(
    in_force: SettingsInForce, clock: Clock, here: Worker | None = None
) -> AsyncIterator[Answers]:
    """Give what answers from a ClickHouse server, Kafka and the workers, of which one may be ``here``."""
    settings = in_force.settings
    clients = ClientPool(lambda: open_client(settings.clickhouse))
    dashboard = settings.dashboard
    token = dashboard.worker_token.get_secret_value() if dashboard.worker_token is not None else ""
    prices = Prices(in_force, clients, clock)
    workers = WorkerWindows(dashboard.workers, token, here.windows if here is not None else None)
    letters = KafkaLetters(settings)
    try:
        await asyncio.to_thread(check_schema, clients)
        yield Answers(
            in_force,
            prices,
            clients,
            clock,
            in_thread,
            newest_dead_letters=letters.newest,
            ask_windows=workers.ask,
        )
    finally:
        await letters.close()
        clients.close()


class KafkaLetters:
    """The dead letters of a cluster. A Kafka that is away takes nothing from the rest of the dashboard."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; Kafka is reached when somebody asks."""
        self._settings = settings
        self._log: KafkaWorkerLog | None = None
        self._opening = asyncio.Lock()

    async def newest(self, limit: int) -> list[DeadLetterRow]:
        """Return the newest letters, oldest first.

        Raises:
            RefusedUnavailable: they cannot be read.
        """
        if not self._settings.kafka_servers:
            raise RefusedUnavailable("the settings name no Kafka, where refused events are")
        try:
            async with self._opening:
                if self._log is None:
                    connection = connection_of(self._settings)
                    installation = await read_installation(connection)
                    if installation is None:
                        raise RefusedUnavailable("this Kafka holds no installation yet")
                    self._log = await KafkaWorkerLog.open(connection, installation.id)
            return await newest_letters(self._log, limit)
        except (KafkaError, OSError) as error:
            _log.warning("refused events cannot be read: %s", error)
            raise RefusedUnavailable("Kafka does not answer at the moment") from error

    async def close(self) -> None:
        """Let go of Kafka."""
        if self._log is not None:
            await self._log.close()
