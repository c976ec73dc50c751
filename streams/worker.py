"""The worker role: partitions that are assigned to this process are opened and metered, rows go to ClickHouse.

Owns the order of starting and stopping, and what happens when partitions come and go. Does not own the log, the
ClickHouse client or the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import faust
from faust.types import TP

from metering.calendar import Calendar, date_of
from schemas.alerts import Notice
from schemas.events import Event, Parsed
from schemas.topics import EVENTS, MAU_ALERTS, MAU_COUNTS
from schemas.user_windows import Elsewhere, UserWindows, WindowsAsked
from sinks.clickhouse.writer import ClickHouseWriter
from sinks.notify.channel import ChannelKind
from streams.alerting import AlertPorts, AlertTask
from streams.app import create_app
from streams.flusher import Flusher
from streams.guard import Acceptances
from streams.inputs import InputPorts, InputTask
from streams.log import WorkerLog
from streams.notifying import NotifyPorts, NotifyTask, Outcome
from streams.opening import Opened, Opener, WorkerOptions
from streams.partition import PartitionTask, TaskPorts
from streams.processor import StateMismatch
from streams.source import Source
from streams.step import Step
from streams.task import OrderedTask, Supervision
from streams.threads import in_thread
from streams.topic_specs import topic_specs
from streams.windows import find_windows

Key = tuple[str, int]
"""``(topic, partition)``"""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a partition is behind: records not committed, and the age in seconds of the oldest of them."""

    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Observers:
    """Called as work goes on; for metrics."""

    committed: Callable[[int, Step, float], None] = lambda _partition, _step, _seconds: None
    flushed: Callable[[int, float, bool], None] = lambda _rows, _seconds, _succeeded: None
    taken: Callable[[Sequence[Event]], None] = lambda _events: None
    """Called with the events of an input topic that are durable now."""
    ignored: Callable[[str], None] = lambda _name: None
    refused: Callable[[str], None] = lambda _reason: None
    owned: Callable[[int, bool], None] = lambda _partition, _ready: None
    """Called when a partition is ready for work here, and when it is not any more."""
    noticed: Callable[[Notice], None] = lambda _notice: None
    delivered: Callable[[ChannelKind, Outcome, int], None] = lambda _channel, _outcome, _count: None
    on_step: Callable[[str], None] = lambda _name: None
    """The crash tests' way in: called with the name of each step."""


class PartitionStopped(RuntimeError):
    """A partition stands still because too much is refused; says which, why and what to do."""


