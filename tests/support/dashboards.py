"""A dashboard for tests: over tables in memory, spoken to without a network.

Owns two accounts whose every text and figure tells them apart, so that a leak is seen wherever it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import msgspec
from argon2 import PasswordHasher
from prometheus_client import CollectorRegistry

from cli.dashboard import Dashboard, open_dashboard
from dashboard.access.permissions import Permission
from dashboard.access.users import Token, User, Users, new_token
from dashboard.assets import keep_chart_script
from dashboard.ports import AccountInfo, LocalDay, QueryName, RefusedRow, Row
from metering.charges import Charge, Counts
from metering.ladder_health import LadderCounts
from metering.limits import LimitUse
from metering.month_counts import Circumstances, MonthCounts
from metering.statement import final_report
from runtime.clock import ManualClock
from runtime.dashboard_tables import DashboardSettings
from runtime.settings import AccountSettings, Settings
from runtime.settings_in_force import SettingsInForce
from schemas.final_report import FinalReport, Freshness
from schemas.plans import MauRule
from schemas.user_windows import UserWindow, UserWindows, WindowsAsked
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.counts import ActiveDay
from sinks.clickhouse.directory import DayCount
from sinks.clickhouse.ladder_health import LadderHealth
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters
from sinks.price_data import PriceFiles
from tests.support.dashboard_limits import answered, notices_about, uses_of

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
TODAY = NOW.date()
OWN, FOREIGN = "100200300", "777666555"
"""Two accounts."""
FOREIGN_MARKS = ("777666555", "Foreign Ltd", "8888000", "31337", "9999000111", "31,337")
"""Texts that only answers about the foreign account can have."""
FAST_HASHER = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
"""Weak on purpose: tests sign in often."""
PASSWORD = "a password of the tests"


@dataclass(frozen=True, slots=True)
class World:
    """What one account has."""

    account: str
    name: str
    numbers: tuple[str, ...]
    count: int
    """Of everything, each day."""
    user: str
    currencies: Mapping[str, str] = field(default_factory=dict)
    """By number, where it is charged in another than USD."""


WORLDS = {
    OWN: World(OWN, "Own Ltd", ("5550001", "5550002"), 7, "4915100000001"),
    FOREIGN: World(FOREIGN, "Foreign Ltd", ("8888000",), 31337, "9999000111"),
}


class TableMeter:
    """A ``Meter`` over made-up tables: every day of the last 100 has the same counts."""

    def __init__(self, worlds: Mapping[str, World] = WORLDS) -> None:
        """Take the accounts."""
        self.worlds = worlds
        self.version = "1"
        self.questions: list[str] = []
        self.fault: Exception | None = None
        self.given = [each for world in worlds.values() for each in notices_about(world.account, world.count)]

    def _ask(self, name: str) -> None:
        self.questions.append(name)
        if self.fault is not None:
            raise self.fault

    def _days(self, filters: Filters) -> Sequence[date]:
        first = max(filters.first_day or date.min, TODAY - timedelta(days=99))
        last = min(filters.last_day or TODAY, TODAY)
        return [first + timedelta(days=offset) for offset in range(max(0, (last - first).days + 1))]

    def _keys(self, filters: Filters) -> list[tuple[str, World, str]]:
        return [
            (str(day), world, number)
            for day in self._days(filters)
            for account, world in sorted(self.worlds.items())
            if account in filters.accounts or not filters.accounts
            for number in world.numbers
            if not filters.numbers or number in filters.numbers
        ]

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """See ``Meter``."""
        self._ask(name)
        if name == "active-users":
            return self._active_users(filters)
        rows: list[Row] = []
        for day, world, number in self._keys(filters):
            base: Row = {"day": day, "account": world.account, "number": number, "country": "BR"}
            if filters.countries and "BR" not in filters.countries:
                continue
            count = world.count
            if name == "conversations":
                rows += [
                    base | {"type": kind, "total": count + place, "free": place, "charged": count}
                    for place, kind in enumerate(("authentication", "marketing", "service", "utility"))
                ]
            elif name == "usage":
                counts = {"total": count, "sent": count, "delivered": count, "read": 1, "not_delivered": 0}
                rows.append(base | {"category": "marketing", "template": True} | counts)
                rows.append(base | {"category": "service", "template": False} | counts)
            else:
                rows.append(base | {"count": count})
        return rows

    def _active_users(self, filters: Filters) -> list[Row]:
        return [
            {
                "month": "2026-11",
                "account": world.account,
                "number": number,
                "mau": world.count,
                "mau_both": 1,
                "mau_phones": world.count,
            }
            for account, world in sorted(self.worlds.items())
            if account in filters.accounts
            for number in ("", *world.numbers)
            if not filters.numbers or number in filters.numbers
        ]

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """See ``Meter``."""
        self._ask("charges")
        filters = Filters(asked.first_day, asked.last_day, asked.accounts, asked.numbers, asked.countries)
        return [
            Charge(
                day=date.fromisoformat(day),
                account=world.account,
                number=number,
                country="BR",
                market="Brazil",
                regime=date(2025, 7, 1),
                unit="message",
                category="marketing",
                currency=world.currencies.get(number, "USD"),
                rate=62_500,
                count=world.count,
                free=0,
                allotted=0,
                charged=world.count,
                amount=62_500 * world.count,
                provider_free=0,
                provider_charged=world.count,
                provider_unsaid=0,
                provider_amount=62_500 * world.count,
            )
            for day, world, number in self._keys(filters)
        ]

    async def report(self, asked: ReportAsked) -> FinalReport:
        """See ``Meter``."""
        self._ask("report")
        circumstances = Circumstances(
            time_zone="UTC", generated_at=NOW, today=TODAY, freshness=(), price_data="none"
        )
        month = MonthCounts(asked.month, Counts(asked.account), (), (), ())
        return final_report(month, PriceFiles().read().data, circumstances, asked.number)

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """See ``Meter``."""
        self._ask("notices")
        return answered(self.given, asked)

    async def ladder_health(self, account: str) -> list[LadderHealth]:
        """See ``Meter``."""
        self._ask("ladder_health")
        return [
            LadderHealth(f"{account}-1", LadderCounts(100, 30, 4, 2), LadderCounts(10_000, 1_000, 100, 0))
        ]

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """See ``Meter``."""
        self._ask("limits")
        worlds = [self.worlds[account] for account in asked.accounts if account in self.worlds]
        return [use for world in worlds for use in uses_of(world.account, world.numbers[0], world.count)]

    async def accounts(self) -> list[str]:
        """See ``Meter``."""
        self._ask("accounts")
        return sorted(self.worlds)

    def local_day(self, account: str) -> LocalDay:
        """See ``Meter``."""
        del account
        return LocalDay("UTC", TODAY)

    async def account(self, account: str) -> AccountInfo:
        """See ``Meter``."""
        self._ask("account")
        world = self.worlds.get(account)
        return AccountInfo(
            account=account,
            time_zone="UTC",
            numbers=world.numbers if world else (),
            countries=("BR",) if world else (),
            first_day=TODAY - timedelta(days=99) if world else None,
            last_day=TODAY if world else None,
            today=TODAY,
            name=world.name if world else "",
        )

    async def active_days(self, account: str, first_day: date, last_day: date) -> list[ActiveDay]:
        """See ``Meter``."""
        self._ask("active_days")
        world = self.worlds.get(account)
        return (
            [ActiveDay(account, first_day, "", "any", world.count)] if world and first_day <= last_day else []
        )

    async def mau_rule(self, account: str, number: str, month: date) -> MauRule:
        """See ``Meter``."""
        del account, number, month
        return "any"

    async def recent(self, first_day: date) -> list[DayCount]:
        """See ``Meter``."""
        del first_day
        self._ask("recent")
        return [
            DayCount(account, TODAY, world.count, world.count, 1, 0, world.count)
            for account, world in sorted(self.worlds.items())
        ]

    async def freshness(self) -> list[Freshness]:
        """See ``Meter``."""
        self._ask("freshness")
        return [Freshness(partition=0, position=31337, received_until=NOW, flushed_at=NOW)]

    async def data_version(self) -> str:
        """See ``Meter``."""
        self._ask("version")
        return self.version

    async def refused(self, limit: int) -> list[RefusedRow]:
        """See ``Meter``."""
        self._ask("refused")
        rows = [
            RefusedRow(id=place, reason="no_time", detail=f"of {account}", account=account, received_at=NOW)
            for place, account in enumerate([*self.worlds, ""])
        ]
        return rows[:limit]

    async def windows(self, asked: WindowsAsked) -> UserWindows:
        """See ``Meter``."""
        self._ask("windows")
        world = self.worlds.get(asked.account)
        window = UserWindow(
            type="customer_service",
            number=world.numbers[0] if world else "",
            opened_at=NOW,
            ends_at=NOW + timedelta(hours=24),
            is_open=True,
        )
        return UserWindows(
            account=asked.account,
            user=asked.user,
            names=(world.user,) if world else (),
            is_known=world is not None,
            customer_service=(window,) if world else (),
            conversations=(),
            kept_from=None,
        )


@dataclass(slots=True)
class Served:
    """A dashboard, and those who speak to it."""

    dashboard: Dashboard
    meter: TableMeter
    clock: ManualClock
    users: Users
    data: Path
    registry: CollectorRegistry
    tokens: dict[str, str] = field(default_factory=dict)

    def client(self, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        """Return a new browser, or a program, at an address."""
        transport = httpx.ASGITransport(
            self.dashboard.app, client=(address, 40000), raise_app_exceptions=False
        )
        return httpx.AsyncClient(transport=transport, base_url="http://dashboard.test", headers=headers)

    async def signed_in(self, name: str) -> httpx.AsyncClient:
        """Return a browser in which a user has signed in."""
        client = self.client()
        response = await client.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert response.status_code == 303, response.text
        return client

    def token(self, name: str, *permissions: Permission, accounts: tuple[str, ...] | None = None) -> str:
        """Return a new token of a user."""
        entry, text = new_token(f"t{len(self.tokens)}", permissions, accounts, NOW, None)
        self.users.change(name, lambda user: _with_token(user, entry))
        self.tokens[entry.name] = text
        return text


def _with_token(user: User, entry: Token) -> User:
    return msgspec.structs.replace(user, tokens=(*user.tokens, entry))


@asynccontextmanager
async def serving_dashboard(
    data: Path,
    own: DashboardSettings | None = None,
    *,
    users: Mapping[str, tuple[str, tuple[str, ...] | None]] | None = None,
    meter: TableMeter | None = None,
) -> AsyncIterator[Served]:
    """Give a dashboard; ``users`` are (role, accounts) by name, all with the same password."""
    meter, clock = meter or TableMeter(), ManualClock(int(NOW.timestamp() * 1000))
    settings = Settings(
        data=data,
        dashboard=own or DashboardSettings(),
        accounts={account: AccountSettings(name=world.name) for account, world in WORLDS.items()},
    )
    keep_chart_script(data / "dashboard", b"/* the chart library */")
    known = Users(settings.users_file, FAST_HASHER)
    password = known.hashed(PASSWORD) if users else ""
    for name, (role, accounts) in (users or {}).items():
        known.add(User(name, role, accounts, password))
    registry = CollectorRegistry()
    async with open_dashboard(meter, SettingsInForce(settings), clock, registry) as opened:
        yield Served(opened, meter, clock, known, data, registry)
