"""The routes of the API.

Owns parameters and what each answer is made of. Everything is about one account; days are its local days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query
from starlette.responses import Response

from dashboard.access.permissions import Permission
from dashboard.api import models
from dashboard.api.access import allowed
from dashboard.api.answers import JSON, answer, charge_row, csv_of, form_of, json_response, rows_response
from dashboard.api.paging import LIMIT_DEFAULT, LIMIT_MAX, Row, cut, keys_of, page_of, sort_key
from dashboard.asking import (
    ask_charges,
    ask_freshness,
    ask_ladder,
    ask_limits,
    ask_notices,
    ask_report,
    ask_rows,
    ask_summary,
)
from dashboard.http import PROBLEM_TYPE, Refusal
from dashboard.pages.live import refused_rows
from dashboard.pages.windows import asked_windows
from dashboard.periods import DEFAULT, Duration, Period, period_of
from dashboard.ports import AccountInfo, QueryName
from dashboard.site import Visit, month_of
from dashboard.tables import tiles_table
from dashboard.usage import Summary, Tile
from dashboard.views import View
from metering.charges import Sums
from schemas.money import decimal_of
from sinks.billing import ChargesAsked
from sinks.clickhouse.ladder_health import LadderHealth
from sinks.clickhouse.notices import SORT_KEYS, NoticeRow, NoticesAsked
from sinks.clickhouse.notices import sort_key as notice_sort_key
from sinks.clickhouse.reader import Filters, columns_of
from sinks.exports import render
from sinks.exports.tables import as_csv

_ERRORS = (400, 401, 403, 404, 406, 422, 429, 503)
router = APIRouter(
    prefix="/api/v1",
    responses={status: {"model": models.Problem, "content": {PROBLEM_TYPE: {}}} for status in _ERRORS},
)

AccountName = Annotated[str, Query(description="id of the account", min_length=1, max_length=200)]
Month = Annotated[
    str, Query(description="local month, YYYY-MM; default: the current one", pattern=r"^(\d{4}-\d{2})?$")
]
FromDay = Annotated[
    date | None, Query(alias="from", description="first local day; default: six days before `to`")
]
ToDay = Annotated[date | None, Query(alias="to", description="last local day, included; default: today")]
Numbers = Annotated[
    Sequence[str],
    Query(alias="number", description="only this business number; may be repeated", max_length=300),
]
Countries = Annotated[
    Sequence[str],
    Query(
        alias="country", description="only this country (ISO 3166 alpha-2); may be repeated", max_length=300
    ),
]
After = Annotated[str, Query(description="`next` of the page before", max_length=4000)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="rows of one page")]
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


Usage = Annotated[Visit, Depends(allowed(Permission.USAGE))]
Money = Annotated[Visit, Depends(allowed(Permission.MONEY))]
Windows = Annotated[Visit, Depends(allowed(Permission.WINDOWS))]


@dataclass(frozen=True)
class Asked:
    """Whose totals of which days are asked for."""

    account: AccountName
    from_day: FromDay = None
    to_day: ToDay = None
    numbers: Numbers = ()
    countries: Countries = ()

    async def filters(self, visit: Visit) -> tuple[Filters, AccountInfo]:
        """Return what to ask the totals, of an account that may be seen.

        Raises:
            Refusal: 404 or 400.
        """
        info = await visit.site.account_info(visit.allowed(self.account))
        period = _period(visit, info, self.from_day, self.to_day)
        filters = Filters(
            period.first, period.last, (self.account,), _chosen(self.numbers), _chosen(self.countries)
        )
        return filters, info


@dataclass(frozen=True)
class RowsAsked(Asked):
    """The same, by pages of rows."""

    after: After = ""
    limit: Limit = LIMIT_DEFAULT


def _chosen(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))


def _period(visit: Visit, info: AccountInfo, from_day: date | None, to_day: date | None) -> Period:
    """Return the days asked for; what is not said follows from the default duration.

    Raises:
        Refusal: 400.
    """
    default = period_of(DEFAULT, info.today)
    last = to_day or (max(default.last, from_day) if from_day else default.last)
    # Days before all time would not be days any more.
    first = from_day or date.fromordinal(max(1, last.toordinal() - default.length_days + 1))
    length_max_days = visit.site.settings().dashboard.range_days_max
    if first > last:
        raise Refusal(400, f"from ({first}) is after to ({last})")
    if (last - first).days + 1 > length_max_days:
        raise Refusal(400, f"from, to: at most {length_max_days} days at a time")
    return Period(first, last)


@router.get("/accounts", response_model=list[models.Account], responses=_CSV)
async def accounts(visit: Usage) -> Response:
    """List the accounts that may be seen."""
    form, names = form_of(visit), visit.site.settings().accounts
    rows: list[Row] = [
        {"account": account, "name": names[account].name if account in names else ""}
        for account in await visit.site.accounts(visit.principal)
    ]
    content = msgspec.json.encode(rows) if form == JSON else csv_of(rows, tuple(models.Account.model_fields))
    return answer(visit, form, content, version=None)


@router.get("/accounts/{account}", response_model=models.AccountDetails)
async def account_details(visit: Usage, account: Annotated[str, Path(max_length=200)]) -> Response:
    """Tell what there is to choose from in an account."""
    info = await visit.site.account_info(visit.allowed(account))
    form = form_of(visit, (JSON,))
    content = msgspec.json.encode({name: getattr(info, name) for name in models.AccountDetails.model_fields})
    return answer(visit, form, content, version=None)


@router.get("/summary", response_model=models.Summary, responses=_CSV)
async def summary(
    visit: Usage,
    asked: Annotated[Asked, Depends()],
    duration: Annotated[Duration | None, Query(description="named days; `from` and `to` say others")] = None,
) -> Response:
    """Return the usage summary: what the overview shows."""
    filters, info = await asked.filters(visit)
    says_days = asked.from_day is not None or asked.to_day is not None
    if says_days and duration not in (None, Duration.CUSTOM):
        raise Refusal(400, "duration: expected either it, or from and to")
    assert filters.first_day is not None, "the API asks for ranges with two ends"
    assert filters.last_day is not None, "the same"
    chosen, period = Duration.CUSTOM, Period(filters.first_day, filters.last_day)
    if not says_days:
        chosen = DEFAULT if duration in (None, Duration.CUSTOM) else duration
        period = period_of(chosen, info.today)
    view = View(asked.account, chosen, period, filters.numbers, filters.countries)
    form, version = form_of(visit), await visit.site.cache.version()
    made = await ask_summary(visit, view)
    content = msgspec.json.encode(_summary(view, info, made)) if form == JSON else as_csv(tiles_table(made))
    return answer(visit, form, content, version, str(period), str(view.previous))


def _summary(view: View, info: AccountInfo, made: Summary) -> dict[str, object]:
    previous = view.previous
    return {
        "account": view.account,
        "time_zone": info.zone_on(view.period.last),
        "first_day": view.period.first,
        "last_day": view.period.last,
        "previous_first_day": previous.first if previous else None,
        "previous_last_day": previous.last if previous else None,
        "tiles": [_tile(tile) for tile in made.tiles],
        "total": _tile(made.total),
        "incoming": made.incoming,
    }


@router.get("/usage", response_model=models.Page[models.UsageRow], responses=_CSV)
async def usage(visit: Usage, asked: Annotated[RowsAsked, Depends()]) -> Response:
    """Return outgoing messages by day, number, country, category and template."""
    return await _rows(visit, "usage", asked)


@router.get("/conversations", response_model=models.Page[models.ConversationRow], responses=_CSV)
async def conversations(visit: Usage, asked: Annotated[RowsAsked, Depends()]) -> Response:
    """Return conversations by day, number, country and type."""
    return await _rows(visit, "conversations", asked)


@router.get("/incoming", response_model=models.Page[models.IncomingRow], responses=_CSV)
async def incoming(visit: Usage, asked: Annotated[RowsAsked, Depends()]) -> Response:
    """Return incoming messages by day, number and country."""
    return await _rows(visit, "incoming", asked)


@router.get("/active-users", response_model=models.Page[models.ActiveUsersRow], responses=_CSV)
async def active_users(visit: Usage, asked: Annotated[RowsAsked, Depends()]) -> Response:
    """Return active users by month; the days are widened to whole months, and one country is possible at most."""
    return await _rows(visit, "active-users", asked)


@router.get("/charges", response_model=models.Page[models.ChargeRow], responses=_CSV)
async def charges(
    visit: Money,
    asked: Annotated[RowsAsked, Depends()],
    regime: Annotated[date | None, Query(description="as if the rules of this day had been in force")] = None,
    rates_on: Annotated[date | None, Query(description="by the rate cards and markets of this day")] = None,
) -> Response:
    """Return what the counted traffic costs, line by line."""
    filters, info = await asked.filters(visit)
    version = await visit.site.cache.version()
    lines = ChargesAsked(
        filters.first_day,
        filters.last_day,
        filters.accounts,
        filters.numbers,
        filters.countries,
        regime,
        rates_on,
    )
    rows: list[Row] = [charge_row(charge) for charge in await ask_charges(visit.site, lines)]
    rows.sort(key=lambda row: sort_key("charges", row))
    page, following = page_of("charges", rows, asked.after, asked.limit)
    return _page(visit, page, tuple(models.ChargeRow.model_fields), following, version, (filters, info))


@router.get("/limits", response_model=models.Limits, responses=_CSV)
async def limits(visit: Usage, account: AccountName, month: Month = "") -> Response:
    """Return how far packages, free messages, budgets and tiers of a month are used up, and where it is heading."""
    info = await visit.site.account_info(visit.allowed(account))
    uses = await ask_limits(visit.site, account, month_of(month, info.today))
    if not visit.principal.may(Permission.MONEY):
        uses = [msgspec.structs.replace(use, projected_amau_cost=None) for use in uses]
    rows = [msgspec.structs.asdict(use) for use in uses]
    return rows_response(visit, rows, tuple(models.LimitRow.model_fields), {}, version=None)


@router.get("/alerts", response_model=models.Page[models.NoticeRow], responses=_CSV)
async def notices(
    visit: Usage, account: AccountName, month: Month = "", after: After = "", limit: Limit = LIMIT_DEFAULT
) -> Response:
    """Return the notices that were given about the limits of a month, the newest first."""
    info = await visit.site.account_info(visit.allowed(account))
    behind = tuple(keys_of(after, SORT_KEYS)) if after else ()
    first = month_of(month, info.today)
    asked = NoticesAsked(first, (account,), rows_max=limit + 1, after=behind)
    page, following = cut(await ask_notices(visit.site, asked), limit, notice_sort_key)
    rows = [msgspec.structs.asdict(notice) for notice in page]
    more = {"next": following, "time_zone": info.zone_on(first)}
    return rows_response(visit, rows, NoticeRow.__struct_fields__, more, version=None)


@router.get(
    "/report",
    responses={200: {"description": "The final report, as `convometer report` prints it.", **_CSV[200]}},
)
async def report(
    visit: Money,
    account: AccountName,
    month: Month = "",
    number: Annotated[str, Query(max_length=200, description="empty = the whole account")] = "",
) -> Response:
    """Return the final report of a month."""
    info = await visit.site.account_info(visit.allowed(account))
    form, version = form_of(visit), await visit.site.cache.version()
    made = await ask_report(visit.site, account, month_of(month, info.today), number)
    content = msgspec.json.encode(made) if form == JSON else await visit.site.pool.run(render, made, "csv")
    # It says whether it is final, which the day decides.
    return answer(visit, form, content, version, str(info.today))


@router.get("/live", response_model=models.Live)
async def live(visit: Usage, account: AccountName) -> Response:
    """Return what the last minutes added, how far the totals are, and what was refused."""
    visit.allowed(account)
    form_of(visit, (JSON,))
    site, sampled_at = visit.site, visit.site.live.sampled_at
    sees_all = visit.principal.accounts is None
    return json_response(
        {
            "account": account,
            "sampled_at": None if sampled_at is None else datetime.fromtimestamp(sampled_at, UTC),
            "minutes": site.live.look().minutes(account, site.clock.now_seconds()),
            "freshness": [
                # How many records there are tells of other accounts' traffic.
                each if sees_all else msgspec.structs.replace(each, position=0)
                for each in await ask_freshness(site)
            ],
            "ladder": [_ladder(each) for each in await ask_ladder(site, account)],
            "refused": await refused_rows(visit),
        }
    )


@router.get("/windows", response_model=models.Windows)
async def windows(
    visit: Windows,
    account: AccountName,
    user: Annotated[
        str, Query(min_length=1, max_length=140, description="phone number, or business-scoped id")
    ],
    number: Annotated[str, Query(max_length=200, description="only with this business number")] = "",
) -> Response:
    """Return one user's windows and conversations. Each look is noted in the audit log."""
    form_of(visit, (JSON,))
    return json_response(await asked_windows(visit, visit.allowed(account), user, number))


