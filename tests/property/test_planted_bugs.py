"""Bugs planted on purpose: a suite that stays green with one of these in the code would prove nothing.

Those on the way to ClickHouse are in ``tests/integration/test_planted_flush_bugs.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import metering.conversations
import metering.user
from schemas.rows import CounterKey
from streams.counters import Counters
from tests.oracle.strategies import build_history, shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_processor import append_in_chunks
from tests.support.partitions import Partitions

HISTORIES = 60


def suite_is_red(directory: Path) -> bool:
    """Run a part of the suite's histories; tell whether any total differs from the oracle's."""
    for seed in range(HISTORIES):
        history = build_history(seed)
        partitions = Partitions(directory / str(seed), 1, time_zone_of)
        append_in_chunks(partitions, shuffled_and_duplicated(history, seed), Random(seed))
        try:
            partitions.partitions[0].work(Random(seed))
            differs = partitions.totals() != expected_totals(history, time_zone_of)
        except AssertionError:
            differs = True  # the core's own checks noticed
        partitions.close()
        if differs:
            return True
    return False


def test_without_a_planted_bug_these_histories_are_green(tmp_path: Path) -> None:
    """The comparison itself is sound: the code as it stands agrees with the oracle."""
    assert not suite_is_red(tmp_path)


def lose_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drop one difference in a hundred on its way to the counters."""
    add = Counters.add
    seen = 0

    def losing(
        self: Counters,
        account: str,
        differences: dict,  # type: ignore[type-arg]
        before: dict[CounterKey, tuple[int, ...]],
    ) -> None:
        nonlocal seen
        kept = {}
        for row, value in differences.items():
            seen += 1
            if seen % 100:
                kept[row] = value
        add(self, account, kept, before)

    monkeypatch.setattr(Counters, "add", losing)


def end_windows_a_second_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every 24-hour window last 24 hours and one second."""
    monkeypatch.setattr(metering.conversations, "WINDOW_SECONDS", 86_401)
    monkeypatch.setattr(metering.user, "WINDOW_SECONDS", 86_401)


@pytest.mark.parametrize("plant", [lose_a_difference, end_windows_a_second_late])
def test_a_planted_bug_turns_the_suite_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Each planted bug shows as a difference to the oracle."""
    plant(monkeypatch)
    assert suite_is_red(tmp_path)
