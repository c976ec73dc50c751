"""Sweep steps and events one by one: what arrives while a walk is under way is counted once, or set aside."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.rules import DAY_SECONDS
from schemas.canonical import parse
from schemas.codec import Control, encode_batch, encode_control, partition_of
from schemas.events import Event, Kind, canonical_json
from tests.oracle.strategies import time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_retention import in_arrival_order, months_of_history
from tests.support.partitions import Partition, Partitions

HISTORIES = max(1, int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 8)
START = 1_780_000_000
FAR_FUTURE_MS = 4_000_000_000_000


def with_stragglers(history: list[Event], random: Random) -> list[Event]:
    """Add statuses that come weeks after their message, when its state may be gone."""
    stragglers: list[Event] = []
    for event in history:
        if event.kind in ("sent", "delivered", "failed") and random.random() < 0.3:
            at = event.occurred_at
            for _ in range(random.randrange(1, 5)):
                at += random.randrange(10 * DAY_SECONDS, 40 * DAY_SECONDS)
                kind = random.choice(("read", "failed", "delivered"))
                stragglers.append(
                    msgspec.structs.replace(event, kind=kind, occurred_at=at, received_at=at * 1000)
                )
    return history + stragglers


def with_a_clock(history: list[Event]) -> list[Event]:
    """Add a user who writes every third day for a year, so that the account's time goes on."""
    end = max(event.occurred_at for event in history)
    first = history[0]
    return history + [
        Event(
            provider="canonical",
            account=first.account,
            number=first.number,
            kind="incoming",
            message_id=f"tick-{day}",
            occurred_at=end + (day - 200) * DAY_SECONDS,
            received_at=(end + (day - 200) * DAY_SECONDS) * 1000,
            country="DE",
            user_phone="491709999999",
        )
        for day in range(0, 365, 3)
    ]


def work_through(partition: Partition, arriving: list[Event], partitions: Partitions, random: Random) -> None:
    """Append and process a few events at a time, with a few sweep steps and some crashes in between."""
    position = 0
    while position < len(arriving) or partition.processor.record.source_offset < len(partition.log):
        if position < len(arriving):
            count = random.choice((1, 1, 2, 6))
            partitions.append(arriving[position : position + count])
            position += count
        partition.work(random, crash_share=0.02)
        for _ in range(random.choice((0, 0, 1, 1, 2, 5))):
            if not partition.run_sweep_step(random, 0.03, unflushed=random.choice((0, 0, 3, 40))):
                break


def identity(event: Event) -> bytes:
    """Return an event without its time of arrival: repeats are the same."""
    return canonical_json(msgspec.structs.replace(event, received_at=0))


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(seed=st.integers(0, 2**32))
def test_events_between_the_steps_of_a_sweep_are_counted_once_or_set_aside(seed: int) -> None:
    """The totals are those of what was not set aside; a straggler never opens its message a second time."""
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr("streams.sweep._RECORDS_PER_STEP", 2)
        arriving = in_arrival_order(with_a_clock(with_stragglers(months_of_history(seed), random)), random)
        partitions = Partitions(Path(directory), 1, time_zone_of)
        partition = partitions.partitions[0]
        work_through(partition, arriving, partitions, random)
        set_aside = {
            identity(event)
            for refusal in partition.refusals
            for event in parse(refusal.payload, FAR_FUTURE_MS).events
        }
        counted = [event for event in arriving if identity(event) not in set_aside]
        # A repeat of a counted event may have been set aside as late; then all of them count.
        assert partitions.totals() in (
            expected_totals(counted, time_zone_of),
            expected_totals(arriving, time_zone_of),
        )
        partitions.close()


def event_at(
    message_id: str, occurred_at: int, kind: Kind = "incoming", phone: str = "491700000001"
) -> Event:
    """Return one event of account A."""
    return Event(
        provider="canonical",
        account="A",
        number="1",
        kind=kind,
        message_id=message_id,
        occurred_at=occurred_at,
        received_at=occurred_at * 1000,
        country="DE",
        user_phone=phone,
        category=None if kind == "incoming" else "marketing",
    )


