"""Gauges of how far limits are used up: what the alerts have judged, and where the forecast sees the month end.

Owns when they are shown. What is used comes from the stream, every few seconds, and waits for nobody; forecasts are
asked of ClickHouse in a task of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final

from cli.limit_forecasts import AskLimits, LimitForecasts
from metering.calendar import Calendar
from metering.limits import LimitUse
from runtime.clock import Clock
from runtime.limit_metrics import Bound, ShownLimit, most_used_first
from runtime.metrics import Metrics
from runtime.settings_in_force import SettingsInForce
from streams.worker import Worker

_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class GaugeTimes:
    """How often limits are looked at."""

    show_seconds: float = 10.0
    forecast_seconds: float = 300.0


class LimitGauges:
    """Shows the limits that the alert tasks of this process judge."""

    def __init__(
        self,
        metrics: Metrics,
        in_force: SettingsInForce,
        clock: Clock,
        ask: AskLimits,
        times: GaugeTimes | None = None,
    ) -> None:
        """Take where they are shown, by which settings, and what is asked for forecasts."""
        times = times or GaugeTimes()
        self._metrics = metrics
        self._limits_max = in_force.settings.metrics.limits_max
        self._zones_of = in_force.zones_of
        self._forecasts = LimitForecasts(ask, clock, times.forecast_seconds)
        self._show_seconds = times.show_seconds

    async def run(self, worker: Worker) -> None:
        """Show them again and again until cancelled, however long the forecasts take."""
        forecasting = asyncio.create_task(self._forecasts.run(self._show_seconds), name="limit-forecasts")
        try:
            while True:
                self.show(worker)
                await asyncio.sleep(self._show_seconds)
        finally:
            forecasting.cancel()
            # Whoever stops us closes what a question under way is using.
            await asyncio.wait({forecasting})

    def show(self, worker: Worker) -> None:
        """Show what is used now, and want forecasts of what is shown and agreed."""
        rows = most_used_first(self._rows(worker))
        self._metrics.show_limits(rows)
        agreed = {row.account for row in rows if row.limit_name != "free_service"}
        self._forecasts.want(agreed & {row.account for row in rows[: self._limits_max]})

    def _rows(self, worker: Worker) -> Iterator[ShownLimit]:
        for task in worker.alert_tasks:
            for (account, number, month), limit in task.limits():
                if limit.name == "free_service" and not limit.used:
                    continue  # every number has one
                use = self._forecasts.of(account, number, limit.name, month)
                yield ShownLimit(
                    account,
                    number,
                    limit.name,
                    limit.limit,
                    limit.used,
                    dict(_projected(use, limit.used)) if use else {},
                    self._end_of(account, use.exhausted_on) if use and use.exhausted_on else None,
                )

    def _end_of(self, account: str, day: str) -> float:
        """Return the end of a local day, UTC seconds: by then the last of a limit is used."""
        midnight = int(datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), UTC).timestamp())
        around = midnight - _DAY_SECONDS, midnight + _DAY_SECONDS  # no zone is further from UTC
        changes = Calendar(self._zones_of(account)).offset_changes(*around)
        for (since, offset), (until, _) in pairwise((*changes, (around[1], 0))):
            # A clock that is put forward may have no midnight: the day then begins with the change.
            end = max(since, midnight - offset)
            if end < until:
                return end
        raise AssertionError("a day ends within a day of UTC's")


def _projected(use: LimitUse, used: int) -> Iterable[tuple[Bound, float]]:
    """Return the forecast; what was counted since it was made can only have made it more."""
    bounds: tuple[tuple[Bound, int | None], ...] = (
        ("low", use.projected_low),
        ("expected", use.projected),
        ("high", use.projected_high),
    )
    return [(bound, max(count, used)) for bound, count in bounds if count is not None]
