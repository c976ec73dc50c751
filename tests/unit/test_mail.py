"""Mail against a real server on this machine: who gets it, what is refused, and what is told of a fault."""

from __future__ import annotations

import asyncio
import email
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from runtime.dashboard_tables import MailSettings
from schemas.mail_addresses import checked_address
from sinks.mail import (
    AddressesRefused,
    Attachment,
    Mail,
    MailBudget,
    MailFault,
    check_recipients,
    send,
)

PASSWORD = "correct horse"
TEXT = Mail(("to@example.org",), "Usage", "Hello")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate for this machine, and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    key, made = directory / "key.pem", directory / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


class Inbox:
    """A server's side: takes mails, refuses some addresses."""

    def __init__(self, *, data_answer: str = "250 OK", delay_seconds: float = 0.0) -> None:
        self.mails: list[Envelope] = []
        self.seen_encrypted: list[bool] = []
        self._data_answer = data_answer
        self._delay_seconds = delay_seconds

    async def handle_RCPT(  # noqa: N802 - its name for it
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse by name."""
        del server, session, options
        if address.startswith("bad"):
            return "550 no such mailbox"
        if address.startswith("full"):
            return "452 mailbox\x07 full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Keep the mail."""
        del server
        await asyncio.sleep(self._delay_seconds)
        self.mails.append(envelope)
        self.seen_encrypted.append(session.ssl is not None)
        return self._data_answer

    def only(self) -> EmailMessage:
        """Return the one mail that came."""
        [envelope] = self.mails
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        return message


def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    """Take one name and password."""
    del server, session, envelope, mechanism
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"billing", PASSWORD.encode())
    return AuthResult(success=good, handled=good)


@contextmanager
def serving(inbox: Inbox, certificate: tuple[Path, Path] | None, *, implicit: bool = False) -> Iterator[int]:
    """Run a server with STARTTLS and sign-in, or without both; give its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    more: dict[str, Any] = {}
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, certificate))
        starttls = {"tls_context": context, "require_starttls": True}
        more = {"ssl_context": context} if implicit else starttls
        more |= {"auth_required": True, "auth_require_tls": not implicit, "authenticator": authenticate}
    controller = Controller(inbox, hostname="127.0.0.1", port=port, **more)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def server_at(port: int, ca_file: Path | None = None, **changed: Any) -> MailSettings:
    """Return the settings of a server on this machine."""
    settings: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "username": "billing",
        "password": SecretStr(PASSWORD),
        "ca_file": ca_file,
        "sender": "billing@example.org",
        "timeout_seconds": 10.0,
    }
    return MailSettings(**settings | changed)


def fault_of(mail: Mail, server: MailSettings) -> MailFault:
    """Return the fault that sending ends with."""
    with pytest.raises(MailFault) as fault:
        asyncio.run(send(mail, server))
    assert PASSWORD not in str(fault.value)
    return fault.value


def test_a_mail_arrives_whole_and_encrypted(certificate: tuple[Path, Path]) -> None:
    """Text, page, files and headers are what was sent; the server saw them encrypted and signed in."""
    inbox = Inbox()
    picture = bytes(range(256)) * 40
    mail = Mail(
        ("a@example.org", "b@example.org"),
        "Usage für Müller, 10/2026",
        "Grüße\r\n.\rend\n",
        "<p>Grüße</p>",
        (Attachment("chart.png", picture, "image/png"), Attachment("übersicht.csv", b"a,b\n", "text/csv")),
    )
    with serving(inbox, certificate) as port:
        outcome = asyncio.run(send(mail, server_at(port, certificate[0])))
    assert (outcome.accepted, outcome.refused) == (mail.to, {})
    assert inbox.seen_encrypted == [True]
    got = inbox.only()
    assert (str(got["Subject"]), str(got["To"])) == (mail.subject, "a@example.org, b@example.org")
    assert (str(got["From"]), got["Auto-Submitted"]) == ("billing@example.org", "auto-generated")
    assert got["Message-ID"] == outcome.message_id
    assert outcome.message_id.endswith("@example.org>")
    assert got["Date"].datetime.utcoffset().total_seconds() == 0
    text, page = got.get_body(("plain",)), got.get_body(("html",))
    assert text is not None
    assert page is not None
    assert text.get_content().replace("\r\n", "\n") == "Grüße\n.\nend\n"
    assert page.get_content().strip() == mail.html
    files = [
        (part.get_filename(), part.get_content_type(), part.get_payload(decode=True))
        for part in got.iter_attachments()
    ]
    assert files == [("chart.png", "image/png", picture), ("übersicht.csv", "text/csv", b"a,b\n")]


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_encrypted_from_the_first_byte(certificate: tuple[Path, Path]) -> None:
    """With security tls there is no word in the open."""
    inbox = Inbox()
    with serving(inbox, certificate, implicit=True) as port:
        outcome = asyncio.run(send(TEXT, server_at(port, certificate[0], security="tls")))
    assert outcome.accepted == TEXT.to
    assert len(inbox.mails) == 1


def test_some_refused_and_all_refused(certificate: tuple[Path, Path]) -> None:
    """Who is refused is named with the server's reason; the others get it, and if there are none, that is a fault."""
    inbox = Inbox()
    some = Mail(("bad@example.org", "good@example.org", "full@example.org"), "s", "t")
    with serving(inbox, certificate) as port:
        outcome = asyncio.run(send(some, server_at(port, certificate[0])))
        fault = fault_of(
            Mail(("bad@example.org", "full@example.org"), "s", "t"), server_at(port, certificate[0])
        )
    expected = {"bad@example.org": "550 no such mailbox", "full@example.org": "452 mailbox full"}
    assert (outcome.accepted, outcome.refused) == (("good@example.org",), expected)
    assert (fault.kind, fault.refused) == ("recipients", expected)
    assert [envelope.rcpt_tos for envelope in inbox.mails] == [["good@example.org"]]


