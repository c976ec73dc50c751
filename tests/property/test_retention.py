"""Forgetting changes no number: histories in order of arrival, with sweeps in between, against the oracle."""

from __future__ import annotations

import os
from random import Random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.meter import MeteredUser, fold_metered, meter
from metering.retention import Cut, is_empty
from metering.rules import DAY_SECONDS
from metering.user import User
from schemas.events import Event
from tests.oracle.strategies import build_history, time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_core_against_oracle import Totals, reloaded, rules_of

HISTORIES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400"))
LATENESS_SECONDS = 7 * DAY_SECONDS
HORIZON_SECONDS = 16 * DAY_SECONDS
HALF_DAY_SECONDS = DAY_SECONDS // 2
RETENTION_SECONDS = 35 * DAY_SECONDS


def hash_of(text: str) -> int:
    """Return a number that is the same in every run."""
    return sum(text.encode())


def months_of_history(seed: int) -> list[Event]:
    """Return six generated histories of one account, overlapping over two months.

    Every user has something going on at most days, so that a cut falls into open conversations, free entry points
    and customer service windows.
    """
    random = Random(seed)
    parts = [build_history(seed * 6 + part) for part in range(6)]
    account = parts[0][0].account if parts[0] else "waba-utc"
    users = [event for part in parts for event in part][:2]
    start, shift = min((event.occurred_at for part in parts for event in part), default=0), 0
    result: list[Event] = []
    for number, part in enumerate(parts):
        own_start = min((event.occurred_at for event in part), default=0)
        shift += random.choice(
            (HALF_DAY_SECONDS, DAY_SECONDS, 2 * DAY_SECONDS, 9 * DAY_SECONDS, 16 * DAY_SECONDS)
        )
        offset = start - own_start + shift + random.choice((-1, 0, 1))
        result += [
            msgspec.structs.replace(
                event,
                account=account,
                number=users[0].number,
                user_phone=users[hash_of(event.user_key) % len(users)].user_phone,
                user_bsuid=users[hash_of(event.user_key) % len(users)].user_bsuid,
                message_id=f"{number}-{event.message_id}",
                occurred_at=event.occurred_at + offset,
                received_at=event.received_at + offset * 1000,
                conversation_expires_at=event.conversation_expires_at
                and event.conversation_expires_at + offset,
            )
            for event in part
        ]
    return result


def in_arrival_order(history: list[Event], random: Random) -> list[Event]:
    """Return the events, some twice, in the order in which they could arrive: each up to 7 days late."""
    arrivals = [
        (event.occurred_at + random.choice((0, 1, random.randrange(LATENESS_SECONDS + 1))), index, event)
        for index, event in enumerate(history)
    ]
    arrivals += [
        (
            random.randrange(event.occurred_at, event.occurred_at + LATENESS_SECONDS + 1),
            len(history) + index,
            event,
        )
        for index, event in enumerate(history)
        if random.random() < 0.3
    ]
    return [event for _, _, event in sorted(arrivals, key=lambda arrival: arrival[:2])]


def within_retention(history: list[Event]) -> list[Event]:
    """Leave out events of a message more than 35 days after its previous ones: those are set aside by design."""
    last: dict[tuple[str, str, str, str | None, bool], int] = {}
    kept: list[Event] = []
    for event in sorted(history, key=lambda event: event.occurred_at):
        key = (event.user_key, event.number, event.message_id, event.participant, event.kind == "incoming")
        if event.occurred_at - last.get(key, event.occurred_at) < RETENTION_SECONDS - LATENESS_SECONDS:
            last[key] = event.occurred_at
            kept.append(event)
    return kept


def run_with_sweeps(events: list[Event], account: str, random: Random) -> tuple[Totals, int]:
    """Meter one account's events one by one, sweeping at random moments; return totals and items dropped."""
    users: dict[str, MeteredUser] = {}
    totals, newest, cut, dropped = Totals(), 0, 0, 0
    rules = rules_of(account)
    for event in events:
        assert event.occurred_at >= cut, "an event that is at most 7 days late is never before the cut"
        user = users.setdefault(event.user_key, MeteredUser(User()))
        # Folding is lazy in the worker: some users are folded only when their next event comes.
        if user.user.head.folded_until or random.random() < 0.5:
            dropped += len(fold_metered(user, Cut(cut, cut + HORIZON_SECONDS - RETENTION_SECONDS), rules))
        totals.add(account, meter(user, [event], rules).differences)
        newest = max(newest, event.occurred_at)
        if random.random() < 0.4:
            cut = max(cut, newest - HORIZON_SECONDS)
            for key in list(users):
                if random.random() < 0.7:
                    metered = users[key]
                    dropped += len(
                        fold_metered(metered, Cut(cut, cut + HORIZON_SECONDS - RETENTION_SECONDS), rules)
                    )
                    if is_empty(metered.user):
                        del users[key]
                    elif random.random() < 0.5:
                        users[key] = MeteredUser(reloaded(metered.user))
    return totals, dropped


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(seed=st.integers(0, 2**32))
def test_sweeps_change_no_number(seed: int) -> None:
    """Whatever is folded and dropped on the way, the totals are those of an oracle that forgets nothing."""
    random = Random(seed)
    history = within_retention(months_of_history(seed))
    expected = expected_totals(history, time_zone_of)
    for account in {event.account for event in history}:
        totals, _ = run_with_sweeps(in_arrival_order(history, random), account, random)
        assert totals.without_zeros() == expected


def test_the_sweeps_of_this_suite_really_drop_state() -> None:
    """The generated histories reach the places where state is dropped, so that the test above means something."""
    dropped = 0
    for seed in range(40):
        random = Random(seed)
        history = within_retention(months_of_history(seed))
        if history:
            dropped += run_with_sweeps(in_arrival_order(history, random), history[0].account, random)[1]
    assert dropped > 200
