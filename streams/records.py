"""What is written to a log, whichever log it is. Owns no log."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Opaque to the log; kept by the embedded one only."""


class StoredRecord(NamedTuple):
    """One committed record and where it stands in its partition."""

    offset: int
    record: Record


@dataclass(frozen=True, slots=True)
class Append:
    """Records for the end of one partition, in order."""

    topic: str
    partition: int
    records: Sequence[Record]


LastOffsets = dict[tuple[str, int], int]
"""``(topic, partition)`` -> offset of the last record that a write put there."""


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
