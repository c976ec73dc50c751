"""The ordered task of one partition: restore, then batch after batch, commit after commit.

The order of one step, which the crash tests interrupt at every place:

1. meter the queued records (state in memory moves ahead),
2. commit rows, states, dead letters and source offset in one transaction of the log,
3. write the local store (data and changelog positions in one batch),
4. owe the rows to ClickHouse.

After a crash at any place the log's transaction decides: a store that is behind catches up from the changelog, and
ClickHouse is owed every row whose sequence is above its own progress mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from schemas.dead_letter import dead_letter_of, encode_dead_letter
from schemas.events import SET_ASIDE
from schemas.topics import DEAD_LETTER, EVENTS, MAU_COUNTS
from sinks.clickhouse.writer import Progress
from streams.dirty import DirtyRows
from streams.log import events_position
from streams.opening import Opened
from streams.processor import Processor
from streams.records import Append, Record
from streams.source import Source
from streams.step import SourceRecord, Step
from streams.store import Table
from streams.sweep import Sweep
from streams.task import OrderedTask, Supervision


@dataclass(frozen=True, slots=True)
class TaskPorts:
    """What a partition's task reaches the world through."""

    now_ms: Callable[[], int]
    observe: Callable[[int, Step, float], None]
    """Called after each commit with the partition, the step and the commit's duration in seconds."""
    on_open: Callable[[Opened], None] = lambda _: None
    """Called when the partition's state is open: from now on it owes rows."""
    on_close: Callable[[Opened], None] = lambda _: None
    """Called before the partition's state is closed."""
    wait_for_room: Callable[[asyncio.Event], Awaitable[bool]] | None = None
    """Returns once ClickHouse lags so little that another step may be made, or when the event is set."""
    on_step: Callable[[str], None] = lambda _: None
    """Called with the name of each place of the order above; the crash tests end the process in it."""


class PartitionTask(OrderedTask):
    """Meters one partition of ``events``."""

    def __init__(
        self,
        source: Source,
        opener: Callable[[], Awaitable[Opened]],
        ports: TaskPorts,
        supervision: Supervision,
    ) -> None:
        """Take the records and the way to open the partition's state, which may take long."""
        super().__init__(source, supervision)
        self.opened: Opened | None = None
        self._opener = opener
        self._ports = ports
        self._step_oldest_ms: int | None = None

    @property
    def processor(self) -> Processor:
        """Return the partition's work, once it is open."""
        return self._state.processor

    @property
    def dirty(self) -> DirtyRows:
        """Return what is owed to ClickHouse, once it is open."""
        return self._state.dirty

    @property
    def _state(self) -> Opened:
        assert self.opened is not None, "the partition is not open"
        return self.opened

    @property
    def oldest_pending_ms(self) -> int | None:
        """Return the time of the oldest record that is here and not committed, UTC milliseconds."""
        return self.source.oldest_ms if self._step_oldest_ms is None else self._step_oldest_ms

    async def _open(self) -> int:
        self.opened = await self._opener()
        self._sweep = Sweep(self.processor)
        self._ports.on_open(self.opened)
        return self._next_offset()

    def _next_offset(self) -> int:
        return self.processor.record.source_offset

    async def _wait_for_room(self) -> None:
        if self._ports.wait_for_room is not None:
            await self._ports.wait_for_room(self._pausing)

    async def _work(self, records: list[SourceRecord]) -> None:
        self._step_oldest_ms = records[0][2]
        self._ports.on_step("before-process")
        step = self.processor.process(records, self._ports.now_ms() // 1000)
        if not await self._may_go_on(*good_and_refused(step), step.refused_run):
            # The state in memory is ahead of what is committed: it is opened anew.
            await self._close()
            return
        await self._commit(step)
        self._step_oldest_ms = None
        # A partition that is never idle has to forget as well.
        await self._sweep_a_step()

    async def _idle(self) -> None:
        """Sweep while nothing is queued; a long sweep gives way to records, and to a stop, after each step."""
        if self.processor.owes_months:
            await self._commit(self.processor.finish(Step(), self._next_offset()))
        await self._sweep_a_step()
        while self._sweep.under_way and self.source.empty and not self._pausing.is_set():
            await self._sweep_a_step()
            await asyncio.sleep(0)

    async def _sweep_a_step(self) -> None:
        step = self._sweep.next_step(self._ports.now_ms() // 1000, self.dirty.flushed.sequence)
        if step is not None:
            await self._commit(step)

    async def _commit(self, step: Step) -> None:
        partition = self.source.partition
        now_ms = self._ports.now_ms()
        started = asyncio.get_running_loop().time()
        appends = appends_of(step, partition, now_ms)
        self._ports.on_step("before-commit")
        offsets = await self._state.writer.commit(appends, events_position(partition, step.source_offset))
        self._ports.on_step("after-commit")
        changelogs = {table.changelog for table in Table}
        positions = {topic: last + 1 for (topic, _), last in offsets.items() if topic in changelogs}
        self.processor.store.apply(step.writes, positions, now_ms)
        self._ports.on_step("after-store")
        self.processor.after_commit()
        progress = Progress(step.sequence, step.source_offset)
        self.dirty.add(step.rows, progress, now_ms, step.received_until_ms)
        self._ports.observe(partition, step, asyncio.get_running_loop().time() - started)

    async def _close(self) -> None:
        if self.opened is not None:
            opened, self.opened = self.opened, None
            self._opened = False
            self._ports.on_close(opened)
            opened.store.close()
            await opened.writer.close()


def good_and_refused(step: Step) -> tuple[int, int]:
    """Return how many updates of a step were good, and how many speak of something wrong.

    What comes too late is neither: reads come weeks after their delivery, and who feeds last month once more sends
    nothing wrong. It is set aside, and counted as such.
    """
    # These were events; what is refused for another reason never became one.
    set_aside = sum(refusal.reason in SET_ASIDE for refusal in step.refusals)
    return step.event_count - set_aside, len(step.refusals) - set_aside


def appends_of(step: Step, partition: int, now_ms: int) -> list[Append]:
    """Return everything that one commit appends to the log, the source position aside."""
    appends = [
        Append(table.changelog, partition, [Record(key, value, now_ms) for key, value in entries.items()])
        for table, entries in step.writes.items()
        if entries
    ]
    if step.refusals:
        letters: Sequence[Record] = [
            Record(None, encode_dead_letter(dead_letter_of(refusal, now_ms, "worker")), now_ms)
            for refusal in step.refusals
        ]
        appends.append(Append(DEAD_LETTER, 0, letters))
    for owner, counts in step.published.items():
        appends.append(Append(MAU_COUNTS, owner, [Record(key, value, now_ms) for key, value in counts]))
    for owner, batches in step.forwards.items():
        appends.append(Append(EVENTS, owner, [Record(None, batch, now_ms) for batch in batches]))
    return appends
