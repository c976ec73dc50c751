"""Gauges of how far limits are used up: what the alerts have judged, and where the forecast sees the month end.

Owns when they are looked at. What is used comes from the stream, every few seconds; forecasts ask ClickHouse, now and
then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from cli.prices import PRICE_FAULTS
from metering.calendar import Calendar, ZoneRules
from metering.limits import LimitUse
from runtime.clock import Clock
from runtime.limit_metrics import Bound, ShownLimit
from runtime.metrics import Metrics
from sinks.billing import LimitsAsked
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused
from streams.worker import Worker

_log = logging.getLogger(__name__)
SHOW_SECONDS: Final = 10.0
FORECAST_SECONDS: Final = 300.0
AskLimits = Callable[[LimitsAsked], Awaitable[list[LimitUse]]]
Key = tuple[str, str, str]
"""``(account, number, limit name)``"""


class LimitGauges:
    """Shows the limits that the alert tasks of this process judge."""

    def __init__(
        self, metrics: Metrics, clock: Clock, zones_of: Callable[[str], ZoneRules], ask_limits: AskLimits
    ) -> None:
        """Take where they are shown and what forecasts them."""
        self._metrics = metrics
        self._clock = clock
        self._zones_of = zones_of
        self._ask_limits = ask_limits
        self._forecasts: dict[Key, LimitUse] = {}
        self._fault = ""

    async def run(self, worker: Worker) -> None:
        """Show them again and again until cancelled."""
        forecast_at = 0.0
        while True:
            await asyncio.sleep(SHOW_SECONDS)
            if self._clock.monotonic_seconds() >= forecast_at:
                await self.forecast(worker)
                forecast_at = self._clock.monotonic_seconds() + FORECAST_SECONDS
            self.show(worker)

    def show(self, worker: Worker) -> None:
        """Show what is used now."""
        self._metrics.show_limits(self._rows(worker))

    async def forecast(self, worker: Worker) -> None:
        """Ask where the months of those accounts are heading that have something agreed; what fails is tried later."""
        accounts = sorted(
            {
                scope[0]
                for task in worker.alert_tasks
                for scope, limit in task.limits()
                if limit.name != "free_service"
            }
        )
        if not accounts:
            self._forecasts = {}
            return
        try:
            uses = await self._ask_limits(LimitsAsked(None, tuple(accounts)))
        except (*PRICE_FAULTS, ClickHouseAway, ClickHouseRefused) as fault:
            if str(fault) != self._fault:
                _log.warning("limits are shown with the forecasts as they were: %s", fault)
            self._fault = str(fault)
            return
        self._fault = ""
        self._forecasts = {(use.account, use.number, use.limit_name): use for use in uses}

    def _rows(self, worker: Worker) -> Iterator[ShownLimit]:
        for task in worker.alert_tasks:
            for (account, number, month), limit in task.limits():
                if limit.name == "free_service" and not limit.used:
                    continue  # every number has one
                use = self._forecasts.get((account, number, limit.name))
                if use is not None and use.month != month:
                    use = None
                yield ShownLimit(
                    account,
                    number,
                    limit.name,
                    limit.limit,
                    limit.used,
                    dict(_projected(use, limit.used)) if use else {},
                    self._instant(account, use.exhausted_on) if use else None,
                )

    def _instant(self, account: str, day: str | None) -> float | None:
        """Return the end of a local day, UTC seconds: by then the last of it is used."""
        if day is None:
            return None
        end = datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), UTC).timestamp()
        # The offset of about then is good enough for a forecast of a day.
        [(_, offset), *_] = Calendar(self._zones_of(account)).offset_changes(int(end), int(end) + 1)
        return end - offset


def _projected(use: LimitUse, used: int) -> Iterable[tuple[Bound, float]]:
    """Yield the forecast; what was counted since it was made can only have made it more."""
    bounds: tuple[tuple[Bound, int | None], ...] = (
        ("low", use.projected_low),
        ("expected", use.projected),
        ("high", use.projected_high),
    )
    return [(bound, max(count, used)) for bound, count in bounds if count is not None]