def test_faults_are_told_by_what_to_do(certificate: tuple[Path, Path]) -> None:
    """A wrong password, an untrusted certificate, a refused mail and a closed port have texts of their own."""
    inbox = Inbox(data_answer="554 looks like spam")
    with serving(inbox, certificate) as port:
        wrong = fault_of(TEXT, server_at(port, certificate[0], password=SecretStr("wrong")))
        untrusted = fault_of(TEXT, server_at(port))
        assert not inbox.mails, "nothing was sent before the faults"
        content = fault_of(TEXT, server_at(port, certificate[0]))
    closed = fault_of(TEXT, server_at(port, certificate[0]))
    unreadable = fault_of(TEXT, server_at(port, certificate[0].with_name("none.pem")))
    told = [
        (each.kind, str(each).partition(f"127.0.0.1:{port} ")[2])
        for each in (wrong, untrusted, content, closed)
    ]
    assert told[0][0] == "sign_in"
    assert told[0][1].startswith("refused the sign-in: 535")
    assert told[1][0] == "certificate"
    assert "not trusted" in told[1][1]
    assert told[2] == ("content", "refused the mail: 554 looks like spam")
    assert told[3][0] == "connect"
    assert "none.pem" in str(unreadable)


def test_without_encryption_nothing_is_sent() -> None:
    """A server that offers no STARTTLS gets neither password nor mail; only an explicit setting sends in the open."""
    inbox = Inbox()
    with serving(inbox, None) as port:
        fault = fault_of(TEXT, server_at(port))
        assert (fault.kind, len(inbox.mails)) == ("encryption", 0)
        assert "STARTTLS" in str(fault)
        plain = server_at(port, security="none", username="", password=SecretStr(""))
        assert asyncio.run(send(TEXT, plain)).accepted == TEXT.to


def test_a_server_that_does_not_answer(certificate: tuple[Path, Path]) -> None:
    """Waiting ends, and the text says that the mail may have been taken."""
    with serving(Inbox(delay_seconds=3.0), certificate) as port:
        fault = fault_of(TEXT, server_at(port, certificate[0], timeout_seconds=0.7))
    assert fault.kind == "timeout"
    assert "not known" in str(fault)


def test_texts_stay_in_their_headers(certificate: tuple[Path, Path]) -> None:
    """Line ends in a subject or an address add no header and no recipient."""
    inbox = Inbox()
    with serving(inbox, certificate) as port:
        mail = Mail(TEXT.to, "a\r\nBcc: eve@example.org\r\n\r\nbody" + "x" * 10_000, "Hello")
        asyncio.run(send(mail, server_at(port, certificate[0])))
        with pytest.raises((MailFault, ValueError)):
            asyncio.run(
                send(
                    Mail(("a@example.org\r\nBcc: e@example.org",), "s", "t"), server_at(port, certificate[0])
                )
            )
    got = inbox.only()
    assert got["Bcc"] is None
    assert inbox.mails[0].rcpt_tos == list(TEXT.to)
    assert str(got["Subject"]).startswith("a Bcc: eve@example.org body")
    with pytest.raises(ValueError, match="file name"):
        Attachment('a"\r\nX: y.png', b"", "image/png")


HOSTILE = [
    "", "@", "a", "a@", "@example.org", "a@b@example.org", "a b@example.org", "a@exam ple.org", "a@example.org\n",
    "a@example.org,b@example.org", "Eve <a@example.org>", "<a@example.org>", '"a b"@example.org', "a@[127.0.0.1]",
    "a@127.0.0.1", "a@localhost", "a@-x.org", "a@x..org", ".a@example.org", "a.@example.org", "a..b@example.org",
    "a(c)@example.org", "ä@example.org", "a@example.org\u202e", "a@example.org.", "a;b@example.org",
    "a@" + "x" * 64 + ".org", "x" * 65 + "@example.org", "a@" + "x." * 127 + "org", "a@example\u3002org\u200b",
    "a\x00@example.org", "a@ex_ample.org",
]  # fmt: skip


