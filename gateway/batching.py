"""Packs events that arrive close together into one batch record per partition.

Owns the batches being filled, their timer and the bound on what waits. Does not own durability: that is the
``append_record`` it is given. A record costs the worker the same whether it holds 1 event or 500.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gateway.port import AppendRecord, LogUnavailable
from runtime.clock import Clock
from runtime.metrics import Metrics
from schemas.codec import encode_batch, partition_of
from schemas.dead_letter import dead_letter_of, encode_dead_letter
from schemas.events import Event, Refusal
from schemas.topics import DEAD_LETTER, EVENTS

DEAD_LETTER_PARTITION = 0
"""The topic has one partition: dead letters are few and are read as one list."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchingLimits:
    """How long a batch waits, how large it grows, and how much may wait in all (updates)."""

    linger_ms: float
    batch_events_max: int
    queue_events_max: int


class _Ticket:
    """One caller's wait: resolved when all its records are durable, or as soon as one of them failed.

    A future of its own, so that a caller that is cancelled takes nobody along.
    """

    __slots__ = ("done", "outstanding")

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.outstanding = 0

    def settle(self, failure: LogUnavailable | None) -> None:
        """Take the outcome of one of its records."""
        self.outstanding -= 1
        if self.done.done():
            return
        if failure is not None:
            self.done.set_exception(failure)
        elif self.outstanding == 0:
            self.done.set_result(None)


@dataclass(slots=True)
class _Batch:
    """Events of one partition that will be one record, and who waits for it."""

    events: list[Event] = field(default_factory=list)
    tickets: list[_Ticket] = field(default_factory=list)


class BatchingAppender:
    """An ``EventLogPort`` over a log that takes single records. Lives in one event loop."""

    def __init__(
        self,
        append_record: AppendRecord,
        partitions: int,
        limits: BatchingLimits,
        metrics: Metrics,
        clock: Clock,
        source: str = "gateway",
    ) -> None:
        """Take the log and the limits; ``source`` names this part of the system in dead letters."""
        self._append_record = append_record
        self._partitions = partitions
        self._limits = limits
        self._metrics = metrics
        self._clock = clock
        self._source = source
        self._open: dict[int, _Batch] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._closed = False
        self._failing = False
        metrics.queue_events.set_function(lambda: self._waiting)

    async def append(self, events: Sequence[Event], refusals: Sequence[Refusal]) -> None:
        """Return once all is durable; see ``EventLogPort.append``."""
        count = len(events) + len(refusals)
        if self._closed:
            raise LogUnavailable("the gateway is stopping")
        if self._waiting + count > self._limits.queue_events_max:
            raise LogUnavailable(f"{self._waiting} updates are waiting for the log already")
        if count == 0:
            return
        # All that can fail comes before anything is handed over.
        placed = [(partition_of(event.account, event.user_key, self._partitions), event) for event in events]
        self._waiting += count
        loop = asyncio.get_running_loop()
        ticket = _Ticket(loop.create_future())
        for partition, event in placed:
            self._add(partition, event, ticket, loop)
        for refusal in refusals:
            self._send_refusal(refusal, ticket)
        await ticket.done

    async def close(self) -> None:
        """Send what is waiting, wait until the log has answered for all of it, and take nothing more."""
        self._closed = True
        self._flush()
        while self._sending:
            await asyncio.wait(self._sending)

    def _add(self, partition: int, event: Event, ticket: _Ticket, loop: asyncio.AbstractEventLoop) -> None:
        """Put an event into its partition's open batch."""
        batch = self._open.get(partition)
        if batch is None:
            batch = self._open[partition] = _Batch()
            # One timer for all partitions, so that batches of one moment are sent (and synced) together.
            if self._timer is None:
                self._timer = loop.call_later(self._limits.linger_ms / 1000, self._flush)
        batch.events.append(event)
        # One caller's events come without a break, so that its ticket can only be the last.
        if not batch.tickets or batch.tickets[-1] is not ticket:
            batch.tickets.append(ticket)
            ticket.outstanding += 1
        if len(batch.events) >= self._limits.batch_events_max:
            del self._open[partition]
            self._send_batch(partition, batch)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batches, self._open = self._open, {}
        for partition, batch in batches.items():
            self._send_batch(partition, batch)

    def _send_batch(self, partition: int, batch: _Batch) -> None:
        self._metrics.batch_events.observe(len(batch.events))
        encode = partial(encode_batch, batch.events)
        self._start(EVENTS, partition, encode, len(batch.events), batch.tickets)

    def _send_refusal(self, refusal: Refusal, ticket: _Ticket) -> None:
        letter = dead_letter_of(refusal, self._clock.now_ms(), self._source)
        ticket.outstanding += 1
        self._start(DEAD_LETTER, DEAD_LETTER_PARTITION, partial(encode_dead_letter, letter), 1, [ticket])

    def _start(
        self, topic: str, partition: int, encode: Callable[[], bytes], count: int, tickets: list[_Ticket]
    ) -> None:
        task = asyncio.create_task(self._send(topic, partition, encode, count, tickets))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(
        self, topic: str, partition: int, encode: Callable[[], bytes], count: int, tickets: list[_Ticket]
    ) -> None:
        """Append one record and settle its tickets, whatever happens: callers must never wait for ever."""
        started = self._clock.monotonic_seconds()
        failure: LogUnavailable | None = LogUnavailable("the gateway was stopped while it wrote to the log")
        try:
            await self._append_record(topic, partition, None, encode())
        except (
            Exception
        ) as error:  # the log's client raises what it likes; to the sender all of it means "repeat"
            self._note_failure(topic, error)
            failure = LogUnavailable(f"append to {topic} failed")
            failure.__cause__ = error
        else:
            self._metrics.append_seconds.observe(self._clock.monotonic_seconds() - started)
            self._note_success()
            failure = None
        finally:
            self._waiting -= count
            for ticket in tickets:
                ticket.settle(failure)

    def _note_failure(self, topic: str, error: Exception) -> None:
        """Count a failed append; log only the first of a row, or an outage would fill the disk with its own log."""
        self._metrics.append_errors.inc()
        if not self._failing:
            self._failing = True
            _log.error("the log does not take records of %s: %s: %s", topic, type(error).__name__, error)

    def _note_success(self) -> None:
        if self._failing:
            self._failing = False
            _log.info("the log takes records again")
