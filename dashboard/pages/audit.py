"""The audit log, for administrators."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.responses import Response

from dashboard.access.audit import LOOK_BACK_BYTES, AuditEntry
from dashboard.site import Visit
from runtime.setting_tables import MIB

SHOWN: Final = 200


async def audit_page(visit: Visit) -> Response:
    """Show the newest entries of the accounts that may be seen; who sees them all has those of no account as well."""
    principal = visit.principal

    def is_wanted(entry: AuditEntry) -> bool:
        # What an entry is about may name users and addresses of its account.
        is_own = entry.who == principal.user or entry.who.startswith(f"{principal.user}/")
        return principal.accounts is None or is_own or entry.account in principal.accounts

    # In a thread: others are answered meanwhile.
    audit = visit.site.audit
    entries = await asyncio.to_thread(audit.tail, SHOWN, is_wanted)
    is_cut = len(entries) < SHOWN and audit.size_bytes() > LOOK_BACK_BYTES
    return await visit.render("audit.html", entries=entries, is_cut=is_cut, mebibytes=LOOK_BACK_BYTES // MIB)
