"""``Download report``: the pane that sends the csv to e-mail addresses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from dashboard.asking import ask_freshness, ask_summary
from dashboard.http import Refusal
from dashboard.pages.overview import file_stem, sound_view, usage_csv
from dashboard.ports import AccountInfo
from dashboard.site import Visit
from dashboard.tables import fact_lines, facts_of
from dashboard.views import View
from sinks.mail import Attachment, Mail, MailFailed, MailOutcome, check_recipients, send

_BETWEEN_ADDRESSES = re.compile(r"[\s,;]+")


@dataclass(frozen=True, slots=True)
class _Filled:
    """What the form holds, and what became of it."""

    typed: str = ""
    chosen: Sequence[str] = ()
    faults: Sequence[str] = ()
    outcome: MailOutcome | None = None


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
    checked = check_recipients(addresses, settings)
    faults = list(checked.faults)
    if not faults and not visit.site.mail_budget.take(visit.principal.name, visit.site.clock.now_seconds()):
        faults = [f"{settings.mails_per_hour_max} mails were sent within an hour; try again later"]
    if faults:
        return await _pane(visit, view, info, _Filled(typed, chosen, faults), status=400)
    try:
        mail = await _mail(visit, view, info, checked.addresses)
        outcome = await send(mail, settings, visit.site.now())
    except MailFailed as failed:
        visit.note("email_failed", view.account, f"{', '.join(checked.addresses)}: {failed}")
        return await _pane(visit, view, info, _Filled(typed, chosen, [str(failed)]), status=502)
    refused = ", ".join(outcome.refused) or "none"
    visit.note("email", view.account, f"{view.query()} to {', '.join(outcome.accepted)}; refused: {refused}")
    visit.site.recipients.used(visit.principal.name, outcome.accepted, visit.site.clock.now_seconds())
    return await _pane(visit, view, info, _Filled(outcome=outcome))


async def _mail(visit: Visit, view: View, info: AccountInfo, addresses: tuple[str, ...]) -> Mail:
    summary = await ask_summary(visit, view)
    facts = facts_of(view, info, await ask_freshness(visit.site), visit.site.now())
    lines = [
        f"WhatsApp usage of {info.title}, {view.days_text} (days in {info.time_zone}).",
        "The figures by day are attached as CSV.",
        "",
        *fact_lines(facts),
        f"Sent by: {visit.principal.name}",
    ]
    return Mail(
        to=addresses,
        subject=f"WhatsApp usage of {info.title}, {view.days_text}",
        text="\n".join(lines),
        attachments=(Attachment(f"{file_stem(view, info)}.csv", "text/csv", usage_csv(summary)),),
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
        offered=visit.site.recipients.offered(visit.principal.name),
        mail_is_set_up=bool(settings.host),
        domains=[domain for domain in settings.allowed_domains if domain != "*"],
        recipients_max=settings.recipients_max,
    )
