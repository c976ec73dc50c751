"""A whole convometer in one process over a data directory: log, worker, ClickHouse, and the owner's socket.

Owns the order of opening and closing. The verbs use it through ``Engine``; ``run`` adds the gateway.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from cli.background import Background
from cli.dead_letters import DeadLetters, newest_letters
from cli.engine import HOPS_MAX, DeadLetterRow, InputFormat, Intake, QueryName, Row
from cli.intake import LineIntake, hold_appends
from cli.limit_gauges import GaugeTimes, LimitGauges
from cli.notices import alert_options, new_table_thread
from cli.observers import behind_seconds, ladder_watcher, sample_gauges, worker_observers, worker_readiness
from cli.options import live_reading, live_worker_options
from cli.prices import Prices
from dashboard.ports import WindowsUnavailable
from metering.charges import Charge
from metering.limits import LimitUse
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from schemas.final_report import FinalReport
from schemas.topics import CONSUMER_GROUP, DEAD_LETTER, EVENTS, INPUT_TOPICS, MAU_ALERTS, MAU_COUNTS
from schemas.user_windows import Elsewhere, UserWindows, WindowsAsked
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters
from sinks.clickhouse.writer import ClickHouseWriter
from streams.embedded.log import EmbeddedLog
from streams.embedded.port import EmbeddedWorkerLog
from streams.embedded.transport import register_log, unregister_log
from streams.guard import Acceptance, acceptance_append
from streams.records import Append, LastOffsets
from streams.worker import Worker

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)
_MAINTENANCE_SECONDS = 30
_POLL_SECONDS = 0.02
_NOTICED_SECONDS_MAX = 10.0
_QUERY_THREADS = 2
"""A page asks several questions at once."""


class Node:
    """An ``Engine`` that owns its data directory. Make it with ``Node.start``."""

    def __init__(
        self,
        in_force: SettingsInForce,
        metrics: Metrics,
        clock: Clock,
        log: EmbeddedLog,
        clients: ClientPool,
        on_step: Callable[[str], None],
    ) -> None:
        """Take what is open already; use ``start``."""
        self.settings = settings = in_force.settings
        self.metrics = metrics
        self.clock = clock
        self.log = log
        self.clients = clients
        self._queries = ThreadPoolExecutor(_QUERY_THREADS, thread_name_prefix="query")
        self._table_thread = new_table_thread()
        self.prices = Prices(in_force, clients, clock)
        self._ladder = ladder_watcher(metrics, settings, clients, clock)
        worker_log = EmbeddedWorkerLog(log)
        self.worker = Worker(
            worker_log,
            ClickHouseWriter(clients),
            replace(
                live_worker_options(in_force),
                alerts=alert_options(in_force, self.prices, clients, clock, self._table_thread),
            ),
            clock.now_ms,
            worker_observers(metrics, on_step, self._ladder),
        )
        self._intake = LineIntake(self._append, settings.partitions, live_reading(in_force), metrics, clock)
        self._worker_log = worker_log
        self._dead_letters = DeadLetters(worker_log, self._intake)
        self._background = Background(self.worker.fail)

    @classmethod
    async def start(
        cls,
        settings: Settings | SettingsInForce,
        metrics: Metrics,
        clock: Clock,
        on_step: Callable[[str], None] = lambda _: None,
        gauge_times: GaugeTimes | None = None,
    ) -> Node:
        """Open everything and start to work.

        Args:
            settings: of the data directory.
            metrics: where everything is shown.
            clock: where time comes from.
            on_step: the crash tests' way in: called with the name of each step.
            gauge_times: how often limits are shown and forecast, unless as usual.

        Raises:
            LogOwned: another process owns the directory.
            StateMismatch, RulesChanged, ClickHouseRefused, BrokenParts: it cannot go on; each says what to do.
        """
        in_force = SettingsInForce.of(settings)
        settings = in_force.settings
        directory = settings.log_directory
        if directory is None:
            raise NotEmbedded(settings.broker)
        settings.data.mkdir(parents=True, exist_ok=True)
        log = EmbeddedLog.open(directory.absolute())
        register_log(log.directory, log)
        clients = ClientPool(lambda: open_client(clickhouse_address(settings)))
        try:
            node = cls(in_force, metrics, clock, log, clients, on_step)
        except BaseException:  # the price files cannot be used: the directory is free again
            unregister_log(log.directory)
            await log.close()
            clients.close()
            raise
        try:
            await asyncio.to_thread(_migrate, clients)
            await node.in_query_thread(node.prices.load)
            await node.worker.start()
        except BaseException:
            await node.close()
            raise
        node._start_background(LimitGauges(metrics, in_force, clock, node.limits, gauge_times))
        return node

    def _start_background(self, gauges: LimitGauges) -> None:
        self._background.start("maintenance", self._maintain())
        self._background.start("ladder", self._ladder.run(self._behind_seconds))
        self._background.start("limits", gauges.run(self.worker))

    def _behind_seconds(self) -> dict[int, float]:
        return behind_seconds(self.worker, self.clock.now_ms())

    async def _maintain(self) -> None:
        """Keep the disk bounded and the gauges fresh; a failure here is a failure of the node."""
        elapsed_seconds = 0
        while True:
            self.sample_gauges()
            await asyncio.sleep(1)
            elapsed_seconds += 1
            if elapsed_seconds % _MAINTENANCE_SECONDS == 0:
                await self.log.maintenance(self.clock.now_ms())
                await self.in_query_thread(self.prices.renew)

    async def _append(self, appends: Sequence[Append]) -> LastOffsets:
        return await self.log.transaction(appends, {})

    async def ingest(self, lines: list[bytes], input_format: InputFormat, first_line: int) -> Intake:
        """See ``Engine.ingest``."""
        return await self._intake.take(lines, input_format, first_line, "ingest")

    async def hold(self, accounts: list[str], hold_id: str, release: bool) -> None:
        """See ``Engine.hold``."""
        if accounts:
            await self._append(
                hold_appends(accounts, hold_id, release, self.settings.partitions, self.clock.now_ms())
            )

    async def positions(self) -> dict[int, int]:
        """See ``Engine.positions``."""
        return {p: self.log.end_offset(EVENTS, p) for p in range(self.settings.partitions)}

    async def wait_flushed(self, positions: Mapping[int, int]) -> None:
        """See ``Engine.wait_flushed``."""
        behind = dict(positions)
        for _ in range(HOPS_MAX):
            await self.worker.wait_flushed(behind)
            # What partitions told each other about linked users in the meantime belongs to it.
            ends = await self.positions()
            if ends == behind:
                return
            behind = ends

    async def catch_up(self) -> None:
        """Return once everything that is durable in the log now is in ClickHouse."""
        await self._wait_normalized()
        await self.wait_flushed(await self.positions())
        await self._wait_noticed()

    async def _wait_noticed(self) -> None:
        """Return once the notices that follow are in ClickHouse too, or after a while: totals do not wait for them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTICED_SECONDS_MAX):
                while not self._is_noticed():
                    if self.worker.failed.is_set():
                        return
                    await asyncio.sleep(_POLL_SECONDS)

    def _is_noticed(self) -> bool:
        task = self.worker.notify_task
        owed = task.pending if task is not None else {}
        return (
            self._is_read(MAU_COUNTS, self.settings.partitions)
            and self._is_read(MAU_ALERTS, 1)
            and not any(channel == "clickhouse" for _, channel in owed)
        )

    def _is_read(self, topic: str, partitions: int) -> bool:
        return all(
            (self.log.committed(CONSUMER_GROUP, topic, partition) or 0)
            >= self.log.end_offset(topic, partition)
            for partition in range(partitions)
        )

    async def _wait_normalized(self) -> None:
        """Return once everything that stands in the input topics now has been moved into ``events``."""
        ends = {topic: self.log.end_offset(topic, 0) for topic in INPUT_TOPICS}
        while any((self.log.committed(CONSUMER_GROUP, topic, 0) or 0) < end for topic, end in ends.items()):
            if self.worker.failed.is_set():
                raise RuntimeError("the worker failed") from self.worker.failure
            await asyncio.sleep(_POLL_SECONDS)

    async def in_query_thread(self, ask: Callable[[], Answer]) -> Answer:
        """Return what a blocking call returns, made in the thread that asks ClickHouse."""
        return await asyncio.get_running_loop().run_in_executor(self._queries, ask)

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """See ``Engine.query``."""
        return await self.in_query_thread(lambda: self.prices.query(name, filters))

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """See ``Engine.charges``."""
        return await self.in_query_thread(lambda: self.prices.charges(asked))

    async def report(self, asked: ReportAsked) -> FinalReport:
        """See ``Engine.report``."""
        return await self.in_query_thread(lambda: self.prices.report(asked))

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """See ``Engine.limits``."""
        return await self.in_query_thread(lambda: self.prices.limits(asked))

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """See ``Engine.notices``."""
        return await self.in_query_thread(lambda: self.prices.notices(asked))

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetterRow]:
        """See ``Engine.dead_letters``."""
        return await self._dead_letters.page(after, limit)

    async def newest_dead_letters(self, limit: int) -> list[DeadLetterRow]:
        """Return the last ``limit`` dead letters, oldest first."""
        return await newest_letters(self._worker_log, limit)

    async def replay(self, ids: list[int]) -> Intake:
        """See ``Engine.replay``."""
        return await self._dead_letters.replay(ids)

    async def accept(self, topic: str, partition: int) -> None:
        """See ``Engine.accept``."""
        await self._append([acceptance_append(Acceptance(topic, partition), self.clock.now_ms())])

    async def windows(self, asked: WindowsAsked) -> UserWindows:
        """Return a user's windows.

        Raises:
            WindowsUnavailable: the partition is just being opened.
        """
        found = self.worker.windows(asked)
        if isinstance(found, Elsewhere):
            raise WindowsUnavailable("The user's partition is being opened. Try again in some seconds.")
        return found

    def sample_gauges(self) -> None:
        """Bring the gauges up to date."""
        sample_gauges(self.metrics, self.worker, self.clock.now_ms())
        self.metrics.dead_letter_bytes.set(self.log.stored_bytes(DEAD_LETTER, 0))

    def readiness(self) -> dict[str, str]:
        """Return for each component why it is not ready; an empty text = ready."""
        log_fault = ""
        try:
            self.log.check()
        except Exception as error:
            log_fault = str(error)
        return {"log": log_fault, **worker_readiness(self.worker)}

    async def close(self) -> None:
        """Stop everything in order; what is not flushed yet is owed at the next start."""
        await self._background.stop()
        await self.worker.stop()
        self._queries.shutdown(wait=True)
        self._table_thread.shutdown(wait=True)
        unregister_log(self.log.directory)
        await self.log.close()
        self.clients.close()


class NotEmbedded(RuntimeError):
    """The verb needs an embedded log; says what the settings name instead."""

    def __init__(self, broker: str) -> None:
        """Name the scheme only: an address may hold a password."""
        scheme = broker.partition("://")[0]
        super().__init__(
            f"this verb works on an embedded data directory, the settings name a {scheme}:// broker; "
            "set broker = embedded://DIRECTORY"
        )


def clickhouse_address(settings: Settings) -> str:
    """Return the address of ClickHouse, a relative directory made absolute."""
    directory = settings.chdb_directory
    return settings.clickhouse if directory is None else f"chdb://{Path(directory).absolute()}"


def _migrate(clients: ClientPool) -> None:
    applied = migrate(clients.get())
    if applied:
        _log.info("ClickHouse migrated: %s", ", ".join(applied))
