"""What goes on beside the worker of a whole node: gauges of limits, and what a fault of any of it leads to."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from cli.limit_gauges import GaugeTimes
from cli.node import Node
from metering.limits import LimitUse
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from sinks.billing import LimitsAsked
from streams import ladder_watch
from streams.ladder_watch import LadderWatcher
from tests.integration.test_alerts_node import PLAN, until
from tests.support.clickhouse_http import ClickHouseHttp

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""In the middle of a month, so that there is a forecast whenever the test runs."""
PACKAGE = 30
NOW_MS = int(NOW.timestamp()) * 1000
TIMES = GaugeTimes(show_seconds=0.05, forecast_seconds=0.2)


class StoppedClock(SystemClock):
    """The machine's clock for durations; what day and time it is stays the same."""

    def now_ms(self) -> int:
        """Return the same time always, in UTC milliseconds."""
        return NOW_MS

    def now_seconds(self) -> int:
        """Return the same time always, in UTC seconds."""
        return NOW_MS // 1000


def settings_in(directory: Path, clickhouse: str) -> Settings:
    """Return settings of a node with one account that has a package."""
    (directory / "plans.toml").write_text(PLAN.format(package=PACKAGE))
    return Settings.model_validate(
        {
            "data": directory / "data",
            "clickhouse": clickhouse,
            "partitions": 2,
            "plans": directory / "plans.toml",
            "accounts": {"A": {"time_zone": "Europe/Berlin"}},
        }
    )


def message(user: int, at: datetime) -> bytes:
    """Return an incoming message of a user."""
    return orjson.dumps(
        {
            "kind": "incoming",
            "account": "A",
            "number": "N",
            "message_id": f"m{user}",
            "user_phone": f"4915{user:08d}",
            "occurred_at": int(at.timestamp()),
        }
    )


def shown(registry: CollectorRegistry) -> dict[str, float | None]:
    """Return the gauges of the package."""
    labels = {"account": "A", "number": "", "limit_name": "mau_package"}
    names: dict[str, dict[str, str]] = {
        "limit": {},
        "limit_used": {},
        "limit_used_ratio": {},
        "limit_exhausted_timestamp_seconds": {},
        **{f"limit_projected_ratio {bound}": {"bound": bound} for bound in ("low", "expected", "high")},
    }
    return {
        name: registry.get_sample_value(f"convometer_{name.partition(' ')[0]}", labels | more)
        for name, more in names.items()
    }


def as_shown(use: LimitUse, used: int) -> dict[str, float | None]:
    """Return what gauges have to say of a forecast, when so much is used."""
    assert use.limit is not None
    assert use.projected is not None
    assert use.projected_low is not None
    assert use.projected_high is not None
    # In Berlin, in winter.
    day = datetime.fromisoformat(f"{use.exhausted_on}T23:00+00:00")
    return {
        "limit": use.limit,
        "limit_used": used,
        "limit_used_ratio": used / use.limit,
        "limit_exhausted_timestamp_seconds": day.timestamp(),
        "limit_projected_ratio low": max(use.projected_low, used) / use.limit,
        "limit_projected_ratio expected": max(use.projected, used) / use.limit,
        "limit_projected_ratio high": max(use.projected_high, used) / use.limit,
    }


def test_gauges_show_what_is_used_and_where_it_leads(
    http_server: ClickHouseHttp, empty_name: str, tmp_path: Path
) -> None:
    """As counted, and as `burn-down` says; both go on while the node runs."""
    registry = CollectorRegistry()
    settings = settings_in(tmp_path, http_server.address(empty_name))
    lines = [message(user, NOW - timedelta(days=12 - user / 2)) for user in range(24)]

    async def life() -> None:
        node = await Node.start(settings, Metrics(registry), StoppedClock(), gauge_times=TIMES)
        try:
            for fed in (lines, [message(user, NOW) for user in range(24, 28)]):
                await node.ingest(fed, "canonical", 1)
                await node.wait_flushed(await node.positions())
                [use] = await node.limits(LimitsAsked(accounts=("A",)))
                await until(lambda: shown(registry) == as_shown(use, use.used))  # noqa: B023 - waited for
            assert use.used == 28
            assert registry.get_sample_value("convometer_limits_left_out") == 0
        finally:
            await node.close()

    asyncio.run(life())


def test_a_fault_beside_the_worker_ends_the_node_and_one_of_mere_health_does_not(
    http_server: ClickHouseHttp, empty_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gauges that stand still would be believed by alerts; the ladder's watch is looked after again."""
    settings = settings_in(tmp_path, http_server.address(empty_name))
    fault, looks = TypeError("a fault of ours"), 0

    async def broken_watch(*_: object) -> None:
        nonlocal looks
        looks += 1
        raise fault

    def broken_gauges(*_: object) -> None:
        raise fault

    monkeypatch.setattr(ladder_watch, "_JUDGE_SECONDS", 0.01)
    monkeypatch.setattr(LadderWatcher, "judge", broken_watch)

    async def life() -> None:
        node = await Node.start(settings, Metrics(CollectorRegistry()), SystemClock())
        try:
            await until(lambda: looks >= 3)
            assert not node.worker.failed.is_set()
            monkeypatch.setattr("cli.node.sample_gauges", broken_gauges)
            await until(node.worker.failed.is_set)
            assert node.worker.failure is fault
        finally:
            await node.close()

    asyncio.run(life())
