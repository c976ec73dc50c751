"""Sends mail with files: checks whom it may go to, and tells what became of each address.

Owns SMTP. Does not own what is sent, nor who may send it.
"""

from __future__ import annotations

import re
import ssl
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, make_msgid
from typing import Final

import aiosmtplib

from runtime.dashboard_tables import MailSettings

_LOCAL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
_DOMAIN: Final = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]"
)
_HOUR_SECONDS: Final = 3600
_SENDERS_MAX: Final = 10_000


class MailFailed(RuntimeError):
    """Nothing was sent; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes with a mail."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """What is sent."""

    to: tuple[str, ...]
    """As ``check_recipients`` gives them."""
    subject: str
    text: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class MailOutcome:
    """What the mail server said of each address."""

    accepted: tuple[str, ...]
    refused: dict[str, str] = field(default_factory=dict)
    """Reason by address."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """Addresses that were asked for."""

    addresses: tuple[str, ...]
    """Sound ones, each once, in their order."""
    faults: tuple[str, ...]


def check_recipients(asked: Sequence[str], settings: MailSettings) -> Recipients:
    """Return the addresses, and every fault in them at once."""
    addresses: dict[str, str] = {}
    faults: list[str] = []
    for text in asked:
        address = _sound(text)
        if address is None:
            faults.append(f"{text[:80]!r} is no e-mail address")
        elif not _is_allowed(address, settings):
            faults.append(f"{address}: mail may only go to {', '.join(_domains(settings))}")
        else:
            addresses.setdefault(address.lower(), address)
    if not asked:
        faults.append("add or select at least one address")
    if len(addresses) > settings.recipients_max:
        faults.append(f"{len(addresses)} addresses: at most {settings.recipients_max} at a time")
    return Recipients(tuple(addresses.values()), tuple(faults))


def _sound(text: str) -> str | None:
    """Return an address with its domain as the network writes it, or None. No names, no quotes, no routes."""
    local, separator, domain = text.strip().rpartition("@")
    try:
        domain = domain.lower().encode("idna").decode("ascii")
    except UnicodeError:
        return None
    is_sound = (
        separator
        and _LOCAL.fullmatch(local)
        and not local.startswith(".")
        and not local.endswith(".")
        and ".." not in local
        and _DOMAIN.fullmatch(domain)
    )
    return f"{local}@{domain}" if is_sound else None


def _domains(settings: MailSettings) -> tuple[str, ...]:
    return settings.allowed_domains or (settings.sender.rpartition("@")[2].lower(),)


def _is_allowed(address: str, settings: MailSettings) -> bool:
    domains = _domains(settings)
    return "*" in domains or address.rpartition("@")[2] in domains


async def send(mail: Mail, settings: MailSettings, sent_at: datetime) -> MailOutcome:
    """Send a mail, dated ``sent_at`` (UTC); return once the server has taken it for at least one address.

    Raises:
        MailFailed: it was taken for none.
    """
    message = _message(mail, settings, sent_at)
    try:
        refused, _ = await aiosmtplib.send(
            message,
            sender=settings.sender,
            recipients=list(mail.to),
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=settings.password.get_secret_value() or None,
            use_tls=settings.security == "tls",
            # True fails where the server does not offer it; never "if it does".
            start_tls=settings.security == "starttls",
            tls_context=_tls_context(settings),
            timeout=settings.timeout_seconds,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        reasons = "; ".join(f"{each.recipient}: {each.code} {each.message}" for each in error.recipients)
        raise MailFailed(f"The mail server refused every address: {reasons}") from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise MailFailed(_explained(error, settings)) from error
    reasons_by_address = {address: f"{code} {text}".strip() for address, (code, text) in refused.items()}
    accepted = tuple(address for address in mail.to if address not in reasons_by_address)
    return MailOutcome(accepted, reasons_by_address)


def _tls_context(settings: MailSettings) -> ssl.SSLContext | None:
    if settings.security == "none":
        return None
    return ssl.create_default_context(cafile=str(settings.ca_file) if settings.ca_file else None)


def _explained(error: Exception, settings: MailSettings) -> str:
    """Return what a person can do about a failure."""
    where = f"the mail server {settings.host} port {settings.port}"
    certificate = _certificate_fault(error)
    if certificate is not None:
        return f"The certificate of {where} is not trusted ({certificate}); dashboard.mail.ca_file names its authority."
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return (
            f"Our sign-in was refused by {where} ({error.code}); check dashboard.mail.username and password."
        )
    if isinstance(error, (aiosmtplib.SMTPTimeoutError, TimeoutError)):
        return f"No answer from {where} within {settings.timeout_seconds:g} s. It may have taken the mail or not."
    if isinstance(error, (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPServerDisconnected)):
        return f"The connection to {where} failed: {error}"
    if isinstance(error, aiosmtplib.SMTPException):
        return f"The mail was not taken by {where}: {error}"
    return f"The connection to {where} failed: {error}"


def _certificate_fault(error: BaseException | None) -> str | None:
    """Return what is wrong with the server's certificate, wherever the library has put it."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return None


class MailBudget:
    """How many mails each user may send within an hour. Pure: the time is an argument."""

    def __init__(self, per_hour_max: int) -> None:
        """Take the limit."""
        self._per_hour_max = per_hour_max
        self._sent: OrderedDict[str, deque[int]] = OrderedDict()

    def take(self, user: str, now_seconds: int) -> bool:
        """Count one mail; False = the hour's are used up, and it is not counted."""
        sent = self._sent.pop(user, deque())
        while sent and now_seconds - sent[0] >= _HOUR_SECONDS:
            sent.popleft()
        self._sent[user] = sent
        while len(self._sent) > _SENDERS_MAX:
            self._sent.popitem(last=False)
        if len(sent) >= self._per_hour_max:
            return False
        sent.append(now_seconds)
        return True


def _message(mail: Mail, settings: MailSettings, sent_at: datetime) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    local, _, domain = settings.sender.rpartition("@")
    message["From"] = Address("convometer", local, domain)
    # Nobody learns from it who else has it.
    message["To"] = Address("convometer", local, domain)
    message["Subject"] = " ".join(mail.subject.split())
    message["Date"] = format_datetime(sent_at)
    message["Message-ID"] = make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    for attachment in mail.attachments:
        kind, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(attachment.content, maintype=kind, subtype=subtype, filename=attachment.name)
    return message
