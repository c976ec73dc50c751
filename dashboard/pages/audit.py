"""The audit log, for administrators."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from dashboard.site import Visit

SHOWN: Final = 200


async def audit_page(visit: Visit) -> Response:
    """Show the newest entries."""
    return await visit.render("audit.html", entries=visit.site.audit.tail(SHOWN))
