"""When too much is refused, a partition stops: a bad deploy must not drain into the dead letter unseen.

Owns what "too much" is, and the word of an operator that it is all right. What stops, and how, is the task's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import msgspec

from schemas.topics import ACCEPTS
from streams.log import WorkerLog
from streams.records import Append, Record


@dataclass(frozen=True, slots=True)
class RefusalLimits:
    """How much may be refused before a partition stops; numbers of updates."""

    run_max: int = 1_000
    """Refused one after the other, with nothing good between; 0 = any number."""
    ratio_max: float = 0.5
    """Share of the last ``window`` updates; 1 = all of them."""
    window: int = 5_000


class RefusalGuard:
    """Watches what one partition refuses."""

    def __init__(self, limits: RefusalLimits) -> None:
        """Start with nothing seen."""
        self._limits = limits
        self._steps: deque[tuple[int, int]] = deque()
        self._good = 0
        self._refused = 0
        self._accepted = False

    def note(self, good: int, refused: int, run: int) -> str:
        """Note a step's updates; return why the partition has to stop, or an empty text.

        Once an operator has accepted, nothing stops until a window was good again.

        Args:
            good: updates that were not refused.
            refused: updates that were.
            run: the longest row of refused updates that ended in this step, those of earlier steps included.
        """
        self._steps.append((good, refused))
        self._good += good
        self._refused += refused
        while self._good + self._refused - sum(self._steps[0]) >= self._limits.window:
            old_good, old_refused = self._steps.popleft()
            self._good -= old_good
            self._refused -= old_refused
        cause = self._cause(run)
        if not cause and self._good + self._refused >= self._limits.window:
            self._accepted = False
        return "" if self._accepted else cause

    def _cause(self, run: int) -> str:
        limits, total = self._limits, self._good + self._refused
        if limits.run_max and run >= limits.run_max:
            return f"{run} updates in a row were refused"
        if total >= limits.window and self._refused > limits.ratio_max * total:
            return f"{self._refused} of the last {total} updates were refused"
        return ""

    def accept(self) -> None:
        """Go on although much is refused."""
        self._accepted = True


class Acceptance(msgspec.Struct, frozen=True):
    """An operator's word that what a stopped partition refuses may go to the dead letter."""

    topic: str = ""
    """Of the stopped partition; empty = any."""
    partition: int = -1
    """-1 = any."""

    def covers(self, topic: str, partition: int) -> bool:
        """Tell whether this is about a partition."""
        return self.topic in ("", topic) and self.partition in (-1, partition)


def acceptance_append(acceptance: Acceptance, now_ms: int) -> Append:
    """Return what tells every stopped partition."""
    return Append(ACCEPTS, 0, [Record(None, msgspec.json.encode(acceptance), now_ms)])


class Acceptances:
    """What operators have accepted, as a stopped partition reads it: only what comes after its stop counts."""

    def __init__(self, log: WorkerLog) -> None:
        """Read from a log."""
        self._log = log

    async def now(self) -> int:
        """Return the position behind everything accepted so far."""
        return (await self._log.bounds(ACCEPTS, 0)).end

    async def given(self, since: int, topic: str, partition: int) -> bool:
        """Tell whether somebody has accepted for a partition since a position."""
        bounds = await self._log.bounds(ACCEPTS, 0)
        async for chunk in self._log.read(ACCEPTS, 0, max(since, bounds.start), bounds.end):
            for _, record in chunk:
                if msgspec.json.decode(record.value or b"{}", type=Acceptance).covers(topic, partition):
                    return True
        return False
