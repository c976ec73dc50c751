"""The oracle itself: a function of the set of events, complete, and written without the product."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

import tests.oracle
from schemas.events import Event
from schemas.rows import FAMILIES, Family
from tests.oracle.examples import DAY
from tests.oracle.identities import MEMBER, incoming_messages, outgoing_messages
from tests.oracle.identity_strategies import identity_histories
from tests.oracle.local_time import local_month
from tests.oracle.people import expected_people, expected_phones
from tests.oracle.strategies import build_history, histories, shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals


@given(histories(), st.integers(0, 2**32))
def test_order_and_repetition_change_nothing(history: list[Event], seed: int) -> None:
    """The totals are a function of the set of events."""
    again = shuffled_and_duplicated(history, seed)
    assert expected_totals(again, time_zone_of) == expected_totals(history, time_zone_of)


@given(histories())
def test_rows_have_the_shape_of_their_family(history: list[Event]) -> None:
    """Every key has its family's dimensions, every row its measures, none of them all zero."""
    for key, measures in expected_totals(history, time_zone_of).items():
        schema = FAMILIES[Family(int(key[0]))]
        assert len(key) == 1 + len(schema.dimensions)
        assert len(measures) == len(schema.measures)
        assert min(measures) >= 0
        assert any(measures)


def test_generated_histories_reach_every_corner() -> None:
    """A thousand seeds bring every type, free and charged, every raw word and every rule."""
    seen: set[object] = set()
    for seed in range(1_000):
        for key, measures in expected_totals(build_history(seed), time_zone_of).items():
            if key[0] == Family.CONVERSATIONS:
                seen |= {("type", key[5], measures[1] > 0), ("type", key[5], measures[2] == 0)}
            if key[0] == Family.DELIVERIES:
                seen |= {("priced", *key[7:9]), ("inside", *key[9:11])}
            if key[0] == Family.ACTIVE_USERS:
                seen |= {("rule", key[5]), ("users", *measures)}
    types = ("service", "utility", "marketing", "authentication", "authentication_international", "unknown")
    priced = {(word, billable) for word in ("free_entry_point", "regular") for billable in (-1, 0, 1)}
    assert {("type", each, free) for each in types for free in (True, False)} <= seen
    assert {("inside", window, entry) for window in (0, 1) for entry in (0, 1)} <= seen
    assert {("priced", *each) for each in priced | {("", -1), ("", 0), ("", 1)}} <= seen
    assert {("type", "free_entry_point", True), ("rule", "both"), ("users", 2)} <= seen
    assert ("type", "free_entry_point", False) not in seen


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    """It imports the standard library, itself, contracts and the shapes of pricing; nothing at run time."""
    allowed = {"schemas.events", "schemas.rows", "schemas.plans", "schemas.rate_cards", "schemas.regimes"}
    shapes = {"ConversationCount", "Counts", "DeliveryCount", "PriceData", "WhatIf"}
    sources = sorted(Path(tests.oracle.__path__[0]).rglob("*.py"))
    assert len(sources) >= 5
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                modules = [str(node.module)]
                if node.module == "metering.charges":
                    assert {alias.name for alias in node.names} <= shapes
                    continue
            for module in modules:
                root = module.partition(".")[0]
                foreign = root in sys.stdlib_module_names | {"hypothesis", "msgspec"} and root != "importlib"
                assert foreign or module in allowed or module.startswith("tests.oracle."), (source, module)
            assert not (isinstance(node, ast.Name) and node.id == "__import__"), source


@given(identity_histories(), st.integers(0, 2**32))
def test_order_and_repetition_change_no_identity(history: list[Event], seed: int) -> None:
    """Totals, people and phones are functions of the set of events."""
    again = shuffled_and_duplicated(history, seed)
    for expected in (expected_totals, expected_people, expected_phones):
        assert expected(again, time_zone_of) == expected(history, time_zone_of)


@given(identity_histories())
def test_results_are_as_if_all_events_had_carried_one_key(history: list[Event]) -> None:
    """Every event told again with the key of the person to whom its message belongs, and no update: no change."""
    told_again = []
    for message in outgoing_messages(history):
        for told in message.events:
            participant = message.person if message.participant == MEMBER else told.participant
            told_again.append(
                msgspec.structs.replace(told, user_bsuid=message.person, participant=participant)
            )
    for received in incoming_messages(history):
        told_again += [
            msgspec.structs.replace(told, user_bsuid=received.person, participant=None)
            for told in received.events
        ]
    for expected in (expected_totals, expected_people, expected_phones):
        assert expected(told_again, time_zone_of) == expected(history, time_zone_of)


@given(identity_histories())
def test_people_are_the_active_users_of_the_month(history: list[Event]) -> None:
    """The rows of active users, added up over a local month, are the people; phones have the same scopes."""
    added: dict[tuple[str, str, str, str], int] = {}
    for key, values in expected_totals(history, time_zone_of).items():
        if key[0] == Family.ACTIVE_USERS and key[-1] == "any":
            day, account, number, country = int(key[1]), str(key[2]), str(key[3]), str(key[4])
            year, month = local_month(day * DAY, "UTC")
            scope = (f"{year}-{month:02}", account, number, country)
            added[scope] = added.get(scope, 0) + values[0]
    assert added == expected_people(history, time_zone_of)
    assert added.keys() == expected_phones(history, time_zone_of).keys()
    assert all(count > 0 for count in expected_phones(history, time_zone_of).values())
