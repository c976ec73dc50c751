"""What is particular to the embedded log's interface, and its errors. Owns no storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.records import Append, LastOffsets, OffsetOutOfRange, Record, StoredRecord

__all__ = [
    "Append",
    "CommitOffsets",
    "LastOffsets",
    "LogFailed",
    "LogOwned",
    "LogUnfit",
    "OffsetOutOfRange",
    "Record",
    "StoredRecord",
    "TopicPartition",
]


class TopicPartition(NamedTuple):
    """One partition of one topic. Equal to a plain ``(topic, partition)`` tuple."""

    topic: str
    partition: int


CommitOffsets = Mapping[tuple[str, str, int], int]
"""``(group, topic, partition)`` -> offset of the next record that the group has not processed."""


class LogOwned(RuntimeError):
    """The directory already has an owner; the message says which process, if known, and what to do."""


class LogUnfit(ValueError):
    """The log in the directory is not what the settings or this program expect; says what to do."""


class LogFailed(RuntimeError):
    """A write could not be made durable (disk full, I/O error) or the log is closed.

    Nothing is acknowledged after it: what the disk holds is unknown until the log is opened again, so the
    process must end and its supervisor start it anew.
    """
