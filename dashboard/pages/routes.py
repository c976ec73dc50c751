"""The table of all pages: which path, for whom, answered by what. Tests walk it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from dashboard.access.permissions import Permission
from dashboard.pages.active_users import active_users_chart, active_users_page
from dashboard.pages.audit import audit_page
from dashboard.pages.live import live_page
from dashboard.pages.money import report_file, report_page
from dashboard.pages.overview import (
    chart_file,
    chart_image,
    chart_json,
    details_file,
    overview,
    usage_file,
)
from dashboard.pages.sending import send_form, send_report
from dashboard.pages.windows import windows_page
from dashboard.site import Handler


@dataclass(frozen=True, slots=True)
class PageRoute:
    """One page, and what its visitors need."""

    path: str
    handler: Handler
    permission: Permission
    method: Literal["GET", "POST"] = "GET"
    also: Permission | None = None
    """A second permission that is needed."""
    is_about_account: bool = True


PAGES: Final = (
    PageRoute("/overview", overview, Permission.USAGE),
    PageRoute("/charts/usage.json", chart_json, Permission.USAGE),
    PageRoute("/charts/usage.svg", chart_image, Permission.USAGE),
    PageRoute("/charts/active-users.{format:str}", active_users_chart, Permission.USAGE),
    PageRoute("/downloads/chart.{format:str}", chart_file, Permission.EXPORT, also=Permission.USAGE),
    PageRoute("/downloads/usage.{format:str}", usage_file, Permission.EXPORT, also=Permission.USAGE),
    PageRoute("/downloads/details.csv", details_file, Permission.EXPORT, also=Permission.USAGE),
    PageRoute(
        "/downloads/active-users.{format:str}", active_users_chart, Permission.EXPORT, also=Permission.USAGE
    ),
    PageRoute("/downloads/report.{format:str}", report_file, Permission.EXPORT, also=Permission.MONEY),
    PageRoute("/send", send_form, Permission.EXPORT, also=Permission.USAGE),
    PageRoute("/send", send_report, Permission.EXPORT, "POST", Permission.USAGE),
    PageRoute("/report", report_page, Permission.MONEY),
    PageRoute("/active-users", active_users_page, Permission.USAGE),
    PageRoute("/live", live_page, Permission.USAGE),
    PageRoute("/windows", windows_page, Permission.WINDOWS),
    PageRoute("/audit", audit_page, Permission.ADMIN, is_about_account=False),
)
