"""Lines of a file, or dead letters, on their way into the log: parse, pack by partition, append.

Owns the report. How a body is read is the same as for the input topics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from cli.engine import InputFormat, Intake
from runtime.clock import Clock
from runtime.metrics import Metrics
from schemas.codec import Control, encode_control
from schemas.events import Parsed
from schemas.topics import EVENTS
from streams.normalize import Reading, event_appends, refusal_appends
from streams.records import Append, LastOffsets, Record

_DESCRIBED_REFUSALS_MAX = 20
_HOLD_SECONDS = 86_400
"""A backfill that died holds the cut of its accounts no longer than this."""


AppendAll = Callable[[Sequence[Append]], Awaitable[LastOffsets]]
"""Returns the last offset per partition, once everything is durable."""


def hold_appends(
    accounts: Sequence[str], hold_id: str, release: bool, partitions: int, now_ms: int
) -> list[Append]:
    """Return what holds (or releases) the cut of accounts. Every partition hears of it: users may be in any."""
    action: Literal["hold", "release"] = "release" if release else "hold"
    expires_at = now_ms // 1000 + _HOLD_SECONDS
    records = [
        Record(None, encode_control(Control(action, account, hold_id, expires_at)), now_ms)
        for account in accounts
    ]
    return [Append(EVENTS, partition, records) for partition in range(partitions)]


class LineIntake:
    """Takes lines into a log."""

    def __init__(
        self, append: AppendAll, partitions: int, reading: Reading, metrics: Metrics, clock: Clock
    ) -> None:
        """Take the way into the log."""
        self._append = append
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
            await self._append(appends)
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
