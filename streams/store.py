"""Local state of one partition: a RocksDB database that mirrors the tables' changelogs.

Owns the key layout (one letter per table) and the promise that data and changelog offsets change together, in one
write batch. Written only after the commit (design decision 4), so it can lag behind the changelog but never lead.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import msgspec
from rocksdict import Options, Rdict, WriteBatch, WriteOptions

from schemas.topics import ACCOUNTS_CHANGELOG, COUNTERS_CHANGELOG, USERS_CHANGELOG

_WRITE_BUFFER_BYTES = 32 << 20
_POSITION_KEY = b"\0positions"
_CAUGHT_UP = "\0caught up"

Writes = Mapping[bytes, bytes | None]
"""Key to new value within one table; None removes."""


class Table(Enum):
    """The worker's tables: the letter that prefixes their keys, and their changelog topic."""

    USERS = (b"u", USERS_CHANGELOG)
    COUNTERS = (b"c", COUNTERS_CHANGELOG)
    ACCOUNTS = (b"a", ACCOUNTS_CHANGELOG)

    @property
    def letter(self) -> bytes:
        """Return the key prefix within a partition's store."""
        letter: bytes = self.value[0]
        return letter

    @property
    def changelog(self) -> str:
        """Return the name of the changelog topic."""
        topic: str = self.value[1]
        return topic


class StoreFailed(RuntimeError):
    """The disk does not take or give the local state. Nothing is lost by that: it is restored from the log."""


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Give RocksDB's errors a type; the library raises all of them as plain ``Exception``."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise StoreFailed(
            f"the local state in {directory} cannot be read or written: {error}. Make room or mend the disk; the state "
            "may also be deleted, it is restored from the log"
        ) from error


class PartitionStore:
    """The tables of one partition on the local disk. Not thread safe; one owner."""

    def __init__(self, directory: Path) -> None:
        """Open or create the store in its own directory."""
        directory.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        self.directory = directory
        with _explained(directory):
            self._database = Rdict(str(directory), options)
        self._write_options = WriteOptions()
        stored = self._database.get(_POSITION_KEY)
        self._positions: dict[str, int] = msgspec.msgpack.decode(stored) if stored else {}

    def position(self, table: Table) -> int:
        """Return the changelog offset from which on the store does not know the records."""
        return self._positions.get(table.changelog, 0)

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return one value."""
        value: bytes | None = self._database.get(table.letter + key)
        return value

    def get_many(self, table: Table, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of many keys, in their order."""
        if not keys:
            return []
        letter = table.letter
        values = self._database.get([letter + key for key in keys])
        assert isinstance(values, list), "a list of keys answers with a list"
        return values

    @property
    def caught_up_ms(self) -> int:
        """Return when the store last knew everything committed (UTC milliseconds); 0 = never."""
        return self._positions.get(_CAUGHT_UP, 0)

    def apply(
        self, writes: Mapping[Table, Writes], positions: Mapping[str, int], caught_up_ms: int = 0
    ) -> None:
        """Apply committed writes and remember up to where the changelogs are covered (next offsets).

        With ``caught_up_ms`` (UTC milliseconds) nothing committed is missing afterwards.

        Not synced: after a power loss the store is behind, and catches up from the changelog.
        """
        batch = WriteBatch(raw_mode=True)
        for table, entries in writes.items():
            letter = table.letter
            for key, value in entries.items():
                if value is None:
                    batch.delete(letter + key)
                else:
                    batch.put(letter + key, value)
        self._positions.update(positions)
        if caught_up_ms:
            self._positions[_CAUGHT_UP] = caught_up_ms
        batch.put(_POSITION_KEY, msgspec.msgpack.encode(self._positions))
        with _explained(self.directory):
            self._database.write(batch, self._write_options)

    def scan(
        self, table: Table, prefix: bytes = b"", after: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries of a table whose keys begin with a prefix, ascending, from a snapshot.

        Args:
            table: which table.
            prefix: of the keys.
            after: yield only keys greater than this one.
        """
        start = table.letter + prefix
        iterator = self._database.iter()
        iterator.seek(start if after is None else table.letter + after + b"\0")
        while iterator.valid():
            key: bytes = iterator.key()
            if not key.startswith(start):
                return
            yield key[1:], iterator.value()
            iterator.next()

    def estimate(self) -> int:
        """Return RocksDB's estimate of the number of records."""
        return int(self._database.property_int_value("rocksdb.estimate-num-keys") or 0)

    def close(self) -> None:
        """Close the database; the object cannot be used any more."""
        self._database.close()


def remove_store(directory: Path) -> None:
    """Delete a partition's local state; it is restored from the changelogs at the next start."""
    shutil.rmtree(directory, ignore_errors=True)
