"""Linked users over several partitions, case by case: moves in parts, marks, references, and what comes too late."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest

from metering.household import PHONES
from metering.rules import DAY_SECONDS
from metering.storage import alias_of, head_key, user_prefix
from schemas.codec import partition_of
from schemas.events import Event, Kind
from schemas.parcels import PARCEL_TAG, Attach, Parcel, StatePart, decode_parcels, encode_parcels
from schemas.rows import CounterKey, Family
from streams.linking import JOINS_MAX
from streams.store import Table
from tests.support.partitions import Partitions

START = 1_780_272_000  # 2026-06-01
PARTITIONS = 4
PARCEL = bytes([PARCEL_TAG])
PHONE, BSUID = "5511900000001", "BR.1"


def event(
    kind: Kind, message_id: str, at: int, phone: str | None, bsuid: str | None, previous: str | None = None
) -> Event:
    """Return an event of account A on number N."""
    names = {"user_phone": phone, "user_bsuid": bsuid, "user_previous_bsuid": previous}
    return msgspec.structs.replace(Event("meta", "A", "N", kind, message_id, at, at * 1000, "BR"), **names)


def opened(directory: Path) -> Partitions:
    """Return an empty installation."""
    return Partitions(directory, PARTITIONS, lambda _account: "UTC")


def fed(partitions: Partitions, *events: Event, crash_share: float = 0.0) -> None:
    """Feed events and work until nothing is left to do."""
    for each in events:
        partitions.append([each])
    partitions.work(Random(1), crash_share=crash_share)


def swept(partitions: Partitions) -> None:
    """Let all partitions agree on what may be forgotten, and forget it."""
    for _ in range(8):
        for partition in partitions.partitions:
            partition.run_sweep(Random(1))
        partitions.work(Random(1))


def measures(rows: dict[CounterKey, tuple[int, ...]], family: Family) -> tuple[int, ...]:
    """Return the sums of a family's measures."""
    values = [row for key, row in rows.items() if key[0] == family]
    return tuple(map(sum, zip(*values, strict=True))) if values else ()


def active(rows: dict[CounterKey, tuple[int, ...]], rule: str = "any") -> int:
    """Return the number of active users of the whole account, of all months."""
    return sum(
        row[0] for key, row in rows.items() if key[0] == Family.ACTIVE_USERS and key[3:] == ("", "", rule)
    )


def head(partitions: Partitions, name: str) -> bytes | None:
    """Return the stored head record of a name."""
    owner = partitions.partitions[partition_of("A", name, PARTITIONS)]
    return owner.store.get(Table.USERS, head_key(user_prefix("A", name)))


def test_a_pair_that_is_seen_later_makes_one_user(tmp_path: Path) -> None:
    """A message by phone and one by BSUID are two users until an event carries both."""
    partitions = opened(tmp_path)
    fed(
        partitions,
        event("delivered", "m1", START, PHONE, None),
        event("delivered", "m2", START + 60, None, BSUID),
    )
    assert (active(partitions.totals()), measures(partitions.totals(), Family.CONVERSATIONS)) == (
        2,
        (2, 2, 0),
    )
    fed(partitions, event("incoming", "i1", START + 120, PHONE, BSUID))
    rows = partitions.totals()
    assert (active(rows), active(rows, "both"), active(rows, PHONES)) == (1, 1, 0)
    assert measures(rows, Family.CONVERSATIONS) == (1, 1, 0)
    assert alias_of(head(partitions, PHONE)) is not None
    partitions.close()


def test_one_message_by_phone_and_by_bsuid_is_one_message(tmp_path: Path) -> None:
    """Meta leaves the BSUID out of a failed status: nothing but the message says who that was."""
    partitions = opened(tmp_path)
    fed(partitions, event("sent", "m1", START, None, BSUID), event("failed", "m1", START + 5, PHONE, None))
    assert measures(partitions.totals(), Family.MESSAGES) == (1, 1, 0, 0, 1)
    partitions.close()


