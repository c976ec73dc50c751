"""What the dashboard needs from the rest: answers about totals, money, freshness and a user's windows.

Owns these questions only. In ``run`` the node of the process answers, beside a cluster ClickHouse and the workers do.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, Protocol

import msgspec

from metering.calendar import ZoneRules, zone_on, zones_within
from metering.charges import Charge
from metering.limits import LimitUse
from schemas.final_report import FinalReport, Freshness
from schemas.plans import MauRule
from schemas.user_windows import UserWindows, WindowsAsked
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.counts import ActiveDay
from sinks.clickhouse.directory import DayCount
from sinks.clickhouse.ladder_health import LadderHealth
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters

Row = dict[str, object]
QueryName = Literal["usage", "conversations", "incoming", "active-users"]


class AccountInfo(msgspec.Struct, frozen=True):
    """An account, and what there is to choose from."""

    account: str
    time_zone: str
    """IANA zone in force now."""
    numbers: tuple[str, ...]
    """Ids of its business numbers, sorted."""
    countries: tuple[str, ...]
    """ISO 3166 alpha-2 codes of its users, sorted; "ZZ" = not known."""
    first_day: date | None
    """Local day of the first count; None = nothing was counted yet."""
    last_day: date | None
    today: date
    """Its local day now."""
    name: str = ""
    """As the settings call it."""
    number_names: dict[str, str] = {}
    zones: ZoneRules = ()
    """The zones of its days, with the month from which on each is in force; without any always the one of now."""

    @property
    def title(self) -> str:
        """Return what people call it."""
        return self.name or self.account

    def number_title(self, number: str) -> str:
        """Return what people call one of its numbers."""
        return self.number_names.get(number, number)

    def zone_on(self, day: date) -> str:
        """Return the zone that a local day was counted in."""
        return zone_on(self._zones, day)

    def zones_text(self, first: date, last: date) -> str:
        """Return the zones of days as people read them: mostly one, of a change each."""
        (_, zone), *changes = zones_within(self._zones, first, last)
        return ", ".join([zone, *(f"from {since} {changed}" for since, changed in changes)])

    @property
    def _zones(self) -> ZoneRules:
        return self.zones or (("", self.time_zone),)


class LocalDay(msgspec.Struct, frozen=True):
    """Which day it is for an account."""

    time_zone: str
    """IANA zone in force now."""
    today: date


class RefusedRow(msgspec.Struct, frozen=True):
    """A dead letter, without its payload."""

    id: int
    reason: str
    detail: str
    account: str
    received_at: datetime
    """UTC."""


class WindowsUnavailable(RuntimeError):
    """Nobody can be asked for a user's windows at the moment; says what to do."""


class RefusedUnavailable(RuntimeError):
    """What was refused cannot be read at the moment; says why."""


class Meter(Protocol):
    """Everything that the dashboard asks for."""

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """Answer one of the queries; see ``sinks.clickhouse.reader.run_query``."""
        ...

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """Return what the counted traffic costs."""
        ...

    async def report(self, asked: ReportAsked) -> FinalReport:
        """Return the final report of a month."""
        ...

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """Return how far the limits of a month are used up."""
        ...

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """Return the notices that were given about limits, the newest first."""
        ...

    async def ladder_health(self, account: str) -> list[LadderHealth]:
        """Return what became of an account's messages lately and before, by number."""
        ...

    async def accounts(self) -> list[str]:
        """Return the ids of all accounts that have numbers or settings, sorted."""
        ...

    def local_day(self, account: str) -> LocalDay:
        """Return which day it is for an account, known or not."""
        ...

    async def account(self, account: str) -> AccountInfo:
        """Return what is known of an account; of one that nobody has heard of, nothing but its id and zone."""
        ...

    async def active_days(self, account: str, first_day: date, last_day: date) -> list[ActiveDay]:
        """Return the new active users of each day of an account, by number and rule."""
        ...

    async def mau_rule(self, account: str, number: str, month: date) -> MauRule:
        """Return by which rule the plan of a scope counts in a month; without a plan "any"."""
        ...

    async def recent(self, first_day: date) -> list[DayCount]:
        """Return the totals of each account and day since a day."""
        ...

    async def freshness(self) -> list[Freshness]:
        """Return how far each partition is counted."""
        ...

    async def data_version(self) -> str:
        """Return a text that changes with every number and every price: two equal ones mean equal answers."""
        ...

    async def refused(self, limit: int) -> list[RefusedRow]:
        """Return the newest dead letters, newest first.

        Raises:
            RefusedUnavailable: they cannot be read.
        """
        ...

    async def windows(self, asked: WindowsAsked) -> UserWindows:
        """Return a user's windows.

        Raises:
            WindowsUnavailable: whoever has this user's state does not answer.
        """
        ...
