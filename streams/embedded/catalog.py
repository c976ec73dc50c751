"""The topics of the log: declaration, lookup, and what may be written to them.

Owns every check that a request must pass before it is queued: behind the queue, one bad request would fail the
whole group, and the log with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from schemas.topics import TopicSpec
from streams.embedded.records import Append, CommitOffsets, LogUnfit, Record
from streams.embedded.storage import (
    OFFSET_MAX,
    PARTITION_COUNT_MAX,
    RECORD_OVERHEAD_BYTES,
    TOPIC_ID_MAX,
    PartitionState,
    Topic,
)

RECORD_BYTES_MAX = 64 << 20


class Catalog:
    """The declared topics by name."""

    def __init__(self, topics: dict[str, Topic]) -> None:
        self.topics = topics

    def topic(self, name: str) -> Topic:
        """Return a topic; ``KeyError`` if it was not declared."""
        topic = self.topics.get(name)
        if topic is None:
            raise KeyError(f"topic {name!r} is not declared in the embedded log")
        return topic

    def partition(self, name: str, partition: int) -> PartitionState:
        """Return a partition; ``KeyError`` if there is no such one."""
        topic = self.topic(name)
        if not 0 <= partition < len(topic.partitions):
            raise KeyError(f"topic {name!r} has partitions 0 to {len(topic.partitions) - 1}, not {partition}")
        return topic.partitions[partition]

    def declare(self, connection: sqlite3.Connection, spec: TopicSpec) -> Topic:
        """Insert or update one topic, within the caller's transaction, and return what it is from then on.

        Raises:
            LogUnfit: it exists with another partition count or policy.
            ValueError: it asks for the impossible.
        """
        if not 0 < spec.partitions <= PARTITION_COUNT_MAX:
            raise ValueError(
                f"topic {spec.name}: {spec.partitions} partitions, not 1 to {PARTITION_COUNT_MAX}"
            )
        known = self.topics.get(spec.name)
        if known is None:
            return _insert(connection, spec)
        if spec.partitions != known.spec.partitions:
            raise LogUnfit(
                f"topic {spec.name} has {known.spec.partitions} partitions in this log, not {spec.partitions}."
                " The count says which partition owns a user and cannot change in place: set it back to"
                f" {known.spec.partitions}, or rebuild into a new data directory."
            )
        if spec.policy != known.spec.policy:
            raise LogUnfit(f"topic {spec.name} is kept as {known.spec.policy!r}, not as {spec.policy!r}")
        connection.execute(
            "UPDATE topics SET retention_seconds = ?, retention_bytes = ? WHERE id = ?",
            (spec.retention_seconds, spec.retention_bytes, known.topic_id),
        )
        return Topic(known.topic_id, spec, known.partitions)

    def measure(self, appends: Sequence[Append], offsets: CommitOffsets) -> list[int]:
        """Check one request and return the bytes of each append.

        Raises:
            KeyError: a topic or partition that is not there.
            TypeError, ValueError: a record or an offset that the log cannot keep.
        """
        sizes_bytes = []
        for append in appends:
            state = self.partition(append.topic, append.partition)
            keyed = self.topics[append.topic].spec.policy == "compact"
            if state.next_offset + len(append.records) > OFFSET_MAX:
                raise ValueError(f"{append.topic}[{append.partition}] is out of offsets")
            sizes_bytes.append(sum(_checked_bytes(record, keyed=keyed) for record in append.records))
        for (group, topic, partition), offset in offsets.items():
            end_offset = self.partition(topic, partition).next_offset
            if not 0 <= offset <= end_offset:
                raise ValueError(
                    f"group {group} cannot commit offset {offset} of {topic}[{partition}], which ends at"
                    f" {end_offset}"
                )
        return sizes_bytes


def _insert(connection: sqlite3.Connection, spec: TopicSpec) -> Topic:
    topic_id: int = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM topics").fetchone()[0]
    if topic_id > TOPIC_ID_MAX:
        raise ValueError(f"topic {spec.name}: the log already has {TOPIC_ID_MAX} topics")
    connection.execute(
        "INSERT INTO topics VALUES (?, ?, ?, ?, ?, ?)",
        (topic_id, spec.name, spec.partitions, spec.policy, spec.retention_seconds, spec.retention_bytes),
    )
    connection.executemany(
        "INSERT INTO partitions (topic_id, partition) VALUES (?, ?)",
        [(topic_id, partition) for partition in range(spec.partitions)],
    )
    return Topic(
        topic_id, spec, [PartitionState(topic_id, partition) for partition in range(spec.partitions)]
    )


def _checked_bytes(record: Record, *, keyed: bool) -> int:
    size_bytes = RECORD_OVERHEAD_BYTES
    key, value, _, headers = record
    for part in (key, value, headers):
        if part is None:
            continue
        if not isinstance(part, bytes):
            raise TypeError(
                f"key, value and headers of a record are bytes or None, not {type(part).__name__}"
            )
        size_bytes += len(part)
    if keyed and key is None:
        raise ValueError("a record of a compact topic needs a key")
    if size_bytes > RECORD_BYTES_MAX:
        raise ValueError(f"a record of {size_bytes} bytes is larger than {RECORD_BYTES_MAX}")
    return size_bytes
