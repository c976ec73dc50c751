"""The ordered task of one source partition: its life, not its work.

Owns starting, pausing (a rebalance), stopping and failing. A pause or a stop waits for the step under way, so that
no commit is left with an outcome that nobody learns.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from streams.guard import Acceptances, RefusalGuard, RefusalLimits
from streams.log import PartitionWriter, WorkerLog
from streams.processor import StateMismatch
from streams.source import Source
from streams.step import SourceRecord

_log = logging.getLogger(__name__)
_IDLE_SECONDS = 1.0
_LOOK_FOR_ACCEPTANCE_SECONDS = 1.0
_STEP_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class Supervision:
    """Who is told when a task cannot go on, and who may let it."""

    on_crash: Callable[[BaseException], None]
    """Called when the task ends by an exception; must end the process."""
    acceptances: Acceptances
    limits: RefusalLimits = field(default_factory=RefusalLimits)
    on_stopped: Callable[[], None] = lambda: None
    """Called when the task stops because too much is refused, and when it goes on."""


class OrderedTask(ABC):
    """Works on the records of one partition, step after step, from ``start`` to ``stop``."""

    def __init__(self, source: Source, supervision: Supervision) -> None:
        """Take the records."""
        self.source = source
        self.stopped = ""
        """Why the partition stands still until an operator accepts; empty = it does not."""
        self._supervision = supervision
        self._guard = RefusalGuard(supervision.limits)
        self._running: asyncio.Task[None] | None = None
        self._pausing = asyncio.Event()
        self._opened = False

    @property
    def is_open(self) -> bool:
        """Tell whether the partition is ready for work."""
        return self._opened

    def start(self) -> None:
        """Begin, or go on after a pause."""
        if self._running is not None:
            return
        self._pausing.clear()
        name = f"{self.source.topic}-{self.source.partition}"
        self._running = asyncio.create_task(self._run(), name=name)
        self._running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._supervision.on_crash(failure)

    async def open(self) -> None:
        """Get ready for work, unless done already; raises why the partition cannot be worked on."""
        if not self._opened:
            self.source.begin(await self._open())
            self._opened = True

    async def pause(self) -> None:
        """Return after the step under way; what is queued is dropped. An opening under way is given up."""
        self._pausing.set()
        self.source.wake()
        if self._running is not None:
            running, self._running = self._running, None
            if not self._opened:
                running.cancel()
            await asyncio.wait({running})
        self.source.clear()

    async def stop(self) -> None:
        """Pause, and give up what the partition holds."""
        await self.pause()
        await self._close()

    async def _run(self) -> None:
        await self.open()
        self.source.begin(self._next_offset())
        while True:
            # Before anything is taken: what waits, waits in the log.
            await self._wait_for_room()
            if self._pausing.is_set():
                return
            records = await self.source.take(_STEP_BYTES_MAX, _IDLE_SECONDS)
            if records:
                await self._work(records)
            elif not self._pausing.is_set():
                await self._idle()

    async def _may_go_on(self, good: int, refused: int, run: int) -> bool:
        """Return whether a step may be committed that refuses so many updates; waits for an operator if need be.

        The numbers are those of ``RefusalGuard.note``. False means that a pause was asked for meanwhile: nothing of the
        step may be committed.
        """
        cause = self._guard.note(good, refused, run)
        if not cause:
            return True
        topic, partition = self.source.topic, self.source.partition
        self.stopped = f"{cause}; see `convometer dlq list`, then `convometer dlq accept`, or mend the sender"
        _log.error("%s[%d] has stopped: %s", topic, partition, self.stopped)
        self._supervision.on_stopped()
        acceptances = self._supervision.acceptances
        since = await acceptances.now()
        while not (self._pausing.is_set() or await acceptances.given(since, topic, partition)):
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FOR_ACCEPTANCE_SECONDS):
                    await self._pausing.wait()
        self.stopped = ""
        self._supervision.on_stopped()
        if self._pausing.is_set():
            return False
        self._guard.accept()
        _log.warning("%s[%d] goes on: an operator has accepted what it refuses", topic, partition)
        return True

    @abstractmethod
    async def _open(self) -> int:
        """Get ready and return the next offset to work on."""

    @abstractmethod
    def _next_offset(self) -> int:
        """Return the offset behind the last committed record."""

    async def _wait_for_room(self) -> None:
        """Wait until what follows can take another step's results; return when a pause is asked for."""
        return

    @abstractmethod
    async def _work(self, records: list[SourceRecord]) -> None:
        """Work on records and commit them."""

    @abstractmethod
    async def _idle(self) -> None:
        """Use the time while nothing is queued."""

    @abstractmethod
    async def _close(self) -> None:
        """Give up what the partition holds; it may not have been opened."""


class WritingTask(OrderedTask):
    """A task whose state is all in the log: it has the writer of its partition, and where its last commit left off."""

    def __init__(self, source: Source, supervision: Supervision) -> None:
        """Take the records; ``_open`` sets writer and position."""
        super().__init__(source, supervision)
        self._writer: PartitionWriter | None = None
        self._position = 0

    @property
    def writer(self) -> PartitionWriter:
        """Return the writer of the open partition."""
        assert self._writer is not None, "the partition is not open"
        return self._writer

    def _next_offset(self) -> int:
        return self._position

    async def _find_position(self, log: WorkerLog, done: str, otherwise: str) -> int:
        """Set and return where to go on: behind the last commit, or where the topic begins by now.

        Args:
            log: of the source.
            done: what became of the records before {}, for the error.
            otherwise: what follows from an offset set to 0.

        Raises:
            StateMismatch: the topic is not the one that the state was made from.
        """
        topic, partition = self.source.topic, self.source.partition
        committed = await log.committed(topic, partition) or 0
        bounds = await log.bounds(topic, partition)
        if committed > bounds.end:
            raise StateMismatch(
                f"{topic}[{partition}]: {done.format(committed)}, the topic ends at {bounds.end}: it was made anew. "
                "Restore the log that belongs to this state, or set the offset of group convometer there to 0: "
                f"{otherwise}"
            )
        self._position = max(committed, bounds.start)
        return self._position

    async def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._opened = False
            await writer.close()
