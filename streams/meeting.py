"""Messages whose events name their user in two ways, by phone alone and by BSUID alone (metering.md §7).

Nothing in such events says that phone and BSUID belong together, but that they are about one message does. So
whoever holds a message that one of its events named in one way tells the partition that the message id falls on; there
both meet, and their users are linked.

That costs a parcel for such a message, and is done only for accounts that have events of both ways: an account
whose webhooks carry phones only, or both names on every event, pays nothing. Partitions tell each other what
they have seen; when both ways are known, each walks through what it had until then.

Owns who is told of a message. Does not own what linking does (``streams.linking``).
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from metering.head import NOBODY, Head
from metering.identity import key_order
from metering.meter import Alone
from metering.rules import DAY_SECONDS
from metering.state import ITEM_ID_BYTES, Mention, incoming_mentions, mentions_of
from metering.storage import account_prefix, alias_of, is_head_key, met_key, split_key
from metering.user import User
from schemas.codec import partition_of
from schemas.parcels import Attach, Meet, NamesSeen, Walk
from streams.store import Table
from streams.users import UserKey

if TYPE_CHECKING:
    from streams.processor import Processor
    from streams.step import Step

BY_PHONE, BY_BSUID = 1, 2
BOTH_WAYS = BY_PHONE | BY_BSUID
_RECORDS_PER_WALK = 2_000

_encode = msgspec.msgpack.Encoder().encode
_decode_met = msgspec.msgpack.Decoder(tuple[list[str], list[str], int]).decode
"""Users under whom an item is by phone alone, and by BSUID alone; the day of the account by which it was told."""
_KEYS_MAX = 8


class Meeting:
    """What one partition does about messages named in two ways, within the steps of its processor."""

    def __init__(self, processor: Processor) -> None:
        """Work on a processor's store and accounts."""
        self._processor = processor

    def note(self, key: UserKey, alone: Iterable[Alone], step: Step) -> None:
        """Take note of a user's new items that one name came with."""
        account = key[0]
        record = self._processor.accounts[account]
        items = list(alone)
        seen = 0
        for _, by_bsuid in items:
            seen |= BY_BSUID if by_bsuid else BY_PHONE
        if seen & ~record.names_seen:
            self._see(account, seen, step)
            for partition in range(self._processor.config.partition_count):
                if partition != self._processor.config.partition:
                    step.parcels.setdefault(partition, []).append(NamesSeen(account, record.names_seen))
        if record.names_seen == BOTH_WAYS:
            for item, by_bsuid in items:
                self._tell(key, item, by_bsuid, step)

    def register(self, key: UserKey, user: User, step: Step) -> None:
        """Tell of all items of a user that one name came with, if it matters for the account."""
        record = self._processor.accounts.get(key[0])
        if record is None or record.names_seen != BOTH_WAYS:
            return
        for item, message in user.messages.items():
            self._tell_all(key, item, user.head, mentions_of(message), step)
        for item, entry in user.incoming.items():
            self._tell_all(key, item, user.head, incoming_mentions(entry), step)

    def _tell_all(
        self, key: UserKey, item: bytes, head: Head, mentions: Iterable[Mention], step: Step
    ) -> None:
        if len(item) > ITEM_ID_BYTES:
            # Of a group: there one message id is several users'.
            return
        pairs = {head.profiles[profile] for _, profile in mentions}
        for by_bsuid in sorted({phone == NOBODY for phone, bsuid in pairs if NOBODY in (phone, bsuid)}):
            self._tell(key, item, by_bsuid, step)

    def hear(self, said: NamesSeen, step: Step) -> None:
        """Take note of what another partition has seen of an account."""
        self._processor.rules(said.account)
        self._see(said.account, said.names_seen, step)

    def walk(self, parcel: Walk, step: Step) -> None:
        """Tell of the items of the next users of an account, and go on in a later step if there are more."""
        processor = self._processor
        page = list(
            islice(
                processor.store.scan(Table.USERS, account_prefix(parcel.account), parcel.after or None),
                _RECORDS_PER_WALK,
            )
        )
        keys = [split_key(key) for key, value in page if is_head_key(key) and alias_of(value) is None]
        for key, cached in processor.users.load(keys).items():
            self.register(key, cached.metered.user, step)
        if len(page) == _RECORDS_PER_WALK:
            self._walk_on(parcel.account, page[-1][0], step)

    def meet(self, parcel: Meet, step: Step) -> None:
        """Take note under which user a message is; link two users under whom the same one is."""
        processor = self._processor
        processor.rules(parcel.account)
        stored_key = met_key(parcel.account, parcel.item)
        writes = step.writes[Table.USERS]
        stored = writes[stored_key] if stored_key in writes else processor.store.get(Table.USERS, stored_key)
        day = processor.accounts[parcel.account].newest_at // DAY_SECONDS
        by_phone, by_bsuid, _ = _decode_met(stored) if stored else ([], [], 0)
        own, others = (by_bsuid, by_phone) if parcel.by_bsuid else (by_phone, by_bsuid)
        if parcel.key not in own and len(own) < _KEYS_MAX:
            # Whoever is the first on this side meets all of the other; whoever follows, one of them.
            for other in others[: 1 if own else None]:
                self._link(parcel.account, parcel.key, other, step)
            own.append(parcel.key)
        writes[stored_key] = _encode((by_phone, by_bsuid, day))

    def _link(self, account: str, one: str, other: str, step: Step) -> None:
        if one == other:
            return
        first, last = sorted((one, other), key=key_order)
        owner = partition_of(account, last, self._processor.config.partition_count)
        step.parcels.setdefault(owner, []).append(Attach(account, last, first))

    def _see(self, account: str, seen: int, step: Step) -> None:
        record = self._processor.accounts[account]
        before, record.names_seen = record.names_seen, record.names_seen | seen
        step.accounts.add(account)
        if before != BOTH_WAYS and record.names_seen == BOTH_WAYS:
            self._walk_on(account, b"", step)

    def _walk_on(self, account: str, after: bytes, step: Step) -> None:
        step.parcels.setdefault(self._processor.config.partition, []).append(Walk(account, after))

    def _tell(self, key: UserKey, item: bytes, by_bsuid: bool, step: Step) -> None:
        account, user_key = key
        owner = partition_of(account, item.hex(), self._processor.config.partition_count)
        step.parcels.setdefault(owner, []).append(Meet(account, user_key, item, by_bsuid))


def is_outdated(value: bytes, before_day: int) -> bool:
    """Tell whether a note of where a message is was last made before a day (UTC, days since 1970)."""
    return _decode_met(value)[2] < before_day
