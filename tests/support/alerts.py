"""Counts, plans and channels for tests of the alerts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from metering.alert_book import Terms
from metering.charges import PriceData
from schemas.alerts import MonthCount, MonthTotals, Notice, notice_id
from schemas.plans import Plan, PlanBook
from schemas.regimes import load_regimes
from sinks.notify.channel import ChannelKind

REGIMES = load_regimes()
MONTH = "2026-11"


def terms_of(package: int, thresholds: tuple[str, ...] = ("80%", "100%"), digest: str = "") -> Terms:
    """Return terms under which account A has a package."""
    plan = Plan(
        account="A",
        number="",
        effective=date(2026, 1, 1),
        activated=date(2026, 1, 1),
        licence="none",
        price=0,
        currency="USD",
        mau_package=package,
        alert_thresholds=thresholds,
    )
    return Terms(PriceData(REGIMES, plans=PlanBook((plan,))), digest=digest)


def count_of(users: int, sequence: int, partition: int = 0, *, is_closed: bool = False) -> MonthCount:
    """Return what a partition counted of account A."""
    return MonthCount(
        account="A",
        number="",
        month=MONTH,
        partition=partition,
        sequence=sequence,
        received_until_ms=1_795_000_000_000 + sequence,
        totals=MonthTotals(mau_any=users),
        is_closed=is_closed,
    )


def notice_of(n: int = 1, *, account: str = "A", is_past: bool = False) -> Notice:
    """Return the n-th notice of a threshold."""
    return Notice(
        id=notice_id(account, "", MONTH, "mau_package", "80%", n),
        kind="crossed" if n % 2 else "recovered",
        level="warning" if n % 2 else "ok",
        level_before="ok" if n % 2 else "warning",
        account=account,
        number="",
        month=MONTH,
        limit_name="mau_package",
        threshold="80%",
        threshold_count=8,
        n=n,
        limit=10,
        used=8,
        used_percent="80.0",
        cause="count",
        received_until_ms=1_795_000_000_000,
        noticed_at_ms=1_795_000_000_100,
        is_past=is_past,
    )


class FakeChannel:
    """Takes notices, or fails as it is told."""

    kind: ChannelKind = "webhook"
    title = "somebody"
    gives_up = True

    def __init__(self, batch_max: int = 1) -> None:
        self.batch_max = batch_max
        self.taken: list[list[str]] = []
        self.tried = 0
        self.accounts: tuple[str, ...] = ()
        self.failure: Exception | None = None

    def wants(self, notice: Notice) -> bool:
        """Take all but past ones, of all accounts or of some."""
        return not notice.is_past and (not self.accounts or notice.account in self.accounts)

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """Take or fail."""
        self.tried += 1
        if self.failure is not None:
            raise self.failure
        self.taken.append([notice.id for notice in notices])
