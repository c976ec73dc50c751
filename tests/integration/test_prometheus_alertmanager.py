"""From a gauge to whoever is to know: our metrics, rules and routes in real Prometheus and real Alertmanager."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from runtime.clock import ManualClock
from runtime.limit_metrics import ShownLimit
from runtime.metrics import Metrics
from tests.support.alert_processes import JOB, Watching, watching
from tests.support.alerting import RUNBOOK
from tests.support.commands import eventually
from tests.support.deployment import Deployment

DEPLOYMENT = Deployment.of(Path(__file__).parents[2])
PACKAGE = {"account": "9001", "limit_name": "mau_package", "severity": "warning"}


@dataclass
class Watched:
    """Metrics of one process, and who watches them."""

    metrics: Metrics
    clock: ManualClock
    by: Watching

    def show(self, ratio: float) -> None:
        """Show how much of a package is used; another's stays where it is."""
        exhausted = 1_792_540_800.0
        whole = ShownLimit("9001", "", "mau_package", 1000, 1000 * ratio, {"expected": 990.0}, exhausted)
        self.metrics.show_limits([whole, ShownLimit("9002", "7001", "free_service", 1000, 100)])

    def wait(self, alert: str, status: str) -> dict[str, Any]:
        """Return what was told of an alert, the first time."""
        eventually(f"{alert} is {status}", lambda: self.by.receiver.told(alert, status), 60)
        return self.by.receiver.told(alert, status)[0]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Return a process of ours that is scraped each second."""
    registry, clock = CollectorRegistry(), ManualClock()
    metrics = Metrics(registry, clock=clock)
    with watching(registry, DEPLOYMENT, tmp_path) as by:
        yield Watched(metrics, clock, by)


def labels_of(told: dict[str, Any]) -> dict[str, str]:
    """Return an alert's labels without its name."""
    return {name: value for name, value in told["labels"].items() if name != "alertname"}


def test_a_package_is_told_of_as_it_is_used_up(watched: Watched) -> None:
    """80 % warns; all of it is told, and takes the warning back; a new month ends it. Nobody else's limit is told."""
    watched.show(0.5)
    target = {"instance": watched.by.target, "job": JOB}
    eventually("it is scraped", lambda: watched.by.asked("convometer_limit_used_ratio == 0.5"), 30)
    assert watched.by.asked("up")[0]["metric"] == {"__name__": "up", **target}

    watched.show(0.85)
    warning = watched.wait("ConvometerPackageWarning", "firing")
    assert labels_of(warning) == PACKAGE
    assert warning["annotations"]["summary"] == "9001: 85% of mau_package is used"
    assert warning["annotations"]["runbook_url"] == f"{RUNBOOK}#convometerpackagewarning"
    [message] = [message for message in watched.by.receiver.messages if warning in message["alerts"]]
    assert (message["version"], message["receiver"], message["status"]) == ("4", "operators", "firing")
    assert message["groupLabels"] == {"account": "9001"}

    watched.show(1.2)
    used = watched.wait("ConvometerPackageUsed", "firing")
    assert labels_of(used) == PACKAGE
    assert used["annotations"]["summary"] == "9001: mau_package is used up, at 120%"
    watched.wait("ConvometerPackageWarning", "resolved")
    assert not watched.by.receiver.told("ConvometerPackageUsed", "resolved")

    watched.show(0.01)
    watched.wait("ConvometerPackageUsed", "resolved")
    assert watched.by.receiver.names() == {"ConvometerPackageWarning", "ConvometerPackageUsed"}


def test_a_wrong_clock_and_what_is_left_out_are_told_by_their_names(watched: Watched) -> None:
    """What is refused as of the future is a clock that is behind, at the process that says so; it ends by itself."""
    watched.metrics.count_refused("from_the_future")
    told = watched.wait("ConvometerClockSkew", "firing")
    assert labels_of(told) == {"instance": watched.by.target, "job": JOB, "severity": "warning"}
    assert told["annotations"]["summary"] == (f"events lie 5m 0s ahead of the clock of {watched.by.target}")
    watched.metrics.count_alert_deliveries("email", "gave_up")
    told = watched.wait("ConvometerAlertDeliveryFailed", "firing")
    assert labels_of(told) == {"channel": "email", "severity": "warning"}
    watched.clock.advance(300_000)
    watched.wait("ConvometerClockSkew", "resolved")


def test_what_another_alert_explains_is_not_told_beside_it(watched: Watched) -> None:
    """Limits are compared late because the worker is late: that is told first, and alone."""
    watched.metrics.lag_seconds.labels("0").set(120)
    watched.wait("ConvometerLag", "firing")
    watched.metrics.alert_lag_seconds.set(1000)
    firing = 'ALERTS{alertname="ConvometerAlertLag", alertstate="firing"}'
    eventually("Prometheus knows of it", lambda: watched.by.asked(firing), 30)
    # One that begins later has come, so that this one would have come as well.
    watched.metrics.count_refused("from_the_future")
    watched.wait("ConvometerClockSkew", "firing")
    assert watched.by.receiver.names() == {"ConvometerLag", "ConvometerClockSkew"}
    watched.metrics.lag_seconds.clear()
    watched.wait("ConvometerAlertLag", "firing")
