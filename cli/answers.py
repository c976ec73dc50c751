"""Answers the dashboard: the same totals and prices that the verbs print, of an embedded ClickHouse or a server.

Owns how the dashboard's questions become calls. In ``run`` the node's own thread answers, elsewhere any thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Protocol, TypeVar

from cli.engine import DeadLetterRow, QueryName, Row
from cli.prices import PRICE_FAULTS, Prices
from dashboard.ports import AccountInfo, LocalDay, RefusedRow
from metering.calendar import zone_on
from metering.charges import Charge
from metering.limits import LimitUse
from runtime.clock import Clock
from runtime.setting_tables import AccountSettings
from runtime.settings_in_force import SettingsInForce
from schemas.final_report import FinalReport, Freshness
from schemas.plans import MauRule
from schemas.user_windows import UserWindows, WindowsAsked
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked, local_now
from sinks.clickhouse.client import ClientPool
from sinks.clickhouse.counts import ActiveDay, active_days
from sinks.clickhouse.directory import DayCount, account_choices, account_names, recent_days, totals_version
from sinks.clickhouse.ladder_health import LadderHealth, read_ladder_health
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters, freshness

Answer = TypeVar("Answer")


class InThread(Protocol):
    """Runs blocking calls in a thread that may have a ClickHouse client."""

    def __call__(self, ask: Callable[[], Answer], /) -> Awaitable[Answer]:
        """Return what the call returns."""
        ...


NewestDeadLetters = Callable[[int], Awaitable[list[DeadLetterRow]]]
AskWindows = Callable[[WindowsAsked], Awaitable[UserWindows]]


class Answers:
    """A ``dashboard.ports.Meter``."""

    def __init__(
        self,
        in_force: SettingsInForce,
        prices: Prices,
        clients: ClientPool,
        clock: Clock,
        in_thread: InThread,
        *,
        newest_dead_letters: NewestDeadLetters,
        ask_windows: AskWindows,
    ) -> None:
        """Take what answers."""
        self._in_force = in_force
        self._prices = prices
        self._clients = clients
        self._clock = clock
        self._in_thread = in_thread
        self._newest_dead_letters = newest_dead_letters
        self._ask_windows = ask_windows

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """See ``Meter.query``."""
        return await self._in_thread(lambda: self._prices.query(name, filters))

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """See ``Meter.charges``."""
        return await self._in_thread(lambda: self._prices.charges(asked))

    async def report(self, asked: ReportAsked) -> FinalReport:
        """See ``Meter.report``."""
        return await self._in_thread(lambda: self._prices.report(asked))

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """See ``Meter.limits``."""
        return await self._in_thread(lambda: self._prices.limits(asked))

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """See ``Meter.notices``."""
        return await self._in_thread(lambda: self._prices.notices(asked))

    async def ladder_health(self, account: str) -> list[LadderHealth]:
        """See ``Meter.ladder_health``."""
        now = self._clock.now_seconds()
        return await self._in_thread(lambda: read_ladder_health(self._clients.get(), account, now))

    async def accounts(self) -> list[str]:
        """See ``Meter.accounts``."""
        counted = await self._in_thread(lambda: account_names(self._clients.get()))
        return sorted({*counted, *self._in_force.settings.accounts})

    def local_day(self, account: str) -> LocalDay:
        """See ``Meter.local_day``."""
        zones = self._entry(account).zone_rules()
        today = local_now(zones, datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)).date()
        return LocalDay(zone_on(zones, today), today)

    def _entry(self, account: str) -> AccountSettings:
        return self._in_force.settings.accounts.get(account) or AccountSettings()

    async def account(self, account: str) -> AccountInfo:
        """See ``Meter.account``."""
        choices = await self._in_thread(lambda: account_choices(self._clients.get(), account))
        entry, day = self._entry(account), self.local_day(account)
        return AccountInfo(
            account=account,
            time_zone=day.time_zone,
            numbers=tuple(number for number in choices.numbers if number),
            countries=choices.countries,
            first_day=choices.first_day,
            last_day=choices.last_day,
            today=day.today,
            name=entry.name,
            number_names=entry.number_names,
            zones=entry.zone_rules(),
        )

    async def freshness(self) -> list[Freshness]:
        """See ``Meter.freshness``."""
        return [
            Freshness(
                partition=each.partition,
                position=each.source_offset,
                received_until=each.received_until,
                flushed_at=each.flushed_at,
            )
            for each in await self._in_thread(lambda: freshness(self._clients.get()))
        ]

    async def data_version(self) -> str:
        """See ``Meter.data_version``."""

        def read() -> str:
            try:
                digest = self._prices.digest()
            except PRICE_FAULTS as fault:
                # Counts are there all the same; what costs money says so by itself.
                digest = str(fault)
            return f"{totals_version(self._clients.get())}{digest}"

        version = await self._in_thread(read)
        zones = repr(sorted(self._in_force.settings.zone_rules().items()))
        return hashlib.sha256(f"{version}{zones}".encode()).hexdigest()[:20]

    async def active_days(self, account: str, first_day: date, last_day: date) -> list[ActiveDay]:
        """See ``Meter.active_days``."""
        return await self._in_thread(lambda: active_days(self._clients.get(), first_day, last_day, [account]))

    async def mau_rule(self, account: str, number: str, month: date) -> MauRule:
        """See ``Meter.mau_rule``."""
        return await self._in_thread(lambda: self._prices.mau_rule(account, number, month))

    async def recent(self, first_day: date) -> list[DayCount]:
        """See ``Meter.recent``."""
        return await self._in_thread(lambda: recent_days(self._clients.get(), first_day))

    async def refused(self, limit: int) -> list[RefusedRow]:
        """See ``Meter.refused``."""
        return [
            RefusedRow(
                id=row.id,
                reason=row.reason,
                detail=row.detail,
                account=row.account,
                received_at=datetime.fromtimestamp(row.received_at / 1000, UTC),
            )
            for row in reversed(await self._newest_dead_letters(limit))
        ]

    async def windows(self, asked: WindowsAsked) -> UserWindows:
        """See ``Meter.windows``."""
        return await self._ask_windows(asked)
