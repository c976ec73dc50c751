"""A convometer on Kafka and a ClickHouse server: what its verbs and roles open.

Owns the order of opening and closing. ``ClusterEngine`` answers the verbs; there is no owner to ask, as Kafka and
ClickHouse take any number of clients.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiokafka.errors import KafkaConnectionError

from cli.dead_letters import DeadLetters
from cli.engine import HOPS_MAX, DeadLetterRow, InputFormat, Intake, QueryName, Row
from cli.intake import LineIntake, hold_appends
from cli.options import connection_of, reading_of, worker_options
from cli.prices import Prices
from metering.charges import Charge
from metering.limits import LimitUse
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from schemas.final_report import FinalReport
from schemas.parcels import NO_PARCELS
from schemas.topics import EVENTS
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.client import ClickHouseRefused, ClientPool, open_client
from sinks.clickhouse.migrations import pending
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters
from sinks.clickhouse.writer import ClickHouseWriter
from streams.guard import Acceptance, acceptance_append
from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog
from streams.records import Append, LastOffsets, Record
from streams.topic_specs import topic_specs

_log = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
_SILENT_SECONDS = 30.0


class KafkaAway(RuntimeError):
    """The cluster cannot be reached; names the addresses."""


@asynccontextmanager
async def kafka_log(settings: Settings) -> AsyncIterator[KafkaWorkerLog]:
    """Give the log on Kafka, its topics made and checked.

    Raises:
        KafkaAway: no broker answers.
        StateMismatch, TopicsUnfit: the installation there is another one, or its topics are not fit.
    """
    connection = connection_of(settings)
    try:
        installation = await ensure_installation(connection, settings.partitions)
        log = await KafkaWorkerLog.open(connection, installation.id)
    except KafkaConnectionError as error:
        raise KafkaAway(f"no Kafka broker answers at {', '.join(connection.servers)}: {error}") from error
    try:
        await log.declare(topic_specs(worker_options(settings)))
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def kafka_appender(connection: KafkaConnection) -> AsyncIterator[KafkaAppender]:
    """Give an appender."""
    appender = await KafkaAppender.open(connection)
    try:
        yield appender
    finally:
        await appender.close()


def check_schema(clients: ClientPool) -> None:
    """Make sure that ClickHouse has this version's schema: on a server that is an operator's decision.

    Raises:
        ClickHouseRefused: it has not.
    """
    missing = pending(clients.get())
    if missing:
        raise ClickHouseRefused(
            f"ClickHouse lacks {len(missing)} migrations, the first is {missing[0].name}; run `convometer migrate`"
        )


class ClusterEngine:
    """An ``Engine`` over Kafka and a ClickHouse server. Workers elsewhere do the metering."""

    def __init__(
        self, settings: Settings, metrics: Metrics, clock: Clock, log: KafkaWorkerLog, appender: KafkaAppender
    ) -> None:
        """Take what is open already; use ``open_cluster``."""
        self._settings = settings
        self._clock = clock
        self._appender = appender
        self._clients = ClientPool(lambda: open_client(settings.clickhouse))
        self._intake = LineIntake(self._append, settings.partitions, reading_of(settings), metrics, clock)
        self._dead_letters = DeadLetters(log, self._intake)
        self._prices = Prices(SettingsInForce.of(settings), self._clients, clock)
        self._positions: dict[int, int] = {}

    async def _append(self, appends: Sequence[Append]) -> LastOffsets:
        last = await self._appender.append(appends)
        for (topic, partition), offset in last.items():
            if topic == EVENTS:
                self._positions[partition] = max(self._positions.get(partition, 0), offset + 1)
        return last

    async def ingest(self, lines: list[bytes], input_format: InputFormat, first_line: int) -> Intake:
        """See ``Engine.ingest``."""
        return await self._intake.take(lines, input_format, first_line, "ingest")

    async def hold(self, accounts: list[str], hold_id: str, release: bool) -> None:
        """See ``Engine.hold``."""
        if accounts:
            partitions = self._settings.partitions
            await self._append(hold_appends(accounts, hold_id, release, partitions, self._clock.now_ms()))

    async def positions(self) -> dict[int, int]:
        """Return the positions behind what this engine appended: what others append is not waited for."""
        return dict(self._positions)

    async def wait_flushed(self, positions: Mapping[int, int]) -> None:
        """See ``Engine.wait_flushed``: looks at ClickHouse's progress marks, which the workers move.

        What partitions told each other in the meantime lies before an empty record that is appended then. That two such
        records follow on each other says that there was nothing; the end of the log would not, since it
        moves with each transaction.
        """
        await self._wait_marked(positions)
        last: dict[int, int] = {}
        for _ in range(HOPS_MAX):
            probes = await self._probe()
            if all(offset == last.get(partition, -1) + 1 for partition, offset in probes.items()):
                return
            await self._wait_marked({partition: offset + 1 for partition, offset in probes.items()})
            last = probes

    async def _probe(self) -> dict[int, int]:
        """Append a record that says nothing to every partition; return where."""
        record = Record(None, NO_PARCELS, self._clock.now_ms())
        appends = [Append(EVENTS, partition, [record]) for partition in range(self._settings.partitions)]
        last = await self._appender.append(appends)
        return {partition: offset for (_, partition), offset in last.items()}

    async def _wait_marked(self, positions: Mapping[int, int]) -> None:
        """Return once ClickHouse's marks of progress are at the positions."""
        writer = ClickHouseWriter(self._clients)
        missing = dict(positions)
        moved_at = self._clock.monotonic_seconds()
        while missing:
            for partition, position in list(missing.items()):
                progress = await asyncio.to_thread(writer.read_progress, partition)
                if progress is not None and progress.source_offset >= position:
                    del missing[partition]
                    moved_at = self._clock.monotonic_seconds()
            if missing:
                if self._clock.monotonic_seconds() - moved_at > _SILENT_SECONDS:
                    _log.warning(
                        "still waiting for partitions %s; is a worker running, and ready by its /readyz?",
                        sorted(missing),
                    )
                    moved_at = self._clock.monotonic_seconds()
                await asyncio.sleep(_POLL_SECONDS)

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """See ``Engine.query``."""
        return await asyncio.to_thread(self._prices.query, name, filters)

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """See ``Engine.charges``."""
        return await asyncio.to_thread(self._prices.charges, asked)

    async def report(self, asked: ReportAsked) -> FinalReport:
        """See ``Engine.report``."""
        return await asyncio.to_thread(self._prices.report, asked)

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """See ``Engine.limits``."""
        return await asyncio.to_thread(self._prices.limits, asked)

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """See ``Engine.notices``."""
        return await asyncio.to_thread(self._prices.notices, asked)

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetterRow]:
        """See ``Engine.dead_letters``."""
        return await self._dead_letters.page(after, limit)

    async def replay(self, ids: list[int]) -> Intake:
        """See ``Engine.replay``."""
        return await self._dead_letters.replay(ids)

    async def accept(self, topic: str, partition: int) -> None:
        """See ``Engine.accept``."""
        await self._append([acceptance_append(Acceptance(topic, partition), self._clock.now_ms())])

    async def close(self) -> None:
        """See ``Engine.close``."""
        self._clients.close()


@asynccontextmanager
async def open_cluster(settings: Settings, metrics: Metrics, clock: Clock) -> AsyncIterator[ClusterEngine]:
    """Give an engine over the cluster that the settings name."""
    async with kafka_log(settings) as log, kafka_appender(log.connection) as appender:
        engine = ClusterEngine(settings, metrics, clock, log, appender)
        try:
            yield engine
        finally:
            await engine.close()
