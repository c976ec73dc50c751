"""The one place where work becomes durable: rows, states and the source offset together, or nothing.

``PartitionWriter`` has two implementations with one contract suite (design decision 4): here the one on the
embedded log. A commit that times out or fails has an unknown outcome; whoever sees that ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.topics import CONSUMER_GROUP, EVENTS
from streams.embedded.log import Append, EmbeddedLog


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where a partition of a source topic has been read to: ``next_offset`` is the first record not covered."""

    topic: str
    partition: int
    next_offset: int


class PartitionWriter(Protocol):
    """Commits the work of one partition."""

    async def commit(self, appends: Sequence[Append], source: SourcePosition) -> dict[tuple[str, int], int]:
        """Make all appends and the source position durable in one step.

        Returns:
            The last offset written, by (topic, partition).

        Raises:
            Exception: the outcome is unknown; the process must end.
        """
        ...

    def committed(self, topic: str, partition: int) -> int | None:
        """Return the next offset of a source partition, or None when nothing was ever committed."""
        ...


class EmbeddedPartitionWriter:
    """Commits by one transaction of the embedded log. Zombies are excluded by the log's owner lock."""

    def __init__(self, log: EmbeddedLog) -> None:
        """Write to an open log."""
        self._log = log

    async def commit(self, appends: Sequence[Append], source: SourcePosition) -> dict[tuple[str, int], int]:
        """See ``PartitionWriter.commit``."""
        offsets = {(CONSUMER_GROUP, source.topic, source.partition): source.next_offset}
        return await self._log.transaction(appends, offsets)

    def committed(self, topic: str, partition: int) -> int | None:
        """See ``PartitionWriter.committed``."""
        return self._log.committed(CONSUMER_GROUP, topic, partition)


def events_position(partition: int, next_offset: int) -> SourcePosition:
    """Return a position in the events topic."""
    return SourcePosition(EVENTS, partition, next_offset)
