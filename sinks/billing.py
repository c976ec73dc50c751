"""Answers what something costs: charges, final reports, and how limits are being used up.

Owns reading whole months for what is asked, and filtering only what was priced whole: allotments and tiers begin on
the 1st and count all of an account. Blocking; call it in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from metering.calendar import Calendar, ZoneRules, last_day_of, month_before, zone_on
from metering.charges import Charge, Counts, PriceData, TierUpdate, WhatIf
from metering.forecast import EARLIER_MONTHS_MAX
from metering.licence import package
from metering.limits import LimitUse, MonthSoFar, limits_of, series_of
from metering.month_counts import Circumstances, MonthCounts
from metering.pricing import charges_of
from metering.statement import final_report
from schemas.final_report import FinalReport, Freshness
from schemas.plans import MauRule
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.counts import (
    active_days,
    billing_counts,
    incoming_counts,
    mau_counts,
    outgoing_counts,
    reported_tiers,
)
from sinks.clickhouse.reader import freshness
from sinks.price_data import PriceFiles

FIRST_DAY: Final = date(1970, 1, 1)
LAST_DAY: Final = date(2149, 6, 6)
"""The range of days that are kept."""


class ChargesAsked(msgspec.Struct, frozen=True):
    """What charges are asked for. Days are local, both included; empty = all."""

    first_day: date | None = None
    last_day: date | None = None
    accounts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    regime: date | None = None
    """As if the regime of this day had been in force throughout."""
    rates_on: date | None = None
    """By the cards, tiers and markets of this day."""


class ReportAsked(msgspec.Struct, frozen=True):
    """Which final report is asked for."""

    month: date
    """The 1st."""
    account: str
    number: str = ""
    """Empty = the whole account."""


class LimitsAsked(msgspec.Struct, frozen=True):
    """Of which month and accounts (empty = all) the limits are asked for."""

    month: date | None = None
    """The 1st; None = the current one, by each account's own zone."""
    accounts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    """Also of these numbers only; "" = limits of whole accounts."""


