"""Reports by e-mail through the application: what is in them, how many an hour, and what the audit log has of each."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import httpx
import pytest

from dashboard.access.audit import AuditEntry
from dashboard.access.permissions import Permission
from dashboard.recipients import Recipients
from runtime.dashboard_tables import DashboardSettings, MailSettings
from sinks.mail import MailFault
from tests.support.dashboard_process import REFUSED, MailBox, mail_box
from tests.support.dashboards import FOREIGN, FOREIGN_MARKS, NOW, OWN, Served, serving_dashboard

pytestmark = pytest.mark.anyio
USERS = {"ann": ("finance", (OWN,)), "bob": ("viewer", (OWN,)), "sue": ("support", (OWN,))}
URL = f"/send?account={OWN}"
PER_HOUR = 2
HOUR_SECONDS = 3600


@pytest.fixture
def box() -> Iterator[MailBox]:
    """Return a mail server."""
    with mail_box() as opened:
        yield opened


@asynccontextmanager
async def sending_to(port: int, directory: Path) -> AsyncIterator[Served]:
    """Give a dashboard that sends its mails to a port of this machine."""
    mail = MailSettings(
        host="127.0.0.1",
        port=port,
        security="none",
        sender="billing@example.com",
        mails_per_hour_max=PER_HOUR,
        timeout_seconds=0.5,
    )
    async with serving_dashboard(directory, DashboardSettings(mail=mail), users=USERS) as opened:
        yield opened


@pytest.fixture
async def served(tmp_path: Path, box: MailBox) -> AsyncIterator[Served]:
    """Return a dashboard whose mail server takes everything, but for one address."""
    async with sending_to(box.port, tmp_path) as opened:
        yield opened


async def post(
    client: httpx.AsyncClient, *addresses: str, url: str = URL, accept: str = "text/html"
) -> httpx.Response:
    """Fill the form in as a browser does, and send it."""
    page = await client.get(URL)
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None, page.text
    form = {"csrf": csrf[1], "addresses": "\n".join(addresses)}
    return await client.post(url, data=form, headers={"Accept": accept})


def audited(served: Served, *events: str) -> list[AuditEntry]:
    """Return what the audit log has of some events, the oldest first."""
    entries = served.dashboard.gate.audit.tail(1000)
    return [entry for entry in reversed(entries) if entry.event in events]


def mails_audited(served: Served) -> list[tuple[str, str, str]]:
    """Return event, user and account of each mail in the audit log, sent or not."""
    return [(each.event, each.who, each.account) for each in audited(served, "email", "email_failed")]


async def offered(client: httpx.AsyncClient) -> list[str]:
    """Return the addresses that the form offers for the next time."""
    return re.findall(r'name="address" value="([^"]+)"', (await client.get(URL)).text)


async def test_a_mail_that_was_sent_has_the_file_and_is_audited(served: Served, box: MailBox) -> None:
    """The attachment is the file of the same view, to the byte; the log has who sent what to whom, and when."""
    client = await served.signed_in("ann")
    url = f"{URL}&duration=last-30-days&number=5550001"
    response = await post(client, "first@example.com", "second@example.com", url=url)
    assert response.status_code == 200
    assert "The mail server took the report for first@example.com, second@example.com." in response.text
    [mail] = box.mails
    [attachment] = mail.iter_attachments()
    file = await client.get(url.replace("/send", "/downloads/usage.csv"))
    assert attachment.get_payload(decode=True) == file.content
    assert box.envelopes == [("first@example.com", "second@example.com")]
    [entry] = audited(served, "email", "email_failed")
    assert (entry.event, entry.who, entry.role, entry.account) == ("email", "ann", "finance", OWN)
    assert entry.what == (
        f"account={OWN}&duration=last-30-days&number=5550001 to first@example.com, second@example.com; refused: none"
    )
    assert (entry.address, entry.at) == ("127.0.0.1", NOW)
    assert sorted(await offered(client)) == ["first@example.com", "second@example.com"]


@pytest.mark.parametrize(("lines_left", "status", "mails"), [(0, 503, 0), (1, 200, 1), (2, 200, 1)])
async def test_a_mail_that_cannot_be_noted_is_not_sent(
    served: Served, box: MailBox, monkeypatch: pytest.MonkeyPatch, lines_left: int, status: int, mails: int
) -> None:
    """Its line is in the log before it goes: on a full disk nothing goes, and what is out is never called unsent."""
    client, write = await served.signed_in("ann"), os.write
    log = served.data / "dashboard" / "audit.ndjson"
    lines = len(log.read_bytes().splitlines())

    def write_some(descriptor: int, line: bytes) -> int:
        if b'"event":"email' in line and len(log.read_bytes().splitlines()) >= lines + lines_left:
            raise OSError(errno.ENOSPC, "no space left")
        return write(descriptor, line)

    monkeypatch.setattr("os.write", write_some)
    response = await post(client, "reader@example.com")
    assert response.status_code == status
    told = "The audit log cannot be written" if status == 503 else "took the report for reader@example.com"
    assert told in response.text
    assert len(box.envelopes) == mails
    noted = audited(served, "email_begun", "email")
    assert [entry.event for entry in noted] == ["email_begun", "email"][:lines_left]
    assert len({entry.what.removesuffix("; refused: none") for entry in noted}) <= 1


async def test_a_mail_that_is_out_is_told_of_although_its_addresses_cannot_be_kept(
    served: Served, box: MailBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that it failed sends it again."""
    client = await served.signed_in("ann")
    full = Mock(side_effect=sqlite3.OperationalError("database or disk is full"))
    monkeypatch.setattr(Recipients, "used", full)
    response = await post(client, "reader@example.com")
    assert (response.status_code, len(box.envelopes), full.call_count) == (200, 1, 1)
    assert "took the report for reader@example.com" in response.text


