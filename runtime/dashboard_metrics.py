"""Metrics of a dashboard: what it answers, how fast, and what its audit log tells of.

Owns their names. Labels are bounded: routes and events are words of ours, a status is a number of HTTP. Nothing here
is about an account.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX: Final = "convometer_dashboard"
REFUSED_EVENTS: Final = ("sign_in_failed", "sign_in_delayed", "token_refused", "link_refused", "denied")
"""Those after which somebody was not let in."""
NOTICED_EVENTS: Final = ("sign_in", *REFUSED_EVENTS)
"""What alarms go by."""
_SECONDS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class DashboardMetrics:
    """The metrics of one dashboard, beside those of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register them.

        Raises:
            ValueError: the registry already has them.
        """
        self._requests = Counter(
            f"{PREFIX}_requests",
            "HTTP requests answered, by the first part of the path and status.",
            ("route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}_request_seconds",
            "Seconds from a request to the end of its answer, by the first part of the path.",
            ("route",),
            registry=registry,
            buckets=_SECONDS_BUCKETS,
        )
        self._audited = Counter(
            f"{PREFIX}_audited", "Entries written to the audit log, by event.", ("event",), registry=registry
        )
        # From the start on, so that the first is a step from 0 that alarms can see.
        for event in NOTICED_EVENTS:
            self._audited.labels(event)
        self._audit_errors = Counter(
            f"{PREFIX}_audit_errors", "Entries that the audit log did not take.", registry=registry
        )
        self._exports = Gauge(
            f"{PREFIX}_exports_pending", "Exports that run or wait for their turn.", registry=registry
        )

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request; ``route`` is one of ours, never the visitor's text."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_audited(self, event: str) -> None:
        """Count an entry of the audit log."""
        self._audited.labels(event).inc()

    def count_audit_error(self) -> None:
        """Count an entry that could not be written."""
        self._audit_errors.inc()

    def show_exports(self, pending: Callable[[], int]) -> None:
        """Ask this for the number of exports whenever metrics are read."""
        self._exports.set_function(pending)
