"""Gauges of limits: what they say, that they are replaced whole, and how many there can be."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from runtime.limit_metrics import ShownLimit
from runtime.metrics import Metrics
from runtime.setting_tables import MetricsSettings
from runtime.settings import Settings

PACKAGE = {"account": "9001", "number": "", "limit_name": "mau_package"}


def shown(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return the value of a gauge or counter."""
    return registry.get_sample_value(f"convometer_{name}", labels)


def row(account: str = "9001", used: float = 850, **changes: object) -> ShownLimit:
    """Return a package of 1000."""
    return ShownLimit(account, "", "mau_package", 1000, used, **changes)  # type: ignore[arg-type]


def test_a_limit_is_shown_in_full() -> None:
    """The limit, what is used of it, both as a share, and where it leads."""
    registry = CollectorRegistry()
    projected = {"low": 900.0, "expected": 1100.0, "high": 1300.0}
    Metrics(registry).show_limits([row(projected=projected, exhausted_at_seconds=1_793_577_600.0)])
    assert shown(registry, "limit", **PACKAGE) == 1000
    assert shown(registry, "limit_used", **PACKAGE) == 850
    assert shown(registry, "limit_used_ratio", **PACKAGE) == 0.85
    assert shown(registry, "limit_projected_ratio", **PACKAGE, bound="low") == 0.9
    assert shown(registry, "limit_projected_ratio", **PACKAGE, bound="expected") == 1.1
    assert shown(registry, "limit_projected_ratio", **PACKAGE, bound="high") == 1.3
    assert shown(registry, "limit_exhausted_timestamp_seconds", **PACKAGE) == 1_793_577_600


def test_what_is_not_known_is_not_shown() -> None:
    """Too early for a forecast, and no end within the month: absent, not zero."""
    registry = CollectorRegistry()
    Metrics(registry).show_limits([row()])
    assert shown(registry, "limit_projected_ratio", **PACKAGE, bound="expected") is None
    assert shown(registry, "limit_exhausted_timestamp_seconds", **PACKAGE) is None


def test_a_limit_of_nothing_is_none() -> None:
    """A plan of prices alone has no package that is used up by its first user, and takes no place of one that is."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, MetricsSettings(limits_max=1))
    nothing = [
        ShownLimit(account, "", "mau_package", 0, 1, {"expected": 30.0}) for account in ("9002", "9003")
    ]
    metrics.show_limits([*nothing, row("9001", 10)])
    assert shown(registry, "limit_used_ratio", **PACKAGE) == 0.01
    assert b"9002" not in generate_latest(registry)
    assert shown(registry, "limits_left_out") == 0


def test_each_set_replaces_the_one_before() -> None:
    """A limit that is gone leaves nothing behind: its last value would stand for ever, and with it the alert."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.show_limits([row("9001"), row("9002")])
    metrics.show_limits([row("9002", 100)])
    assert shown(registry, "limit_used", **PACKAGE) is None
    assert shown(registry, "limit_used", **PACKAGE | {"account": "9002"}) == 100
    metrics.show_limits([])
    assert b"9002" not in generate_latest(registry)


def test_the_limits_that_are_used_up_the_most_are_shown() -> None:
    """Beyond the bound only the number of the others is told."""
    registry = CollectorRegistry()
    metrics = Metrics(registry, MetricsSettings(limits_max=2))
    assert shown(registry, "limits_left_out") == 0
    metrics.show_limits([row("9001", 10), row("9002", 990), row("9003", 500), row("9004", 20)])
    accounts = {"9001": None, "9002": 990, "9003": 500, "9004": None}
    for account, used in accounts.items():
        assert shown(registry, "limit_used", **PACKAGE | {"account": account}) == used
    assert shown(registry, "limits_left_out") == 2
    metrics.show_limits([row("9001", 10), row("9002", 990)])
    assert shown(registry, "limits_left_out") == 0


def test_the_default_bound_holds() -> None:
    """500 limits, whatever comes."""
    registry = CollectorRegistry()
    Metrics(registry).show_limits(row(str(number), number) for number in range(700))
    assert shown(registry, "limits_left_out") == 200
    assert generate_latest(registry).count(b"\nconvometer_limit_used{") == 500
    assert Settings().metrics.limits_max == 500


def test_one_limit_told_twice_is_one() -> None:
    """Two samples with the same labels would make the whole scrape worthless."""
    registry = CollectorRegistry()
    Metrics(registry).show_limits([row(used=10), row(used=20)])
    assert generate_latest(registry).count(b"\nconvometer_limit_used{") == 1
    assert shown(registry, "limit_used", **PACKAGE) == 20
    assert shown(registry, "limits_left_out") == 0


def test_names_from_outside_stay_names() -> None:
    """Quotes, line ends and backslashes in an account's id do not break the exposition."""
    registry = CollectorRegistry()
    Metrics(registry).show_limits([row('a"b\\c\nd')])
    assert b'account="a\\"b\\\\c\\nd"' in generate_latest(registry)


def test_the_names_are_taken() -> None:
    """Whoever registers one of them again is refused."""
    registry = CollectorRegistry()
    Metrics(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("convometer_limit_used", "Twice.", registry=registry)


def test_notices_and_deliveries_begin_at_zero() -> None:
    """The first that goes wrong is a step that an alarm can see."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    crossed = {"limit_name": "mau_package", "kind": "crossed"}
    gave_up = {"channel": "email", "outcome": "gave_up"}
    assert shown(registry, "alert_notices_total", **crossed) == 0
    assert shown(registry, "alert_deliveries_total", **gave_up) == 0
    metrics.count_alert_notice("mau_package", "crossed")
    metrics.count_alert_deliveries("email", "gave_up")
    metrics.alert_deliveries_pending.set(3)
    metrics.alert_lag_seconds.set(12.5)
    assert shown(registry, "alert_notices_total", **crossed) == 1
    assert shown(registry, "alert_deliveries_total", **gave_up) == 1
    assert shown(registry, "alert_deliveries_total", channel="webhook", outcome="gave_up") == 0
    assert (shown(registry, "alert_deliveries_pending"), shown(registry, "alert_lag_seconds")) == (3, 12.5)
