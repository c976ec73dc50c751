"""What live traffic shows: events by account, and how far it lies ahead of our clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cli.observers import worker_observers
from runtime.clock import ManualClock
from runtime.largest_of_late import LargestOfLate
from runtime.metrics import Metrics
from runtime.setting_tables import MetricsSettings
from schemas.events import KINDS, Event, Parsed, Refusal
from streams.worker import Worker
from tests.unit.gateway_fakes import NOW_MS, event


@dataclass
class Showing:
    """Metrics within a bound of three accounts, under a clock that is moved by hand."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW_MS))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        """Register the metrics."""
        self.metrics = Metrics(self.registry, MetricsSettings(accounts_max=3), self.clock)

    def taken(self, account: str) -> float | None:
        """Return how many events of an account were counted."""
        return self.registry.get_sample_value("convometer_account_events_total", {"account": account})

    def skew(self) -> float | None:
        """Return by how much events lay ahead."""
        return self.registry.get_sample_value("convometer_clock_skew_seconds")


def ahead(*seconds: float) -> Sequence[Event]:
    """Return events that lie so far ahead of the receiver's clock."""
    return [
        msgspec.structs.replace(event(number), received_at=event(number).occurred_at * 1000 - int(by * 1000))
        for number, by in enumerate(seconds)
    ]


def test_events_are_counted_by_account() -> None:
    """And by kind, as those that an operator feeds in."""
    showing = Showing()
    showing.metrics.count_live([event(1, "9001"), event(2, "9002"), event(3, "9001")])
    showing.metrics.count_live([event(4, "9001")])
    assert (showing.taken("9001"), showing.taken("9002")) == (3, 1)
    accepted = {"kind": "sent", "outcome": "accepted"}
    assert showing.registry.get_sample_value("convometer_events_total", accepted) == 4


def test_what_is_accepted_begins_at_zero() -> None:
    """For every kind, so that a process that takes nothing since its start says so."""
    value = Showing().registry.get_sample_value
    kinds = {kind: value("convometer_events_total", {"kind": kind, "outcome": "accepted"}) for kind in KINDS}
    assert kinds == dict.fromkeys(KINDS, 0)
    assert value("convometer_events_total", {"kind": "other", "outcome": "accepted"}) is None


def test_accounts_are_bounded() -> None:
    """The first have counters of their own, and keep them; the others share one."""
    showing = Showing()
    for _ in range(2):
        showing.metrics.count_live([event(number, str(9000 + number)) for number in range(10)])
    assert [showing.taken(str(9000 + number)) for number in range(4)] == [2, 2, 2, None]
    assert showing.taken("other") == 14


def test_what_is_fed_in_is_no_live_traffic() -> None:
    """A backfill of an account does not make it one that sends."""
    showing = Showing()
    showing.metrics.count_events("sent", "accepted", 5)
    assert showing.taken("9001") is None


def test_the_event_furthest_ahead_counts() -> None:
    """Whatever order they come in, and for as long as it is of late."""
    showing = Showing()
    assert showing.skew() == 0
    showing.metrics.count_live(ahead(-3600, 90.5, 12))
    assert showing.skew() == 90.5
    showing.metrics.count_live(ahead(30))
    assert showing.skew() == 90.5
    showing.clock.advance(240_000)
    showing.metrics.count_live(ahead(20))
    assert showing.skew() == 90.5
    showing.clock.advance(60_000)
    assert showing.skew() == 20
    showing.clock.advance(300_000)
    assert showing.skew() == 0


def test_events_of_the_past_are_no_skew() -> None:
    """Repeats come hours late, with the clocks in order."""
    showing = Showing()
    showing.metrics.count_live(ahead(-5, -86_400, 0))
    assert showing.skew() == 0


def test_what_is_refused_as_of_the_future_is_skew_too() -> None:
    """A clock that is behind by more than the tolerance lets nothing in: without this the gauge would read 0."""
    showing = Showing()
    showing.metrics.count_refused("no_time")
    assert showing.skew() == 0
    showing.metrics.count_refused("from_the_future")
    assert showing.skew() == 300


def test_a_single_event_is_forgotten_before_an_alert_would_fire() -> None:
    """The rule waits for 5 minutes, and what is noted once is shown for less, wherever in a minute it came."""
    for start_ms in range(0, 60_000, 7_000):
        showing = Showing()
        showing.clock.advance(start_ms)
        showing.metrics.count_live(ahead(100))
        showing.clock.advance(239_000)
        assert showing.skew() == 100
        showing.clock.advance(61_000)
        assert showing.skew() == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_of_late_is_one_that_was_noted_of_late(seed: int) -> None:
    """Against all values kept: never older than all slices, never one less than the last but one of them has."""
    clock, noted = ManualClock(), list[tuple[float, float]]()
    late = LargestOfLate(clock, 10, 3)
    for number in range(200):
        clock.advance((seed * 7919 + number * 104_729) % 9000)
        now, value = clock.monotonic_seconds(), float((seed + number * 7907) % 97)
        late.note(value)
        noted.append((now, value))
        assert late.largest() >= max(value for at, value in noted if at > now - 20)
        assert late.largest() in {value for at, value in noted if at > now - 30}


def test_input_topics_are_live() -> None:
    """What a worker took from one is counted, refused and ignored updates as well."""
    showing = Showing()
    worker = Worker.__new__(Worker)
    worker._observers = worker_observers(showing.metrics)
    parsed = Parsed([event(1), event(2)], [Refusal("no_time", "none", b"{}")], ["account_alerts"])
    worker._normalized(parsed)
    assert showing.taken("9001") == 2
    value = showing.registry.get_sample_value
    assert value("convometer_refused_total", {"reason": "no_time"}) == 1
    assert value("convometer_updates_ignored_total", {"name": "account_alerts"}) == 1
