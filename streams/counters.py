"""The counters table of a partition: absolute values per counter key, with the commit that last changed them.

Owns the storage encoding of counter keys and values and a cache of hot rows. What is below an account's floor day
has left the table (metering.md §6) and is never started again from zero: the meter refuses such differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from metering.user import RowKey
from schemas.rows import FAMILIES, CounterKey, Family, FamilySchema
from streams.store import PartitionStore, Table, Writes

_DAY_BIAS = 1 << 31
_CACHED_ROWS_MAX = 100_000

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


class _Row:
    """A row in the cache: its stored key, made once, and its measures."""

    __slots__ = ("measures", "stored_key")

    def __init__(self, stored_key: bytes, measures: list[int]) -> None:
        self.stored_key = stored_key
        self.measures = measures


_Cell = tuple[CounterKey, list[int], int]
"""Where a difference is added: the row's key, the row's measures, and the place among them."""


class Counters:
    """Adds differences to the rows of one partition."""

    def __init__(self, store: PartitionStore) -> None:
        """Work on a partition's store."""
        self._store = store
        self._rows: dict[CounterKey, _Row] = {}
        self._cells: dict[str, dict[RowKey, _Cell]] = {}
        """By account, the cells of rows in the cache that differences have named so far."""

    def add(self, account: str, differences: Mapping[RowKey, int], changed: set[CounterKey]) -> None:
        """Add one user's differences and note the rows changed. The rows must have been loaded."""
        if not differences:
            return
        cells = self._cells[account]
        for row, difference in differences.items():
            key, measures, place = cells[row]
            measures[place] += difference
            changed.add(key)

    def load(self, account: str, rows: Iterable[RowKey]) -> None:
        """Bring the rows that differences will touch into the cache."""
        cells = self._cells.setdefault(account, {})
        unknown = [row for row in rows if row not in cells]
        if not unknown:
            return
        key_of: dict[RowKey, CounterKey] = {row: (row[0], row[2], account, *row[3:]) for row in unknown}
        self._read(list({key for key in key_of.values() if key not in self._rows}))
        for row, key in key_of.items():
            place = row[1]
            assert isinstance(place, int)
            cells[row] = (key, self._rows[key].measures, place)

    def _read(self, keys: list[CounterKey]) -> None:
        stored_keys = [encode_key(key) for key in keys]
        values = self._store.get_many(Table.COUNTERS, stored_keys)
        for key, stored_key, value in zip(keys, stored_keys, values, strict=True):
            measures = [0] * len(family_of(key).measures) if value is None else list(decode_value(value)[1])
            self._rows[key] = _Row(stored_key, measures)

    def values(self, key: CounterKey) -> tuple[int, ...]:
        """Return the measures of a loaded row."""
        return tuple(self._rows[key].measures)

    def writes(self, changed: set[CounterKey], sequence: int) -> Writes:
        """Return the stored form of changed rows under the commit that changes them."""
        rows = [self._rows[key] for key in changed]
        return {row.stored_key: _encode((sequence, *row.measures)) for row in rows}

    def after_commit(self) -> None:
        """Let the cache go when it has grown large: everything in it is in the store now."""
        if len(self._rows) > _CACHED_ROWS_MAX:
            self._rows.clear()
            self._cells.clear()

    def forget(self, keys: list[CounterKey]) -> None:
        """Forget rows that left the table."""
        for key in keys:
            row = self._rows.pop(key, None)
            if row is None:
                continue
            family, day, account, *rest = key
            assert isinstance(account, str)
            for place in range(len(row.measures)):
                self._cells[account].pop((family, place, day, *rest), None)
