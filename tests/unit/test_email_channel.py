"""Notices by e-mail, against a real server on this machine: which id a mail has, and what is tried again."""

from __future__ import annotations

import asyncio
import email
from email import policy

import msgspec
import pytest

from sinks.notify.channel import DeliveryFailed
from sinks.notify.email import EmailChannel, EmailTarget
from sinks.notify.texts import subject_of, text_of
from tests.support.alerts import notice_of
from tests.unit.test_mail import Inbox, server_at, serving
from tests.unit.test_notify_task import Bench


def channel_at(port: int, address: str, *accounts: str) -> EmailChannel:
    """Return a channel that writes to an address by the server on a port, unencrypted as it is on loopback."""
    server = server_at(port, security="none", username="", password="")
    return EmailChannel(EmailTarget(address, accounts), server)


def failure_of(channel: EmailChannel) -> DeliveryFailed:
    """Return how a delivery fails."""
    with pytest.raises(DeliveryFailed) as raised:
        asyncio.run(channel.deliver([notice_of(1)]))
    return raised.value


def test_a_notice_is_one_mail_with_its_id() -> None:
    """Sent twice it is the same mail: the Message-ID is made of the id of the notice, and its words are the texts."""
    inbox, notice = Inbox(), notice_of(1)
    with serving(inbox, None) as port:
        channel = channel_at(port, "ops@example.org")
        for _ in range(2):
            asyncio.run(channel.deliver([notice]))
    first, again = (
        email.message_from_bytes(envelope.content, policy=policy.default)  # type: ignore[arg-type]
        for envelope in inbox.mails
    )
    assert first["Message-ID"] == again["Message-ID"] == f"<{notice.id}@example.org>"
    assert (str(first["Subject"]), str(first["To"])) == (subject_of(notice), "ops@example.org")
    body = first.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == text_of(notice)
    assert inbox.mails[0].rcpt_tos == ["ops@example.org"]


def test_of_no_package_nothing_is_left() -> None:
    """A threshold that is a number, of a plan without a package: the mail has the count, and no share of nothing."""
    notice = msgspec.structs.replace(
        notice_of(), threshold="8", limit=0, used_percent="", level="warning", used=8
    )
    text = text_of(notice)
    assert "Used:       8\n" in text
    assert "Left:" not in text
    assert "%" not in text + subject_of(notice)
    assert "Left:       2\n" in text_of(notice_of())


def test_what_may_pass_is_tried_again_and_what_will_not_is_given_up() -> None:
    """4xx of a mailbox, and a server that is away, are no end; 5xx of a mailbox is one."""
    with serving(Inbox(), None) as port:
        full = failure_of(channel_at(port, "full@example.org"))
        bad = failure_of(channel_at(port, "bad@example.org"))
    away = failure_of(channel_at(port, "ops@example.org"))
    assert (full.is_final, bad.is_final, away.is_final) == (False, True, False)
    assert "452" in str(full)
    assert "550 no such mailbox" in str(bad)
    with serving(Inbox(data_answer="451 later"), None) as port:
        assert not failure_of(channel_at(port, "ops@example.org")).is_final


def test_only_notices_about_its_accounts_that_are_not_past() -> None:
    """A team is written to about what is its own."""
    channel = channel_at(1, "ops@example.org", "A")
    assert channel.wants(notice_of(1))
    assert not channel.wants(notice_of(1, account="B"))
    assert not channel.wants(notice_of(1, is_past=True))
    assert channel_at(1, "ops@example.org").wants(notice_of(1, account="B"))


def test_a_refused_address_holds_up_no_other_and_is_written_to_later() -> None:
    """Each address has a delivery of its own: who was refused for now gets the mail later, and nobody gets it twice."""
    inbox = Inbox()

    async def over() -> None:
        with serving(inbox, None) as port:
            channels = {name: channel_at(port, f"{name}@example.org") for name in ("ops", "full", "bad")}
            bench = Bench(**channels)
            bench.deliver(notice_of(1))
            await bench.until(lambda: bench.owed == {b'["%s","full"]' % notice_of(1).id.encode()})
            bench.channels["full"] = channel_at(port, "no-longer-full@example.org")
            bench.now_ms += 60_000
            await bench.until(lambda: not bench.owed)
            await bench.task.stop()
            assert bench.outcomes.count(("email", "gave_up", 1)) == 1
            assert not bench.failures

    asyncio.run(over())
    written = [address for envelope in inbox.mails for address in envelope.rcpt_tos]
    assert sorted(written) == ["no-longer-full@example.org", "ops@example.org"]
