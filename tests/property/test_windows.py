"""A user's windows against the oracle: linked names, several partitions, any order of arrival."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from metering.windows import CUSTOMER_SERVICE
from schemas.events import Event
from schemas.user_windows import Elsewhere, UserWindow, UserWindows, WindowsAsked
from streams.windows import find_windows
from tests.oracle.conversations import DAY_SECONDS, FREE_ENTRY_POINT, conversations, is_charged
from tests.oracle.identities import (
    Items,
    Relations,
    by_account,
    by_person,
    incoming_messages,
    outgoing_messages,
)
from tests.oracle.identity_strategies import identity_histories
from tests.oracle.strategies import shuffled_and_duplicated, time_zone_of
from tests.support.partitions import Partitions

HISTORIES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 4
SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
Line = tuple[str, str, int, int, int | None, bool | None]
"""Type, number, when it opened and ends, messages, whether it is charged."""


def names(event: Event) -> list[tuple[str, str]]:
    """Return the names of an event with their kinds."""
    told = {
        ("phone", event.user_phone),
        ("bsuid", event.user_bsuid),
        ("bsuid", event.user_previous_bsuid if event.kind == "identity" else None),
    }
    return sorted((kind, name) for kind, name in told if name)


def line_of(window: UserWindow) -> Line:
    """Return a window as the oracle tells it."""
    opened_at, ends_at = (int(instant.timestamp()) for instant in (window.opened_at, window.ends_at))
    return (window.type, window.number, opened_at, ends_at, window.messages, window.is_charged)


def expected_conversations(items: Items, zone: str) -> set[Line]:
    """Return the conversations of one person, by brute force."""
    return {
        (
            found.type,
            number,
            found.opened_at,
            found.ends_at,
            len(found.messages),
            is_charged(found, items.on(number).incoming, zone),
        )
        for number in items.numbers
        for found in conversations(*items.on(number))
    }


def expected_service(items: Items) -> dict[str, int]:
    """Return by number when the last customer service window ends."""
    return {
        number: max(each.at for each in items.on(number).incoming) + DAY_SECONDS
        for number in items.numbers
        if items.on(number).incoming
    }


def asked_everywhere(partitions: Partitions, asked: WindowsAsked, apart: bool) -> UserWindows:
    """Ask as one process does that has all partitions, or as a dashboard does whose workers have one each."""
    count = len(partitions.partitions)
    processors = {place: each.processor for place, each in enumerate(partitions.partitions)}
    if not apart:
        found = find_windows(processors, count, asked)
        assert isinstance(found, UserWindows)
        return found
    for _ in range(count + 5):
        answers = [find_windows({place: one}, count, asked) for place, one in processors.items()]
        for answer in answers:
            if isinstance(answer, UserWindows):
                return answer
        keys = {answer.key for answer in answers if isinstance(answer, Elsewhere)}
        key = min(keys - {asked.key or asked.user})
        asked = WindowsAsked(asked.account, asked.user, asked.at, asked.number, key)
    raise AssertionError("nobody has the user")


@SETTINGS
@given(
    history=identity_histories(),
    seed=st.integers(0, 2**32),
    partition_count=st.sampled_from((1, 3)),
    apart=st.booleans(),
)
def test_every_name_leads_to_its_persons_windows(
    history: list[Event], seed: int, partition_count: int, apart: bool
) -> None:
    """Whatever name is asked for, the answer is the conversations and the service window of whoever has it."""
    assume(history)
    random = Random(seed)
    end = max(event.occurred_at for event in history) + 30 * DAY_SECONDS
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), partition_count, time_zone_of)
        partitions.append(shuffled_and_duplicated(history, seed))
        partitions.work(random)
        everybody = by_person(outgoing_messages(history), incoming_messages(history))
        for account, events in by_account(history).items():
            relations = Relations(events)
            for kind, name in {each for event in events for each in names(event)}:
                is_phone = kind == "phone"
                person = relations.person_of_phone(name, end) if is_phone else relations.person_of_bsuid(name)
                items = everybody.get((account, person), Items([], []))
                found = asked_everywhere(partitions, WindowsAsked(account, name, end), apart)
                assert found.is_known
                assert name in found.names
                lines = {line_of(each) for each in found.conversations}
                expected = expected_conversations(items, time_zone_of(account))
                # The oracle leaves out what says free entry point soon after the end of one: that belongs to it, too.
                assert {line for line in lines if line[0] != FREE_ENTRY_POINT} == {
                    line for line in expected if line[0] != FREE_ENTRY_POINT
                }
                assert {line[:4] for line in lines} == {line[:4] for line in expected}
                # Every delivered message belongs to exactly one conversation.
                assert sum(each.messages or 0 for each in found.conversations) == sum(
                    message.delivered_at is not None for message in items.outgoing
                )
                assert not any(each.is_open for each in (*found.conversations, *found.customer_service))
                ends = {each.number: int(each.ends_at.timestamp()) for each in found.customer_service}
                assert ends == expected_service(items)
                assert {each.type for each in found.customer_service} <= {CUSTOMER_SERVICE}
        partitions.close()


@SETTINGS
@given(history=identity_histories(), seed=st.integers(0, 2**32))
def test_at_any_instant_what_lies_ahead_is_not_known(history: list[Event], seed: int) -> None:
    """As of an instant, a window is open from its begin until just before its end, and none begins later."""
    assume(history)
    random = Random(seed)
    instants = sorted(
        {event.occurred_at + step for event in history for step in (-1, 0, 1, DAY_SECONDS - 1, DAY_SECONDS)}
    )
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 1, time_zone_of)
        partitions.append(history)
        partitions.work(random)
        for account, events in by_account(history).items():
            _, name = random.choice(names(random.choice(events)))
            for at in random.sample(instants, min(5, len(instants))):
                found = asked_everywhere(partitions, WindowsAsked(account, name, at), apart=False)
                for each in (*found.conversations, *found.customer_service):
                    assert each.opened_at.timestamp() <= at
                    assert each.is_open == (at < each.ends_at.timestamp())
        partitions.close()


def test_nobody_is_made_up_by_being_asked_for() -> None:
    """An unknown user or account is answered as such, and leaves no state behind."""
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 2, time_zone_of)
        before = [each.state_records() for each in partitions.partitions]
        for account in ("A", "nobody's"):
            found = asked_everywhere(
                partitions, WindowsAsked(account, "491510000", 1_800_000_000), apart=False
            )
            assert not found.is_known
            assert not found.conversations
        assert [each.state_records() for each in partitions.partitions] == before
        assert all("nobody's" not in each.processor.accounts for each in partitions.partitions)
        partitions.close()
