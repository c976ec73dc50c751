"""The records of one source partition, in order and without a hole, whatever is delivered.

Faust delivers records; this decides what is worked on. A record that comes again is passed over. Where one is
missing the log itself is read: offsets have holes on Kafka (transaction markers), so only the log can tell a hole
from a record that was lost on its way. The same look, from time to time, finds records that were never delivered
(Faust's and aiokafka's known stalls after a rebalance). Owns order and back-pressure, not the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from streams.log import WorkerLog
from streams.step import SourceRecord

_log = logging.getLogger(__name__)
QUEUED_BYTES_MAX = 2 << 20
"""From here on the partition is paused; it flows again when half of it is worked on."""
LINGER_SECONDS = 0.02
"""More may come: a commit costs as much for one record as for a thousand."""
RECORD_BYTES = 200
"""What a record costs beside its bytes, roughly."""
LOOK_AGAIN_SECONDS = 5.0
_MISSING_RECORDS_MAX = 500


class Source:
    """A queue between Faust's agent and the ordered task of one partition."""

    def __init__(self, topic: str, partition: int, log: WorkerLog, flow: Callable[[bool], None]) -> None:
        """Take where to read what was not delivered.

        Args:
            topic: of the source.
            partition: of the source.
            log: to look into.
            flow: called with False when no more should be delivered for now, and with True when it may go on.
        """
        self.topic = topic
        self.partition = partition
        self.found_count = 0
        """Records that were in the log but never delivered."""
        self._log = log
        self._flow = flow
        self._queue: deque[SourceRecord] = deque()
        self._queued_bytes = 0
        self._woken = asyncio.Event()
        self._next_offset = 0
        self._seen_end = 0
        self._verified_until = -1
        """Gaps up to here, between what was queued, are known to hold no record."""
        self._look_at = 0.0
        self._paused = False

    def begin(self, next_offset: int) -> None:
        """Work from this offset on; what is queued stays."""
        self._next_offset = next_offset
        self._seen_end = 0
        self._verified_until = -1
        self._look_at = 0.0

    def put(self, record: SourceRecord) -> None:
        """Queue a delivered record."""
        self._queue.append(record)
        self._queued_bytes += _size(record)
        self._woken.set()
        # Said again with each record: a rebalance lets everything flow.
        if self._queued_bytes >= QUEUED_BYTES_MAX:
            self._paused = True
            self._flow(False)

    def clear(self) -> None:
        """Forget what is queued: the partition may have moved, and will be delivered again from its commit."""
        self._queue.clear()
        self._queued_bytes = 0
        self._paused = False

    def wake(self) -> None:
        """End a ``take`` that waits."""
        self._woken.set()

    @property
    def oldest_ms(self) -> int | None:
        """Return the time of the oldest queued record, UTC milliseconds; None when nothing is queued."""
        return self._queue[0][2] if self._queue else None

    def behind(self, end: int) -> int:
        """Return how many offsets before the log's end have not been taken, and may hold a record."""
        return max(0, end - self._next_offset)

    @property
    def empty(self) -> bool:
        """Tell whether nothing is queued."""
        return not self._queue

    async def take(self, bytes_max: int, idle_seconds: float) -> list[SourceRecord]:
        """Return the next records, up to about a size; nothing after an idle time or when woken."""
        if not self._queue:
            self._woken.clear()
            try:
                # Not wait_for: on Python 3.11 it can swallow a cancellation, and a stop would wait for ever.
                async with asyncio.timeout(idle_seconds):
                    await self._woken.wait()
            except TimeoutError:
                return await self._look(asyncio.get_running_loop().time())
        if self._queued_bytes < bytes_max:
            await asyncio.sleep(LINGER_SECONDS)
        taken: list[SourceRecord] = []
        size = 0
        while self._queue and size < bytes_max:
            offset = self._queue[0][0]
            if offset > self._next_offset and offset > self._verified_until:
                if offset - self._next_offset <= _MISSING_RECORDS_MAX:
                    await self._verify()
                    continue
                taken += await self._missing(offset)
                if self._next_offset < offset:
                    break  # more is missing than is worked on at once
            record = self._queue.popleft()
            self._queued_bytes -= _size(record)
            if offset >= self._next_offset:
                taken.append(record)
                self._next_offset = offset + 1
                size += _size(record)
        if self._paused and self._queued_bytes <= QUEUED_BYTES_MAX // 2:
            self._paused = False
            self._flow(True)
        return taken

    async def _verify(self) -> None:
        """Look into the log for what the queue lacks between its records, all in one go.

        On Kafka each transaction of another partition's worker that sends something here takes an offset for its
        marker. So such gaps are many, and nearly always nothing is missing.
        """
        until = max(offset for offset, _, _ in self._queue)
        stored = [
            (offset, record.value or b"", record.timestamp_ms)
            async for chunk in self._log.read(self.topic, self.partition, self._next_offset, until)
            for offset, record in chunk
        ]
        # After a rebalance records come again from somewhere before: here is where they get back into order.
        queued = {record[0]: record for record in self._queue}
        missing = [record for record in stored if record[0] not in queued]
        if missing:
            self._found(missing)
        self._queue = deque(sorted([*queued.values(), *missing]))
        self._queued_bytes = sum(map(_size, self._queue))
        self._verified_until = until

    async def _missing(self, until: int) -> list[SourceRecord]:
        """Return the records from the next offset to ``until``, usually none, and move the next offset behind them."""
        start, self._next_offset = self._next_offset, until
        found: list[SourceRecord] = []
        async for chunk in self._log.read(self.topic, self.partition, start, until):
            found += [(offset, record.value or b"", record.timestamp_ms) for offset, record in chunk]
            if len(found) >= _MISSING_RECORDS_MAX:
                self._next_offset = found[-1][0] + 1
                break
        if found:
            self._found(found)
        return found

    def _found(self, records: list[SourceRecord]) -> None:
        self.found_count += len(records)
        _log.warning(
            "%s[%d]: %d records from offset %d on were not delivered, and are read from the log",
            self.topic,
            self.partition,
            len(records),
            records[0][0],
        )

    async def _look(self, now: float) -> list[SourceRecord]:
        """Look into the log now and then while nothing is delivered.

        Only for what was there at the look before: what is newer may be on its way.
        """
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_AGAIN_SECONDS
        until, self._seen_end = self._seen_end, (await self._log.bounds(self.topic, self.partition)).end
        if until <= self._next_offset or self._queue:
            return []
        return await self._missing(until)


def _size(record: SourceRecord) -> int:
    return RECORD_BYTES + len(record[1])
