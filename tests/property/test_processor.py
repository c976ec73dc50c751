"""The partition's processor over a real store: batches, crashes, sweeps and backfills change no number."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.rules import DAY_SECONDS
from schemas.codec import Control, encode_control
from schemas.events import Event
from streams.store import Table
from tests.oracle.strategies import build_history, histories, shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_retention import in_arrival_order, months_of_history, within_retention
from tests.support.partitions import Partitions

HISTORIES = max(1, int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 8)
SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
START = 1_780_000_000


def append_in_chunks(partitions: Partitions, events: list[Event], random: Random) -> None:
    """Append events in their order, in records of several sizes."""
    position = 0
    while position < len(events):
        chunk = events[position : position + random.choice((1, 1, 3, 10))]
        partitions.append(chunk)
        position += len(chunk)


@SETTINGS
@given(history=histories(), seed=st.integers(0, 2**32))
def test_crashes_change_no_number(history: list[Event], seed: int) -> None:
    """Losing the memory before or after any commit loses nothing and counts nothing twice."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 2, time_zone_of)
        append_in_chunks(partitions, shuffled_and_duplicated(history, seed), random)
        partitions.work(random, crash_share=0.2)
        assert partitions.totals() == expected_totals(history, time_zone_of)
        partitions.close()


@SETTINGS
@given(seed=st.integers(0, 2**32))
def test_sweeps_and_crashes_change_no_number(seed: int) -> None:
    """Months in order of arrival, with state dropped on the way and crashes in the middle of sweeps."""
    random = Random(seed)
    history = within_retention(months_of_history(seed))
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 2, time_zone_of)
        append_in_chunks(partitions, in_arrival_order(history, random), random)
        partitions.work(random, sweep_share=0.3, crash_share=0.1)
        assert not any(partition.refusals for partition in partitions.partitions)
        assert partitions.totals() == expected_totals(history, time_zone_of)
        partitions.close()


def year_of(account: str, user_count: int, seed: int) -> list[Event]:
    """Return a year of one account: a few users who talk through all of it."""
    result: list[Event] = []
    for part in range(60):
        history = build_history(seed * 1000 + part)
        if not history:
            continue
        start = min(event.occurred_at for event in history)
        offset = START + part * 6 * DAY_SECONDS - start
        result += [
            msgspec.structs.replace(
                event,
                account=account,
                user_phone=f"49170000{part % user_count:04d}",
                user_bsuid=None,
                message_id=f"{part}-{event.message_id}",
                occurred_at=event.occurred_at + offset,
                received_at=(event.occurred_at + offset) * 1000,
                conversation_expires_at=event.conversation_expires_at
                and event.conversation_expires_at + offset,
            )
            for event in history
        ]
    return within_retention(result)


def test_a_shuffled_year_backfilled_beside_live_traffic_is_exact(tmp_path: Path) -> None:
    """Account A is live, with sweeps, while a year of account B arrives in any order under a hold."""
    random = Random(7)
    live = year_of("waba-berlin", 5, 1)
    backfill = year_of("waba-apia", 5, 2)
    expected = expected_totals([*live, *backfill], time_zone_of)
    random.shuffle(backfill)
    partitions = Partitions(tmp_path, 2, time_zone_of)
    hold = encode_control(Control("hold", "waba-apia", "backfill-1", 2_100_000_000))
    for partition in partitions.partitions:
        partition.log.append(hold)
    arriving = in_arrival_order(live, random)
    share = len(backfill) // len(arriving) + 1
    for position, event in enumerate(arriving):
        partitions.append([event, *backfill[position * share : (position + 1) * share]])
    partitions.work(random, sweep_share=0.2, crash_share=0.02)
    assert not any(partition.refusals for partition in partitions.partitions)
    release = encode_control(Control("release", "waba-apia", "backfill-1"))
    for partition in partitions.partitions:
        partition.log.append(release)
    for _ in range(10):
        partitions.work(random, sweep_share=1.0)
        for partition in partitions.partitions:
            partition.run_sweep(random)
    for partition in partitions.partitions:
        assert partition.processor.accounts["waba-apia"].cut > 0, (
            "after the hold, the account's state is dropped"
        )
    assert partitions.totals() == expected
    partitions.close()


def test_state_stays_flat_over_a_year(tmp_path: Path) -> None:
    """With steady traffic, what is kept after a year is what is kept after a quarter, and totals are exact."""
    random = Random(3)
    history = year_of("waba-berlin", 4, 5)
    partitions = Partitions(tmp_path, 1, time_zone_of)
    partition = partitions.partitions[0]
    sizes: list[int] = []
    counters: list[int] = []
    arrivals = in_arrival_order(history, random)
    for position in range(0, len(arrivals), 20):
        partitions.append(arrivals[position : position + 20])
        partition.work(random)
        partition.run_sweep(random)
        users = partition.processor.users.load(
            [("waba-berlin", f"49170000{n:04d}") for n in range(4)]
        ).values()
        sizes.append(sum(len(u.metered.user.messages) + len(u.metered.user.incoming) for u in users))
        counters.append(sum(1 for _ in partition.store.scan(Table.COUNTERS)))
    quarter = len(sizes) // 4
    assert max(sizes[-quarter:]) < 1.5 * max(sizes[quarter : 2 * quarter])
    assert max(counters[-quarter:]) < 1.5 * max(counters[quarter : 2 * quarter])
    assert partitions.totals() == expected_totals(history, time_zone_of)
    partitions.close()
