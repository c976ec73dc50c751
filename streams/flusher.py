"""Brings committed rows to ClickHouse: by time or size, again and again until it took them.

Only committed values are flushed, each with the commit that last changed it, so a flush may be repeated or cut
short anywhere (design decision 5). While ClickHouse is away, rows stay owed: they are absolute values, so however
long it is away there is at most one per counter, and ``wait_for_room`` bounds how many those may be.

Each flush looks first whether ClickHouse is still where this process left it. If it is not, nothing is written and the
process ends: a new start opens the partitions anew, which finds every row that ClickHouse lacks (``streams.opening``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from sinks.clickhouse.client import ClickHouseAway
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from streams.dirty import DirtyRows
from streams.processor import StateMismatch

_log = logging.getLogger(__name__)
_RETRY_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """When a flush starts."""

    interval_seconds: float = 0.5
    rows_max: int = 20_000
    """A flush starts at once when this many rows are owed."""
    owed_rows_max: int = 1_000_000
    """While this process holds as many rows that ClickHouse lacks, its partitions wait before their next step."""


class Flusher:
    """Flushes all partitions of this process, one after the other, from one thread of its own."""

    def __init__(
        self,
        writer: ClickHouseWriter,
        limits: FlushLimits,
        observe: Callable[[int, float, bool], None],
        now_ms: Callable[[], int],
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take the writer; partitions come and go by ``add`` and ``remove``.

        Args:
            writer: of ClickHouse; blocking, so it is called in the flusher's thread.
            limits: when a flush starts.
            observe: called after each flush with rows, seconds and whether it succeeded.
            now_ms: the clock, UTC milliseconds.
            on_step: called between the steps of a flush; the crash tests end the process in it.
        """
        self._writer = writer
        self._partitions: dict[int, DirtyRows] = {}
        self._limits = limits
        self._observe = observe
        self._now_ms = now_ms
        self._on_step = on_step
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flushed = asyncio.Condition()
        self._retry_seconds = 0.0

    def add(self, dirty: DirtyRows) -> None:
        """Flush what a partition owes from now on."""
        self._partitions[dirty.partition] = dirty

    def remove(self, dirty: DirtyRows) -> None:
        """Flush a partition no more: what it owes, its next owner knows too."""
        if self._is_ours(dirty):
            del self._partitions[dirty.partition]

    async def run(self) -> None:
        """Flush until cancelled.

        Raises:
            ClickHouseRefused: ClickHouse will not take the rows however often they come; the process must end.
            StateMismatch: ClickHouse is not where this process left it; the process must end.
        """
        while True:
            await self._pause()
            for dirty in list(self._partitions.values()):
                if self._is_ours(dirty) and dirty.owes and not await self._flush(dirty):
                    # The others would wait as long for the same answer. Next time it is their turn first.
                    self._put_last(dirty)
                    break
            async with self._flushed:
                self._flushed.notify_all()

    def _is_ours(self, dirty: DirtyRows) -> bool:
        return self._partitions.get(dirty.partition) is dirty

    def _put_last(self, dirty: DirtyRows) -> None:
        if self._is_ours(dirty):
            self._partitions[dirty.partition] = self._partitions.pop(dirty.partition)

    async def _pause(self) -> None:
        """Wait for the interval, or less when many rows are owed, or longer when ClickHouse is away."""
        waited = 0.0
        step = self._limits.interval_seconds / 10
        while waited < max(self._limits.interval_seconds, self._retry_seconds):
            await asyncio.sleep(step)
            waited += step
            if not self._retry_seconds and sum(map(len, self._partitions.values())) >= self._limits.rows_max:
                return

    async def _flush(self, dirty: DirtyRows) -> bool:
        """Flush what a partition owes; return whether ClickHouse answered."""
        flushed = dirty.flushed
        received_until_ms = dirty.received_until_ms
        rows, progress = dirty.take()
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await loop.run_in_executor(
                self._thread, self._write, dirty, rows, progress, flushed, received_until_ms
            )
        except ClickHouseAway as error:
            dirty.give_back(rows, self._now_ms())
            self._retry_seconds = min(_RETRY_SECONDS_MAX, max(1.0, self._retry_seconds * 2))
            _log.warning("ClickHouse is away, trying again in %.0f s: %s", self._retry_seconds, error)
            self._observe(len(rows), loop.time() - started, False)
            return False
        except StateMismatch:
            dirty.give_back(rows, self._now_ms())
            if self._is_ours(dirty):
                raise
            _log.info("partition %d was given up, and its last flush with it", dirty.partition)
        except BaseException:
            dirty.give_back(rows, self._now_ms())
            raise
        else:
            self._retry_seconds = 0.0
            dirty.flushed_until(progress)
            self._observe(len(rows), loop.time() - started, True)
        return True

    def _write(
        self,
        dirty: DirtyRows,
        rows: Sequence[CounterRow],
        progress: Progress,
        flushed: Progress,
        received_until_ms: int,
    ) -> None:
        lineage = dirty.lineage
        self._writer.flush(
            dirty.partition,
            rows,
            progress,
            epoch=lineage.epoch_of(progress.sequence),
            check=lambda mark: lineage.check_unchanged(mark, flushed.sequence, progress.sequence),
            on_step=self._on_step,
            received_until_ms=received_until_ms,
        )

    @property
    def has_room(self) -> bool:
        """Tell whether partitions may go on adding rows to what ClickHouse lacks."""
        return sum(dirty.held for dirty in self._partitions.values()) < self._limits.owed_rows_max

    async def wait_for_room(self, given_up: asyncio.Event) -> bool:
        """Return True once there is room for another step's rows, False when ``given_up`` is set before that.

        To be awaited before each step: metering waits for ClickHouse when too much is owed, instead of filling the
        memory; the records wait in the log.
        """
        if self.has_room:
            return True
        _log.warning("metering waits: ClickHouse lacks %d rows or more", self._limits.owed_rows_max)
        while not self.has_room and not given_up.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._limits.interval_seconds):
                    await given_up.wait()
        return not given_up.is_set()

    async def wait_until(self, source_offsets: dict[int, int]) -> None:
        """Return once ClickHouse has everything before the given next offsets, by partition."""
        async with self._flushed:
            await self._flushed.wait_for(
                lambda: all(
                    partition in self._partitions
                    and self._partitions[partition].flushed.source_offset >= offset
                    for partition, offset in source_offsets.items()
                )
            )

    def close(self) -> None:
        """End the flusher's thread after the flush under way."""
        self._thread.shutdown(wait=True)
