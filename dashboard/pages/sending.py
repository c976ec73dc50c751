"""``Download report``: the pane that sends the csv to e-mail addresses."""

from __future__ import annotations

import logging
import math
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from dashboard.access.audit import AuditUnwritable
from dashboard.asking import ask_freshness, ask_summary
from dashboard.formats import age_text
from dashboard.http import Refusal, safe_file_name
from dashboard.pages.overview import file_stem, sound_view, usage_csv
from dashboard.ports import AccountInfo
from dashboard.site import Visit
from dashboard.tables import fact_lines, facts_of
from dashboard.views import View
from sinks.mail import AddressesRefused, Attachment, Mail, MailFault, MailOutcome, check_recipients, send

_log = logging.getLogger(__name__)

_BETWEEN_ADDRESSES = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class _Filled:
    """What the form holds, and what became of it."""

    typed: str = ""
    chosen: Sequence[str] = ()
    faults: Sequence[str] = ()
    outcome: MailOutcome | None = None
    is_unknown: bool = False
    """Whether the mail may be out although it failed."""


async def send_form(visit: Visit) -> Response:
    """Show the pane."""
    view, info = await sound_view(visit)
    return await _pane(visit, view, info, _Filled())


async def send_report(visit: Visit) -> Response:
    """Send the csv of a view to the addresses of the form."""
    view, info = await sound_view(visit)
    form = await visit.request.form(max_files=0, max_fields=100)
    typed = str(form.get("addresses", ""))
    chosen = [str(address) for address in form.getlist("address")]
    addresses = [each for each in (*chosen, *_BETWEEN_ADDRESSES.split(typed)) if each]
    settings = visit.site.settings().dashboard.mail
    if not settings.host:
        raise Refusal(409, "Sending by e-mail is not set up: the settings name no mail server.")
    try:
        to = check_recipients(addresses, settings.allowed_domains, settings.recipients_max, settings.sender)
        _take_budget(visit)
    except AddressesRefused as refused:
        faults = [f"{address}: {reason}" if address else reason for address, reason in refused.faults]
        return await _pane(visit, view, info, _Filled(typed, chosen, faults), status=400)
    mail = await _mail(visit, view, info, to)
    # Before it goes: what cannot be noted is not sent.
    visit.note("email_begun", view.account, f"{view.query()} to {', '.join(to)}")
    try:
        outcome = await send(mail, settings)
    except MailFault as fault:
        _note_outcome(visit, view.account, "email_failed", f"{', '.join(to)}: {fault.kind}")
        faults = [str(fault), *(f"{address}: {reason}" for address, reason in fault.refused.items())]
        filled = _Filled(typed, chosen, faults, is_unknown=fault.kind == "timeout")
        return await _pane(visit, view, info, filled, status=502)
    left_out = ", ".join(outcome.refused) or "none"
    _note_outcome(
        visit, view.account, "email", f"{view.query()} to {', '.join(outcome.accepted)}; refused: {left_out}"
    )
    _offer_again(visit, outcome.accepted)
    return await _pane(visit, view, info, _Filled(outcome=outcome))


def _note_outcome(visit: Visit, account: str, event: str, what: str) -> None:
    """Note what became of a mail. It is out by now: whoever sent it is told so even if the log takes no more."""
    try:
        visit.note(event, account, what)
    except AuditUnwritable as fault:
        _log.error("what became of a mail could not be noted (%s %s): %s", event, what, fault)


def _offer_again(visit: Visit, addresses: Sequence[str]) -> None:
    """Keep the addresses for the next time; the mail is out, and was sent whether they can be kept or not."""
    try:
        visit.site.recipients.used(visit.principal.user, addresses, visit.site.clock.now_seconds())
    except sqlite3.Error as fault:
        _log.warning("addresses that were written to could not be kept: %s", fault)


def _take_budget(visit: Visit) -> None:
    """Count one mail of this user.

    Raises:
        Refusal: 429, the hour's are used up.
    """
    wait_seconds = visit.site.mail_budget.take(visit.principal.user, visit.site.clock.now_seconds())
    if wait_seconds:
        raise Refusal(
            429,
            f"You have sent as many mails within an hour as you may. Try again in {age_text(wait_seconds)}.",
            {"Retry-After": str(math.ceil(wait_seconds))},
        )


async def _mail(visit: Visit, view: View, info: AccountInfo, addresses: tuple[str, ...]) -> Mail:
    # Freshness first: the figures may be fresher than it says, never staler.
    facts = facts_of(view, info, await ask_freshness(visit.site), visit.site.now())
    summary = await ask_summary(visit, view)
    content = await usage_csv(visit, summary)
    zones = info.zones_text(view.period.first, view.period.last)
    lines = [
        f"WhatsApp usage of {info.title}, {view.days_text} (days in {zones}).",
        "The figures by day are attached as CSV.",
        "",
        *fact_lines(facts),
        f"Sent by: {visit.principal.name}",
    ]
    return Mail(
        to=addresses,
        subject=f"WhatsApp usage of {info.title}, {view.days_text}",
        text="\n".join(lines),
        attachments=(Attachment(safe_file_name(f"{file_stem(view, info)}.csv"), content, "text/csv"),),
    )


async def _pane(visit: Visit, view: View, info: AccountInfo, filled: _Filled, status: int = 200) -> Response:
    settings = visit.site.settings().dashboard.mail
    return await visit.render(
        "send.html",
        status=status,
        account=view.account,
        view=view,
        info=info,
        faults=filled.faults,
        typed=filled.typed,
        chosen=filled.chosen,
        outcome=filled.outcome,
        is_unknown=filled.is_unknown,
        offered=visit.site.recipients.offered(visit.principal.user),
        mail_is_set_up=bool(settings.host),
        domains=[domain for domain in settings.allowed_domains if domain != "*"],
        recipients_max=settings.recipients_max,
    )
