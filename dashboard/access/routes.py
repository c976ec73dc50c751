"""Signing in and out: by password, and by the one-time link of the first run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboard.access.gate import LINK_NAME, Gate, form_of, local_path
from dashboard.http import Refusal

Render = Callable[[Request, str, dict[str, object], int], Response]
"""Makes a page of (request, template, context, status)."""
_NAME_MAX: Final = 200
_ROLE_OF_LINK: Final = "admin"


class SignIn:
    """The pages of whoever is not signed in."""

    def __init__(self, gate: Gate, render: Render) -> None:
        """Take who decides, and what makes pages."""
        self._gate = gate
        self._render = render

    async def form(self, request: Request) -> Response:
        """Show the sign-in form, or go on where somebody is signed in already."""
        target = local_path(request.query_params.get("next", ""))
        if await self._gate.identify(request) is not None:
            return RedirectResponse(target, 303)
        return self._page(request, target)

    def _page(
        self, request: Request, target: str, status: int = 200, *, name: str = "", fault: str = ""
    ) -> Response:
        context: dict[str, object] = {
            "target": target,
            "name": name,
            "fault": fault,
            "has_own_sign_in": self._gate.has_own_sign_in,
        }
        return self._render(request, "sign_in.html", context, status)

    async def sign_in(self, request: Request) -> Response:
        """Take name and password."""
        self._gate.check_origin(request)
        if not self._gate.has_own_sign_in:
            raise Refusal(403, "People sign in at the proxy in front of this dashboard.")
        form = await form_of(request)
        name = str(form.get("name", "")).strip().lower()[:_NAME_MAX]
        target = local_path(str(form.get("next", "")))
        gate, now = self._gate, self._gate.now_seconds()
        address = gate.address_of(request)
        # What is no name here may be a password in the wrong field: that must not get into the log.
        who = name if gate.users.knows(name) else ""
        wait_seconds = gate.throttle.wait_seconds(name, address, now)
        if wait_seconds > 0:
            gate.note(request, "sign_in_delayed", who, "")
            seconds = math.ceil(wait_seconds)
            response = self._page(
                request, target, 429, name=name, fault=f"Too many failed attempts. Try again in {seconds} s."
            )
            response.headers["Retry-After"] = str(seconds)
            return response
        # Counted before the password is looked at, so that many at once are no way around the wait.
        gate.throttle.failed(name, address, now)
        user = await gate.verify(name, str(form.get("password", "")))
        if user is None:
            gate.note(request, "sign_in_failed", who, "")
            return self._page(request, target, 401, name=name, fault="Name or password is wrong.")
        gate.throttle.succeeded(name, address)
        response = RedirectResponse(target, 303)
        gate.note(request, "sign_in", user.name, user.role)
        gate.sign_in(response, user.name, user.fingerprint, request.cookies.get(gate.cookie, ""))
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        principal = await self._gate.identify(request)
        response = RedirectResponse("/sign-in", 303)
        if principal is not None:
            await self._gate.check_form(request, principal)
            self._gate.note(request, "sign_out", principal.name, principal.role)
            self._gate.sign_out(request, response)
        return response

    async def link(self, request: Request) -> Response:
        """Show the button of a one-time link. Looking does not use it up: mail scanners and previews look too."""
        secret = request.path_params["secret"]
        is_good = self._gate.sessions.knows_link(secret, self._gate.now_seconds())
        return self._render(
            request, "link.html", {"is_good": is_good, "path": request.url.path}, 200 if is_good else 404
        )

    async def use_link(self, request: Request) -> Response:
        """Sign in by a one-time link."""
        self._gate.check_origin(request)
        secret = request.path_params["secret"]
        if not self._gate.sessions.use_link(secret, self._gate.now_seconds()):
            self._gate.note(request, "link_refused", LINK_NAME, "")
            return self._render(request, "link.html", {"is_good": False, "path": request.url.path}, 404)
        response = RedirectResponse("/overview", 303)
        self._gate.sign_in(response, LINK_NAME, "", request.cookies.get(self._gate.cookie, ""))
        self._gate.note(request, "one_time_link", LINK_NAME, _ROLE_OF_LINK)
        return response


def access_routes(gate: Gate, render: Render) -> list[Route]:
    """Return the routes."""
    pages = SignIn(gate, render)
    return [
        Route("/sign-in", pages.form, methods=["GET"]),
        Route("/sign-in", pages.sign_in, methods=["POST"]),
        Route("/sign-out", pages.sign_out, methods=["POST"]),
        Route("/link/{secret}", pages.link, methods=["GET"]),
        Route("/link/{secret}", pages.use_link, methods=["POST"]),
    ]
