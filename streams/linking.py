"""Linked users across partitions: where a user's state lies, and how two states come together.

Every user key has a partition that owns it. The state of linked keys lies under the one that comes first
(``metering.identity.key_order``); every other key's partition keeps a reference to it, and passes on what is still
addressed to that key. References only ever point to a key that comes earlier, so they cannot form a circle, and
following them ends. Two users are joined in the partition of the first key, from a state that the other partition
gives up in the same commit that sends it. So a crash, a replay or a rebalance finds each state in exactly one place.

Owns references, the passing on and the order of joins. Does not own what a join changes (``metering.joining``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from metering.head import Head
from metering.identity import key_order
from metering.joining import Joined, MovedState, folded_past, join_users
from metering.ladder import Differences
from metering.meter import MeteredUser
from metering.storage import (
    Alias,
    arrived_key,
    arrived_part,
    expired_item,
    expired_key,
    user_prefix,
)
from metering.user import User
from schemas.codec import encode_batch, partition_of
from schemas.events import Event, Refusal
from schemas.parcels import Attach, Detach, KeyParcel, RoutedEvents, StatePart
from streams.store import Table
from streams.users import CachedUser, UserKey

if TYPE_CHECKING:
    from streams.processor import Processor
    from streams.step import Step

JOINS_MAX = 50
"""By way of one key. A phone that is seen with more BSUIDs than that is no one's phone, but a default gone wrong."""
_ITEMS_PER_PART = 1_000
_EVENTS_PER_PARCEL = 500

_encode = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(MovedState).decode
_decode_part = msgspec.msgpack.Decoder(tuple[int, bytes]).decode
"""The number of parts of the state, and this one."""

Changes = list[tuple[str, Differences]]
"""Differences by account."""


