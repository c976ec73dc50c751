"""Limits and notices of the accounts of ``tests.support.dashboards``, with figures that tell whose they are.

Owns the texts that only those who may see money can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from metering.limits import LimitUse
from schemas.alerts import notice_id
from sinks.clickhouse.notices import NoticeRow, NoticesAsked, sort_key

AMAU_COST = Decimal("5432.10")
"""What the users beyond the package are expected to cost."""
MONEY_MARKS = ("5432", "5,432", "EUR")
"""Texts that only answers with that amount can have."""
MONTH = "2026-11"
NOTICED_AT = datetime(2026, 11, 20, 9, 0, 1, 250_000, tzinfo=UTC)


def uses_of(account: str, number: str, used: int) -> list[LimitUse]:
    """Return a package with a forecast and a cost, and a budget of a number for which it is too early."""
    package = LimitUse(
        month=MONTH,
        account=account,
        number="",
        limit_name="mau_package",
        market="",
        category="",
        limit=100_000,
        used=used,
        left=100_000 - used,
        used_percent=Decimal("0.1"),
        projected=120_000,
        exhausted_on="2026-11-26",
        method="straight_line",
        projected_low=110_000,
        projected_high=130_000,
        exhausted_from="2026-11-24",
        exhausted_to="2026-11-28",
        projected_amau=20_000,
        projected_amau_cost=AMAU_COST,
        currency="EUR",
    )
    budget = LimitUse(
        month=MONTH,
        account=account,
        number=number,
        limit_name="conversation_budget",
        market="",
        category="",
        limit=50_000,
        used=used,
        left=50_000 - used,
        used_percent=Decimal("0.1"),
        projected=None,
        exhausted_on=None,
        method="too_early",
    )
    return [package, budget]


def notices_about(account: str, used: int) -> list[NoticeRow]:
    """Return three notices: 80 and 90 % were crossed at once, and 90 % was recovered by a larger package."""
    return [
        notice(account, "80%", 1, used=used),
        notice(account, "90%", 1, used=used),
        notice(account, "90%", 2, used=used, minutes=5),
    ]


def notice(
    account: str, threshold: str, n: int, *, used: int = 8, minutes: int = 0, month: str = MONTH
) -> NoticeRow:
    """Return a notice about the package of an account, some minutes after the first."""
    at, is_crossed = NOTICED_AT + timedelta(minutes=minutes), n % 2 == 1
    return NoticeRow(
        id=notice_id(account, "", month, "mau_package", threshold, n),
        month=month,
        account=account,
        number="",
        limit_name="mau_package",
        threshold=threshold,
        threshold_count=int(threshold.removesuffix("%")) * 1000,
        n=n,
        kind="crossed" if is_crossed else "recovered",
        level="warning",
        level_before="ok" if is_crossed else "warning",
        limit=100_000,
        used=used,
        cause="count" if is_crossed else "plan",
        is_past=False,
        received_until=at - timedelta(seconds=1),
        noticed_at=at,
    )


def answered(notices: Sequence[NoticeRow], asked: NoticesAsked) -> list[NoticeRow]:
    """Return what ClickHouse would of all notices."""
    chosen = [
        each
        for each in notices
        if (asked.month is None or each.month == f"{asked.month:%Y-%m}")
        and (not asked.accounts or each.account in asked.accounts)
        and (not asked.numbers or each.number in asked.numbers)
        and (not asked.after or sort_key(each) < asked.after)
    ]
    return sorted(chosen, key=sort_key, reverse=True)[: asked.rows_max]
