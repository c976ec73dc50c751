"""A gateway with a log in memory and a small provider format, for the gateway's tests.

The format: ``{"entry": [{"id": ACCOUNT, "updates": [{"id", "user"} | {"ignored": NAME}]}]}``; an update
without an ``id`` is refused. The gateway's promises do not depend on a provider's format; the real parser has its
own tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from starlette.applications import Starlette

from gateway.app import Readiness, create_app
from gateway.batching import BatchingAppender, BatchingLimits
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from runtime.settings import AccountSettings, GatewaySettings, Settings
from schemas.codec import decode_batch
from schemas.dead_letter import DeadLetter, decode_dead_letter
from schemas.events import Event, Parsed, Refusal
from schemas.topics import DEAD_LETTER, EVENTS

NOW_MS = 1_793_577_600_000
SECRET = "a-shared-app-secret"
TOKEN = "a-bearer-token"
VERIFY_TOKEN = "a-verify-token"


def event(
    number: int = 1,
    account: str = "9001",
    user: str = "5511900000001",
    *,
    message_id: str = "",
    received_at_ms: int = NOW_MS,
) -> Event:
    """Return a ``sent`` event; without ``message_id`` its number tells it from others."""
    message_id = message_id or f"wamid.{number}"
    seconds = received_at_ms // 1000
    return Event("meta", account, "7001", "sent", message_id, seconds, received_at_ms, "BR", user_phone=user)


def parse(body: bytes, received_at_ms: int) -> Parsed:
    """Parse the small format of these tests; raises ValueError if the body is not JSON."""
    parsed = Parsed()
    for entry in orjson.loads(body)["entry"]:
        for update in entry["updates"]:
            if "ignored" in update:
                parsed.ignored.append(update["ignored"])
            elif "id" not in update:
                payload = orjson.dumps(update)
                parsed.refusals.append(Refusal("no_message_id", "no id", payload, entry["id"]))
            else:
                user = update.get("user", "5511900000001")
                accepted = event(0, entry["id"], user, message_id=update["id"], received_at_ms=received_at_ms)
                parsed.events.append(accepted)
    return parsed


def body_of(updates: int = 1, *, accounts: tuple[str, ...] = ("9001",), bad: int = 0) -> bytes:
    """Return a body with so many good and bad updates for each account."""
    good = [{"id": f"wamid.{number}", "user": f"55119{number:08}"} for number in range(updates)]
    refused = [{"user": "5511900000001"}] * bad
    entries = [{"id": account, "updates": good + refused} for account in accounts]
    return orjson.dumps({"entry": entries})


def sign(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the signature header of a body."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


@dataclass(slots=True)
class MemoryLog:
    """A log in memory that can fail or hang on command."""

    records: list[tuple[str, int, bytes]] = field(default_factory=list)
    error: Exception | None = None
    gate: asyncio.Event | None = None
    """While set and not released, appends wait."""

    async def append_record(self, topic: str, partition: int, key: bytes | None, value: bytes) -> int:
        """Keep the record, after the gate, unless an error is set."""
        assert key is None
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        self.records.append((topic, partition, value))
        return len(self.records) - 1

    def events(self) -> list[Event]:
        """Return all durable events."""
        return [event for topic, _, value in self.records if topic == EVENTS for event in decode_batch(value)]

    def dead_letters(self) -> list[DeadLetter]:
        """Return all durable dead letters."""
        return [decode_dead_letter(value) for topic, _, value in self.records if topic == DEAD_LETTER]


def gateway_settings(**changes: Any) -> GatewaySettings:
    """Return gateway settings with one secret and tokens."""
    values: dict[str, Any] = {
        "app_secrets": [SECRET],
        "events_tokens": [TOKEN],
        "verify_token": VERIFY_TOKEN,
        "batch_linger_ms": 1,
    }
    return GatewaySettings.model_validate(values | changes)


def account(*secrets: str) -> AccountSettings:
    """Return an account with secrets of its own."""
    return AccountSettings(app_secrets=tuple(SecretStr(secret) for secret in secrets))


class Gateway:
    """One gateway under test. Every call of ``request`` runs in an event loop of its own."""

    def __init__(
        self, settings: Settings | None = None, log: MemoryLog | None = None, readiness: Readiness = dict
    ) -> None:
        """Build it; without settings: one shared secret."""
        self.settings = settings or Settings(gateway=gateway_settings())
        self.log = log or MemoryLog()
        self.metrics = Metrics(CollectorRegistry())
        self.readiness = readiness

    def app(self) -> Starlette:
        """Return a fresh application over the same log and metrics."""
        gateway = self.settings.gateway
        limits = BatchingLimits(gateway.batch_linger_ms, gateway.batch_events_max, gateway.queue_events_max)
        clock = ManualClock(NOW_MS)
        port = BatchingAppender(self.log.append_record, self.settings.partitions, limits, self.metrics, clock)
        return create_app(
            port,
            self.settings,
            self.metrics,
            clock,
            parse=parse,
            parse_canonical=parse,
            readiness=self.readiness,
        )

    def request(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Send one request and return the answer."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app(), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, path, content=content, headers=headers, **more)

        return asyncio.run(send())

    def post(self, body: bytes, secret: str = SECRET) -> httpx.Response:
        """Send one signed webhook."""
        return self.request("POST", "/webhooks/meta", body, sign(body, secret))

    def sample(self, name: str, /, **labels: str) -> float:
        """Return the value of a metric, 0 if it was never raised."""
        return self.metrics.registry.get_sample_value(f"convometer_{name}", labels) or 0.0


def error_code(response: httpx.Response) -> str:
    """Return the code of an error answer, after checking its shape."""
    error = response.json()["error"]
    assert set(error) == {"code", "message", "hint"}
    assert all(isinstance(value, str) for value in error.values())
    assert error["message"]
    return str(error["code"])