class Linking:
    """What one partition does about linked users, within the steps of its processor."""

    def __init__(self, processor: Processor) -> None:
        """Work on a processor's users."""
        self._processor = processor

    def follow(self, by_user: dict[UserKey, list[Event]], step: Step) -> dict[UserKey, CachedUser]:
        """Load the users of the events; pass on those of users whose state is in another partition.

        ``by_user`` is left with the users whose state is here, under the key where it is.
        """
        users = self._processor.users.load(by_user)
        moved = [key for key in by_user if users[key].record.alias is not None]
        while moved:
            targets: list[UserKey] = []
            for key in moved:
                alias = users[key].record.alias
                assert alias is not None
                target, events = (key[0], alias.key), by_user.pop(key)
                if self._owner(*target) == self._processor.config.partition:
                    by_user.setdefault(target, []).extend(events)
                    targets.append(target)
                else:
                    self._pass_on(target, events, step)
            users.update(self._processor.users.load(targets))
            moved = [key for key in targets if key in by_user and users[key].record.alias is not None]
        return users

    def _pass_on(self, target: UserKey, events: list[Event], step: Step) -> None:
        for event in events:
            step.count(event, "forwarded")
        remaining = iter(events)
        while batch := list(islice(remaining, _EVENTS_PER_PARCEL)):
            self._send(RoutedEvents(*target, encode_batch(batch)), step)

    def announce(self, key: UserKey, cached: CachedUser, step: Step) -> None:
        """Tell the owners of names that are new to a user where its state is."""
        for name in cached.unannounced():
            if name != key[1]:
                step.links["announced"] += 1
                self._send(Attach(key[0], name, key[1]), step)

    def forget(self, key: UserKey, cached: CachedUser, step: Step) -> None:
        """Tell the owners of a forgotten user's other names that they need not refer to it."""
        head = cached.metered.user.head
        for name in (*head.phones, *head.bsuids):
            if name != key[1]:
                self._send(Detach(key[0], name, key[1]), step)

    def take(self, parcels: Iterable[KeyParcel], step: Step, changed: dict[UserKey, CachedUser]) -> Changes:
        """Do what other partitions ask for, and return what that changes in the totals.

        Users changed by it are added to ``changed``; one that left is taken out.
        """
        changes: Changes = []
        parcels = list(parcels)
        # One look at the store for all of them.
        self._processor.users.load({(parcel.account, parcel.key) for parcel in parcels})
        for parcel in parcels:
            if isinstance(parcel, Attach):
                self._attach(parcel, step, changed)
            elif isinstance(parcel, Detach):
                self._detach(parcel, step)
            elif isinstance(parcel, StatePart):
                changes += self._arrived(parcel, step, changed)
        return changes

    def _owner(self, account: str, user_key: str) -> int:
        return partition_of(account, user_key, self._processor.config.partition_count)

    def _send(self, parcel: KeyParcel, step: Step) -> None:
        step.parcels.setdefault(self._owner(parcel.account, parcel.key), []).append(parcel)

    def _load(self, key: UserKey) -> CachedUser:
        return self._processor.users.load([key])[key]

    def _attach(self, parcel: Attach, step: Step, changed: dict[UserKey, CachedUser]) -> None:
        """Unite two users: the later of their keys will refer to the earlier, as in any union of disjoint sets."""
        key: UserKey = (parcel.account, parcel.key)
        cached = self._load(key)
        alias = cached.record.alias
        current = alias.key if alias else parcel.key
        if current == parcel.other:
            return
        joins = alias.joins if alias else cached.metered.user.head.key_count
        if joins >= JOINS_MAX:
            step.links["refused"] += 1
            return
        first, last = sorted((current, parcel.other), key=key_order)
        if alias is None and first == parcel.other:
            self._give_up(key, cached, first, step, changed)
            return
        self._send(Attach(parcel.account, last, first), step)
        if alias is not None:
            self._refer(cached, Alias(first, alias.joins + 1), step)

    def _refer(self, cached: CachedUser, alias: Alias, step: Step) -> None:
        step.writes[Table.USERS].update(cached.record.moved_to(alias))
        cached.metered = MeteredUser(cached.record.user)
        cached.note_announced()

    def _give_up(
        self, key: UserKey, cached: CachedUser, target: str, step: Step, changed: dict[UserKey, CachedUser]
    ) -> None:
        """Send a user's state to another key and leave a reference to it."""
        account, user_key = key
        user, marks, arrived = cached.metered.user, self._marks(key, step), self._arrived_parts(key, step)
        writes = step.writes[Table.USERS]
        prefix = user_prefix(*key)
        writes.update((expired_key(prefix, item), None) for item in marks)
        for (source, part), (parts, state) in arrived.items():
            writes[arrived_key(prefix, source, part)] = None
            self._send(StatePart(account, target, source, part, parts, state), step)
        if user.head.profiles or marks:
            own = [_encode(part) for part in _parts_of(user, marks)]
            step.links["moved_out"] += 1
            self._processor.record.moves_out += 1
            for part, state in enumerate(own):
                self._send(StatePart(account, target, user_key, part, len(own), state), step)
        changed.pop(key, None)
        self._refer(cached, Alias(target), step)

    def _marks(self, key: UserKey, step: Step) -> dict[bytes, bytes]:
        """Return the user's marks of dropped items, those of this step included."""
        found = self._records(key, b"x", step)
        return {item: value for each, value in found.items() if (item := expired_item(each)) is not None}

    def _arrived_parts(self, key: UserKey, step: Step) -> dict[tuple[str, int], tuple[int, bytes]]:
        """Return the parts that have come of states whose other parts have not, by source and place, in order."""
        found = self._records(key, b"t", step)
        return {
            place: _decode_part(found[each])
            for each in sorted(found)
            if (place := arrived_part(each)) is not None
        }

    def _records(self, key: UserKey, piece: bytes, step: Step) -> dict[bytes, bytes]:
        """Return the user's records of one kind, as they will be after this step."""
        prefix = user_prefix(*key) + piece
        found = dict(self._processor.store.scan(Table.USERS, prefix))
        for each in step.user_records.get(key, ()):
            value = step.writes[Table.USERS].get(each)
            if value is None:
                found.pop(each, None)
            elif each.startswith(prefix):
                found[each] = value
        return found

    def _detach(self, parcel: Detach, step: Step) -> None:
        key: UserKey = (parcel.account, parcel.key)
        cached = self._load(key)
        if cached.record.alias is not None and cached.record.alias.key == parcel.other:
            step.writes[Table.USERS].update(cached.record.moved_to(None))
            cached.metered = MeteredUser(cached.record.user)

    def _arrived(self, parcel: StatePart, step: Step, changed: dict[UserKey, CachedUser]) -> Changes:
        key: UserKey = (parcel.account, parcel.key)
        cached = self._load(key)
        if cached.record.alias is not None:
            self._send(msgspec.structs.replace(parcel, key=cached.record.alias.key), step)
            return []
        stored_key = arrived_key(cached.record.prefix, parcel.source, parcel.part)
        step.write_record(key, stored_key, _encode((parcel.parts, parcel.state)))
        if parcel.part + 1 < parcel.parts:
            return []
        return self._join(key, parcel.source, parcel.parts, step, changed)

    def _moved(self, key: UserKey, source: str, parts: int, step: Step) -> MovedState:
        prefix = user_prefix(*key)
        keys = [arrived_key(prefix, source, part) for part in range(parts)]
        writes = step.writes[Table.USERS]
        stored = self._processor.store.get_many(Table.USERS, [each for each in keys if each not in writes])
        missing = iter(stored)
        moved = MovedState(None)
        for each in keys:
            state = writes[each] if each in writes else next(missing)
            assert state is not None, "the parts of a state arrive in order, and stay until they are joined"
            moved.add(_decode_state(_decode_part(state)[1]))
        return moved

    def _join(
        self, key: UserKey, source: str, parts: int, step: Step, changed: dict[UserKey, CachedUser]
    ) -> Changes:
        processor, (account, _) = self._processor, key
        cached, rules = self._load(key), processor.rules(account)
        step.accounts.add(account)
        moved = self._moved(key, source, parts, step)
        processor.fold(key, cached, step)
        joined = join_users(
            cached.metered,
            moved,
            # A cut is agreed on by all partitions, so that what is folded further on there loses nothing here.
            max(cached.metered.user.head.folded_until, folded_past(moved.head or Head())),
            rules,
            dropped_here=self._dropped_here(key, [*moved.messages, *moved.incoming], step),
            floor_day=processor.accounts[account].floor_day,
        )
        writes, prefix = step.writes[Table.USERS], cached.record.prefix
        writes.update((arrived_key(prefix, source, part), None) for part in range(parts))
        for item, day in moved.marks.items():
            step.write_record(key, expired_key(prefix, item), day)
        changed[key] = cached
        processor.record.moves_in += 1
        self._note(joined, account, cached.metered.user.head.numbers, step)
        processor.meeting.register(key, cached.metered.user, step)
        self.announce(key, cached, step)
        return [(account, joined.differences)] if joined.differences else []

    def _note(self, joined: Joined, account: str, numbers: list[str], step: Step) -> None:
        step.links["joined"] += 1
        step.links["unrestated"] += joined.unrestated
        step.links["beyond_state"] += joined.is_beyond_state
        for item in joined.removed:
            payload = msgspec.json.encode(
                {"account": account, "number": numbers[item.number], "said": msgspec.structs.asdict(item)}
            )
            detail = "the state of its message was dropped under another name of its user"
            step.refusals.append(Refusal("expired_status", detail, payload, account))

    def _dropped_here(self, key: UserKey, items: list[bytes], step: Step) -> set[bytes]:
        prefix = user_prefix(*key)
        fresh = {
            item for item in items if step.writes[Table.USERS].get(expired_key(prefix, item)) is not None
        }
        return fresh | self._processor.users.expired([(key, item) for item in items]).get(key, set())


def _parts_of(user: User, marks: dict[bytes, bytes]) -> Iterator[MovedState]:
    """Yield a state in parts that are small enough to send; the first holds the head."""
    messages, incoming, left = iter(user.messages.items()), iter(user.incoming.items()), iter(marks.items())
    head: Head | None = user.head
    while True:
        part = MovedState(
            head,
            dict(islice(messages, _ITEMS_PER_PART)),
            dict(islice(incoming, _ITEMS_PER_PART)),
            dict(islice(left, _ITEMS_PER_PART)),
        )
        if part.head is None and not (part.messages or part.incoming or part.marks):
            return
        yield part
        head = None
