"""The stored form of a user: bounded pieces, of which a change rewrites only those it touches."""

from __future__ import annotations

from hashlib import blake2b

import pytest

from metering.conversations import Checkpoint
from metering.state import Incoming, Message
from metering.storage import (
    INLINE_ITEMS_MAX,
    UserRecord,
    Writes,
    bucket_index,
    expired_item,
    expired_key,
    head_key,
    is_head_key,
    split_key,
    user_prefix,
)
from metering.user import User

USER = "user"
PREFIX = user_prefix("account", USER)
RECORD_BYTES_MAX = 32_768


class Store:
    """The table: applies writes and counts what is read."""

    def __init__(self) -> None:
        """Start empty."""
        self.records: dict[bytes, bytes] = {}

    def apply(self, writes: Writes) -> None:
        """Apply writes; None removes."""
        for key, value in writes.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def load(self) -> UserRecord:
        """Return the user as a new process would read it."""
        return UserRecord(
            PREFIX, self.records.get(head_key(PREFIX)), lambda keys: [self.records.get(key) for key in keys]
        )


def item_of(number: int) -> bytes:
    """Return the key of a numbered item: spread like real ones."""
    return blake2b(str(number).encode(), digest_size=12).digest()


def put(user: User, number: int, at: int = 1_790_000_000) -> bytes:
    """Put an item into a user, every third an incoming message."""
    item = item_of(number)
    if number % 3 == 0:
        user.incoming[item] = Incoming(0, at + number, "DE", at + number)
    else:
        user.messages[item] = Message(0, sent=at + number, last=at + number, any_at=at, any_country="DE")
    return item


def drop(user: User, number: int) -> bytes:
    """Take an item out of a user."""
    item = item_of(number)
    user.messages.pop(item, None)
    user.incoming.pop(item, None)
    return item


def same(one: User, other: User) -> bool:
    """Tell whether two users are equal in every field."""
    return (one.head, one.messages, one.incoming) == (other.head, other.messages, other.incoming)


def grown(store: Store, count: int, step: int) -> UserRecord:
    """Return a new user grown to a number of items, stored after every ``step``."""
    record = store.load()
    record.user.head.number_index("number-1")
    record.user.head.profile_index(None, USER)
    for start in range(0, count, step):
        store.apply(record.writes([put(record.user, n) for n in range(start, min(count, start + step))]))
    store.apply(record.writes([]))
    return record


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 128, 129, 700, 10_000])
def test_a_user_of_any_size_is_read_as_it_was_written(count: int) -> None:
    """Growing step by step and reading back gives the same user."""
    store = Store()
    record = grown(store, count, step=max(1, count // 40))
    record.user.head.checkpoints[0] = Checkpoint(referrals=[5])
    store.apply(record.writes([]))
    read = store.load().user
    assert same(read, record.user)
    assert len(read.messages) + len(read.incoming) == count


def test_growing_and_shrinking_at_every_size_leaves_exactly_the_user() -> None:
    """From nothing to 1,500 items and back, the store holds the user after every step, and no other record."""
    store = Store()
    record = store.load()
    record.user.head.number_index("number-1")
    record.user.head.profile_index(None, USER)
    numbers = [*range(0, 1_500, 50)]
    for start in numbers:
        store.apply(record.writes([put(record.user, n) for n in range(start, start + 50)]))
        assert same(store.load().user, record.user)
    depth = record.bits
    for start in numbers:
        store.apply(record.writes([drop(record.user, n) for n in range(start, start + 50)]))
        assert same(store.load().user, record.user)
    assert depth >= 4
    assert record.bits == 0
    assert set(store.records) == {head_key(PREFIX)}


def test_a_change_writes_the_head_and_the_buckets_of_the_changed_items_only() -> None:
    """Two touched items of a large user: the head and two buckets, each as small as any."""
    store = Store()
    record = grown(store, 10_000, step=500)
    first = item_of(1)
    second = next(
        item
        for item in map(item_of, range(2, 100, 3))
        if bucket_index(item, record.bits) != bucket_index(first, record.bits)
    )
    record.user.messages[first].read = record.user.messages[second].read = 1_790_000_100
    writes = record.writes([first, second])
    assert len(writes) == 3
    assert sum(len(value) for value in writes.values() if value) < 3 * RECORD_BYTES_MAX
    store.apply(writes)
    assert same(store.load().user, record.user)


def test_a_loaded_user_writes_like_one_that_was_kept() -> None:
    """What is written after reading does not depend on which process wrote before."""
    store = Store()
    kept = grown(store, 2_000, step=100)
    loaded = store.load()
    for record in (kept, loaded):
        drop(record.user, 7)
        record.user.messages[item_of(8)].failed = 1_790_000_200
        put(record.user, 2_001)
    touched = [item_of(7), item_of(8), item_of(2_001)]
    writes = loaded.writes(touched)
    assert set(writes) == set(kept.writes(touched))
    store.apply(writes)
    assert same(store.load().user, kept.user)


def test_no_record_is_larger_than_a_bound() -> None:
    """Whatever the number of items, every record stays small: a log takes records up to a size."""
    store = Store()
    for count in (INLINE_ITEMS_MAX, 1_000, 10_000):
        store.records.clear()
        grown(store, count, step=250)
        assert max(map(len, store.records.values())) < RECORD_BYTES_MAX


def test_buckets_of_another_depth_are_never_read() -> None:
    """Records that a lost write left behind, of a depth not in force, do not come back to life."""
    store = Store()
    record = grown(store, 300, step=50)
    before = dict(store.records)
    old_depth = record.bits
    store.apply(record.writes([put(record.user, n) for n in range(300, 3_000)]))
    assert record.bits > old_depth
    assert not (set(before) - {head_key(PREFIX)}) & set(store.records), "no bucket of the old depth stays"
    left_over = {key: value for key, value in before.items() if key != head_key(PREFIX)}
    assert left_over
    store.records.update(left_over)
    assert same(store.load().user, record.user)


@pytest.mark.parametrize("count", [0, 10, 3_000])
def test_removal_leaves_nothing(count: int) -> None:
    """Removing a user removes its head and all of its buckets."""
    store = Store()
    record = grown(store, count, step=300)
    assert store.records
    store.apply(record.removal())
    assert not store.records


def test_a_head_of_another_layout_is_refused() -> None:
    """A record that another version wrote is not guessed at."""
    store = Store()
    grown(store, 1, step=1)
    record = store.records[head_key(PREFIX)]
    assert record[1] == 1, "the layout is the first field"
    with pytest.raises(ValueError, match="layout 2"):
        UserRecord(PREFIX, record[:1] + b"\x02" + record[2:], lambda _: [])


def test_keys_tell_what_they_are() -> None:
    """Heads, buckets and marks are told apart, and each names its account and user."""
    mark = expired_key(PREFIX, item_of(1))
    assert is_head_key(head_key(PREFIX))
    assert not is_head_key(mark)
    assert expired_item(mark) == item_of(1)
    assert expired_item(head_key(PREFIX)) is None
    assert split_key(mark) == ("account", "user")
