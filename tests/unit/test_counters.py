"""The counters table: absolute values that differences are added to, with a cache that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.calendar import Calendar
from metering.meter import MeteredUser, meter
from metering.rules import shipped_regimes
from metering.user import AccountRules, RowKey, User
from schemas.rows import CounterKey, Family
from streams.counters import Counters, decode_key, decode_value, encode_key
from streams.store import PartitionStore, Table
from tests.oracle.strategies import build_history

TOTAL: RowKey = (Family.MESSAGES, 0, 20_000, "number-1", "DE", "utility", 1)
READ: RowKey = (Family.MESSAGES, 3, 20_000, "number-1", "DE", "utility", 1)
ROW: CounterKey = (Family.MESSAGES, 20_000, "account", "number-1", "DE", "utility", 1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PartitionStore]:
    """Return an empty store."""
    opened = PartitionStore(tmp_path)
    yield opened
    opened.close()


def add(counters: Counters, store: PartitionStore, differences: dict[RowKey, int], sequence: int) -> None:
    """Load, add and store, as a step does."""
    changed: dict[CounterKey, tuple[int, ...]] = {}
    counters.load([("account", differences)])
    counters.add("account", differences, changed)
    store.apply({Table.COUNTERS: counters.writes(changed, sequence)}, {})
    counters.after_commit()


def test_measures_of_a_row_add_up_and_carry_the_last_commit(store: PartitionStore) -> None:
    """Differences of one row's measures meet in one record, under the commit that changed it last."""
    counters = Counters(store)
    add(counters, store, {TOTAL: 2, READ: 1}, 1)
    add(counters, store, {TOTAL: 3, READ: -1}, 2)
    assert decode_value(store.get(Table.COUNTERS, encode_key(ROW)) or b"") == (2, (5, 0, 0, 0, 0))
    assert counters.values(ROW) == (5, 0, 0, 0, 0)


def test_a_new_cache_goes_on_from_the_store(store: PartitionStore) -> None:
    """What was counted before a restart is added to, also by a measure that was not named before."""
    add(Counters(store), store, {TOTAL: 2}, 1)
    counters = Counters(store)
    add(counters, store, {READ: 1}, 2)
    assert counters.values(ROW) == (2, 0, 0, 1, 0)


def test_accounts_do_not_meet(store: PartitionStore) -> None:
    """The same row of two accounts is two rows, loaded in one go."""
    counters = Counters(store)
    changes: list[tuple[str, dict[RowKey, int]]] = [("account", {TOTAL: 2}), ("other", {TOTAL: 5})]
    changed: dict[CounterKey, tuple[int, ...]] = {}
    counters.load(changes)
    for account, differences in changes:
        counters.add(account, differences, changed)
    assert {key[2]: counters.values(key)[0] for key in changed} == {"account": 2, "other": 5}


def test_a_forgotten_row_is_read_again(store: PartitionStore) -> None:
    """After a row left the table, the cache holds nothing of it, under any of its measures."""
    counters = Counters(store)
    add(counters, store, {TOTAL: 2, READ: 1}, 1)
    store.apply({Table.COUNTERS: {encode_key(ROW): None}}, {})
    counters.forget([ROW])
    add(counters, store, {TOTAL: 1}, 2)
    add(counters, store, {READ: 4}, 3)
    assert counters.values(ROW) == (1, 0, 0, 4, 0)


def test_metered_rows_are_stored_as_plain_numbers_and_words() -> None:
    """No row key holds a truth value: it would be equal to a number, and be stored as another key."""
    rules = AccountRules(Calendar(), shipped_regimes())
    kinds: set[type] = set()
    for seed in range(80):
        users: dict[str, MeteredUser] = {}
        for event in build_history(seed):
            user = users.setdefault(event.user_key, MeteredUser(User()))
            for row in meter(user, [event], rules).differences:
                key: CounterKey = (row[0], row[2], "account", *row[3:])
                kinds.update(map(type, decode_key(encode_key(key))))
    assert kinds == {int, str}