async def _rows(visit: Visit, name: QueryName, asked: RowsAsked) -> Response:
    filters, info = await asked.filters(visit)
    version = await visit.site.cache.version()
    page, following = page_of(name, await ask_rows(visit.site, name, filters), asked.after, asked.limit)
    columns = columns_of(name)
    if name == "active-users":
        columns = (*columns, "package", "balance", "amau")
    return _page(visit, page, columns, following, version, (filters, info))


def _page(
    visit: Visit,
    rows: Sequence[Row],
    columns: Sequence[str],
    following: str | None,
    version: str,
    asked: tuple[Filters, AccountInfo],
) -> Response:
    """Return one page of rows of days, which its tag goes by: the URL may leave them to be those of today."""
    filters, info = asked
    more = {"next": following, "time_zone": info.zone_on(filters.last_day or info.today)}
    return rows_response(visit, rows, columns, more, version, f"{filters.first_day} {filters.last_day}")


def _tile(tile: Tile) -> dict[str, object]:
    return {
        "key": tile.key,
        "title": tile.title,
        "conversations": tile.conversations,
        "free": tile.free,
        "charged": tile.charged,
        "previous": tile.previous,
        "messages": tile.messages,
        "costs": None if tile.costs is None else [_cost(sums) for sums in tile.costs],
    }


def _ladder(health: LadderHealth) -> dict[str, object]:
    measures = ("silent", "read_without_delivered", "delivered_without_sent")
    return {
        "number": health.number,
        **health.recent._asdict(),
        **{f"expected_{name}": health.expected(name) for name in measures},
    }


def _cost(sums: Sums) -> dict[str, object]:
    return {"currency": sums.currency, "amount": f"{decimal_of(sums.amount):f}", "unrated": sums.unrated}
