"""Notices by e-mail, with the notice's id as Message-ID: a mail that comes twice is one to most programs.

Owns which fault of the mail server is worth another attempt. The mail itself is ``sinks.mail``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.dashboard_tables import MailSettings
from schemas.alerts import Notice
from sinks.mail import Mail, MailFault, send
from sinks.notify.channel import ChannelKind, DeliveryFailed
from sinks.notify.texts import subject_of, text_of


@dataclass(frozen=True, slots=True)
class EmailTarget:
    """Who is written to."""

    address: str
    accounts: tuple[str, ...] = ()
    """Only about these; empty = all."""


class EmailChannel:
    """A ``Channel`` that writes one mail a notice to one address."""

    kind: ChannelKind = "email"
    batch_max = 1
    gives_up = True

    def __init__(self, target: EmailTarget, server: MailSettings) -> None:
        """Take who is written to, and by which server."""
        self.title = f"e-mail to {target.address}"
        self._target = target
        self._server = server

    def wants(self, notice: Notice) -> bool:
        """See ``Channel.wants``."""
        return not notice.is_past and (not self._target.accounts or notice.account in self._target.accounts)

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """See ``Channel.deliver``."""
        for notice in notices:
            await self._send(notice)

    async def _send(self, notice: Notice) -> None:
        domain = self._server.sender.rpartition("@")[2]
        mail = Mail(
            (self._target.address,), subject_of(notice), text_of(notice), message_id=f"<{notice.id}@{domain}>"
        )
        try:
            await send(mail, self._server)
        except MailFault as fault:
            reasons = "; ".join(fault.refused.values())
            # What is refused for good would be refused tomorrow; 4xx means later.
            is_final = bool(fault.refused) and all(
                reason.startswith("5") for reason in fault.refused.values()
            )
            raise DeliveryFailed(f"{fault}{f' ({reasons})' if reasons else ''}", is_final=is_final) from fault
