"""One user's windows, for support staff: personal data, so each look is noted in the audit log."""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from dashboard.http import Refusal
from dashboard.pages.overview import choices
from dashboard.site import Visit
from dashboard.usage import TITLES
from schemas.user_windows import UserWindows, WindowsAsked

_BUSINESS_SCOPED: Final = re.compile(r"[A-Z]{2}\.[A-Za-z0-9.]{1,128}")
_PUNCTUATION: Final = str.maketrans("", "", " -().\u00a0")
_PHONE: Final = re.compile(r"[0-9]{4,20}")


async def windows_page(visit: Visit) -> Response:
    """Show the form, and what was found for a user."""
    account = await visit.account()
    if not account:
        return await visit.render("nothing.html", account="")
    info = await visit.site.account_info(account)
    parameters = visit.request.query_params
    asked = parameters.get("user", "").strip()
    found, fault = None, ""
    if asked:
        try:
            found = await asked_windows(visit, account, asked, parameters.get("number", ""))
        except Refusal as refusal:
            if refusal.status_code != 400:
                raise
            fault = refusal.detail
    return await visit.render(
        "windows.html",
        status=400 if fault else 200,
        account=account,
        info=info,
        asked=asked,
        number=parameters.get("number", ""),
        numbers=choices(info.numbers, (), info.number_title),
        found=found,
        fault=fault,
        now=visit.site.now(),
        titles=TITLES,
    )


async def asked_windows(visit: Visit, account: str, user: str, number: str) -> UserWindows:
    """Look a user's windows up.

    Raises:
        Refusal: 400, this is neither a phone number nor a user id.
        WindowsUnavailable: nobody answers for this user at the moment.
    """
    asked = WindowsAsked(account, user_key(user), visit.site.clock.now_seconds(), number[:200])
    found = await visit.site.meter.windows(asked)
    visit.note("windows", account, f"{asked.user} {asked.number}".strip())
    return found


def user_key(text: str) -> str:
    """Return a user as the totals know them: digits of a phone number, or a business-scoped user id.

    Raises:
        Refusal: 400.
    """
    text = text.strip()
    if _BUSINESS_SCOPED.fullmatch(text):
        return text
    digits = text.translate(_PUNCTUATION).removeprefix("+")
    if not _PHONE.fullmatch(digits):
        raise Refusal(
            400, "user: expected a phone number with its country code, or a business-scoped user id"
        )
    return digits
