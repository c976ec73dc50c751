"""What a worker shows of itself: gauges are read off, and what is not its own any more is not shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from prometheus_client import CollectorRegistry

from cli.observers import sample_gauges
from runtime.metrics import Metrics
from streams.worker import Lag, Worker


@dataclass
class Options:
    """The one option that gauges need."""

    events_seconds: int = 1_000


@dataclass
class Working:
    """A worker as far as gauges look at it."""

    lags: dict[int, Lag]
    options: Options = field(default_factory=Options)

    def lag(self, _now_ms: int) -> dict[int, Lag]:
        """See ``Worker.lag``."""
        return self.lags

    def flush_age_seconds(self, _now_ms: int) -> float:
        """See ``Worker.flush_age_seconds``."""
        return 0.0

    notify_task = None

    def alert_lag_seconds(self, _now_ms: int) -> float:
        """See ``Worker.alert_lag_seconds``."""
        return 4.0

    def moves(self) -> dict[int, tuple[int, int]]:
        """See ``Worker.moves``."""
        return dict.fromkeys(self.lags, (5, 3))

    def state_records(self) -> dict[str, int]:
        """See ``Worker.state_records``."""
        return {}


def test_a_partition_that_went_to_another_worker_leaves_no_lag_behind() -> None:
    """Its last lag would stand for ever, and with it the alert."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    working = Working({0: Lag(7, 600.0), 1: Lag(3, 2.0)})
    worker = cast("Worker", working)
    sample_gauges(metrics, worker, 0)
    assert registry.get_sample_value("convometer_lag_records", {"partition": "0"}) == 7
    assert registry.get_sample_value("convometer_retention_used_ratio", {"partition": "0"}) == 0.6
    assert registry.get_sample_value("convometer_identity_moves_sent", {"partition": "0"}) == 5
    assert registry.get_sample_value("convometer_alert_lag_seconds") == 4
    del working.lags[0]
    sample_gauges(metrics, worker, 0)
    for name in ("lag_records", "lag_seconds", "retention_used_ratio", "identity_moves_sent"):
        assert registry.get_sample_value(f"convometer_{name}", {"partition": "0"}) is None
    assert registry.get_sample_value("convometer_lag_records", {"partition": "1"}) == 3
