"""The audit log, for administrators."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from dashboard.access.audit import AuditEntry
from dashboard.site import Visit

SHOWN: Final = 200


async def audit_page(visit: Visit) -> Response:
    """Show the newest entries of the accounts that may be seen; who sees them all has those of no account as well."""
    principal = visit.principal

    def is_wanted(entry: AuditEntry) -> bool:
        # What an entry is about may name users and addresses of its account.
        is_own = entry.who == principal.user or entry.who.startswith(f"{principal.user}/")
        return principal.accounts is None or is_own or entry.account in principal.accounts

    return await visit.render("audit.html", entries=visit.site.audit.tail(SHOWN, is_wanted))
