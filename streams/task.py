"""The ordered task of one source partition: its life, not its work.

Owns starting, pausing (a rebalance), stopping and failing. A pause or a stop waits for the step under way, so that
no commit is left with an outcome that nobody learns.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable

from streams.processor import SourceRecord
from streams.source import Source

_IDLE_SECONDS = 1.0
_STEP_BYTES_MAX = 1 << 20


class OrderedTask(ABC):
    """Works on the records of one partition, step after step, from ``start`` to ``stop``."""

    def __init__(self, source: Source, on_crash: Callable[[BaseException], None]) -> None:
        """Take the records.

        Args:
            source: of the records.
            on_crash: called when the task ends by an exception; must end the process.
        """
        self.source = source
        self._on_crash = on_crash
        self._running: asyncio.Task[None] | None = None
        self._pausing = False
        self._opened = False

    @property
    def is_open(self) -> bool:
        """Tell whether the partition is ready for work."""
        return self._opened

    def start(self) -> None:
        """Begin, or go on after a pause."""
        if self._running is not None:
            return
        self._pausing = False
        name = f"{self.source.topic}-{self.source.partition}"
        self._running = asyncio.create_task(self._run(), name=name)
        self._running.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._on_crash(failure)

    async def open(self) -> None:
        """Get ready for work, unless done already; raises why the partition cannot be worked on."""
        if not self._opened:
            self.source.begin(await self._open())
            self._opened = True

    async def pause(self) -> None:
        """Return after the step under way; what is queued is dropped. An opening under way is given up."""
        self._pausing = True
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
        while not self._pausing:
            records = await self.source.take(_STEP_BYTES_MAX, _IDLE_SECONDS)
            if records:
                await self._work(records)
            elif not self._pausing:
                await self._idle()

    @abstractmethod
    async def _open(self) -> int:
        """Get ready and return the next offset to work on."""

    @abstractmethod
    def _next_offset(self) -> int:
        """Return the offset behind the last committed record."""

    @abstractmethod
    async def _work(self, records: list[SourceRecord]) -> None:
        """Work on records and commit them."""

    @abstractmethod
    async def _idle(self) -> None:
        """Use the time while nothing is queued."""

    @abstractmethod
    async def _close(self) -> None:
        """Give up what the partition holds; it may not have been opened."""
