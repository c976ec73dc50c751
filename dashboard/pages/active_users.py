"""Monthly active users: the gauge against the package, growth by day, and where the month is heading."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from starlette.responses import Response

from dashboard.asking import ask_active_days, ask_freshness, ask_limits, ask_notices, ask_rows
from dashboard.charts import FILE_FORMATS, mau_chart_of, picture_format, theme_of, width_of
from dashboard.growth import Growth, grown
from dashboard.http import Refusal, attachment, tagged_by_content
from dashboard.pages.money import months_of
from dashboard.pages.overview import choices
from dashboard.ports import AccountInfo
from dashboard.site import Visit, month_of
from dashboard.usage import integer
from metering.calendar import last_day_of
from metering.limits import LimitUse
from sinks.clickhouse.notices import NoticesAsked
from sinks.clickhouse.reader import Filters
from sinks.exports.pictures import draw

NUMBERS_CHARTED_MAX: Final = 1
NOTICES_SHOWN: Final = 50


@dataclass(frozen=True, slots=True)
class Scope:
    """The active users of a whole account, or of one number. They are never added up: one person may be in several."""

    number: str
    """Empty = the whole account."""
    mau: int
    mau_both: int
    mau_phones: int
    package: LimitUse | None


async def active_users_page(visit: Visit) -> Response:
    """Show the active users of a month, of the whole account and of each chosen number."""
    if not await visit.account():
        return await visit.render("nothing.html", account="")
    info, month, numbers = await _asked(visit)
    limits = await ask_limits(visit.site, info.account, month)
    growth = await growth_of(visit, info, month, chart_number(numbers))
    return await visit.render(
        "active_users.html",
        account=info.account,
        info=info,
        month=month,
        months=months_of(info, month),
        numbers=choices(info.numbers, numbers, info.number_title),
        chosen=numbers,
        scopes=await scopes_of(visit, info.account, month, numbers, limits),
        limits=[use for use in limits if use.limit_name != "mau_package"],
        notices=await ask_notices(
            visit.site, NoticesAsked(month, (info.account,), rows_max=NOTICES_SHOWN + 1)
        ),
        notices_shown=NOTICES_SHOWN,
        growth=growth,
        chart_query=_chart_query(info, month, growth.number),
        fresh=await ask_freshness(visit.site),
    )


async def _asked(visit: Visit) -> tuple[AccountInfo, date, tuple[str, ...]]:
    account = await visit.account()
    info = await visit.site.account_info(account)
    parameters = visit.request.query_params
    numbers = tuple(sorted({number for number in parameters.getlist("number") if number}))
    if len(numbers) > 300:
        raise Refusal(400, "number: at most 300")
    return info, month_of(parameters.get("month", ""), info.today), numbers


def chart_number(numbers: tuple[str, ...]) -> str:
    """Return whose growth is drawn: the only number chosen, else the whole account."""
    return numbers[0] if len(numbers) == NUMBERS_CHARTED_MAX else ""


async def scopes_of(
    visit: Visit, account: str, month: date, numbers: tuple[str, ...], limits: list[LimitUse]
) -> list[Scope]:
    """Return the whole account first, then the numbers."""
    rows = await ask_rows(
        visit.site,
        "active-users",
        Filters(month, last_day_of(month), (account,), ("", *numbers) if numbers else ()),
    )
    packages = {use.number: use for use in limits if use.limit_name == "mau_package"}
    scopes = {
        str(row["number"]): Scope(
            str(row["number"]),
            integer(row["mau"]),
            integer(row["mau_both"]),
            integer(row["mau_phones"]),
            packages.get(str(row["number"])),
        )
        for row in rows
    }
    for number in ("", *packages, *numbers):
        if (not numbers or number in ("", *numbers)) and number not in scopes:
            scopes[number] = Scope(number, 0, 0, 0, packages.get(number))
    return [scopes[number] for number in sorted(scopes)]


async def growth_of(visit: Visit, info: AccountInfo, month: date, number: str) -> Growth:
    """Return how a scope grew, by the rule of its plan; without a plan by "any"."""
    limits = await ask_limits(visit.site, info.account, month)
    package = next((use for use in limits if use.limit_name == "mau_package" and use.number == number), None)
    rule = await visit.site.meter.mau_rule(info.account, number, month)
    active = await ask_active_days(visit.site, info.account, month)
    return grown(active, number, rule, month, min(last_day_of(month), info.today), package)


def _chart_query(info: AccountInfo, month: date, number: str) -> dict[str, str]:
    return {"account": info.account, "month": f"{month:%Y-%m}", "number": number}


async def active_users_chart(visit: Visit) -> Response:
    """Return the growth as the page draws it, or as a picture or file."""
    info, month, numbers = await _asked(visit)
    growth = await growth_of(visit, info, month, chart_number(numbers))
    file_format = visit.request.path_params["format"]
    is_in_page = visit.request.url.path.startswith("/charts/")
    if is_in_page and file_format not in ("json", "svg"):
        raise Refusal(404, "There is no such picture; files are among the downloads.")
    is_drawn_there = is_in_page and file_format == "json"
    width = width_of(visit.request.query_params.get("width", "") if is_drawn_there else "")
    theme = theme_of(visit.request.query_params.get("theme", ""))
    chart = mau_chart_of(growth, info, month, theme, width_pixels=width)
    if is_drawn_there:
        return tagged_by_content(visit.request, Response(chart.as_json(), media_type="application/json"))
    picture = picture_format(file_format)
    content = await visit.site.pool.run(draw, chart.spec, picture)
    if is_in_page:
        return Response(content, media_type=FILE_FORMATS[picture])
    visit.note("export", info.account, f"active-users.{file_format} {month:%Y-%m} {growth.number}".strip())
    return attachment(
        content, FILE_FORMATS[picture], f"whatsapp-mau_{info.account}_{month:%Y-%m}.{file_format}"
    )
