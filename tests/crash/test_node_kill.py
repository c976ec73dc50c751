"""kill -9 between the steps of commit and flush: whatever is killed, the totals reach the truth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from random import Random

import msgspec
import pytest

from metering.household import PHONES
from schemas.events import Event, canonical_json
from schemas.rows import CounterKey
from tests.crash.node_child import Arguments
from tests.oracle.examples import MonthCounts
from tests.oracle.people import expected_phones
from tests.oracle.strategies import build_history, shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals
from tests.support.judges import months

KILLS = int(os.environ.get("CONVOMETER_TEST_KILLS", "50"))
STEPS = (
    "before-process",
    "before-commit",
    "after-commit",
    "after-store",
    "after-chunk",
    "before-progress",
    "after-progress",
)
PAST_UNTIL = 1_793_000_000  # 2026-10-26
ROOT = Path(__file__).parents[2]
Totals = dict[CounterKey, tuple[int, ...]]


def many_histories(count: int, seed: int) -> list[Event]:
    """Return generated histories one after the other, each with users of its own, shuffled and repeated.

    The users of a history share a phone, so that their states meet and move between partitions.

    Those that reach into the future are left out: at the door, where the clock is real, they would be refused.
    """
    events: list[Event] = []
    for part in range(count):
        history = build_history(seed * 10_000 + part)
        if any(event.occurred_at > PAST_UNTIL for event in history):
            continue
        events += shuffled_and_duplicated([_renamed(event, part) for event in history], part)
    return events


def _renamed(event: Event, part: int) -> Event:
    phone = event.user_phone and f"{event.user_phone[:8]}{part:04d}"
    bsuid = event.user_bsuid and f"{event.user_bsuid}x{part}"
    return msgspec.structs.replace(event, user_phone=phone, user_bsuid=bsuid)


class Child:
    """Starts nodes over one data directory and keeps what they acknowledged."""

    def __init__(self, directory: Path, events: list[Event]) -> None:
        self.data = directory / "data"
        self.lines = directory / "events.ndjson"
        self.lines.write_bytes(b"".join(canonical_json(event) + b"\n" for event in events))
        self.acknowledged = 0
        self.rows: Totals = {}
        self.said: dict[str, list[object]] = {}
        """The newest of each kind of line."""

    def run(self, **arguments: object) -> bool:
        """Run one node; return whether it was killed."""
        given = Arguments(data=str(self.data), lines=str(self.lines), start=self.acknowledged)
        command = [sys.executable, "-m", "tests.crash.node_child", json.dumps(asdict(given) | arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in (0, -9), done.stderr[-4000:]
        for line in done.stdout.splitlines():
            said = json.loads(line)
            self.acknowledged = said.get("acknowledged", self.acknowledged)
            self.said |= said
            if "rows" in said:
                self.rows = {tuple(key): tuple(values) for key, values in said["rows"]}
        return done.returncode == -9

    def totals(self) -> Totals:
        """Return the rows but those of phones, and those that are all zero; none may be negative."""
        rows = {key: values for key, values in self.rows.items() if any(values) and key[-1] != PHONES}
        assert all(value >= 0 for values in rows.values() for value in values)
        return rows

    def phones(self) -> MonthCounts:
        """Return the number of phones by month and scope."""
        return months(self.rows, ("any", PHONES))


@pytest.mark.timeout(60 + 20 * KILLS)
def test_kills_at_random_steps_change_no_number(tmp_path: Path, report: Callable[[str], None]) -> None:
    """Dying at random steps, again and again, while traffic arrives: nothing is lost, nothing counted twice."""
    seed = int(os.environ.get("CONVOMETER_TEST_SEED", str(Random().randrange(1 << 30))))
    report(f"repeat with CONVOMETER_TEST_SEED={seed}")
    random = Random(seed)
    events = many_histories(max(40, KILLS * 12), seed)
    child = Child(tmp_path, events)
    hits: Counter[str] = Counter()
    attempts = 0
    while hits.total() < KILLS:
        attempts += 1
        assert attempts < KILLS * 4, f"too few kills hit: {hits}"
        step = STEPS[attempts % len(STEPS)]
        # A few chunks at a time, so that every life has traffic to die in.
        stop = child.acknowledged + 4 * 40
        if child.acknowledged >= len(events):
            child.acknowledged = 0  # send everything again: repeats change no number
        if child.run(die_at=step, die_after=random.choice((1, 1, 2, 3)), stop=stop):
            hits[step] += 1
    assert not child.run(finish=True)
    report(f"{hits.total()} kills: " + ", ".join(f"{step} {hits[step]}" for step in STEPS))
    assert min(hits[step] for step in STEPS) > 0 or len(STEPS) > KILLS
    assert child.totals() == expected_totals(events, time_zone_of)
    assert child.phones() == expected_phones(events, time_zone_of)


def test_a_kill_before_the_flush_is_done_heals_without_new_traffic(tmp_path: Path) -> None:
    """A process dies between its last commit and the flush, and then twice within a flush; nothing more is ever sent.

    The lives after the first append nothing to the log: what they bring to ClickHouse they know from the state alone.
    """
    events = many_histories(30, 5)
    child = Child(tmp_path, events)
    assert child.run(unflushed=True)
    assert child.acknowledged == len(events)
    assert child.run(quiet=True, die_at="after-chunk")
    assert child.run(quiet=True, die_at="before-progress")
    assert not child.run(quiet=True, finish=True)
    assert child.totals() == expected_totals(events, time_zone_of)
    assert child.phones() == expected_phones(events, time_zone_of)


def test_a_deleted_clickhouse_directory_fills_again(tmp_path: Path) -> None:
    """ClickHouse's directory is lost; the next start flushes every row that the state has."""
    events = many_histories(30, 6)
    child = Child(tmp_path, events)
    assert not child.run()
    shutil.rmtree(child.data / "clickhouse")
    assert not child.run(quiet=True, finish=True)
    assert child.totals() == expected_totals(events, time_zone_of)
    assert child.phones() == expected_phones(events, time_zone_of)


def test_deleted_local_state_is_restored_from_the_changelog(tmp_path: Path) -> None:
    """The local state is lost; it comes back from the log's changelogs and goes on exactly."""
    events = many_histories(30, 8)
    child = Child(tmp_path, events)
    assert not child.run(stop=len(events) // 2)
    shutil.rmtree(child.data / "state")
    assert not child.run(finish=True)
    assert child.totals() == expected_totals(events, time_zone_of)
    assert child.phones() == expected_phones(events, time_zone_of)


def test_a_deleted_log_is_refused(tmp_path: Path) -> None:
    """Without its log the state belongs to nothing: the start is refused, history is not overwritten with less."""
    events = many_histories(10, 9)
    child = Child(tmp_path, events)
    assert not child.run()
    shutil.rmtree(child.data / "log")
    given = Arguments(data=str(child.data), lines=str(child.lines))
    command = [sys.executable, "-m", "tests.crash.node_child", json.dumps(asdict(given))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "StateMismatch" in done.stderr
