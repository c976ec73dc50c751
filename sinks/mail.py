"""E-mail out: who may be written to, how often, and one mail to a server that is trusted or gets nothing.

Owns who may be written to, the shape of a mail, the conversation with the server, and how its faults are told. Does not
own what is attached.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import make_msgid
from math import ceil
from typing import Final, Literal

import aiosmtplib

from runtime.dashboard_tables import MailSettings
from schemas.mail_addresses import ADDRESS_CHARACTERS_MAX, checked_address
from sinks.connecting import connected_socket

SUBJECT_CHARACTERS_MAX: Final = 200
HOUR_SECONDS: Final = 3600.0
_FAULTS_MAX: Final = 20
_WHOLE_TIMEOUTS: Final = 6
"""The whole conversation may take as long as this many answers."""
_FILE_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\\:\"]{1,150}")
_MEDIA_TYPE: Final = re.compile(r"([a-z]+)/([a-z0-9.+-]+)")

FaultKind = Literal[
    "certificate", "connect", "encryption", "sign_in", "sender", "recipients", "content", "timeout", "server"
]


class AddressesRefused(ValueError):
    """Nobody is written to: some addresses are none, or may not be written to."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(
            "; ".join(f"{address}: {reason}" if address else reason for address, reason in faults)
        )
        self.faults = tuple(faults)
        """Address as given ("" = about all of them) and what is wrong with it."""


