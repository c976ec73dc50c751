"""Gauges of limits beside a worker whose limits a test sets, under a clock that it moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from prometheus_client import CollectorRegistry

from cli.limit_gauges import GaugeTimes, LimitGauges
from metering.alert_book import MonthScope
from metering.alerts import LimitNow
from metering.limits import LimitUse
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from schemas.alerts import LimitName
from sinks.billing import LimitsAsked
from streams.worker import Worker

MONTH = "2026-11"
TIMES = GaugeTimes(show_seconds=0.001, forecast_seconds=300)
Ask = Callable[[LimitsAsked], list[LimitUse]]


@dataclass
class Judging:
    """An alert task as far as gauges look at it."""

    judged: dict[tuple[MonthScope, LimitName], LimitNow] = field(default_factory=dict)
    fault: Exception | None = None

    def limits(self) -> Iterable[tuple[MonthScope, LimitNow]]:
        """See ``AlertTask.limits``."""
        if self.fault is not None:
            raise self.fault
        return [(scope, limit) for (scope, _), limit in self.judged.items()]


@dataclass
class Working:
    """A worker as far as gauges look at it."""

    alert_tasks: list[Judging]


class Bench:
    """Gauges of a worker whose limits are set by hand, under a clock that is moved by hand."""

    def __init__(self, *, limits_max: int = 500, zone: object = "UTC") -> None:
        settings = Settings.model_validate(
            {"metrics": {"limits_max": limits_max}, "accounts": {"A": {"time_zone": zone}}}
        )
        self.judging = Judging()
        self.worker = cast("Worker", Working([self.judging]))
        self.registry = CollectorRegistry()
        self.clock = ManualClock()
        self.asked: list[LimitsAsked] = []
        self.answer: Ask = lambda _asked: []
        self.answering = asyncio.Event()
        self.answering.set()
        metrics = Metrics(self.registry, settings.metrics)
        self.gauges = LimitGauges(metrics, SettingsInForce(settings), self.clock, self._ask, TIMES)

    async def _ask(self, asked: LimitsAsked) -> list[LimitUse]:
        self.asked.append(asked)
        await self.answering.wait()
        return self.answer(asked)

    def use(
        self,
        used: int,
        account: str = "A",
        name: LimitName = "mau_package",
        month: str = MONTH,
        limit: int = 1000,
    ) -> None:
        """Let so much of a limit be used."""
        self.judging.judged[(account, "", month), name] = LimitNow(name, limit, used, ())

    def shown(
        self, name: str, account: str = "A", limit_name: str = "mau_package", **more: str
    ) -> float | None:
        """Return the value of a gauge."""
        labels = {"account": account, "number": "", "limit_name": limit_name, **more}
        return self.registry.get_sample_value(f"convometer_{name}", labels)

    def projected(self) -> list[float | None]:
        """Return the projected shares: low, expected, high."""
        return [self.shown("limit_projected_ratio", bound=bound) for bound in ("low", "expected", "high")]

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        """Run the gauges beside what happens; they must still run afterwards, and leave nothing running."""

        async def over() -> None:
            running = asyncio.create_task(self.gauges.run(self.worker))
            try:
                await scenario
                assert not running.done()
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(over())

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something happened, ten seconds at most."""
        async with asyncio.timeout(10):
            while not happened():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)

    async def until_used(self, used: int) -> None:
        """Wait until the gauges show that so much is used."""
        await self.until(lambda: self.shown("limit_used") == used)

    async def asked_again(self) -> None:
        """Wait until a forecast that is old now has been asked for again, and what came of it is shown."""
        count = len(self.asked)
        self.clock.advance(300_000)
        await self.until(lambda: len(self.asked) > count)
        await asyncio.sleep(0.01)


def use_of(account: str = "A", month: str = MONTH, **changes: object) -> LimitUse:
    """Return what ClickHouse says of a package of 1000."""
    values: dict[str, object] = {
        "month": month,
        "account": account,
        "number": "",
        "limit_name": "mau_package",
        "market": "",
        "category": "",
        "limit": 1000,
        "used": 500,
        "left": 500,
        "used_percent": None,
        "projected": 900,
        "projected_low": 800,
        "projected_high": 1100,
        "exhausted_on": None,
        "method": "straight_line",
    }
    return LimitUse(**values | changes)  # type: ignore[arg-type]