class Worker:
    """Meters the partitions of a log that are its own. ``start``, then ``stop``."""

    def __init__(
        self,
        log: WorkerLog,
        clickhouse: ClickHouseWriter,
        options: WorkerOptions,
        now_ms: Callable[[], int],
        observers: Observers | None = None,
    ) -> None:
        """Take an open log and a migrated ClickHouse."""
        self.log = log
        self.options = options
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self.tasks: dict[Key, OrderedTask] = {}
        self._clickhouse = clickhouse
        self._now_ms = now_ms
        self._observers = observers or Observers()
        self.stopped = asyncio.Event()
        """Set while a partition stands still because too much is refused."""
        self._supervision = Supervision(
            self.fail, Acceptances(log), options.refusal_limits, self._stopped_or_going_on
        )
        self._opener = Opener(log, clickhouse, options, now_ms)
        self.flusher = Flusher(
            clickhouse,
            options.flush_limits,
            self._observers.flushed,
            now_ms,
            self._observers.on_step,
        )
        self._app: faust.App | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._stopping: dict[Key, asyncio.Task[None]] = {}

    async def start(self) -> None:
        """Start to work. Where every partition is ours anyway, all are open when this returns.

        Raises:
            StateMismatch: log, state and ClickHouse do not belong together.
            RulesChanged: the settings would count the past differently.
        """
        await self.log.declare(topic_specs(self.options))
        await in_thread(self._check_installation)
        if self.log.sole_owner:
            for partition in range(self.options.partitions):
                await self._task(EVENTS, partition).open()
        self._in_background(self.flusher.run(), "flush")
        faust_directory = self.options.state_directory / "faust"
        faust_directory.mkdir(parents=True, exist_ok=True)
        self._app = create_app(self.log, self.options.partitions, faust_directory, self._take)
        # Its type of handler knows no names for arguments.
        self._app.on_partitions_assigned.connect(self._assigned)  # type: ignore[arg-type]
        self._app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]
        await self._app.start()
        self._in_background(self._watch_app(self._app), "watch-app")

    def _in_background(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._background_ended)
        self._background.add(task)
        return task

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.fail(failure)

    def fail(self, failure: BaseException) -> None:
        """End the process: nothing of ours is restarted inside it. The first failure is the cause."""
        self.failure = self.failure or failure
        self.failed.set()

    async def _watch_app(self, app: faust.App) -> None:
        """A crash inside Faust (a lost record, a failed log) only sets a flag there; here it ends the process."""
        await app._crashed.wait()  # there is no public way to wait for it
        self.fail(app.crash_reason or RuntimeError("the stream app crashed"))

    def _check_installation(self) -> None:
        known = self._clickhouse.read_installation()
        if known is None:
            self._clickhouse.write_installation(self.log.installation_id)
        elif known != self.log.installation_id:
            raise StateMismatch(
                f"ClickHouse holds the numbers of installation {known}, the log is of {self.log.installation_id}; "
                "point to the ClickHouse that belongs to this log, or to an empty database"
            )

    # Partitions come and go

    async def _assigned(self, _app: Any, assigned: Iterable[TP], **_: Any) -> None:
        """Work on what is ours now. Nothing is waited for: the group's session runs on only when this returns."""
        keys = set(map(self._key, assigned))
        for key in [key for key in self.tasks if key not in keys]:
            task = self.tasks.pop(key)
            self._stopping[key] = self._in_background(task.stop(), f"stop-{key[0]}-{key[1]}")
        for key in keys:
            self._task(*key).start()

    async def _revoked(self, _app: Any, revoked: Iterable[TP], **_: Any) -> None:
        """Finish the commits under way before the partitions may go to others.

        Nothing is closed yet: mostly they come back in a moment. Should another worker have had a partition
        meanwhile, it has fenced our writer, and the next commit here fails.
        """
        paused = [self.tasks[key] for key in map(self._key, revoked) if key in self.tasks]
        await asyncio.gather(*(task.pause() for task in paused))

    def _key(self, tp: TP) -> Key:
        return tp.topic.removeprefix(self.log.prefix), tp.partition

    def _task(self, topic: str, partition: int) -> OrderedTask:
        task = self.tasks.get((topic, partition))
        if task is None:
            tp = TP(self.log.prefix + topic, partition)
            source = Source(topic, partition, self.log, lambda flow: self._flow(tp, flow))
            task = self._new_task(source)
            self.tasks[topic, partition] = task
        return task

    def _new_task(self, source: Source) -> OrderedTask:
        if source.topic == EVENTS:
            return self._events_task(source)
        if source.topic == MAU_COUNTS:
            return self._alert_task(source)
        if source.topic == MAU_ALERTS:
            return self._notify_task(source)
        return self._input_task(source)

    def _events_task(self, source: Source) -> PartitionTask:
        observers = self._observers
        ports = TaskPorts(
            self._now_ms,
            observers.committed,
            self._on_open,
            self._on_close,
            self.flusher.wait_for_room,
            observers.on_step,
        )
        return PartitionTask(source, lambda: self._open(source.partition), ports, self._supervision)

    async def _open(self, partition: int) -> Opened:
        stopping = self._stopping.pop((EVENTS, partition), None)
        if stopping is not None:
            # It was ours a moment ago, and still has the local state.
            await asyncio.wait({stopping})
        return await self._opener.open(partition)

    def _input_task(self, source: Source) -> InputTask:
        options = self.options
        ports = InputPorts(self.log, options.reading, options.partitions, self._now_ms, self._normalized)
        return InputTask(source, ports, self._supervision)

    def _alert_task(self, source: Source) -> AlertTask:
        observers, options = self._observers, self.options
        ports = AlertPorts(
            self.log, options.alerts.terms, self._today_of, self._now_ms, observers.noticed, observers.on_step
        )
        return AlertTask(source, ports, self._supervision)

    def _today_of(self, account: str) -> date:
        return date_of(Calendar(self.options.zones_of(account)).day(self._now_ms() // 1000))

    def _notify_task(self, source: Source) -> NotifyTask:
        observers, alerts = self._observers, self.options.alerts
        ports = NotifyPorts(
            self.log, alerts.channels, self._now_ms, alerts.retry, observers.delivered, observers.on_step
        )
        return NotifyTask(source, ports, self._supervision)

    def _on_open(self, opened: Opened) -> None:
        self.flusher.add(opened.dirty)
        self._observers.owned(opened.partition, True)

    def _on_close(self, opened: Opened) -> None:
        self.flusher.remove(opened.dirty)
        self._observers.owned(opened.partition, False)

    def _normalized(self, parsed: Parsed) -> None:
        self._observers.taken(parsed.events)
        for name in parsed.ignored:
            self._observers.ignored(name)
        for refusal in parsed.refusals:
            self._observers.refused(refusal.reason)

    def _flow(self, tp: TP, flow: bool) -> None:
        """Let a partition's records come, or not, while the others go on."""
        if self._app is None:
            return
        if flow:
            self._app.consumer.resume_partitions({tp})
        else:
            self._app.consumer.pause_partitions({tp})

    async def _take(self, topic: str, partition: int, offset: int, value: bytes, time_ms: int) -> None:
        task = self.tasks.get((topic, partition))
        # Without a task the partition is not ours any more.
        if task is not None:
            task.source.put((offset, value, time_ms))

    # What is known about the work

    @property
    def partitions(self) -> list[PartitionTask]:
        """Return the partitions of ``events`` that are open here."""
        return [
            task
            for task in list(self.tasks.values())
            if isinstance(task, PartitionTask) and task.opened is not None
        ]

    @property
    def alert_tasks(self) -> list[AlertTask]:
        """Return the partitions of ``mau.counts`` that are judged here."""
        return [task for task in list(self.tasks.values()) if isinstance(task, AlertTask)]

    def alert_lag_seconds(self, now_ms: int) -> float:
        """Return the age of the oldest count that is here and not judged."""
        oldest = min((task.oldest_pending_ms or now_ms for task in self.alert_tasks), default=now_ms)
        return max(0.0, (now_ms - oldest) / 1000)

    @property
    def notify_task(self) -> NotifyTask | None:
        """Return what delivers notices, if that is done here."""
        task = self.tasks.get((MAU_ALERTS, 0))
        return task if isinstance(task, NotifyTask) else None

    def stops(self) -> dict[str, str]:
        """Return why partitions stand still, by name."""
        return {f"{topic}[{p}]": task.stopped for (topic, p), task in self.tasks.items() if task.stopped}

    def _stopped_or_going_on(self) -> None:
        if self.stops():
            self.stopped.set()
        else:
            self.stopped.clear()
        for (topic, partition), task in self.tasks.items():
            if topic == EVENTS:
                self._observers.owned(partition, task.is_open and not task.stopped)

    def opening(self) -> list[int]:
        """Return the partitions of ``events`` that are ours and not open yet."""
        return [p for (topic, p), task in self.tasks.items() if topic == EVENTS and not task.is_open]

    def windows(self, asked: WindowsAsked) -> UserWindows | Elsewhere:
        """Return a user's windows as committed by now, or in which partition they are if it is not open here."""
        processors = {task.source.partition: task.processor for task in self.partitions}
        return find_windows(processors, self.options.partitions, asked)

    def lag(self, now_ms: int) -> dict[int, Lag]:
        """Return how far each open partition's commits are behind the end of the log, as last heard."""
        return {task.source.partition: self._lag(task, now_ms) for task in self.partitions}

    def _lag(self, task: PartitionTask, now_ms: int) -> Lag:
        oldest_ms = task.oldest_pending_ms
        if self._app is None:
            return Lag(0, 0.0)
        end = self._app.consumer.highwater(TP(self.log.prefix + EVENTS, task.source.partition)) or 0
        if oldest_ms is None and not task.source.behind(end):
            return Lag(0, 0.0)
        records = max(0, end - task.dirty.committed.source_offset)
        return Lag(records, 0.0 if oldest_ms is None else max(0.0, (now_ms - oldest_ms) / 1000))

    def flush_age_seconds(self, now_ms: int) -> float:
        """Return the age of the oldest committed change that ClickHouse does not have."""
        oldest = min(
            (t.dirty.oldest_change_ms for t in self.partitions if t.dirty.oldest_change_ms), default=now_ms
        )
        return max(0.0, (now_ms - oldest) / 1000)

    def state_records(self) -> dict[str, int]:
        """Return about how many records the local state holds, over all tables and partitions."""
        return {"all": sum(task.processor.store.estimate() for task in self.partitions)}

    def moves(self) -> dict[int, tuple[int, int]]:
        """Return for each open partition how many states of linked users it has sent, and how many it has joined."""
        return {
            task.source.partition: (
                task.processor.record.moves_out,
                task.processor.record.moves_in,
            )
            for task in self.partitions
        }

    async def wait_flushed(self, offsets: dict[int, int]) -> None:
        """Return once ClickHouse has everything before the given next offsets.

        Raises:
            RuntimeError: the worker failed meanwhile.
            PartitionStopped: a partition stands still because too much is refused.
        """
        waiting = asyncio.ensure_future(self.flusher.wait_until(offsets))
        others = [asyncio.ensure_future(event.wait()) for event in (self.failed, self.stopped)]
        try:
            await asyncio.wait({waiting, *others}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                await waiting
            elif self.failed.is_set():
                raise RuntimeError("the worker failed") from self.failure
            else:
                raise PartitionStopped(
                    "; ".join(f"{name} has stopped: {why}" for name, why in self.stops().items())
                )
        finally:
            for future in (waiting, *others):
                future.cancel()

    async def stop(self) -> None:
        """Stop after the commits under way. What is not flushed is owed at the next start."""
        if self._app is not None:
            await self._app.stop()
        for task in list(self.tasks.values()):
            await task.stop()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)
        background = list(self._background)
        for task_of_ours in background:
            task_of_ours.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        self.flusher.close()
