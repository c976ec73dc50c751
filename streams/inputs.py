"""The ordered task of one partition of an input topic: bodies of platform teams that already have Kafka.

Reads them, and commits their events, their dead letters and the input's position in one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.events import Parsed
from streams.log import SourcePosition, WorkerLog
from streams.normalize import Reading, event_appends, refusal_appends
from streams.processor import StateMismatch
from streams.source import Source
from streams.step import SourceRecord
from streams.task import Supervision, WritingTask


@dataclass(frozen=True, slots=True)
class InputPorts:
    """What the task reaches the world through."""

    log: WorkerLog
    reading: Reading
    partitions: int
    """Of the events topic."""
    now_ms: Callable[[], int]
    observe: Callable[[Parsed], None]
    """Called after each commit with what was in it."""


class InputTask(WritingTask):
    """Moves one partition of an input topic into ``events``."""

    def __init__(self, source: Source, ports: InputPorts, supervision: Supervision) -> None:
        """Take the records and where they go."""
        super().__init__(source, supervision)
        self._ports = ports
        self._refused_run = 0
        """Updates refused since the last good one."""

    async def _open(self) -> int:
        log, topic, partition = self._ports.log, self.source.topic, self.source.partition
        # First: whoever had the partition before can commit no more.
        self._writer = await log.writer(topic, partition)
        committed = await log.committed(topic, partition)
        bounds = await log.bounds(topic, partition)
        if committed is not None and not bounds.start <= committed <= bounds.end:
            raise StateMismatch(
                f"{topic}[{partition}]: the records before {committed} were taken, the log has those from "
                f"{bounds.start} to {bounds.end}: what lies between was deleted before it was read, or the topic was "
                f"made anew. If that is known, set the offset of group convometer there to {bounds.start}"
            )
        self._position = bounds.start if committed is None else committed
        return self._position

    async def _work(self, records: list[SourceRecord]) -> None:
        now_ms = self._ports.now_ms()
        all_parsed, longest_run = Parsed(), 0
        for _, value, _ in records:
            parsed = self._ports.reading.read(value, now_ms)
            all_parsed.events += parsed.events
            all_parsed.refusals += parsed.refusals
            all_parsed.ignored += parsed.ignored
            self._refused_run = (
                0 if parsed.events or parsed.ignored else self._refused_run + len(parsed.refusals)
            )
            longest_run = max(longest_run, self._refused_run)
        good = len(all_parsed.events) + len(all_parsed.ignored)
        if not await self._may_go_on(good, len(all_parsed.refusals), longest_run):
            return
        appends = [
            *event_appends(all_parsed.events, self._ports.partitions, now_ms),
            *refusal_appends(all_parsed.refusals, now_ms, "normalize"),
        ]
        next_offset = records[-1][0] + 1
        position = SourcePosition(self.source.topic, self.source.partition, next_offset)
        await self.writer.commit(appends, position)
        self._position = next_offset
        self._ports.observe(all_parsed)

    async def _idle(self) -> None:
        """There is nothing to do but to wait."""
