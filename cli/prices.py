"""Gives an engine its billing: the price files of the settings, answers from ClickHouse, and ClickHouse's own copy.

Owns when that copy is renewed: at the start, and soon after a file has changed.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime

from metering.calendar import ZoneRules
from metering.charges import Charge
from metering.limits import LimitUse
from runtime.clock import Clock
from runtime.setting_tables import DEFAULT_ZONE
from runtime.settings_in_force import SettingsInForce
from schemas.final_report import FinalReport
from schemas.plan_files import PlanFaults
from schemas.plans import MauRule
from schemas.rate_files import RateFaults
from schemas.regimes import RegimeFaults
from sinks.billing import Billing, ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused, ClientPool
from sinks.clickhouse.notices import NoticeRow, NoticesAsked, read_notices
from sinks.clickhouse.price_tables import load_prices
from sinks.clickhouse.reader import Filters, run_query
from sinks.price_data import PriceFiles
from sinks.price_data import Prices as FilesRead

_log = logging.getLogger(__name__)
PRICE_FAULTS = (PlanFaults, RateFaults, RegimeFaults)


class Prices:
    """Everything about money that one process answers. Blocking, for threads that have a ClickHouse client."""

    def __init__(self, in_force: SettingsInForce, clients: ClientPool, clock: Clock) -> None:
        """Take the settings, ClickHouse and the clock."""
        settings = in_force.settings
        self._in_force = in_force
        self._clients = clients
        self._clock = clock
        self._files = PriceFiles(settings.plans, settings.rate_cards)
        self._billing = Billing(clients.get, self._files, self._zones_of)
        self._fault = ""

    def _zones_of(self, account: str) -> ZoneRules:
        entry = self._in_force.settings.accounts.get(account)
        return entry.zone_rules() if entry else (("", DEFAULT_ZONE),)

    def load(self) -> None:
        """Bring the price data into ClickHouse.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the files cannot be used.
            ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
        """
        prices = self._files.read()
        if load_prices(self._clients.get(), prices):
            _log.info("price data %s is in force", prices.digest)

    def read(self) -> FilesRead:
        """Return the price data of now.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the files cannot be used.
        """
        return self._files.read()

    def renew(self) -> None:
        """Do as ``load`` in a running process: what prevents it is said once, and what was loaded stays.

        Whether a ClickHouse that is away or refuses ends the process is the worker's to judge.
        """
        try:
            self.load()
        except (*PRICE_FAULTS, ClickHouseAway, ClickHouseRefused) as fault:
            if str(fault) != self._fault:
                _log.error("the price data in ClickHouse stays as it was: %s", fault)
            self._fault = str(fault)
        else:
            self._fault = ""

    def query(self, name: str, filters: Filters) -> list[dict[str, object]]:
        """Answer one of the queries; active users with what their plans say.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the files cannot be used.
        """
        rows = run_query(self._clients.get(), name, filters)
        # A package covers people wherever they are: beside those of one country it says nothing.
        return self._billing.with_plans(rows) if name == "active-users" and not filters.countries else rows

    def charges(self, asked: ChargesAsked) -> list[Charge]:
        """See ``Billing.charges``."""
        return self._billing.charges(asked)

    def report(self, asked: ReportAsked) -> FinalReport:
        """See ``Billing.report``."""
        return self._billing.report(asked, self._now())

    def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """See ``Billing.limits``."""
        return self._billing.limits(asked, self._now())

    def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """See ``sinks.clickhouse.notices.read_notices``."""
        return read_notices(self._clients.get(), asked)

    def mau_rule(self, account: str, number: str, month: date) -> MauRule:
        """See ``Billing.mau_rule``."""
        return self._billing.mau_rule(account, number, month)

    def digest(self) -> str:
        """Return the digest of the price data in force.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the files cannot be used.
        """
        return self._files.read().digest

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now_ms() // 1000, UTC)
