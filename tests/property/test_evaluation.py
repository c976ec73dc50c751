"""The incremental evaluation against the definition: after every event, in short and in long histories."""

from __future__ import annotations

import os
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import metering.timeline
from metering.household import contribution
from metering.meter import MeteredUser, fold_metered, meter
from metering.retention import Cut
from metering.rules import DAY_SECONDS
from metering.storage import UserRecord, head_key, user_prefix
from metering.user import RowKey, User
from schemas.events import Event
from tests.oracle.examples import HOUR, T0, delivered, entry_point
from tests.oracle.strategies import build_history, histories, shuffled_and_duplicated
from tests.property.test_core_against_oracle import reloaded, rules_of
from tests.property.test_retention import (
    HORIZON_SECONDS,
    RETENTION_SECONDS,
    hash_of,
    in_arrival_order,
    months_of_history,
    within_retention,
)

HISTORIES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400"))
START = 1_785_000_000
SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
FEW_SETTINGS = settings(SETTINGS, max_examples=max(2, HISTORIES // 10))


class Follower:
    """One user, metered event by event, with everything that must agree after each."""

    def __init__(self, account: str) -> None:
        """Start with a new user."""
        self.rules = rules_of(account)
        self.metered = MeteredUser(User())
        self.sum: dict[RowKey, int] = {}

    def take(self, *events: Event) -> None:
        """Meter events and add up what they change."""
        for key, value in meter(self.metered, events, self.rules).differences.items():
            assert value, "a difference of nothing is none"
            self.sum[key] = self.sum.get(key, 0) + value

    def fold(self, cut: int) -> None:
        """Fold up to a cut. What is dropped is no longer in the contribution, so the sum starts anew."""
        fold_metered(self.metered, Cut(cut, cut + HORIZON_SECONDS - RETENTION_SECONDS), self.rules)
        self.sum = contribution(self.metered.user, self.rules)

    def check(self) -> None:
        """Hold the evaluation, the sum of the differences and the definition together."""
        expected = contribution(self.metered.user, self.rules)
        assert self.metered.evaluated(self.rules).contribution() == expected
        assert {key: value for key, value in self.sum.items() if value} == expected


class Stored:
    """A user's record with the table it is written to."""

    def __init__(self, user: User) -> None:
        """Start with a user that was never stored."""
        self.prefix = user_prefix("account", "user")
        self.table: dict[bytes, bytes | None] = {}
        self.record = UserRecord(self.prefix, None, self._read)
        self.record.user = user

    def _read(self, keys: list[bytes]) -> list[bytes | None]:
        return [self.table.get(key) for key in keys]

    def write(self, metered: MeteredUser) -> None:
        """Write what changed."""
        self.table.update(self.record.writes(metered.touched_items))
        metered.touched_items.clear()

    def read(self) -> UserRecord:
        """Return the user as it would be read after a restart."""
        return UserRecord(self.prefix, self.table[head_key(self.prefix)], self._read)


@SETTINGS
@given(history=histories(), seed=st.integers(0, 2**32))
def test_after_every_event_the_evaluation_is_the_contribution(history: list[Event], seed: int) -> None:
    """Event by event, in any order and with repetitions, on one or two numbers."""
    random = Random(seed)
    followers: dict[tuple[str, str], Follower] = {}
    for event in shuffled_and_duplicated(history, seed):
        follower = followers.setdefault((event.account, event.user_key), Follower(event.account))
        follower.take(event)
        follower.check()
        if random.random() < 0.05:
            follower.metered = MeteredUser(reloaded(follower.metered.user))


@SETTINGS
@given(seed=st.integers(0, 2**32))
def test_after_folds_the_evaluation_is_the_contribution(seed: int) -> None:
    """Months of one account with folds in between, on two numbers: checkpoints and frozen flags are taken up."""
    random = Random(seed)
    history = [
        msgspec.structs.replace(
            event, number="number-2" if hash_of(event.message_id) % 4 == 0 else "number-1"
        )
        for event in within_retention(months_of_history(seed))
    ]
    followers: dict[str, Follower] = {}
    newest = 0
    for event in in_arrival_order(history, random):
        follower = followers.setdefault(event.user_key, Follower(event.account))
        newest = max(newest, event.occurred_at)
        if random.random() < 0.2:
            follower.fold(newest - HORIZON_SECONDS)
        follower.take(event)
        follower.check()


def long_history(seed: int, part_count: int) -> list[Event]:
    """Return generated histories laid over each other for one user on two numbers.

    Each part starts at the same second as another, or at an edge of its windows, so that chains of conversations,
    free entry points and ties run through all parts.
    """
    random = Random(seed)
    result: list[Event] = []
    start = START
    for part in range(part_count):
        events = build_history(seed * 1_000 + part)
        if not events:
            continue
        offset = start - min(event.occurred_at for event in events)
        start += random.choice((0, 0, 1, 3_600, DAY_SECONDS - 1, DAY_SECONDS, DAY_SECONDS, 3 * DAY_SECONDS))
        result += [
            msgspec.structs.replace(
                event,
                account="waba-berlin",
                number="number-2" if part % 7 == 0 else "number-1",
                user_phone="491701" if event.user_phone else None,
                user_bsuid="DE.1",
                message_id=f"{part}-{event.message_id}",
                occurred_at=event.occurred_at + offset,
                conversation_expires_at=event.conversation_expires_at
                and event.conversation_expires_at + offset,
            )
            for event in events
        ]
    return result


def ordered(history: list[Event], order: str, random: Random) -> list[Event]:
    """Return the events as they come: in order, mostly in order, or shuffled."""
    lateness = {"in order": 0, "mostly": DAY_SECONDS, "shuffled": 1 << 40}[order]
    late = {index: random.randrange(lateness + 1) for index in range(len(history)) if random.random() < 0.3}
    if order == "shuffled":
        late = {index: random.randrange(lateness) for index in range(len(history))}
    indexes = sorted(range(len(history)), key=lambda index: history[index].occurred_at + late.get(index, 0))
    return [history[index] for index in indexes]


@FEW_SETTINGS
@given(
    seed=st.integers(0, 2**32),
    order=st.sampled_from(("in order", "mostly", "shuffled")),
    segment=st.sampled_from((1, 2, 3, 8)),
)
def test_short_segments_change_no_number(seed: int, order: str, segment: int) -> None:
    """With segments of a few deliveries every border case of resuming and stopping comes up, event by event."""
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metering.timeline, "SEGMENT_DELIVERIES_MAX", segment)
        follower = Follower("waba-berlin")
        for event in ordered(long_history(seed, 8), order, random):
            follower.take(event)
            follower.check()


@settings(FEW_SETTINGS, max_examples=max(3, HISTORIES // 40))
@given(seed=st.integers(0, 2**32), order=st.sampled_from(("in order", "mostly", "shuffled")))
def test_a_long_history_of_one_user_is_exact(seed: int, order: str) -> None:
    """More than 400 items, through many segments and buckets, stored and read back on the way."""
    random = Random(seed)
    follower = Follower("waba-berlin")
    stored = Stored(follower.metered.user)
    for place, event in enumerate(ordered(long_history(seed, 110), order, random)):
        follower.take(event)
        if place % 40 == 0:
            follower.check()
            stored.write(follower.metered)
        if place % 400 == 0:
            stored.record = stored.read()
            assert stored.record.user == follower.metered.user
            follower.metered = MeteredUser(stored.record.user)
    follower.check()
    user = follower.metered.user
    assert len(user.messages) + len(user.incoming) > 400


def test_what_is_late_for_the_counters_leaves_no_trace() -> None:
    """A batch that reaches below the floor is taken back; the rest of it counts, in the state and in storage."""
    late_count = 0
    floor_day = START // DAY_SECONDS + 2
    for seed in range(30):
        follower = Follower("waba-berlin")
        stored = Stored(follower.metered.user)
        events = ordered(long_history(seed, 12), "shuffled", Random(seed))
        for start in range(0, len(events), 5):
            result = meter(follower.metered, events[start : start + 5], follower.rules, floor_day=floor_day)
            late_count += result.outcomes.count("late")
            assert all(int(key[2]) >= floor_day for key in result.differences)
            for key, value in result.differences.items():
                follower.sum[key] = follower.sum.get(key, 0) + value
            follower.check()
            stored.write(follower.metered)
        assert stored.read().user == follower.metered.user
    assert late_count > 200


@pytest.mark.parametrize("segment", [1, 2, 3])
def test_expiries_of_one_second_are_seen_across_segments(segment: int) -> None:
    """A free entry point ends by the earliest expiry said in its second, wherever the segments are cut."""
    for seed in range(60):
        random = Random(seed)
        events = [delivered(T0 - 1 - n, f"before-{n}") for n in range(random.randrange(4))]
        events += [entry_point(T0, f"same-{n}", T0 + random.randrange(1, 5) * HOUR) for n in range(6)]
        events += [delivered(T0 + n * HOUR, f"after-{n}") for n in range(1, 6)]
        random.shuffle(events)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(metering.timeline, "SEGMENT_DELIVERIES_MAX", segment)
            follower = Follower("waba-berlin")
            for event in events:
                follower.take(event)
                follower.check()


def test_a_user_of_whom_only_folded_activity_is_left_counts_nothing_twice() -> None:
    """When all items are dropped but their month is kept, a new event changes only what is new."""
    follower = Follower("waba-berlin")
    follower.take(delivered(T0, "old"))
    follower.fold(T0 + 40 * 24 * HOUR)
    assert not follower.metered.user.messages
    assert follower.metered.user.head.activity
    follower.take(delivered(T0 + 41 * 24 * HOUR, "new"))
    follower.check()
