"""The dashboard as an ASGI application: pages, API, static files, probes.

Owns how a request reaches its handler: who asks is found out first, then whether they may, then the answer. Nothing
here is reached by a path that is not in a table of routes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dashboard.access.audit import AuditUnwritable
from dashboard.access.gate import token_of
from dashboard.access.routes import access_routes
from dashboard.access.sessions import SessionsUnwritable
from dashboard.api.docs import api_documents
from dashboard.api.routes import router
from dashboard.assets import Assets
from dashboard.counting import Counted
from dashboard.http import PRICE_FAULTS, Refusal, Shell, problem_response, refusal_of
from dashboard.pages.routes import PAGES, PageRoute
from dashboard.ports import WindowsUnavailable
from dashboard.site import Site, Visit
from dashboard.views import query_of
from runtime.dashboard_metrics import DashboardMetrics
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused
from sinks.clickhouse.reader import Unanswerable
from sinks.exports.pool import ExportCrashed, ExportsBusy, ExportsClosed, ExportTooLong

_log = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]
_TOLD_ERRORS: Final = (
    HTTPException,
    RequestValidationError,
    ClickHouseAway,
    ClickHouseRefused,
    *PRICE_FAULTS,
    Unanswerable,
    WindowsUnavailable,
    AuditUnwritable,
    SessionsUnwritable,
    ExportsBusy,
    ExportTooLong,
    ExportCrashed,
    ExportsClosed,
    Exception,
)
"""Each by its own class: what is only known as an ``Exception`` also goes to the log of the server."""


def create_app(site: Site, assets: Assets, version: str, metrics: DashboardMetrics) -> ASGIApp:
    """Return the application over everything that it works with."""
    app = FastAPI(
        title="convometer",
        version=version,
        summary="Exact metering of WhatsApp Business traffic.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        routes=[
            Route("/", _home),
            Route("/healthz", _alive),
            Route("/readyz", _ready(site)),
            Route("/static/{path:path}", assets.serve),
            *access_routes(site.gate, _access_renderer(site)),
            *(Route(page.path, _endpoint(site, page), methods=[page.method]) for page in PAGES),
            *api_documents(),
        ],
    )
    app.state.site = site
    app.include_router(router)
    refusing = _Refusing(site)
    for error in _TOLD_ERRORS:
        app.add_exception_handler(error, refusing)
    is_https = site.settings().dashboard.public_url.startswith("https://")
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    return Counted(Shell(app, is_https), [*paths, router.prefix], metrics)


async def _home(_request: Request) -> Response:
    return RedirectResponse("/overview", 303)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


def _ready(site: Site) -> Endpoint:
    async def answer(_request: Request) -> Response:
        await site.meter.data_version()
        return PlainTextResponse("ready\n")

    return answer


def _endpoint(site: Site, page: PageRoute) -> Endpoint:
    """Return what answers a page's route to those who may have it."""

    async def answer(request: Request) -> Response:
        principal = await site.gate.identify(request)
        if principal is None:
            if page.method == "GET" and token_of(request) is None:
                target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/sign-in?{query_of({'next': target})}", 303)
            raise Refusal(401, "Sign in first.")
        request.state.visit = visit = Visit(site, request, principal)
        for permission in filter(None, (page.permission, page.also)):
            if not principal.may(permission):
                visit.note("denied", "", f"{request.url.path} needs {permission}")
                raise Refusal(403, f"This needs the permission “{permission}”; your role does not have it.")
        if page.method == "POST":
            await site.gate.check_form(request, principal)
        return await page.handler(visit)

    return answer


def _access_renderer(site: Site) -> Callable[[Request, str, dict[str, object], int], Response]:
    """Return what renders the pages of whoever is not signed in."""

    def render(request: Request, template: str, context: dict[str, object], status: int) -> Response:
        text = site.templates.get_template(template).render(
            {"assets": site.assets, "path": request.url.path, **context}
        )
        return HTMLResponse(text, status)

    return render


class _Refusing:
    """Answers errors: a problem document for programs, a page for browsers."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._render = _access_renderer(site)

    async def __call__(self, request: Request, error: Exception) -> Response:
        refusal = _refusal_of(error)
        headers = dict(refusal.headers or {})
        accepts_html = "text/html" in request.headers.get("accept", "")
        if request.url.path.startswith("/api/") or not accepts_html:
            return problem_response(refusal.status_code, refusal.detail, headers, refusal.faults)
        context: dict[str, object] = {
            "phrase": HTTPStatus(refusal.status_code).phrase,
            "detail": refusal.detail,
            "faults": refusal.faults,
        }
        visit: Visit | None = getattr(request.state, "visit", None)
        if visit is not None:
            context |= {"visit": visit, "principal": visit.principal}
        response = self._render(request, "refused.html", context, refusal.status_code)
        response.headers.update(headers)
        return response


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, RequestValidationError):
        faults = tuple(
            f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in error.errors()
        )
        return Refusal(422, "; ".join(faults), faults=faults)
    if isinstance(error, (AuditUnwritable, SessionsUnwritable)):
        return _refusal_of_unwritable(error)
    if isinstance(error, ExportsBusy):
        return Refusal(
            429,
            "Too many exports are being made. Try again in some seconds.",
            {"Retry-After": str(error.retry_after_seconds)},
        )
    if isinstance(error, ExportTooLong):
        return Refusal(503, "This export takes too long. Choose fewer days.")
    if isinstance(error, (ExportCrashed, ExportsClosed)):
        return Refusal(503, "This export could not be made. Try again.", {"Retry-After": "5"})
    return refusal_of(error)


def _refusal_of_unwritable(error: AuditUnwritable | SessionsUnwritable) -> Refusal:
    if isinstance(error, SessionsUnwritable):
        _log.error("nobody can sign in or out: %s", error)
        return Refusal(503, "Nobody can sign in or out at the moment. Try again later.")
    _log.error("nothing is done that could not be noted: %s", error)
    return Refusal(
        503, "The audit log cannot be written, and what cannot be noted is not done. Try again later."
    )