def test_messages_from_before_an_account_used_both_ways_meet_too(tmp_path: Path) -> None:
    """Partitions that had told nobody of their messages go through them once a BSUID alone appears."""
    partitions = opened(tmp_path)
    old = [event("sent", f"m{n}", START + n, f"55119{n:08d}", None) for n in range(40)]
    fed(partitions, *old)
    fed(
        partitions,
        *(event("read", f"m{n}", START + 60 + n, None, f"BR.{n}") for n in range(40)),
        crash_share=0.2,
    )
    rows = partitions.totals()
    assert measures(rows, Family.MESSAGES) == (40, 40, 40, 40, 0)
    assert active(rows) == 40
    partitions.close()


def test_a_large_state_moves_in_parts(tmp_path: Path) -> None:
    """What is too large for a record goes in several, and crashes between them lose nothing."""
    partitions = opened(tmp_path)
    fed(partitions, *(event("delivered", f"m{n}", START + n, PHONE, None) for n in range(2_500)))
    fed(partitions, event("read", "m7", START + 5_000, PHONE, BSUID), crash_share=0.4)
    rows = partitions.totals()
    assert measures(rows, Family.MESSAGES) == (2_500, 2_500, 2_500, 1, 0)
    assert active(rows) == 1
    left = [
        key
        for partition in partitions.partitions
        for key, _ in partition.store.scan(Table.USERS)
        if key.split(b"\0", 2)[2][:1] == b"t"
    ]
    assert left == []
    partitions.close()


def test_a_state_that_is_on_its_way_follows_a_user_that_moves_on(tmp_path: Path) -> None:
    """Half of its parts have come when the user that they are for is found to be another one's."""
    partitions = opened(tmp_path)
    fed(partitions, *(event("delivered", f"m{n}", START + n, PHONE, None) for n in range(3_500)))
    random = Random(5)
    target = partitions.partitions[partition_of("A", "BR.5", PARTITIONS)]
    fed(partitions, event("sent", "x", START, None, "BR.5"))
    partitions.append([event("incoming", "i1", START, PHONE, "BR.5")])
    source = partitions.partitions[partition_of("A", PHONE, PARTITIONS)]
    while not any(PARCEL in record[:1] for record in target.log[target.processor.record.source_offset :]):
        target.work(random)
        source.work(random)
    parts = [each for record in target.log for each in parcels_in(record) if isinstance(each, StatePart)]
    assert len(parts) == 4
    # In between comes word that BR.1 and BR.5 are one user.
    position = target.log.index(next(iter(encode_parcels(parts))))
    del target.log[position:]
    target.log += list(encode_parcels(parts[:2]))
    target.log += list(encode_parcels([Attach("A", "BR.5", "BR.1")]))
    target.log += list(encode_parcels(parts[2:]))
    partitions.work(random, crash_share=0.3)
    rows = partitions.totals()
    assert measures(rows, Family.MESSAGES) == (3_501, 3_501, 3_500, 0, 0)
    assert active(rows) == 1
    sums = [partition.processor.record for partition in partitions.partitions]
    assert sum(record.moves_out for record in sums) == sum(record.moves_in for record in sums)
    partitions.close()


def parcels_in(record: bytes) -> list[Parcel]:
    """Return the parcels of a record, none of one of another kind."""
    return decode_parcels(record) if record[:1] == PARCEL else []


def test_a_status_of_a_message_dropped_under_the_other_name_opens_none(tmp_path: Path) -> None:
    """The marks of dropped messages move with the state."""
    partitions = opened(tmp_path)
    later = START + 60 * DAY_SECONDS
    fed(
        partitions, event("delivered", "m1", START, PHONE, None), event("delivered", "m2", later, PHONE, None)
    )
    swept(partitions)
    fed(partitions, event("incoming", "i1", later, PHONE, BSUID), event("read", "m1", later + 1, None, BSUID))
    refusals = [refusal.reason for partition in partitions.partitions for refusal in partition.refusals]
    assert refusals == ["expired_status"]
    assert measures(partitions.totals(), Family.MESSAGES) == (2, 2, 2, 0, 0)
    partitions.close()


