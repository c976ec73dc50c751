"""The values that go in and out of the embedded log, and its errors. Owns no storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Record(NamedTuple):
    """One record as its writer hands it over."""

    key: bytes | None
    value: bytes | None
    """``None`` in a compact topic removes the key (a tombstone)."""
    timestamp_ms: int
    """UTC milliseconds; retention measures a record's age by it."""
    headers: bytes | None = None
    """Opaque to the log."""


class StoredRecord(NamedTuple):
    """One committed record and where it stands in its partition."""

    offset: int
    record: Record


class TopicPartition(NamedTuple):
    """One partition of one topic. Equal to a plain ``(topic, partition)`` tuple."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Append:
    """Records for the end of one partition, in order."""

    topic: str
    partition: int
    records: Sequence[Record]


CommitOffsets = Mapping[tuple[str, str, int], int]
"""``(group, topic, partition)`` -> offset of the next record that the group has not processed."""

LastOffsets = dict[tuple[str, int], int]
"""``(topic, partition)`` -> offset of the last record that a write put there."""


class LogOwned(RuntimeError):
    """The directory already has an owner; the message says which process, if known, and what to do."""


class LogFailed(RuntimeError):
    """A write could not be made durable (disk full, I/O error) or the log is closed.

    Nothing is acknowledged after it: what the disk holds is unknown until the log is opened again, so the
    process must end and its supervisor start it anew.
    """


class OffsetOutOfRange(LookupError):
    """Records that were asked for are no longer (or not yet) in the log.

    ``missing_from`` and ``missing_to`` bound the range that is not there, the second one excluded.
    """

    def __init__(self, topic: str, partition: int, missing_from: int, missing_to: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: offsets {missing_from} to {missing_to - 1} are not in the log. They were"
            " deleted, or the log and the state beside it do not belong together; restore both from the same"
            " backup, or rebuild."
        )
        self.topic = topic
        self.partition = partition
        self.missing_from = missing_from
        self.missing_to = missing_to
