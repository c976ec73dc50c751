"""The SQLite file below the log: schema, connections, row numbers, ownership of the directory.

Owns how bytes lie on disk. Does not own threads, batching or which rows may go.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from schemas.topics import TopicSpec
from streams.embedded.records import LogOwned, LogUnfit

DATABASE_NAME = "log.sqlite3"
LOCK_NAME = "owner.lock"

PAGE_BYTES = 4096
WAL_CHECKPOINT_PAGES = 4096
"""16 MiB: large enough that one group commit seldom pays for a checkpoint, small enough to bound the file."""
WAL_BYTES_KEPT = 32 << 20

PARTITION_COUNT_MAX = 1 << 10
TOPIC_ID_MAX = (1 << 13) - 1
OFFSET_MAX = (1 << 40) - 1
RECORD_OVERHEAD_BYTES = 32
"""Added to key, value and headers when sizes are counted, so that empty records have a size too."""

# The row number holds topic, partition and offset: appends go to the end of a partition's own stretch of the
# tree, a read is one range scan, and no second index has to be written. The value comes last so that reading
# the keys (compaction) does not walk the overflow pages of large values.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS topics (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL, policy TEXT NOT NULL,
        retention_seconds INTEGER NOT NULL, retention_bytes INTEGER NOT NULL) STRICT""",
    """CREATE TABLE IF NOT EXISTS partitions (
        topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, start_offset INTEGER NOT NULL DEFAULT 0,
        next_offset INTEGER NOT NULL DEFAULT 0, stored_bytes INTEGER NOT NULL DEFAULT 0,
        compacted_to INTEGER NOT NULL DEFAULT 0, live_count INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (topic_id, partition)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS committed (
        grp TEXT NOT NULL, topic_id INTEGER NOT NULL, partition INTEGER NOT NULL, next_offset INTEGER NOT NULL,
        PRIMARY KEY (grp, topic_id, partition)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS rec (
        id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, k BLOB, h BLOB, v BLOB) STRICT""",
)
SCHEMA_VERSION = "1"


@dataclass(slots=True)
class PartitionState:
    """What is known of one partition without asking SQLite.

    Written by the writer thread only, after the commit that made it true (``start_offset``: before, so that a
    reader never takes a deleted range for an empty one). Readers of other threads see single attributes, each
    of which is always valid on its own.
    """

    topic_id: int
    partition: int
    start_offset: int = 0
    next_offset: int = 0
    stored_bytes: int = 0
    compacted_to: int = 0
    """Offset up to which the last compaction pass has looked."""
    live_count: int = 0
    """Records that the last compaction pass left."""

    @property
    def base_id(self) -> int:
        """Return the row number of offset 0."""
        return row_base(self.topic_id, self.partition)


@dataclass(slots=True)
class Topic:
    """A declared topic: its row number, its specification, its partitions by number."""

    topic_id: int
    spec: TopicSpec
    partitions: list[PartitionState]


def row_base(topic_id: int, partition: int) -> int:
    """Return the row number of offset 0 of a partition; offsets are added to it."""
    return topic_id << 50 | partition << 40


def connect_writer(path: Path, *, size_max_bytes: int | None) -> sqlite3.Connection:
    """Open the one connection that writes, creating the schema if it is not there.

    The connection may be handed to another thread, but must be used by one thread at a time.

    Raises:
        sqlite3.Error: the file cannot be opened or is not a database.
        ValueError: the file was laid out by another version.
    """
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.2)
    # Page size and vacuum mode take force only in an empty file, before the journal mode is set.
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES:d}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES:d}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT:d}")
    if size_max_bytes is not None:
        connection.execute(f"PRAGMA max_page_count = {max(1, size_max_bytes // PAGE_BYTES):d}")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('schema_version', ?)", (SCHEMA_VERSION,))
    connection.execute("COMMIT")
    found: str = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]
    if found != SCHEMA_VERSION:
        connection.close()
        raise LogUnfit(
            f"{path} has layout {found}, this program reads {SCHEMA_VERSION}; use the one that wrote it"
        )
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write. Closed from the thread that closes the log."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
    connection.execute("PRAGMA query_only = 1")
    return connection


def load_topics(connection: sqlite3.Connection) -> dict[str, Topic]:
    """Return all declared topics with their partitions, by name."""
    topics: dict[int, Topic] = {}
    for topic_id, name, partitions, policy, seconds, size in connection.execute(
        "SELECT id, name, partitions, policy, retention_seconds, retention_bytes FROM topics"
    ):
        spec = TopicSpec(name, partitions, policy, retention_seconds=seconds, retention_bytes=size)
        topics[topic_id] = Topic(topic_id, spec, [])
    for row in connection.execute(
        "SELECT topic_id, partition, start_offset, next_offset, stored_bytes, compacted_to, live_count"
        " FROM partitions ORDER BY topic_id, partition"
    ):
        topics[row[0]].partitions.append(PartitionState(*row))
    return {topic.spec.name: topic for topic in topics.values()}


def load_committed(connection: sqlite3.Connection) -> dict[tuple[str, int, int], int]:
    """Return ``(group, topic id, partition)`` -> next offset, for every group that ever committed."""
    rows = connection.execute("SELECT grp, topic_id, partition, next_offset FROM committed")
    return {(group, topic_id, partition): offset for group, topic_id, partition, offset in rows}


def lock_directory(directory: Path) -> int:
    """Take the directory for this process and return the descriptor that holds it; closing it gives it up.

    The lock is the kernel's: it goes with the process, however that ends. The process id inside the file is
    only for the message.

    Raises:
        LogOwned: another log, of this process or another, holds the directory.
    """
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        known = f"process {owner}" if owner.isdigit() else "another process"
        raise LogOwned(
            f"{directory} is in use by {known}. An embedded log has one owner: stop that process, ask it"
            " instead, or use another data directory."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def sync_directory(directory: Path) -> None:
    """Make the names of newly created files in the directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
