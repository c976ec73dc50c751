"""The counters table of a partition: absolute values per counter key, with the commit that last changed them.

Owns the storage encoding of counter keys and values and a cache of hot rows. What is below an account's floor day
has left the table (metering.md §6) and is never started again from zero: the meter refuses such differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from metering.user import RowKey
from schemas.rows import FAMILIES, CounterKey, Family, FamilySchema
from streams.store import PartitionStore, Table, Writes

_DAY_BIAS = 1 << 31
_CACHED_ROWS_MAX = 400_000

_encode = msgspec.msgpack.Encoder().encode
_decode_rest = msgspec.msgpack.Decoder(tuple[int | str, ...]).decode
_decode_value = msgspec.msgpack.Decoder(tuple[int, ...]).decode


def account_rows_prefix(account: str) -> bytes:
    """Return the prefix of an account's counter keys; after it they are in order of days."""
    return f"{account}\0".encode()


def encode_key(key: CounterKey) -> bytes:
    """Return the stored form of a counter key: account, day, family, then the other dimensions."""
    family, day, account = key[0], key[1], key[2]
    assert isinstance(family, int)
    assert isinstance(day, int)
    return f"{account}\0".encode() + (day + _DAY_BIAS).to_bytes(4) + bytes([family]) + _encode(key[3:])


def decode_key(stored: bytes) -> CounterKey:
    """Return the counter key of its stored form."""
    account, rest = stored.split(b"\0", 1)
    day = int.from_bytes(rest[:4]) - _DAY_BIAS
    return (rest[4], day, account.decode(), *_decode_rest(rest[5:]))


def decode_value(stored: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the commit sequence that last changed a row, and its measures."""
    sequence, *values = _decode_value(stored)
    return sequence, tuple(values)


def family_of(key: CounterKey) -> FamilySchema:
    """Return the schema of a counter key's family."""
    code = key[0]
    assert isinstance(code, int)
    return FAMILIES[Family(code)]


class Counters:
    """Adds differences to the rows of one partition."""

    def __init__(self, store: PartitionStore) -> None:
        """Work on a partition's store."""
        self._store = store
        self._cache: dict[CounterKey, list[int]] = {}

    def add(self, account: str, differences: Mapping[RowKey, int], changed: set[CounterKey]) -> None:
        """Add one user's differences and note the rows changed. The rows must have been loaded."""
        cache = self._cache
        for row, difference in differences.items():
            family, measure = row[0], row[1]
            assert isinstance(measure, int)
            key: CounterKey = (family, row[2], account, *row[3:])
            cache[key][measure] += difference
            changed.add(key)

    def load(self, account: str, rows: Iterator[RowKey]) -> None:
        """Bring the rows that differences will touch into the cache."""
        missing = {key for row in rows if (key := (row[0], row[2], account, *row[3:])) not in self._cache}
        if not missing:
            return
        keys = list(missing)
        for key, stored in zip(
            keys, self._store.get_many(Table.COUNTERS, [encode_key(k) for k in keys]), strict=True
        ):
            if stored is None:
                self._cache[key] = [0] * len(family_of(key).measures)
            else:
                self._cache[key] = list(decode_value(stored)[1])

    def values(self, key: CounterKey) -> tuple[int, ...]:
        """Return the measures of a loaded row."""
        return tuple(self._cache[key])

    def writes(self, changed: set[CounterKey], sequence: int) -> Writes:
        """Return the stored form of changed rows under the commit that changes them."""
        return {encode_key(key): _encode((sequence, *self._cache[key])) for key in changed}

    def after_commit(self) -> None:
        """Let the cache go when it has grown large: everything in it is in the store now."""
        if len(self._cache) > _CACHED_ROWS_MAX:
            self._cache.clear()

    def forget(self, keys: list[CounterKey]) -> None:
        """Forget rows that left the table."""
        for key in keys:
            self._cache.pop(key, None)