async def test_a_mail_of_which_nobody_knows_is_not_called_unsent(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server had all of it and said nothing: the page warns that it may arrive twice."""
    fault = MailFault("timeout", "no answer in time; whether the mail was taken is not known")
    monkeypatch.setattr("dashboard.pages.sending.send", AsyncMock(side_effect=fault))
    response = await post(await served.signed_in("ann"), "reader@example.com")
    assert response.status_code == 502
    assert "it may arrive twice" in response.text
    assert "Nothing was sent" not in response.text
    assert mails_audited(served) == [("email_failed", "ann", OWN)]


async def test_tokens_have_the_hour_of_their_user(served: Served, box: MailBox) -> None:
    """A user who has sent what one may sends no more with a token, nor with the next; the log says which it was."""
    for name in ("first", "second"):
        token = served.client(Authorization=f"Bearer {served.token('ann', *Permission)}")
        sent = await token.post(URL, data={"addresses": f"{name}@example.com"})
        assert sent.status_code == 200
    token = served.client(Authorization=f"Bearer {served.token('ann', *Permission)}")
    assert (await token.post(URL, data={"addresses": "third@example.com"})).status_code == 429
    client = await served.signed_in("ann")
    assert (await post(client, "third@example.com")).status_code == 429
    assert sorted(await offered(client)) == ["first@example.com", "second@example.com"]
    assert len(box.mails) == PER_HOUR
    assert all(entry.who.startswith("ann/") for entry in audited(served, "email"))


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_no_more_mails_than_an_hour_allows(served: Served, box: MailBox, accept: str) -> None:
    """The one too many is refused with the seconds to wait; before them it stays refused, after them one goes out."""
    client = await served.signed_in("ann")
    for _ in range(PER_HOUR):
        assert (await post(client, "reader@example.com")).status_code == 200
        served.clock.advance(600_000)
    refused = await post(client, "reader@example.com", accept=accept)
    wait_seconds = HOUR_SECONDS - PER_HOUR * 600
    assert (refused.status_code, refused.headers["retry-after"]) == (429, str(wait_seconds))
    assert "You have sent as many mails within an hour as you may. Try again in 40 min." in refused.text
    served.clock.advance((wait_seconds - 1) * 1000)
    still = await post(client, "reader@example.com")
    assert (still.status_code, still.headers["retry-after"]) == (429, "1")
    assert len(box.mails) == PER_HOUR
    assert mails_audited(served) == [("email", "ann", OWN)] * PER_HOUR
    served.clock.advance(1000)
    assert (await post(client, "reader@example.com")).status_code == 200
    assert len(box.mails) == PER_HOUR + 1


async def test_each_user_has_an_hour_of_their_own(served: Served, box: MailBox) -> None:
    """Whoever has used it up takes nothing from others; another browser or address of the same user is no way out."""
    ann, bob = await served.signed_in("ann"), await served.signed_in("bob")
    for _ in range(PER_HOUR):
        await post(ann, "reader@example.com")
    again = await served.signed_in("ann")
    for client, status in ((ann, 429), (again, 429), (bob, 200)):
        assert (await post(client, "reader@example.com")).status_code == status
    assert mails_audited(served)[-1] == ("email", "bob", OWN)
    assert len(box.mails) == PER_HOUR + 1


async def test_what_is_refused_before_it_is_sent_uses_nothing_up(served: Served, box: MailBox) -> None:
    """Addresses that may not be written to, foreign accounts and forms of others: nothing is sent, noted or counted."""
    client = await served.signed_in("ann")
    for _ in range(PER_HOUR + 1):
        elsewhere = await post(client, "reader@example.com", "reader@elsewhere.example")
        assert elsewhere.status_code == 400
        assert "reader@elsewhere.example: elsewhere.example is no domain" in elsewhere.text
        assert (await post(client, "reader")).status_code == 400
        assert (await post(client)).status_code == 400
        foreign = await post(client, "reader@example.com", url=f"/send?account={FOREIGN}")
        assert foreign.status_code == 404
        forged = await client.post(URL, data={"csrf": "x" * 43, "addresses": "reader@example.com"})
        assert forged.status_code == 403
    assert (box.mails, mails_audited(served), await offered(client)) == ([], [], [])
    assert (await post(client, "reader@example.com")).status_code == 200


async def test_some_refused_are_shown_and_audited(served: Served, box: MailBox) -> None:
    """The page and the log have who gets it and who does not; only the former are offered the next time."""
    client = await served.signed_in("ann")
    response = await post(client, REFUSED, "reader@example.com")
    assert response.status_code == 200
    assert "The mail server took the report for reader@example.com.</p>" in response.text
    shown = " ".join(response.text.partition("It was refused for:")[2].partition("</ul>")[0].split())
    assert f"<li>{REFUSED}: 550 5.1.1 no such mailbox</li>" in shown
    assert "reader@example.com" not in shown
    assert box.envelopes == [("reader@example.com",)]
    [entry] = audited(served, "email", "email_failed")
    assert entry.event == "email"
    assert entry.what.endswith(f" to reader@example.com; refused: {REFUSED}")
    assert await offered(client) == ["reader@example.com"]


async def test_all_refused_is_a_failure(served: Served, box: MailBox) -> None:
    """Nobody gets it: the page says so with the server's reason, and the log does not call it sent."""
    client = await served.signed_in("ann")
    response = await post(client, REFUSED)
    assert response.status_code == 502
    assert "Nothing was sent." in response.text
    assert f"{REFUSED}: 550 5.1.1 no such mailbox" in response.text
    assert "took the report" not in response.text
    [entry] = audited(served, "email", "email_failed")
    assert (entry.event, entry.account, entry.what) == ("email_failed", OWN, f"{REFUSED}: recipients")
    assert (box.mails, await offered(client)) == ([], [])


@asynccontextmanager
async def greeting_with(words: bytes) -> AsyncIterator[int]:
    """Give the port of a server that says one thing and no more; without words it only listens."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        if words:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (b"554 not today\r\n", "server", "554 not today"),
        (b"", "connect", "cannot be reached: no answer in time"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "server", "HTTP/1.1 400 Bad Request"),
    ],
)
async def test_a_server_that_fails_is_told_of_and_audited(
    tmp_path: Path, words: bytes, kind: str, told: str
) -> None:
    """The page has the fault and keeps what was typed; the log has the failure with its kind, and no mail as sent."""
    async with greeting_with(words) as port, sending_to(port, tmp_path) as served:
        client = await served.signed_in("ann")
        response = await post(client, "reader@example.com")
        assert response.status_code == 502
        assert told in response.text
        assert "answered -1" not in response.text, "what is no answer of SMTP has no code"
        assert ">reader@example.com</textarea>" in response.text
        [entry] = audited(served, "email", "email_failed")
        assert (entry.event, entry.who, entry.account) == ("email_failed", "ann", OWN)
        assert entry.what == f"reader@example.com: {kind}"
        assert await offered(client) == []


async def test_a_server_that_is_not_there_is_audited_and_counted(tmp_path: Path) -> None:
    """Each attempt is in the log, and uses the hour up like one that succeeded: a fault is no way to try for ever."""
    async with greeting_with(b"") as port:
        pass
    async with sending_to(port, tmp_path) as served:
        client = await served.signed_in("ann")
        statuses = [(await post(client, "reader@example.com")).status_code for _ in range(PER_HOUR + 1)]
        assert statuses == [502] * PER_HOUR + [429]
        assert mails_audited(served) == [("email_failed", "ann", OWN)] * PER_HOUR
        assert {entry.what for entry in audited(served, "email_failed")} == {"reader@example.com: connect"}


async def test_a_mail_says_no_more_than_its_sender_may_see(served: Served, box: MailBox) -> None:
    """Costs are in the mail of whom may see them only, and nobody's has anything of another account."""
    for name, sees_money in (("ann", True), ("bob", False)):
        assert (await post(await served.signed_in(name), "reader@example.com")).status_code == 200
        mail = box.mails[-1]
        body, [attachment] = mail.get_body(("plain",)), list(mail.iter_attachments())
        assert body is not None
        text = f"{mail['Subject']}\n{body.get_content()}\n{attachment.get_content()}"
        assert ("cost_usd" in text) is sees_money
        assert f"Sent by: {name}" in text
        assert not [mark for mark in FOREIGN_MARKS if mark in text]


async def test_whoever_may_not_download_may_not_send(served: Served, box: MailBox) -> None:
    """Neither a role nor a token without the permission, whatever else it carries; both are in the log as denied."""
    sue = await served.signed_in("sue")
    page = await sue.get("/overview")
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    token = served.client(Authorization=f"Bearer {served.token('ann', Permission.USAGE, Permission.MONEY)}")
    for client in (sue, token):
        response = await client.post(URL, data={"csrf": csrf[1], "addresses": "reader@example.com"})
        assert response.status_code == 403
    assert [entry.who for entry in audited(served, "denied")] == ["sue", "ann/t0"]
    assert (box.mails, mails_audited(served)) == ([], [])
