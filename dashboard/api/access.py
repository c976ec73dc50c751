"""Who may ask the API for what.

Owns the dependency of every route: without it a route has no visit, and so no answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from dashboard.access.permissions import Permission
from dashboard.http import Refusal
from dashboard.site import Site, Visit


def allowed(permission: Permission) -> Callable[[Request], Awaitable[Visit]]:
    """Return the dependency of a route that needs a permission.

    It raises ``Refusal``: 401 for nobody, 403 for somebody who may not.
    """

    async def visit_of(request: Request) -> Visit:
        site: Site = request.app.state.site
        principal = await site.gate.identify(request)
        if principal is None:
            raise Refusal(
                401,
                "Sign in, or send `Authorization: Bearer TOKEN`; `convometer user token add` makes tokens.",
                {"WWW-Authenticate": 'Bearer realm="convometer"'},
            )
        visit = Visit(site, request, principal)
        if not principal.may(permission):
            visit.note("denied", "", f"{request.url.path} needs {permission}")
            raise Refusal(403, f"This needs the permission `{permission}`.")
        return visit

    visit_of.permission = permission  # type: ignore[attr-defined]
    return visit_of