def test_a_status_between_the_cut_and_the_walk_opens_no_message(tmp_path: Path) -> None:
    """The cut has moved, the walk is not there yet: a status of a message that the fold drops is set aside."""
    start, random = 1_790_000_000, Random(1)
    partitions = Partitions(tmp_path, 1, lambda _account: "UTC")
    partition = partitions.partitions[0]
    partitions.append([event_at("m1", start, "delivered")])
    partitions.append([event_at("x", start + 40 * DAY_SECONDS, phone="491700000002")])
    partition.work(random)
    before = partitions.totals()
    assert partition.run_sweep_step(random)
    assert partition.processor.accounts["A"].cut > 0
    partitions.append([event_at("m1", start + 40 * DAY_SECONDS, "read")])
    partition.work(random)
    assert partitions.totals() == before
    assert [refusal.reason for refusal in partition.refusals] == ["expired_status"]
    partitions.close()


def test_the_cut_stays_while_there_is_nothing_to_forget(tmp_path: Path) -> None:
    """After the first live event of an account, older days may still be fed in."""
    start, random = 1_790_000_000, Random(1)
    partitions = Partitions(tmp_path, 1, lambda _account: "UTC")
    partition = partitions.partitions[0]
    partitions.append([event_at("live", start)])
    partition.work(random)
    partition.run_sweep(random)
    partitions.append([event_at(f"m{day}", start - day * DAY_SECONDS) for day in range(1, 91)])
    partition.work(random)
    assert not partition.refusals
    partition.run_sweep(random)
    assert partition.processor.accounts["A"].cut > 0, "now there is something to forget"
    partitions.close()


def test_a_hold_lasts_as_long_as_when_it_was_said(tmp_path: Path) -> None:
    """A worker that takes up a backfill days later must not find its hold expired."""
    now = 2_000_000_000
    partitions = Partitions(tmp_path, 1, lambda _account: "UTC")
    processor = partitions.partitions[0].processor
    said_at = now - 2 * DAY_SECONDS
    hold = encode_control(Control("hold", "A", "backfill", said_at + DAY_SECONDS))
    processor.process([(0, hold, said_at * 1000)], now)
    assert processor.accounts["A"].holds == {"backfill": now + DAY_SECONDS}
    partitions.close()


def test_a_cut_moves_only_when_all_partitions_have_read_what_they_had(tmp_path: Path) -> None:
    """A partition that is behind may still pass events on, so that another must not forget what they are about."""
    partitions = Partitions(tmp_path, 3, lambda _account: "UTC")
    random = Random(1)
    fast, slow = partitions.partitions[:2]
    fast.log.append(encode_batch([sent_by(fast, at) for at in (START, START + 40 * DAY_SECONDS)]))
    slow.log.append(encode_batch([sent_by(slow, START)]))
    partitions.partitions[2].log.append(encode_batch([]))
    for _ in range(10):
        fast.work(random)
        partitions.partitions[2].work(random)
        fast.run_sweep(random)
    assert fast.processor.accounts["A"].cut == 0
    assert fast.processor.accounts["A"].asked > START
    for _ in range(10):
        partitions.work(random, crash_share=0.2)
        fast.run_sweep(random)
    assert fast.processor.accounts["A"].cut == fast.processor.accounts["A"].agreed > START
    partitions.close()


def sent_by(partition: Partition, at: int) -> Event:
    """Return an event of a user whom a partition owns."""
    owned = next(
        phone
        for phone in (f"4917{number:07d}" for number in range(1000))
        if partition_of("A", phone, partition.processor.config.partition_count)
        == partition.processor.config.partition
    )
    return Event("meta", "A", "N", "sent", f"wamid.{at}", at, at * 1000, "DE", user_phone=owned)
