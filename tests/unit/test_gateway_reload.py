"""A gateway while its settings change: the same application, before and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.batching import BatchingAppender, BatchingLimits
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from tests.unit.gateway_fakes import (
    NOW_MS,
    SECRET,
    TOKEN,
    VERIFY_TOKEN,
    MemoryLog,
    account,
    body_of,
    gateway_settings,
    parse,
    sign,
)

NEW_SECRET = "the-next-app-secret"
BODY = body_of()


class Sender:
    """Sends to one application, whose settings the test changes."""

    def __init__(self, client: httpx.AsyncClient, in_force: SettingsInForce, log: MemoryLog) -> None:
        """Take what is wired already."""
        self.client = client
        self.in_force = in_force
        self.log = log

    async def post(self, secret: str, body: bytes = BODY) -> int:
        """Send a signed webhook and return the status."""
        answer = await self.client.post("/webhooks/meta", content=body, headers=sign(body, secret))
        return answer.status_code

    async def post_event(self, token: str) -> int:
        """Send a body with a bearer token and return the status."""
        headers = {"Authorization": f"Bearer {token}"}
        return (await self.client.post("/events", content=BODY, headers=headers)).status_code

    async def verify(self, token: str) -> int:
        """Ask as the provider does when a webhook is set up, and return the status."""
        query = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": token}
        return (await self.client.get("/webhooks/meta", params=query)).status_code

    def take(self, settings: Settings) -> None:
        """Put other settings in force."""
        self.in_force.take(settings)


def with_gateway(settings: Settings, check: Callable[[Sender], Awaitable[None]]) -> None:
    """Run a check against one application."""

    async def run() -> None:
        in_force, log = SettingsInForce(settings), MemoryLog()
        metrics, clock = Metrics(CollectorRegistry()), ManualClock(NOW_MS)
        port = BatchingAppender(log.append_record, 4, BatchingLimits(1, 500, 50_000), metrics, clock)
        app = create_app(port, in_force, metrics, clock, parse=parse, parse_canonical=parse)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await check(Sender(client, in_force, log))

    asyncio.run(run())


def shared(*secrets: str, **more: Any) -> Settings:
    """Return settings with secrets for all accounts."""
    return Settings(gateway=gateway_settings(app_secrets=list(secrets)), **more)


def test_an_app_secret_is_rotated() -> None:
    """The new secret is refused before, both are taken while both are listed, the old one is refused afterwards."""

    async def check(sender: Sender) -> None:
        assert [await sender.post(secret) for secret in (SECRET, NEW_SECRET)] == [200, 401]
        sender.take(shared(NEW_SECRET, SECRET))
        assert [await sender.post(secret) for secret in (SECRET, NEW_SECRET)] == [200, 200]
        sender.take(shared(NEW_SECRET))
        assert [await sender.post(secret) for secret in (SECRET, NEW_SECRET)] == [401, 200]
        assert len(sender.log.events()) == 4

    with_gateway(shared(SECRET), check)


def test_a_secret_of_one_account_comes_and_goes() -> None:
    """A new account's secret speaks for that account alone, and no more once the account is taken out."""
    listed = shared(SECRET, accounts={"9002": account(NEW_SECRET)})

    async def check(sender: Sender) -> None:
        own, other = body_of(accounts=("9002",)), body_of(accounts=("9001",))
        assert await sender.post(NEW_SECRET, own) == 401
        sender.take(listed)
        assert [await sender.post(NEW_SECRET, body) for body in (own, other)] == [200, 403]
        sender.take(shared(SECRET))
        assert await sender.post(NEW_SECRET, own) == 401

    with_gateway(shared(SECRET), check)


def test_tokens_are_replaced() -> None:
    """Verify token and events tokens are those of now."""

    async def check(sender: Sender) -> None:
        assert (await sender.verify(VERIFY_TOKEN), await sender.post_event(TOKEN)) == (200, 200)
        changed = gateway_settings(verify_token="the-next-verify-token", events_tokens=["the-next-token"])
        sender.take(Settings(gateway=changed))
        assert (await sender.verify(VERIFY_TOKEN), await sender.post_event(TOKEN)) == (403, 401)
        new = (await sender.verify("the-next-verify-token"), await sender.post_event("the-next-token"))
        assert new == (200, 200)

    with_gateway(shared(SECRET), check)


def test_a_new_account_is_known_where_others_are_refused() -> None:
    """With unknown_accounts = refuse, events of an account go to the dead letter until the settings list it."""
    known = {"9002": account()}

    async def check(sender: Sender) -> None:
        assert await sender.post(SECRET) == 200
        assert [letter.reason for letter in sender.log.dead_letters()] == ["unknown_account"]
        sender.take(shared(SECRET, unknown_accounts="refuse", accounts=known | {"9001": account()}))
        assert await sender.post(SECRET) == 200
        assert [event.account for event in sender.log.events()] == ["9001"]

    with_gateway(shared(SECRET, unknown_accounts="refuse", accounts=known), check)


def test_a_secret_that_goes_while_a_body_comes_in_does_not_count() -> None:
    """A sender who holds the connection open cannot outlast the removal of the secret."""

    async def check(sender: Sender) -> None:
        async def slowly() -> AsyncIterator[bytes]:
            yield BODY[:5]
            yield BODY[5:]
            sender.take(shared(NEW_SECRET))

        answer = await sender.client.post("/webhooks/meta", content=slowly(), headers=sign(BODY, SECRET))
        assert answer.status_code == 401

    with_gateway(shared(SECRET), check)
