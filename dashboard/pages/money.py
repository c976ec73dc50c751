"""The final report of a month: a page, and its downloads."""

from __future__ import annotations

from datetime import date
from typing import Final

from starlette.responses import Response

from dashboard.asking import ask_report
from dashboard.http import Refusal, attachment
from dashboard.pages.overview import XLSX
from dashboard.ports import AccountInfo
from dashboard.site import Visit, month_of
from metering.calendar import month_before
from schemas.final_report import FinalReport
from sinks.exports import FORMATS, render
from sinks.exports.sections import facts_of, sections_of, sum_of

_MEDIA_TYPES: Final = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "xlsx": XLSX,
    "pdf": "application/pdf",
}
_MONTHS_OFFERED_MAX: Final = 120


async def report_page(visit: Visit) -> Response:
    """Show the report."""
    if not await visit.account():
        return await visit.render("nothing.html", account="")
    report, info, month = await asked_report(visit)
    return await visit.render(
        "report.html",
        account=info.account,
        info=info,
        report=report,
        month=month,
        months=months_of(info, month),
        number=report.number,
        sections=sections_of(report),
        facts=facts_of(report),
        sum_of=sum_of,
        formats=tuple(_MEDIA_TYPES),
    )


async def report_file(visit: Visit) -> Response:
    """Return the report as a file."""
    file_format = visit.request.path_params["format"]
    if file_format not in _MEDIA_TYPES:
        raise Refusal(404, f"The report comes as {', '.join(_MEDIA_TYPES)}.")
    report, info, _ = await asked_report(visit)
    content = await visit.site.pool.run(render, report, file_format)
    visit.note("report", info.account, f"{report.month} {report.number} {file_format}".strip())
    name = "_".join(filter(None, ("whatsapp-report", info.account, report.number, report.month)))
    return attachment(content, _MEDIA_TYPES[file_format], f"{name}.{file_format}")


async def asked_report(visit: Visit) -> tuple[FinalReport, AccountInfo, date]:
    """Return the report that a URL asks for."""
    account = await visit.account()
    info = await visit.site.account_info(account)
    parameters = visit.request.query_params
    month = month_of(parameters.get("month", ""), info.today)
    number = parameters.get("number", "")
    if number and number not in info.numbers:
        raise Refusal(404, f"There is no business number {number!r} with any traffic in this account.")
    return await ask_report(visit.site, account, month, number), info, month


def months_of(info: AccountInfo, chosen: date) -> list[date]:
    """Return the months to choose from, the newest first."""
    month = info.today.replace(day=1)
    first = min(filter(None, (info.first_day, chosen))).replace(day=1)
    months: list[date] = []
    while month >= first and len(months) < _MONTHS_OFFERED_MAX:
        months.append(month)
        month = month_before(month)
    return months


assert set(FORMATS) <= set(_MEDIA_TYPES), "every format has a media type"
