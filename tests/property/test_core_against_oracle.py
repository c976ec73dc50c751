"""The core against the brute-force oracle: any order, any repetition, any batches, the same totals."""

from __future__ import annotations

import os
from functools import cache
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.calendar import Calendar
from metering.household import contribution
from metering.meter import MeteredUser, meter
from metering.rules import shipped_regimes
from metering.storage import UserRecord, head_key, user_prefix
from metering.user import AccountRules, User
from schemas.events import Event
from schemas.rows import FAMILIES, CounterKey, Family
from tests.oracle.strategies import histories, shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals

HISTORIES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400"))
REGIMES = shipped_regimes()

SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


class Totals:
    """Adds differences up, as the counters table does."""

    def __init__(self) -> None:
        self.rows: dict[CounterKey, list[int]] = {}

    def add(self, account: str, differences: dict[tuple[int | str, ...], int]) -> None:
        """Add one user's differences."""
        for row, value in differences.items():
            family, measure = Family(int(row[0])), int(row[1])
            key = (int(family), row[2], account, *row[3:])
            cells = self.rows.setdefault(key, [0] * len(FAMILIES[family].measures))
            cells[measure] += value
            assert cells[measure] >= 0, f"negative cell {key}"

    def without_zeros(self) -> dict[CounterKey, tuple[int, ...]]:
        """Return the rows as the oracle gives them."""
        return {key: tuple(cells) for key, cells in self.rows.items() if any(cells)}


@cache
def rules_of(account: str) -> AccountRules:
    """Return the rules of a generated account."""
    return AccountRules(Calendar((("", time_zone_of(account)),)), REGIMES)


def reloaded(user: User) -> User:
    """Return the user after a trip through its stored form."""
    prefix = user_prefix("account", "user")
    record = UserRecord(prefix, None, lambda _: [])
    record.user = user
    writes = record.writes([*user.messages, *user.incoming])
    return UserRecord(prefix, writes[head_key(prefix)], lambda keys: [writes.get(key) for key in keys]).user


def run_core(events: list[Event], random: Random) -> Totals:
    """Meter the events in random batches, sometimes storing and loading users in between."""
    totals = Totals()
    users: dict[tuple[str, str], MeteredUser] = {}
    position = 0
    while position < len(events):
        batch = events[position : position + random.choice((1, 1, 2, 5, 20))]
        position += len(batch)
        for key in {(event.account, event.user_key) for event in batch}:
            own = [event for event in batch if (event.account, event.user_key) == key]
            metered = users.setdefault(key, MeteredUser(User()))
            totals.add(key[0], meter(metered, own, rules_of(key[0])).differences)
            if random.random() < 0.3:
                users[key] = MeteredUser(reloaded(metered.user))
    return totals


@SETTINGS
@given(history=histories(), seed=st.integers(0, 2**32))
def test_totals_equal_the_oracle_in_any_order_and_repetition(history: list[Event], seed: int) -> None:
    """Shuffling, repeating and cutting a history into batches changes no total."""
    expected = expected_totals(history, time_zone_of)
    events = shuffled_and_duplicated(history, seed)
    assert run_core(events, Random(seed)).without_zeros() == expected


@SETTINGS
@given(history=histories(), seed=st.integers(0, 2**32))
def test_the_short_cuts_come_to_the_definition(history: list[Event], seed: int) -> None:
    """The sum of all differences of a user is its contribution, evaluated from the state alone."""
    metered: dict[tuple[str, str], MeteredUser] = {}
    sums: dict[tuple[str, str], dict[tuple[int | str, ...], int]] = {}
    for event in shuffled_and_duplicated(history, seed):
        key = (event.account, event.user_key)
        user = metered.setdefault(key, MeteredUser(User()))
        for row, value in meter(user, [event], rules_of(key[0])).differences.items():
            total = sums.setdefault(key, {})
            total[row] = total.get(row, 0) + value
    for key, user in metered.items():
        assert {row: value for row, value in sums[key].items() if value} == contribution(
            user.user, rules_of(key[0])
        )
