"""What a worker asks of its log, embedded or Kafka.

Owns the interfaces and the contract between them. ``streams.embedded.port`` and ``streams.kafka.log`` implement them;
one contract suite runs over both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import faust

from schemas.topics import EVENTS, TopicSpec
from streams.records import Append, LastOffsets, StoredRecord


@dataclass(frozen=True, slots=True)
class SourcePosition:
    """Where a partition of a source topic has been read to: ``next_offset`` is the first record not covered."""

    topic: str
    partition: int
    next_offset: int


class PartitionWriter(Protocol):
    """Commits the work of one source partition, for as long as nobody else does."""

    async def commit(self, appends: Sequence[Append], source: SourcePosition) -> LastOffsets:
        """Make all appends and the source position durable in one step.

        Returns:
            The last offset written, by (topic, partition).

        Raises:
            Exception: the outcome is unknown, or the partition has another writer; the process must end.
        """
        ...

    async def close(self) -> None:
        """Let go of the partition after the last commit."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The offsets that a partition has: ``start`` is the oldest record's, ``end`` that of the next committed one."""

    start: int
    end: int


class WorkerLog(Protocol):
    """A log as the worker sees it: committed records only."""

    address: str
    """For Faust's ``broker`` setting."""
    prefix: str
    """Before the names of topics and group, where Faust needs them."""
    installation_id: str
    sole_owner: bool
    """Every partition belongs to this process for as long as it runs."""
    tombstone_seconds: int | None
    """How long the removal of a key can be read in a changelog; None = see ``removals_gone_before``."""
    app_settings: Mapping[str, Any]
    """For Faust's app, whose settings have types of all kinds."""

    def prepare(self, app: faust.App) -> None:
        """Give Faust's app what its transport needs beside the address."""
        ...

    async def declare(self, specs: Sequence[TopicSpec]) -> None:
        """Make sure that the topics exist as specified.

        Raises:
            ValueError: a topic exists in a way that would lose or miscount something; the message says what to do.
        """
        ...

    async def writer(self, topic: str, partition: int) -> PartitionWriter:
        """Become the writer of a source partition.

        When this returns, no earlier writer of it can commit any more, and nothing of it is under way.
        """
        ...

    async def committed(self, topic: str, partition: int) -> int | None:
        """Return the next offset of a source partition, or None when nothing was ever committed."""
        ...

    async def bounds(self, topic: str, partition: int) -> Bounds:
        """Return the offsets that can be read."""
        ...

    def removals_gone_before(self, topic: str, partition: int) -> int:
        """Return the offset before which the removal of a key may have left a changelog; 0 = not known."""
        ...

    def read(
        self, topic: str, partition: int, offset: int, until: int
    ) -> AsyncIterator[Sequence[StoredRecord]]:
        """Yield the committed records from ``offset`` to before ``until``, ascending, in lists.

        Raises:
            OffsetOutOfRange: the log (unless it is compacted) starts after ``offset``.
        """
        ...


def events_position(partition: int, next_offset: int) -> SourcePosition:
    """Return a position in the events topic."""
    return SourcePosition(EVENTS, partition, next_offset)
