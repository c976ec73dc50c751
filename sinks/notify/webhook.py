"""Notices by HTTP POST: signed, without redirects, to addresses that may be connected to.

Body and headers are those of Standard Webhooks (standardwebhooks.com): ``type``, ``timestamp``, ``data``;
``webhook-id``, ``webhook-timestamp``, ``webhook-signature``. ``Idempotency-Key`` carries the id once more. Owns one
attempt; when it is repeated is decided by ``streams.notifying``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpcore
import msgspec
import orjson

from schemas.alerts import Notice
from schemas.webhook_secrets import key_of
from sinks.notify.channel import ChannelKind, DeliveryFailed
from sinks.notify.guard import AddressGuard, GuardedBackend, Resolve, resolve, trust
from sinks.notify.texts import subject_of

_ANSWER_BYTES_MAX: Final = 4096
_SAID_BYTES_MAX: Final = 200
_SECRET_CHARACTERS_MIN: Final = 6
_RETRY_AFTER_SECONDS_MAX: Final = 3600.0
_GONE: Final = 410
_USER_AGENT: Final = b"convometer"


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where notices are posted to."""

    url: str
    secrets: tuple[str, ...]
    """To sign by; while one is being replaced, both."""
    accounts: tuple[str, ...] = ()
    """Only notices about these; empty = all."""
    timeout_seconds: float = 10.0
    """For one attempt, from the look-up of the name to the answer."""


class WebhookChannel:
    """A ``Channel`` that posts each notice to one address."""

    kind: ChannelKind = "webhook"
    batch_max = 1
    gives_up = True

    def __init__(
        self,
        target: WebhookTarget,
        guard: AddressGuard,
        now_seconds: Callable[[], int],
        *,
        resolve_host: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the target and what may be connected to."""
        self.title = f"webhook to {urlsplit(target.url).hostname}"
        self._target = target
        self._now_seconds = now_seconds
        plain = urlsplit(target.url).scheme != "https"
        self._backend = GuardedBackend(guard, resolve_host, listed_only=plain)
        self._tls = tls or trust()

    def wants(self, notice: Notice) -> bool:
        """See ``Channel.wants``."""
        return not notice.is_past and (not self._target.accounts or notice.account in self._target.accounts)

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """See ``Channel.deliver``."""
        for notice in notices:
            await self._post(notice)

    async def _post(self, notice: Notice) -> None:
        body = body_of(notice)
        try:
            async with (
                # Of all of it: each step by itself could be drawn out as long as the other side likes.
                asyncio.timeout(self._target.timeout_seconds),
                httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=self._backend) as pool,
                pool.stream(
                    "POST",
                    self._target.url,
                    headers=self._headers(notice.id, body),
                    content=body,
                ) as response,
            ):
                await _judge(response, self._target.url, self._now_seconds())
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            raise DeliveryFailed(f"no answer: {error or type(error).__name__}") from error

    def _headers(self, notice_id: str, body: bytes) -> list[tuple[bytes, bytes]]:
        seconds = self._now_seconds()
        return [
            (b"Content-Type", b"application/json"),
            (b"User-Agent", _USER_AGENT),
            (b"Idempotency-Key", notice_id.encode()),
            (b"webhook-id", notice_id.encode()),
            (b"webhook-timestamp", str(seconds).encode()),
            (b"webhook-signature", signature(self._target.secrets, notice_id, seconds, body).encode()),
        ]


def body_of(notice: Notice) -> bytes:
    """Return the body for a notice: the same for each attempt."""
    noticed = datetime.fromtimestamp(notice.noticed_at_ms / 1000, UTC)
    return orjson.dumps(
        {
            "type": f"limit.threshold_{notice.kind}",
            "timestamp": noticed.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": {"summary": subject_of(notice), **msgspec.to_builtins(notice)},
        }
    )


def signature(secrets: Sequence[str], notice_id: str, seconds: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: one signature a secret, separated by spaces."""
    signed = f"{notice_id}.{seconds}.".encode() + body
    digests = (hmac.digest(key_of(secret), signed, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


async def _judge(response: httpcore.Response, url: str, now_seconds: int) -> None:
    """Return if the other side took the notice."""
    if 200 <= response.status < 300:
        return
    text = b""
    async for chunk in response.aiter_stream():
        text += chunk
        if len(text) >= _ANSWER_BYTES_MAX:
            break
    said = without_secrets(" ".join(text[:_SAID_BYTES_MAX].decode(errors="replace").split()), url)
    raise DeliveryFailed(
        f"HTTP {response.status}{': ' + said if said.isprintable() and said else ''}",
        is_final=response.status == _GONE,
        retry_after_seconds=_retry_after(response, now_seconds),
    )


def without_secrets(said: str, url: str) -> str:
    """Return what a receiver said without what it repeats of its address: that can be a secret, and this is logged."""
    parts = urlsplit(url)
    pieces = {parts.path, parts.query, *parts.path.split("/"), *re.split("[&=]", parts.query)}
    for piece in sorted(pieces, key=len, reverse=True):
        if len(piece) >= _SECRET_CHARACTERS_MIN:
            said = said.replace(piece, "...")
    return said


def _retry_after(response: httpcore.Response, now_seconds: int) -> float:
    """Return how long the other side asks to wait, within reason."""
    value = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"").decode(
        "latin-1"
    )
    if value.isdigit() and value.isascii():
        return min(float(value), _RETRY_AFTER_SECONDS_MAX)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now_seconds
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), _RETRY_AFTER_SECONDS_MAX)
