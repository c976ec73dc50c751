"""Counts what the application answers, and how long it takes.

Owns the step between server and application. A path's first part is its label: a table of ours, as anyone can invent
paths.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runtime.dashboard_metrics import DashboardMetrics

OTHER: Final = "other"
_PROBES: Final = frozenset({"/healthz", "/readyz"})


class Counted:
    """An application whose answers are counted, all but those to probes."""

    def __init__(self, app: ASGIApp, paths: Iterable[str], metrics: DashboardMetrics) -> None:
        """Take the application and the paths of its routes."""
        self._app = app
        self._routes = frozenset(map(_first_part, paths)) - _PROBES
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. An answer that fails before it begins is the server's 500."""
        if scope["type"] != "http" or scope["path"] in _PROBES:
            await self._app(scope, receive, send)
            return
        status, begun = 500, perf_counter()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            route = _first_part(scope["path"])
            known = route if route in self._routes else OTHER
            self._metrics.count_request(known, status, perf_counter() - begun)


def _first_part(path: str) -> str:
    return "/" + path.removeprefix("/").partition("/")[0]
