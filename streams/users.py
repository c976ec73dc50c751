"""The users table of a partition: loads users, keeps the hot ones decoded, and writes back what changed.

Owns the cache. A user in the cache is always what the store holds plus the changes of the commit under way.
"""

from __future__ import annotations

from collections.abc import Iterable

from metering.meter import MeteredUser
from metering.storage import UserRecord, Writes, expired_key, head_key, user_prefix
from streams.store import PartitionStore, Table

UserKey = tuple[str, str]
"""``(account, user key)``"""

_USER_ITEMS = 2
"""What a user without messages takes, in messages."""


class CachedUser:
    """A decoded user with its stored form."""

    __slots__ = ("_announced", "metered", "record")

    def __init__(self, record: UserRecord) -> None:
        """Wrap a decoded record."""
        self.record = record
        self.metered = MeteredUser(record.user)
        self._announced = (0, 0)
        self.note_announced()

    def note_announced(self) -> None:
        """Take all names that the user has by now for announced: with what is stored that was done."""
        head = self.record.user.head
        self._announced = (len(head.phones), len(head.bsuids))

    def unannounced(self) -> list[str]:
        """Return the names that are new since the user was stored, and take them for announced."""
        head = self.record.user.head
        phones, bsuids = self._announced
        if len(head.phones) == phones and len(head.bsuids) == bsuids:
            return []
        self.note_announced()
        return head.phones[phones:] + head.bsuids[bsuids:]


class Users:
    """The users of one partition.

    The cache has two generations: what is used moves to the young one; when that is full the old one is let go.
    So the hot users stay decoded and memory is bounded without a list to maintain. What fills it are messages, not
    users: a decoded message with its evaluation takes about a kilobyte, and one user may have very many.
    """

    def __init__(self, store: PartitionStore, cached_items_max: int) -> None:
        """Work on a partition's store, keeping users with about ``cached_items_max`` messages in all decoded."""
        self._store = store
        self._young_items_max = max(1, cached_items_max // 2)
        self._young_items = 0
        self._young: dict[UserKey, CachedUser] = {}
        self._old: dict[UserKey, CachedUser] = {}

    def load(self, keys: Iterable[UserKey]) -> dict[UserKey, CachedUser]:
        """Return users by key, new ones empty, reading those that are not cached in one go."""
        found: dict[UserKey, CachedUser] = {}
        missing: list[UserKey] = []
        for key in keys:
            cached = self._young.get(key) or self._old.get(key)
            if cached is None:
                missing.append(key)
            else:
                found[key] = cached
        prefixes = [user_prefix(*key) for key in missing]
        heads = self._store.get_many(Table.USERS, [head_key(prefix) for prefix in prefixes])
        for key, prefix, head in zip(missing, prefixes, heads, strict=True):
            found[key] = CachedUser(UserRecord(prefix, head, self._read))
        for key, cached in found.items():
            if key not in self._young:
                user = cached.metered.user
                self._young[key] = cached
                self._young_items += _USER_ITEMS + len(user.messages) + len(user.incoming)
        return found

    def _read(self, keys: list[bytes]) -> list[bytes | None]:
        return self._store.get_many(Table.USERS, keys)

    def is_cached(self, key: UserKey) -> bool:
        """Tell whether a user is decoded already."""
        return key in self._young or key in self._old

    def expired(self, candidates: list[tuple[UserKey, bytes]]) -> dict[UserKey, set[bytes]]:
        """Return which of the given items were dropped earlier, by user."""
        keys = [expired_key(user_prefix(*user), item) for user, item in candidates]
        result: dict[UserKey, set[bytes]] = {}
        for (user, item), mark in zip(candidates, self._store.get_many(Table.USERS, keys), strict=True):
            if mark is not None:
                result.setdefault(user, set()).add(item)
        return result

    def writes(self, changed: Iterable[CachedUser]) -> Writes:
        """Return the records to write for changed users, and take their changes as written."""
        result: Writes = {}
        for cached in changed:
            self._young_items += len(cached.metered.touched_items)
            result.update(cached.record.writes(cached.metered.touched_items))
            cached.metered.touched_items.clear()
            cached.metered.is_touched = False
        return result

    def after_commit(self) -> None:
        """Let the old generation go when the young one is full."""
        if self._young_items > self._young_items_max:
            self._old, self._young, self._young_items = self._young, {}, 0

    def forget(self, key: UserKey) -> None:
        """Forget a user whose record was removed."""
        self._young.pop(key, None)
        self._old.pop(key, None)