@pytest.mark.parametrize("address", HOSTILE)
def test_what_is_not_one_plain_address_is_refused(address: str) -> None:
    """Several addresses, names, comments, quotes, numbers and odd signs are no address."""
    with pytest.raises(ValueError, match=r"address|domain|before"):
        checked_address(address)


def test_domains_of_other_letters_are_written_in_ascii() -> None:
    """A domain is compared as the name service knows it, whatever its spelling."""
    assert checked_address("a.b+c@Straße.Example") == "a.b+c@xn--strae-oqa.example"
    assert checked_address("A@BÜCHER.example") == "A@xn--bcher-kva.example"


@given(st.text(max_size=60))
def test_an_accepted_address_is_plain(text: str) -> None:
    """Whatever is typed, what comes through is printable ASCII with one @, and comes through again unchanged."""
    for address in (text, f"{text}@example.org", f"a@{text}.org"):
        try:
            plain = checked_address(address)
        except ValueError:
            continue
        assert plain.isascii()
        assert plain.isprintable()
        assert plain.count("@") == 1
        assert not set(plain) & set(' ,;<>()"\\[]:')
        assert checked_address(plain) == plain


def test_all_faults_of_all_addresses_at_once() -> None:
    """Each bad address is named with its own reason, besides there being too many."""
    with pytest.raises(AddressesRefused) as refused:
        check_recipients(["x", "a@example.com", "b@sub.example.org", "c@example.org"], (), 2, "s@example.org")
    named = dict(refused.value.faults)
    assert set(named) == {"x", "a@example.com", "b@sub.example.org", ""}
    assert "sub.example.org" in named["b@sub.example.org"]
    assert "at most 2" in named[""]
    with pytest.raises(AddressesRefused, match="no address"):
        check_recipients([], ("*",), 2, "s@example.org")
    with pytest.raises(AddressesRefused) as many:
        check_recipients(["x"] * 1000, ("*",), 2, "s@example.org")
    assert len(many.value.faults) <= 20


def test_who_may_be_written_to() -> None:
    """Without domains it is the sender's, * is any, and each address counts once."""
    same = ["A@example.org", "a@EXAMPLE.org", "b@example.org"]
    assert check_recipients(same, (), 2, "s@Example.org") == ("A@example.org", "b@example.org")
    assert check_recipients(["a@bücher.example"], ("xn--bcher-kva.example",), 1, "s@example.org")
    assert check_recipients(["a@anywhere.net"], ("*",), 1, "s@example.org") == ("a@anywhere.net",)
    with pytest.raises(AddressesRefused):
        check_recipients(["a@example.org"], ("example.com",), 1, "s@example.org")


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 1500)), max_size=60),
)
def test_nobody_sends_more_than_their_budget_in_any_hour(per_hour: int, steps: list[tuple[str, int]]) -> None:
    """Every mail that fits is let through, no other one, and after the told seconds there is room."""
    budget = MailBudget(lambda: per_hour)
    sent: dict[str, list[float]] = {user: [] for user in "abc"}
    now = 1_000_000.0
    for user, pause in steps:
        now += pause
        recent = [moment for moment in sent[user] if moment > now - 3600]
        wait_seconds = budget.take(user, now)
        assert (wait_seconds == 0) == (len(recent) < per_hour)
        if wait_seconds:
            assert recent[-per_hour] + 3600 <= now + wait_seconds < recent[-per_hour] + 3601
        else:
            sent[user].append(now)


def test_the_budget_takes_bounded_memory() -> None:
    """Where more users send than can be remembered, the next one waits rather than that somebody is forgotten."""
    budget = MailBudget(lambda: 1, users_max=3)
    assert [budget.take(user, 100.0 + place) for place, user in enumerate("abc")] == [0, 0, 0]
    assert budget.take("d", 110.0) == 3590
    assert budget.take("a", 110.0) == 3590
    assert budget.take("d", 3700.0) == 0


def test_a_budget_that_changes_counts_from_then_on() -> None:
    """Who has sent more than they now may waits until enough of it is an hour old."""
    allowed = [3]
    budget = MailBudget(lambda: allowed[0])
    assert [budget.take("a", 100.0 * place) for place in range(4)] == [0, 0, 0, 3300]
    allowed[0] = 2
    assert budget.take("a", 400.0) == 3300
    assert budget.take("a", 3650.0) == 50
    allowed[0] = 4
    assert budget.take("a", 3650.0) == 0
