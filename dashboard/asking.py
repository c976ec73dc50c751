"""Asks the meter for what pages, downloads and API show, each question once per version of the totals.

Owns which questions make up a summary. Whoever calls has checked that the account may be seen.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import date

from dashboard.access.permissions import Permission
from dashboard.http import PRICE_FAULTS
from dashboard.periods import Period
from dashboard.ports import QueryName, Row
from dashboard.site import Site, Visit
from dashboard.usage import Counted, Summary, summary_of
from dashboard.views import View
from metering.calendar import last_day_of
from metering.charges import Charge
from metering.limits import LimitUse
from schemas.final_report import FinalReport, Freshness
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.counts import ActiveDay
from sinks.clickhouse.ladder_health import LadderHealth
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters

_log = logging.getLogger(__name__)
_NOTICES_SECONDS = 5
_LADDER_SECONDS = 15


async def ask_summary(visit: Visit, view: View) -> Summary:
    """Return the summary of a view, with costs if the visitor may see money."""
    with_money = visit.principal.may(Permission.MONEY)
    return await visit.site.cache.get(
        ("summary", view, with_money), lambda: _summary(visit.site, view, with_money)
    )


async def ask_summary_with_rows(visit: Visit, view: View) -> tuple[Summary, list[Row]]:
    """Return the summary of a view and the conversation rows that it was made from, of one reading."""
    with_money = visit.principal.may(Permission.MONEY)
    summary, conversations = await _summary_with_rows(visit.site, view, with_money)
    first, last = str(view.period.first), str(view.period.last)
    return summary, [row for row in conversations if first <= str(row["day"]) <= last]


async def _summary(site: Site, view: View, with_money: bool) -> Summary:
    return (await _summary_with_rows(site, view, with_money))[0]


async def _summary_with_rows(site: Site, view: View, with_money: bool) -> tuple[Summary, list[Row]]:
    """Return a summary and its conversation rows, which include those of the period before."""
    previous = view.previous
    whole = Period(
        min(view.period.first, previous.first if previous else view.period.first), view.period.last
    )
    filters = view.filters(whole)
    (charges, costs_fault), conversations, usage, incoming = await asyncio.gather(
        _charges(site, view, with_money),
        site.meter.query("conversations", filters),
        site.meter.query("usage", view.filters()),
        site.meter.query("incoming", view.filters()),
    )
    counted = Counted(conversations, usage, incoming, charges, costs_fault)
    return summary_of(counted, view.period, previous), conversations


async def _charges(site: Site, view: View, with_money: bool) -> tuple[list[Charge] | None, str]:
    """Return the charges of a view, or why there are none: counts are shown all the same."""
    if not with_money:
        return None, ""
    try:
        return await site.meter.charges(_charges_asked(view.filters())), ""
    except PRICE_FAULTS as fault:
        _log.error("no costs can be shown: %s", fault)
        return (
            None,
            "Costs cannot be shown: plans or rate cards have faults, which the log of the dashboard names.",
        )


async def ask_rows(site: Site, name: QueryName, filters: Filters) -> list[Row]:
    """Return the rows of a query; shared, not to be changed."""
    return await site.cache.get((name, filters), lambda: site.meter.query(name, filters))


async def ask_charges(site: Site, asked: ChargesAsked) -> list[Charge]:
    """Return charges."""
    return await site.cache.get(("charges", asked), lambda: site.meter.charges(asked))


def _charges_asked(filters: Filters) -> ChargesAsked:
    return ChargesAsked(
        filters.first_day, filters.last_day, filters.accounts, filters.numbers, filters.countries
    )


async def ask_report(site: Site, account: str, month: date, number: str) -> FinalReport:
    """Return a final report; made at most once a minute while nothing changes, since it says when it was made."""
    minute = site.clock.now_seconds() // 60
    asked = ReportAsked(month, account, number)
    return await site.cache.get(("report", asked), lambda: site.meter.report(asked), minute)


async def ask_limits(site: Site, account: str, month: date) -> list[LimitUse]:
    """Return how the limits of an account are being used up; projections move with the clock, by the minute."""
    minute = site.clock.now_seconds() // 60
    asked = LimitsAsked(month, (account,))
    return await site.cache.get(("limits", asked), lambda: site.meter.limits(asked), minute)


async def ask_notices(site: Site, asked: NoticesAsked) -> list[NoticeRow]:
    """Return notices, the newest first, read at most every few seconds."""
    moment = site.clock.now_seconds() // _NOTICES_SECONDS
    return await site.cache.get(("notices", asked), lambda: site.meter.notices(asked), moment)


async def ask_ladder(site: Site, account: str) -> list[LadderHealth]:
    """Return what became of an account's messages, read at most every few seconds."""
    moment = site.clock.now_seconds() // _LADDER_SECONDS
    return await site.cache.get(("ladder", account), lambda: site.meter.ladder_health(account), moment)


async def ask_active_days(site: Site, account: str, month: date) -> list[ActiveDay]:
    """Return the new active users of each day of a month."""
    last = last_day_of(month)
    return await site.cache.get(
        ("active", account, month), lambda: site.meter.active_days(account, month, last)
    )


async def ask_freshness(site: Site) -> list[Freshness]:
    """Return how far each partition is counted."""
    return await site.cache.get("freshness", site.meter.freshness)
