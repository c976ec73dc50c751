"""The usage summary, its chart, its downloads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence

from starlette.responses import Response

from dashboard.asking import ask_freshness, ask_rows, ask_summary, ask_summary_with_rows
from dashboard.charts import FILE_FORMATS, picture_format, theme_of, usage_chart_of, width_of
from dashboard.formats import country_name
from dashboard.http import Refusal, attachment, tagged_by_content
from dashboard.periods import TITLES as DURATIONS
from dashboard.periods import Duration
from dashboard.ports import AccountInfo, Row
from dashboard.site import Visit
from dashboard.tables import details_table, facts_of, summary_tables
from dashboard.usage import TITLES, Summary
from dashboard.views import View
from sinks.exports.pictures import PictureFormat, draw
from sinks.exports.tables import ROWS_MAX, Table, as_csv, as_xlsx


async def overview(visit: Visit) -> Response:
    """Show the summary of a view; a fault in the URL is said beside the form, with status 400."""
    if not await visit.account():
        return await visit.render("nothing.html", account="")
    view, faults = await visit.view()
    parameters = visit.request.query_params
    # Freshness first: the figures may be fresher than it says, never staler.
    fresh = await ask_freshness(visit.site)
    info, summary = await asyncio.gather(visit.site.account_info(view.account), ask_summary(visit, view))
    range_fault = any(not fault.startswith(("number:", "country:")) for fault in faults)
    return await visit.render(
        "overview.html",
        status=400 if faults else 200,
        account=view.account,
        info=info,
        view=view,
        summary=summary,
        faults=faults,
        range_fault=range_fault,
        durations=DURATIONS,
        chosen_duration=Duration.CUSTOM if parameters.get("duration") == Duration.CUSTOM else view.duration,
        from_text=parameters.get("from") or view.period.first,
        to_text=parameters.get("to") or view.period.last,
        numbers=choices(info.numbers, view.numbers, info.number_title),
        countries=sorted(choices(info.countries, view.countries, country_name), key=lambda choice: choice[1]),
        titles=TITLES,
        fresh=fresh,
    )


def choices(
    known: Sequence[str], chosen: Sequence[str], title: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Return what there is to choose from, with its titles; what was chosen stays, even if nothing is known of it."""
    return [(value, title(value)) for value in sorted({*known, *chosen})]


async def sound_view(visit: Visit) -> tuple[View, AccountInfo]:
    """Return the view of a download.

    Raises:
        Refusal: 400 with the faults: a file that shows something else than was asked for helps nobody.
    """
    view, faults = await visit.view()
    if not view.account:
        raise Refusal(404, "There is no account yet.")
    if faults:
        raise Refusal(400, "; ".join(faults), faults=tuple(faults))
    return view, await visit.site.account_info(view.account)


async def chart_json(visit: Visit) -> Response:
    """Return the chart as the page draws it."""
    view, info = await sound_view(visit)
    theme = theme_of(visit.request.query_params.get("theme", ""))
    width = width_of(visit.request.query_params.get("width", ""))
    summary = await ask_summary(visit, view)
    content = usage_chart_of(summary, view, info, theme, width_pixels=width).as_json()
    return tagged_by_content(visit.request, Response(content, media_type="application/json"))


async def chart_image(visit: Visit) -> Response:
    """Return the chart as a picture within the page, for browsers that do not run scripts."""
    content, _, _ = await _drawn(visit, "svg")
    return tagged_by_content(visit.request, Response(content, media_type=FILE_FORMATS["svg"]))


async def chart_file(visit: Visit) -> Response:
    """Return the chart as a file."""
    file_format = picture_format(visit.request.path_params["format"])
    content, view, info = await _drawn(visit, file_format)
    visit.note("export", view.account, f"chart.{file_format} {view.query()}")
    return attachment(content, FILE_FORMATS[file_format], f"{file_stem(view, info)}.{file_format}")


async def _drawn(visit: Visit, file_format: PictureFormat) -> tuple[bytes, View, AccountInfo]:
    view, info = await sound_view(visit)
    summary = await ask_summary(visit, view)
    theme = theme_of(visit.request.query_params.get("theme", ""))
    chart = usage_chart_of(summary, view, info, theme)
    # All that a picture shows is in it, so that one of other figures can never be taken for this.
    key = ("chart", file_format, hashlib.sha256(chart.as_json()).digest())
    return await visit.site.pool.cached(key, draw, chart.spec, file_format), view, info


async def usage_file(visit: Visit) -> Response:
    """Return the figures of the page as csv (by day) or xlsx (everything)."""
    view, info = await sound_view(visit)
    file_format = visit.request.path_params["format"]
    if file_format == "csv":
        content, media_type = (
            await usage_csv(visit, await ask_summary(visit, view)),
            "text/csv; charset=utf-8",
        )
    elif file_format == "xlsx":
        content, media_type = await _workbook(visit, view, info), XLSX
    else:
        raise Refusal(404, "The usage comes as csv or xlsx.")
    visit.note("export", view.account, f"usage.{file_format} {view.query()}")
    return attachment(content, media_type, f"{file_stem(view, info)}.{file_format}")


XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


async def usage_csv(visit: Visit, summary: Summary) -> bytes:
    """Return the days of a summary as csv."""
    return await visit.site.pool.run(as_csv, summary_tables(summary)[0])


async def _workbook(visit: Visit, view: View, info: AccountInfo) -> bytes:
    # Freshness first: the figures may be fresher than it says, never staler.
    fresh = await ask_freshness(visit.site)
    summary, rows = await ask_summary_with_rows(visit, view)
    tables = [*summary_tables(summary), _details(rows)]
    facts = facts_of(view, info, fresh, visit.site.now())
    return await visit.site.pool.run(as_xlsx, tables, facts)


async def details_file(visit: Visit) -> Response:
    """Return every conversation row of the view as csv."""
    view, info = await sound_view(visit)
    rows = await ask_rows(visit.site, "conversations", view.filters())
    content = await visit.site.pool.run(as_csv, _details(rows))
    visit.note("export", view.account, f"details.csv {view.query()}")
    return attachment(content, "text/csv; charset=utf-8", f"{file_stem(view, info)}-details.csv")


def _details(rows: Sequence[Row]) -> Table:
    """Return the table of all rows.

    Raises:
        Refusal: 400, there are more than a file takes.
    """
    if len(rows) > ROWS_MAX:
        raise Refusal(400, f"These are more than {ROWS_MAX:,} rows. Choose fewer days, numbers or countries.")
    return details_table(rows)


def file_stem(view: View, info: AccountInfo) -> str:
    """Return the name of a file without its ending."""
    return f"whatsapp-usage_{info.account}_{view.period.first}_{view.period.last}"
