"""A host with several addresses: one that is silent, one that refuses, and one that answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import pytest

from sinks import connecting
from sinks.connecting import first_connection
from sinks.mail import MailFault, send
from sinks.notify.guard import Address, AddressGuard
from sinks.notify.webhook import WebhookChannel, WebhookTarget
from tests.support.alerts import notice_of
from tests.unit.test_mail import TEXT, Inbox, server_at, serving
from tests.unit.test_webhook_channel import Receiver

SILENT, ANSWERING = "127.0.0.2", "127.0.0.1"
Attempt = Callable[[], Coroutine[Any, Any, str]]


@contextmanager
def dropping(port: int) -> Iterator[None]:
    """Let an address of this machine answer nothing on a port: its queue is full, and nobody takes from it."""
    with socket.socket() as listener:
        listener.bind((SILENT, port))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            with suppress(BlockingIOError):
                each.connect((SILENT, port))
        try:
            yield
        finally:
            for each in waiting:
                each.close()


def after(seconds: float, result: str | Exception) -> Attempt:
    """Return an attempt that ends like that."""

    async def attempt() -> str:
        await asyncio.sleep(seconds)
        if isinstance(result, Exception):
            raise result
        return result

    return attempt


def first_of(*attempts: Attempt) -> tuple[str, list[str]]:
    """Return the first connection, and those that were closed."""
    closed: list[str] = []

    async def close(connection: str) -> None:
        closed.append(connection)

    async def over() -> str:
        connection = await first_connection(attempts, close)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return connection

    return asyncio.run(over()), closed


def test_a_silent_address_holds_up_the_next_for_a_moment_only() -> None:
    """The attempt that hangs is ended."""
    assert first_of(after(3600, "late"), after(0, "second")) == ("second", [])


def test_the_preferred_address_is_taken_if_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the next was tried meanwhile: whichever is first; a connection beside it is closed."""
    monkeypatch.setattr(connecting, "_HEAD_START_SECONDS", 60)
    assert first_of(after(0.01, "first"), after(0, "second")) == ("first", [])
    monkeypatch.setattr(connecting, "_HEAD_START_SECONDS", 0.05)
    assert first_of(after(0.2, "first"), after(3600, "second")) == ("first", [])

    async def stubborn() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "not needed"

    assert first_of(stubborn, after(0, "second")) == ("second", ["not needed"])


def test_an_address_that_refuses_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins at once; if none is left, its fault is told."""
    monkeypatch.setattr(connecting, "_HEAD_START_SECONDS", 3600)
    assert first_of(after(0, OSError("no")), after(0.01, "second")) == ("second", [])
    with pytest.raises(OSError, match="last"):
        first_of(after(0, OSError("first")), after(0, OSError("last")))


def test_a_webhook_reaches_the_address_that_answers() -> None:
    """Of a host whose first address drops everything, within the time for one attempt, at the first attempt."""

    async def both(_host: str, _port: int) -> list[Address]:
        return [ip_address(SILENT), ip_address(ANSWERING)]

    receiver = Receiver()
    target = WebhookTarget(f"http://hooks.example:{receiver.port}/", ("a secret of ours",), timeout_seconds=5)
    channel = WebhookChannel(target, AddressGuard(["127.0.0.0/8"]), lambda: 0, resolve_host=both)
    with dropping(receiver.port):
        asyncio.run(channel.deliver([notice_of(1)]))
    receiver.close()
    assert len(receiver.got) == 1


def addresses(*hosts: str) -> Callable[..., Coroutine[Any, Any, list[Any]]]:
    """Return a look-up that finds these."""

    async def found(_self: object, _host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]

    return found


def test_a_mail_reaches_the_address_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a webhook does; if none answers, that is told as before."""
    inbox = Inbox()
    with serving(inbox, None) as port, dropping(port):
        server = server_at(port, security="none", username="", password="", timeout_seconds=2)
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", addresses(SILENT, ANSWERING))
        asyncio.run(send(TEXT, server))
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", addresses(SILENT))
        with pytest.raises(MailFault, match="cannot be reached: no answer in time"):
            asyncio.run(send(TEXT, server))
    assert len(inbox.mails) == 1