class MailFault(RuntimeError):
    """Nobody got the mail, or it is not known; the text says why and can be shown."""

    def __init__(self, kind: FaultKind, text: str, refused: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.refused = dict(refused or {})
        """Reason by address, where the server named them."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a mail."""

    name: str
    content: bytes
    media_type: str
    """Such as ``image/png``."""

    def __post_init__(self) -> None:
        if not _FILE_NAME.fullmatch(self.name) or not _MEDIA_TYPE.fullmatch(self.media_type):
            raise ValueError("an attachment has a plain file name and a media type")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail."""

    to: tuple[str, ...]
    """As ``check_recipients`` returns them."""
    subject: str
    text: str
    html: str = ""
    attachments: tuple[Attachment, ...] = ()
    message_id: str = ""
    """In angle brackets; empty = a new one. A mail that is sent again with the same is the same mail."""


@dataclass(frozen=True, slots=True)
class MailOutcome:
    """What the server took over; whether it arrives, nobody can tell."""

    accepted: tuple[str, ...]
    refused: dict[str, str]
    """Reason by address."""
    message_id: str


def check_recipients(
    addresses: Sequence[str], allowed_domains: Sequence[str], recipients_max: int, sender: str
) -> tuple[str, ...]:
    """Return the addresses to write to, each once.

    No allowed domains = that of the sender only; ``*`` = any. A domain's subdomains are other domains.

    Raises:
        AddressesRefused: with all that is wrong (of many faults, the first ones).
    """
    allowed = set(allowed_domains) or {sender.rpartition("@")[2].lower()}
    checked: dict[str, str] = {}
    faults: list[tuple[str, str]] = []
    for address in addresses:
        try:
            plain = checked_address(address)
        except ValueError as fault:
            faults.append((address[: ADDRESS_CHARACTERS_MAX + 1], str(fault)))
            continue
        domain = plain.rpartition("@")[2]
        if "*" not in allowed and domain not in allowed:
            faults.append((address, f"{domain} is no domain that may be written to"))
        # Most servers do not tell big letters from small ones, and nobody wants the same mail twice.
        checked.setdefault(plain.lower(), plain)
    if not addresses:
        faults.append(("", "no address"))
    if len(checked) > recipients_max:
        faults.append(("", f"{len(checked)} addresses, at most {recipients_max} are allowed"))
    if faults:
        raise AddressesRefused(
            faults[-1:] + faults[: _FAULTS_MAX - 1] if len(faults) > _FAULTS_MAX else faults
        )
    return tuple(checked.values())


async def send(mail: Mail, server: MailSettings) -> MailOutcome:
    """Hand a mail over to the server.

    With ``starttls``, a server that does not offer it gets neither password nor mail.

    Raises:
        MailFault: nobody gets it; of kind ``timeout`` after the content was sent, it is not known.
    """
    message = _message(mail, server.sender)
    try:
        with _told_faults(server):
            trusted = None if server.security == "none" else _trust(server)
            async with asyncio.timeout(server.timeout_seconds * _WHOLE_TIMEOUTS):
                refused, _ = await aiosmtplib.send(
                    message,
                    sender=server.sender,
                    recipients=list(mail.to),
                    hostname=server.host,
                    # By itself it would wait for the first of several addresses until the time is over.
                    sock=await _connected(server),
                    # Its default asks the name service for our own name, and waits for it.
                    local_hostname=server.sender.rpartition("@")[2],
                    use_tls=server.security == "tls",
                    start_tls=server.security == "starttls",
                    tls_context=trusted,
                    username=server.username or None,
                    password=server.password.get_secret_value() or None,
                    timeout=server.timeout_seconds,
                )
    except aiosmtplib.SMTPRecipientsRefused as fault:
        reasons = {each.recipient: _reply(each.code, each.message) for each in fault.recipients}
        raise MailFault(
            "recipients", "the mail server takes no mail for any of the addresses", reasons
        ) from fault
    reasons = {address: _reply(code, text) for address, (code, text) in refused.items()}
    accepted = tuple(address for address in mail.to if address not in reasons)
    return MailOutcome(accepted, reasons, str(message["Message-ID"]))


async def _connected(server: MailSettings) -> socket.socket:
    try:
        async with asyncio.timeout(server.timeout_seconds):
            return await connected_socket(server.host, server.port)
    except TimeoutError as fault:
        raise aiosmtplib.SMTPConnectTimeoutError("no connection in time") from fault
    except OSError as fault:
        raise aiosmtplib.SMTPConnectError(str(fault)) from fault


class MailBudget:
    """How many mails each user may send in any hour; bounded in memory, told the time."""

    def __init__(self, per_hour: Callable[[], int], *, users_max: int = 10_000) -> None:
        """Begin with nothing sent.

        Args:
            per_hour: returns how many they are now.
            users_max: who sent within the last hour.
        """
        self._per_hour = per_hour
        self._users_max = users_max
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()
        """Moments of the last hour by user, the user who sent last at the end."""

    def take(self, user: str, now_seconds: float) -> int:
        """Count a mail and return 0, or count nothing and return the seconds after which there is room again."""
        horizon = now_seconds - HOUR_SECONDS
        while self._sent and next(iter(self._sent.values()))[-1] <= horizon:
            self._sent.popitem(last=False)
        moments = self._sent.get(user)
        if moments is None:
            if len(self._sent) >= self._users_max:
                # Forgetting somebody would give them a new hour.
                return _seconds_until(next(iter(self._sent.values()))[-1], horizon)
            moments = self._sent[user] = deque()
        while moments and moments[0] <= horizon:
            moments.popleft()
        per_hour = self._per_hour()
        if len(moments) >= per_hour:
            # Not always the oldest: there may have been room for more.
            return _seconds_until(moments[-per_hour], horizon)
        moments.append(now_seconds)
        self._sent.move_to_end(user)
        return 0


def _seconds_until(moment: float, horizon: float) -> int:
    return max(1, ceil(moment - horizon))


def _message(mail: Mail, sender: str) -> EmailMessage:
    """Return the mail as it is sent; texts from outside stay within their header."""
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = ", ".join(mail.to)
    message["Subject"] = _one_line(mail.subject, SUBJECT_CHARACTERS_MAX)
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = mail.message_id or make_msgid(domain=sender.rpartition("@")[2])
    # No automatic answers to an automatic mail.
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    message.set_content(_lines(mail.text))
    if mail.html:
        message.add_alternative(_lines(mail.html), subtype="html")
    for attachment in mail.attachments:
        main, _, sub = attachment.media_type.partition("/")
        message.add_attachment(attachment.content, maintype=main, subtype=sub, filename=attachment.name)
    return message


def _one_line(text: str, characters_max: int) -> str:
    clean = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return clean if len(clean) <= characters_max else clean[: characters_max - 1] + "…"


def _lines(text: str) -> str:
    """Return a text with line ends of one kind: a lone CR means different things to different servers."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _trust(server: MailSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(server.ca_file) if server.ca_file else None)
    except OSError as fault:
        text = f"the file of trusted authorities cannot be read: {server.ca_file}"
        raise MailFault("certificate", text) from fault
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@contextmanager
def _told_faults(server: MailSettings) -> Iterator[None]:
    """Turn what can go wrong on the way into what a user can be told."""
    name = f"the mail server {server.host}:{server.port}"
    try:
        yield
    except (MailFault, aiosmtplib.SMTPRecipientsRefused):
        raise
    except MessageError as fault:
        raise MailFault("content", "the mail cannot be written as one") from fault
    except (aiosmtplib.SMTPException, OSError, ValueError) as fault:
        causes = [fault, *_causes(fault)]
        raise _fault_of(fault, causes, name) from fault


def _causes(fault: BaseException) -> Iterator[BaseException]:
    while (cause := fault.__cause__ or fault.__context__) is not None:
        yield cause
        fault = cause


_FAULTS: Final[tuple[tuple[type[Exception], str, FaultKind, str], ...]] = (
    (aiosmtplib.SMTPConnectTimeoutError, "", "connect", "{name} cannot be reached: no answer in time"),
    (TimeoutError, "", "timeout", "{name} did not answer in time; whether the mail was taken is not known"),
    (aiosmtplib.SMTPAuthenticationError, "", "sign_in", "{name} refused the sign-in: {reply}"),
    (aiosmtplib.SMTPSenderRefused, "", "sender", "{name} refused the sender: {reply}"),
    (aiosmtplib.SMTPDataError, "", "content", "{name} refused the mail: {reply}"),
    (aiosmtplib.SMTPResponseException, "", "server", "{name} answered {reply}"),
    (ConnectionError, "", "connect", "{name} cannot be reached, or ended the connection"),
    (ssl.SSLError, "", "encryption", "{name} and this side agree on no encryption"),
    (
        aiosmtplib.SMTPException,
        "STARTTLS",
        "encryption",
        "{name} does not offer STARTTLS, so nothing was sent to it",
    ),
    (aiosmtplib.SMTPException, "AUTH", "sign_in", "{name} offers no sign-in that is known here"),
    (OSError, "", "connect", "{name} cannot be reached"),
)
"""Type, a word of its text, and what is told. The first that fits; types before their bases."""


def _fault_of(fault: Exception, causes: Sequence[BaseException], name: str) -> MailFault:
    if found := next((each for each in causes if isinstance(each, ssl.SSLCertVerificationError)), None):
        return MailFault("certificate", f"the certificate of {name} is not trusted: {found.verify_message}")
    reply = ""
    if isinstance(fault, aiosmtplib.SMTPResponseException):
        reply = _reply(fault.code, fault.message)
    for kind_of_fault, word, kind, text in _FAULTS:
        if isinstance(fault, kind_of_fault) and word in str(fault):
            return MailFault(kind, text.format(name=name, reply=reply))
    return MailFault("server", f"{name} and this side did not understand each other")


def _reply(code: int, text: str) -> str:
    """Return a server's answer as one line; what it says comes from outside. Without a code it is no answer of SMTP."""
    said = _one_line(text, SUBJECT_CHARACTERS_MAX)
    return f"{code} {said}".strip() if code > 0 else said
