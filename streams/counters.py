"""The counters table of a partition: absolute values per counter key, with the commit that last changed them.

Owns the storage encoding of counter keys and values and a cache of hot rows. What is below an account's floor day
has left the table (metering.md §6) and is never started again from zero: the meter refuses such differences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from metering.user import RowKey
from schemas.rows import FAMILIES, CounterKey
from streams.store import PartitionStore, Table, Writes

_DAY_BIAS = 1 << 31
_CACHED_ROWS_MAX = 100_000

_MEASURE_COUNTS = {int(schema.family): len(schema.measures) for schema in FAMILIES.values()}

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


def measure_count(family: int) -> int:
    """Return how many measures the rows of a family have."""
    return _MEASURE_COUNTS[family]


def decode_value(stored: bytes) -> tuple[int, tuple[int, ...]]:
    """Return the commit sequence that last changed a row, and its measures."""
    sequence, *values = _decode_value(stored)
    return sequence, tuple(values)


class _Row(msgspec.Struct, gc=False):
    """A row in the cache."""

    key: CounterKey
    stored_key: bytes
    measures: list[int]


class _Cell(msgspec.Struct, frozen=True, gc=False):
    """Where a difference is added."""

    row: _Row
    place: int
    """Among the row's measures."""


class Counters:
    """Adds differences to the rows of one partition."""

    def __init__(self, store: PartitionStore) -> None:
        """Work on a partition's store."""
        self._store = store
        self._rows: dict[CounterKey, _Row] = {}
        self._cells: dict[str, dict[RowKey, _Cell]] = {}
        """By account, the cells of rows in the cache that differences have named so far."""

    def add(
        self, account: str, differences: Mapping[RowKey, int], before: dict[CounterKey, tuple[int, ...]]
    ) -> None:
        """Add one user's differences and note what the rows changed were before. They must have been loaded."""
        cells = self._cells[account]
        for named, difference in differences.items():
            cell = cells[named]
            row = cell.row
            if row.key not in before:
                before[row.key] = tuple(row.measures)
            row.measures[cell.place] += difference

    def load(self, changes: Iterable[tuple[str, Mapping[RowKey, int]]]) -> None:
        """Bring the rows that users' differences, by account, will touch into the cache."""
        opened: list[_Row] = []
        for account, differences in changes:
            cells = self._cells.setdefault(account, {})
            for named in differences:
                if named not in cells:
                    cells[named] = self._cell(account, named, opened)
        stored = self._store.get_many(Table.COUNTERS, [row.stored_key for row in opened])
        for row, value in zip(opened, stored, strict=True):
            if value is not None:
                row.measures[:] = decode_value(value)[1]

    def _cell(self, account: str, named: RowKey, opened: list[_Row]) -> _Cell:
        """Return a cell; its row, when it is new to the cache, is still to be read."""
        family, place = named[0], named[1]
        assert isinstance(family, int)
        assert isinstance(place, int)
        key = (family, named[2], account, *named[3:])
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = _Row(key, encode_key(key), [0] * _MEASURE_COUNTS[family])
            opened.append(row)
        return _Cell(row, place)

    def values(self, key: CounterKey) -> tuple[int, ...]:
        """Return the measures of a loaded row."""
        return tuple(self._rows[key].measures)

    def value(self, account: str, named: RowKey) -> int:
        """Return one measure of a loaded row, named as in differences."""
        cell = self._cells[account][named]
        return cell.row.measures[cell.place]

    def writes(self, changed: Iterable[CounterKey], sequence: int) -> Writes:
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
