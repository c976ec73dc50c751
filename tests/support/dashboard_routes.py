"""Every route of the dashboard: as the application has them, and what each should answer to whom.

Owns the walk over the application, the list of routes that anybody may ask, and what can be read in an answer. Does not
own who may see what: that stands beside each page and each route of the API.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from pypdf import PdfReader
from starlette.types import ASGIApp

from dashboard.access.permissions import Permission
from dashboard.api.routes import router
from dashboard.counting import Counted
from dashboard.http import Shell
from dashboard.pages.routes import PAGES
from tests.support.dashboards import FOREIGN, FOREIGN_MARKS, OWN

MARKS = {OWN: (OWN, "Own Ltd", "5550001", "5550002"), FOREIGN: FOREIGN_MARKS}
"""Texts that only answers about an account can have, its id first."""
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    "": ("text/html", (b"<!doctype html>",)),
    "csv": ("text/csv", (b"day,", b"section,")),
    "jpeg": ("image/jpeg", (b"\xff\xd8\xff",)),
    "json": ("application/json", (b"{", b"[")),
    "pdf": ("application/pdf", (b"%PDF-",)),
    "png": ("image/png", (b"\x89PNG\r\n",)),
    "svg": ("image/svg+xml", (b"<svg",)),
    "xlsx": (WORKBOOK, (b"PK\x03\x04",)),
}
"""Media type and possible first bytes of every format that anything comes in; the empty one is a page."""
PICTURES = ("png", "jpeg", "pdf", "svg")
FORMATS = {
    "/charts/active-users.{format:str}": ("json", "svg"),
    "/downloads/chart.{format:str}": PICTURES,
    "/downloads/usage.{format:str}": ("csv", "xlsx"),
    "/downloads/active-users.{format:str}": PICTURES,
    "/downloads/report.{format:str}": ("json", "csv", "xlsx", "pdf"),
}
"""The formats that a route takes; each other one should be refused."""


@dataclass(frozen=True, slots=True)
class Target:
    """One request of the matrix."""

    method: str
    route: str
    """Path as the application has it."""
    path: str
    """The same with a format; ``{account}`` is still in it."""
    needs: frozenset[Permission]
    is_about_account: bool
    form: str = ""
    """Format of the answer; empty = a page."""

    @property
    def is_api(self) -> bool:
        """Tell whether programs ask it, which are refused instead of led to the sign-in."""
        return self.route.startswith("/api/v1/")

    def url(self, account: str) -> str:
        """Return the URL that asks about an account."""
        return f"{self.path.format(account=account)}?account={account}&user=4915100000001&month=2026-11"


def _page_targets() -> Iterator[Target]:
    for page in PAGES:
        needs = frozenset(filter(None, (page.permission, page.also)))
        for form in FORMATS.get(page.path, (page.path.partition(".")[2],)):
            path = page.path.replace("{format:str}", form)
            yield Target(page.method, page.path, path, needs, page.is_about_account, form)
        if page.method == "GET":
            # Starlette answers it by itself, with the same handler: one format tells as much as all.
            yield Target("HEAD", page.path, path, needs, page.is_about_account, form)


def _api_targets() -> Iterator[Target]:
    for route in router.routes:
        assert isinstance(route, APIRoute), f"{route} is no route of the API"
        [permission] = [
            each.call.permission  # type: ignore[union-attr]
            for each in route.dependant.dependencies
            if hasattr(each.call, "permission")
        ]
        about = route.path != "/api/v1/accounts"
        for method in sorted(route.methods or ()):
            yield Target(method, route.path, route.path, frozenset({permission}), about, "json")


def _docs_targets() -> Iterator[Target]:
    for method in ("GET", "HEAD"):
        yield Target(method, "/api/docs", "/api/docs", frozenset({Permission.USAGE}), is_about_account=False)


TARGETS = (*_page_targets(), *_api_targets(), *_docs_targets())


@dataclass(frozen=True, slots=True)
class Public:
    """A route that asks nobody who they are."""

    method: str
    route: str
    url: str
    """What it is tried with."""
    status: int
    """That nobody is answered with."""
    reason: str
    """Why it may."""


def _read(route: str, url: str, status: int, reason: str) -> Iterator[Public]:
    for method in ("GET", "HEAD"):
        yield Public(method, route, url, status, reason)


PUBLIC = (
    *_read("/", "/", 303, "leads to the overview, which asks"),
    *_read("/healthz", "/healthz", 200, "a probe of the process: says nothing but ok"),
    *_read("/readyz", "/readyz", 200, "a probe of the totals: says nothing but ready"),
    *_read("/static/{path:path}", "/static/nothing.js", 404, "files of the package, the same for everybody"),
    *_read("/sign-in", "/sign-in?next=/overview", 200, "the form is for whoever is not signed in"),
    Public("POST", "/sign-in", "/sign-in", 401, "asks for name and password itself"),
    Public("POST", "/sign-out", "/sign-out", 303, "without a session there is nothing to end"),
    *_read("/link/{secret}", "/link/guessed", 404, "its secret is the sign-in"),
    Public("POST", "/link/{secret}", "/link/guessed", 404, "its secret is the sign-in"),
    *_read(
        "/api/openapi.json", "/api/openapi.json", 200, "describes the API and says nothing of any account"
    ),
)


def application(served: ASGIApp) -> FastAPI:
    """Return the application within what the dashboard serves."""
    assert isinstance(served, Counted)
    shell = served._app
    assert isinstance(shell, Shell)
    inner = shell._app
    assert isinstance(inner, FastAPI)
    return inner


def walked(app: FastAPI) -> set[tuple[str, str]]:
    """Return (method, path) of everything that the application answers.

    What is no plain route, such as a mounted application, has its class for a method: nobody knows what is behind it.
    """
    return {
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        for method in context.methods or {type(context.route).__name__}
    }


def unknown_routes(app: FastAPI) -> set[tuple[str, str]]:
    """Return what neither the matrix nor the list of public routes has."""
    known = {(target.method, target.route) for target in TARGETS}
    return walked(app) - known - {(public.method, public.route) for public in PUBLIC}


def readable_text(content: bytes, media_type: str) -> str:
    """Return what people and programs can read in an answer or an attachment; of dots of a picture, nothing."""
    kind = media_type.partition(";")[0]
    if not content:
        return ""
    if kind == WORKBOOK:
        with zipfile.ZipFile(io.BytesIO(content)) as book:
            return "\n".join(book.read(name).decode("utf-8") for name in book.namelist())
    if kind == "application/pdf":
        return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)
    return "" if kind in ("image/png", "image/jpeg") else content.decode("utf-8")


def marks_in(text: str, account: str) -> list[str]:
    """Return what in a text tells of an account."""
    return [mark for mark in MARKS[account] if mark in text]
