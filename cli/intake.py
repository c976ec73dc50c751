"""Lines of a file, or dead letters, on their way into the log: parse, pack by partition, append.

Owns the report. How a body is read is the same as for the input topics.
"""

from __future__ import annotations

from collections import Counter

from cli.engine import InputFormat, Intake
from runtime.clock import Clock
from runtime.metrics import Metrics
from schemas.events import Parsed
from streams.embedded.log import EmbeddedLog
from streams.normalize import Reading, event_appends, refusal_appends

_DESCRIBED_REFUSALS_MAX = 20


class LineIntake:
    """Takes lines into the embedded log."""

    def __init__(
        self, log: EmbeddedLog, partitions: int, reading: Reading, metrics: Metrics, clock: Clock
    ) -> None:
        """Write to an open log."""
        self._log = log
        self._partitions = partitions
        self._reading = reading
        self._metrics = metrics
        self._clock = clock

    async def take(
        self, lines: list[bytes], input_format: InputFormat | None, first_line: int, source: str
    ) -> Intake:
        """Parse the lines and return once their events and their dead letters are durable.

        Without a format each line shows by itself what it is. Empty lines are passed over.
        """
        now_ms = self._clock.now_ms()
        intake, all_parsed = Intake(lines=len(lines)), Parsed()
        for position, line in enumerate(lines):
            if line.strip():
                parsed = self._reading.read(line, now_ms, input_format)
                all_parsed.events += parsed.events
                all_parsed.refusals += parsed.refusals
                all_parsed.ignored += parsed.ignored
                intake.refusals += [
                    f"line {first_line + position}: {refusal.reason}: {refusal.detail}"
                    for refusal in parsed.refusals[: _DESCRIBED_REFUSALS_MAX - len(intake.refusals)]
                ]
        appends = [
            *event_appends(all_parsed.events, self._partitions, now_ms),
            *refusal_appends(all_parsed.refusals, now_ms, source),
        ]
        if appends:
            await self._log.transaction(appends, {})
        self._count(all_parsed)
        intake.accepted, intake.refused = len(all_parsed.events), len(all_parsed.refusals)
        intake.ignored = len(all_parsed.ignored)
        return intake

    def _count(self, parsed: Parsed) -> None:
        for name, count in Counter(parsed.ignored).items():
            self._metrics.count_ignored(name, count)
        for kind, count in Counter(event.kind for event in parsed.events).items():
            self._metrics.count_events(kind, "accepted", count)
        for reason, count in Counter(refusal.reason for refusal in parsed.refusals).items():
            self._metrics.count_refused(reason, count)
            self._metrics.count_dead_letters(reason, count)
