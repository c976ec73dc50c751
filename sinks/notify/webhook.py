"""Notices by HTTP POST: signed, without redirects, to addresses that may be connected to.

Body and headers are those of Standard Webhooks (standardwebhooks.com): ``type``, ``timestamp``, ``data``;
``webhook-id``, ``webhook-timestamp``, ``webhook-signature``. ``Idempotency-Key`` carries the id once more. Owns one
attempt; when it is repeated is decided by ``streams.notifying``.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
import hashlib
import hmac
import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

import httpcore
import msgspec
import orjson

from schemas.alerts import Notice
from schemas.webhook_secrets import key_of
from sinks.notify.channel import ChannelKind, DeliveryFailed
from sinks.notify.guard import AddressGuard, GuardedBackend, Resolve, resolve, trust
from sinks.notify.texts import subject_of

_ANSWER_BYTES_MAX: Final = 4096
_SAID_CHARACTERS_MAX: Final = 200
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
    content = b""
    async for chunk in response.aiter_stream():
        content += chunk
        if len(content) > _ANSWER_BYTES_MAX:
            break
    is_cut = len(content) > _ANSWER_BYTES_MAX
    # Of a letter that was cut in its middle nothing is kept: what is before it is then at the end, and known there.
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(content[:_ANSWER_BYTES_MAX])
    # Cleaned first and cut then: of a secret that was cut in its middle the rest would not be known again.
    said = without_secrets(text, url, is_cut=is_cut)[:_SAID_CHARACTERS_MAX]
    raise DeliveryFailed(
        f"HTTP {response.status}{': ' + said if said.isprintable() and said else ''}",
        is_final=response.status == _GONE,
        retry_after_seconds=_retry_after(response, now_seconds),
    )


def without_secrets(said: str, url: str, *, is_cut: bool = False) -> str:
    """Return what a receiver said on one line, without what it repeats of its address.

    That can be a secret, and this is logged.

    Args:
        said: by the receiver.
        url: the address.
        is_cut: ``said`` has no end, so that it may end in the middle of a secret.
    """
    pieces = _secrets_of(url)
    said = _one_line(said)
    if pieces:
        # Hexadecimal digits are written in small letters or big ones.
        said = re.sub("|".join(map(re.escape, pieces)), "...", said, flags=re.IGNORECASE)
    return _without_begun(said, pieces) if is_cut else said


def _secrets_of(url: str) -> list[str]:
    """Return the pieces of an address that are not told, the longest first, in each way in which they are repeated."""
    parts = urlsplit(url)
    # A value may have "=" within: the padding of base64.
    values = {field.partition("=")[2] for field in parts.query.split("&")}
    pieces = {parts.path, parts.query, *parts.path.split("/"), *values, *re.split("[&=]", parts.query)}
    plain = {way(piece) for piece in pieces for way in (unquote, unquote_plus)}
    written = {*pieces, *plain, *(way(piece, safe="") for piece in plain for way in (quote, quote_plus))}
    lines = {_one_line(piece) for piece in written}
    return sorted(
        (line for line in lines if len(line) >= _SECRET_CHARACTERS_MIN), key=lambda line: (-len(line), line)
    )


def _without_begun(said: str, pieces: Sequence[str]) -> str:
    """Return a text that was cut without the piece that it ends in the middle of."""
    for size in range(min(len(said), max(map(len, pieces), default=0)), 0, -1):
        if any(piece[:size].lower() == said[-size:].lower() for piece in pieces):
            return f"{said[:-size]}..."
    return said


def _one_line(text: str) -> str:
    return " ".join(text.split())


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