def test_a_month_whose_activity_is_kept_is_restated(tmp_path: Path) -> None:
    """The messages of June are folded in July; that two users were one person still corrects June."""
    partitions = opened(tmp_path)
    later = START + 40 * DAY_SECONDS
    fed(
        partitions,
        event("incoming", "i1", START, PHONE, None),
        event("incoming", "i2", START + 60, None, BSUID),
        event("incoming", "i3", later, PHONE, None),
        event("incoming", "i4", later, None, BSUID),
    )
    swept(partitions)
    assert active(partitions.totals()) == 4
    fed(partitions, event("incoming", "i5", later + 60, PHONE, BSUID))
    assert active(partitions.totals()) == 2
    partitions.close()


def test_a_month_whose_state_is_gone_stays_and_is_reported(tmp_path: Path) -> None:
    """What cannot be restated any more stays as it was counted on both sides, and the join says so."""
    partitions = opened(tmp_path)
    later = START + 200 * DAY_SECONDS
    for at in range(START, later, 20 * DAY_SECONDS):
        fed(
            partitions,
            event("incoming", f"i{at}", at, PHONE, None),
            event("incoming", f"j{at}", at, None, BSUID),
        )
        swept(partitions)
    before = active(partitions.totals())
    joined = []
    for partition in partitions.partitions:
        partition.on_step = lambda step: joined.append(step.links["beyond_state"])
    fed(partitions, event("incoming", "last", later - 60, PHONE, BSUID))
    after = active(partitions.totals())
    assert sum(joined) == 1
    assert before // 2 < after < before
    partitions.close()


def test_a_phone_of_everybody_links_nobody_beyond_a_bound(tmp_path: Path) -> None:
    """A phone that stands on every event by mistake must not make one user of an account."""
    partitions = opened(tmp_path)
    fed(partitions, *(event("delivered", f"m{n}", START + n, PHONE, f"BR.{n}") for n in range(3 * JOINS_MAX)))
    rows = partitions.totals()
    assert measures(rows, Family.MESSAGES)[0] == 3 * JOINS_MAX
    assert active(rows) == 3 * JOINS_MAX
    for partition in partitions.partitions:
        for cached in partition.processor.users.load(
            [("A", f"BR.{n}") for n in range(3 * JOINS_MAX)]
        ).values():
            assert cached.metered.user.head.key_count <= 2 * JOINS_MAX + 2
    partitions.close()


def test_a_forgotten_user_leaves_no_reference(tmp_path: Path) -> None:
    """After the names' time, nothing of a linked user is left in any partition."""
    partitions = opened(tmp_path)
    fed(
        partitions,
        event("incoming", "i1", START, PHONE, BSUID),
        event("identity", "identity", START, "5511900000002", "BR.2", BSUID),
    )
    others = [
        event("incoming", f"o{day}", START + day * DAY_SECONDS, "491700000009", None)
        for day in range(0, 600, 30)
    ]
    # Every partition must see the account's time go on.
    others += [
        event("incoming", f"p{day}-{n}", START + day * DAY_SECONDS, f"4917{n:08d}", None)
        for day in (500, 599)
        for n in range(20)
    ]
    fed(partitions, *others)
    swept(partitions)
    for name in (PHONE, BSUID, "5511900000002", "BR.2"):
        assert head(partitions, name) is None
    partitions.close()


@pytest.mark.parametrize("order", range(6))
def test_updates_in_any_order_are_one_user(tmp_path: Path, order: int) -> None:
    """A chain of updates, told in any order, with messages under every id."""
    partitions = opened(tmp_path)
    events = [
        *(event("delivered", f"m{n}", START + n, None, f"BR.{n}") for n in range(4)),
        *(event("identity", "identity", START, None, f"BR.{n + 1}", f"BR.{n}") for n in range(3)),
        event("identity", "identity", START, None, "BR.0", "BR.3"),
    ]
    Random(order).shuffle(events)
    fed(partitions, *events, crash_share=0.2)
    assert active(partitions.totals()) == 1
    assert measures(partitions.totals(), Family.CONVERSATIONS) == (1, 1, 0)
    partitions.close()