class Billing:
    """Prices what ClickHouse holds, by the price data in the files of now."""

    def __init__(
        self, client: Callable[[], ClickHouse], files: PriceFiles, zones_of: Callable[[str], ZoneRules]
    ) -> None:
        """Take what gives the calling thread's client, the price data, and the zones that accounts count by."""
        self._client = client
        self._files = files
        self._zones_of = zones_of

    def charges(self, asked: ChargesAsked) -> list[Charge]:
        """Return charges by account and day.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the price data cannot be used.
            ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
        """
        data, what_if = self._files.read().data, WhatIf(asked.regime, asked.rates_on)
        first, last = asked.first_day or FIRST_DAY, asked.last_day or LAST_DAY
        charges: list[Charge] = []
        for counts in self._counts(first.replace(day=1), last, asked.accounts):
            charges += charges_of(counts, data, what_if)
        return [
            charge
            for charge in charges
            if first <= charge.day
            and (not asked.numbers or charge.number in asked.numbers)
            and (not asked.countries or charge.country in asked.countries)
        ]

    def report(self, asked: ReportAsked, now: datetime) -> FinalReport:
        """Return the final report of a month.

        Args:
            asked: which one.
            now: UTC.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the price data cannot be used.
            ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
        """
        prices, client = self._files.read(), self._client()
        # Read first: what is counted meanwhile makes the report fresher than it says, never staler.
        fresh = tuple(
            Freshness(
                partition=each.partition,
                position=each.source_offset,
                received_until=each.received_until,
                flushed_at=each.flushed_at,
            )
            for each in freshness(client)
        )
        first, last = asked.month, last_day_of(asked.month)
        counts = next(iter(self._counts(first, last, [asked.account])), Counts(asked.account))
        month = MonthCounts(
            first,
            counts,
            mau_counts(active_days(client, first, last, [asked.account])),
            outgoing_counts(client, first, last, asked.account),
            incoming_counts(client, first, last, asked.account),
        )
        calendar = Calendar(self._zones_of(asked.account))
        circumstances = Circumstances(
            time_zone=zone_on(calendar.rules, first),
            generated_at=now,
            today=date(1970, 1, 1) + timedelta(days=calendar.day(int(now.timestamp()))),
            freshness=fresh,
            price_data=prices.digest,
        )
        return final_report(month, prices.data, circumstances, asked.number)

    def limits(self, asked: LimitsAsked, now: datetime) -> list[LimitUse]:
        """Return how far each limit of a month is used up, at ``now`` (UTC).

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the price data cannot be used.
            ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
        """
        data = self._files.read().data
        by_month: dict[date, list[str]] = {}
        known = asked.accounts or tuple(
            sorted({plan.account for plan in data.plans.plans} | self._counted(now, asked))
        )
        for account in known:
            local = local_now(self._zones_of(account), now)
            by_month.setdefault(asked.month or local.date().replace(day=1), []).append(account)
        uses: list[LimitUse] = []
        for first, accounts in by_month.items():
            for so_far in self._months_so_far(first, accounts, data, now):
                uses += limits_of(so_far, data)
        uses.sort(
            key=lambda use: (use.month, use.account, use.number, use.limit_name, use.market, use.category)
        )
        return [use for use in uses if not asked.numbers or use.number in asked.numbers]

    def _months_so_far(
        self, first: date, accounts: Sequence[str], data: PriceData, now: datetime
    ) -> Iterator[MonthSoFar]:
        """Yield what the accounts have counted in a month (its 1st) and in those before."""
        before, last = _months_before(first, EARLIER_MONTHS_MAX), last_day_of(first)
        # Once for all: there are thousands of accounts, and each has rows of every day.
        active: dict[str, list[tuple[str, str, date, int]]] = {}
        for row in active_days(self._client(), before, last, accounts):
            active.setdefault(row.account, []).append((row.number, row.rule, row.day, row.users))
        counts = {each.account: each for each in self._counts(before, last, accounts)}
        for account in accounts:
            own = counts.get(account)
            yield MonthSoFar(
                account,
                first,
                local_now(self._zones_of(account), now),
                series_of(active.get(account, ())),
                charges_of(own, data) if own is not None else (),
                own.conversations if own is not None else (),
            )

    def _counted(self, now: datetime, asked: LimitsAsked) -> set[str]:
        """Return the accounts that were active in the month asked for; a day around it covers every zone."""
        first = asked.month or (now - timedelta(days=1)).date().replace(day=1)
        last = last_day_of(first) if asked.month else (now + timedelta(days=1)).date()
        return {row.account for row in active_days(self._client(), first, last)}

    def mau_rule(self, account: str, number: str, month: date) -> MauRule:
        """Return by which rule the plan of an account or number counts in a month (its 1st); without one "any"."""
        plan = self._files.read().data.plans.in_force(account, number, last_day_of(month))
        return plan.mau_rule if plan is not None else "any"

    def with_plans(self, rows: list[dict[str, object]]) -> list[dict[str, object]]:
        """Add package, balance and amau to rows of ``active-users`` where a plan is in force."""
        plans = self._files.read().data.plans
        for row in rows:
            first = date.fromisoformat(f"{row['month']}-01")
            plan = plans.in_force(str(row["account"]), str(row["number"]), last_day_of(first))
            if plan is not None:
                mau = row["mau_both" if plan.mau_rule == "both" else "mau"]
                assert isinstance(mau, int), "a count is a whole number"
                used = package(mau, plan)
                row |= {"package": plan.mau_package, "balance": used.balance, "amau": used.amau}
        return rows

    def _counts(self, first: date, last: date, accounts: Sequence[str]) -> Iterable[Counts]:
        client = self._client()
        updates: dict[str, list[TierUpdate]] = {}
        plans = self._files.read().data.plans.plans
        # They count only where a plan takes the provider's word; elsewhere the question would be for nothing.
        takes_reports = any(plan.volume_tiers == "reported" for plan in plans)
        for tier in reported_tiers(client, first, last, accounts) if takes_reports else ():
            calendar = Calendar(self._zones_of(tier.account))
            day = FIRST_DAY + timedelta(days=calendar.day(tier.updated_at))
            update = TierUpdate(tier.month, tier.region, tier.category, tier.lower, day)
            updates.setdefault(tier.account, []).append(update)
        for counts in billing_counts(client, first, last, accounts):
            yield replace(counts, tier_updates=tuple(updates.get(counts.account, ())))


def _months_before(first: date, count: int) -> date:
    for _ in range(count):
        first = month_before(first)
    return first


def local_now(zones: ZoneRules, now: datetime) -> datetime:
    """Return the local time of an account, without a zone."""
    calendar = Calendar(zones)
    instant = int(now.timestamp())
    [(_, offset), *_] = calendar.offset_changes(instant, instant + 1)
    return (now.astimezone(UTC) + timedelta(seconds=offset)).replace(tzinfo=None)
