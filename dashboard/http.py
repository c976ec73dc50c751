"""What every answer has in common: security headers, bounded bodies, entity tags, and refusals in one shape.

Owns HTTP, for pages and API alike. Does not own who may see what (``dashboard.access``).
"""

from __future__ import annotations

import hashlib
import logging
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.ports import WindowsUnavailable
from schemas.plan_files import PlanFaults
from schemas.rate_files import RateFaults
from schemas.regimes import RegimeFaults
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused
from sinks.clickhouse.reader import Unanswerable

_log = logging.getLogger(__name__)

BODY_BYTES_MAX: Final = 64 * 1024
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
PROBLEM_TYPE: Final = "application/problem+json"
_HSTS: Final = "max-age=31536000"
_PRIVATE: Final = "no-store"
PRICE_FAULTS: Final = (PlanFaults, RateFaults, RegimeFaults)
RETRY_SECONDS: Final = 5
_PASSING: Final = (*PRICE_FAULTS, WindowsUnavailable, ClickHouseAway, ClickHouseRefused)


class Refusal(HTTPException):
    """A request that is not answered; says why and what to do."""

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, faults: tuple[str, ...] = ()
    ) -> None:
        """Take the status, a sentence, and the single faults of the input."""
        super().__init__(status, detail, headers)
        self.faults = faults


class Problem(msgspec.Struct, frozen=True):
    """The one shape of errors (RFC 9457, application/problem+json)."""

    title: str
    """The status in words."""
    status: int
    detail: str
    """What is wrong and what to do."""
    errors: tuple[str, ...] = ()
    """Single faults of the input."""
    type: str = "about:blank"


def problem_response(status: int, detail: str, headers: dict[str, str], faults: tuple[str, ...]) -> Response:
    """Return an error as a program reads it."""
    problem = Problem(HTTPStatus(status).phrase, status, detail, faults)
    return Response(msgspec.json.encode(problem), status, headers, PROBLEM_TYPE)


def refusal_of(error: Exception) -> Refusal:
    """Return what to tell the visitor of an error; the log has the rest."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        return Refusal(error.status_code, error.detail, dict(error.headers or {}))
    if isinstance(error, Unanswerable):
        return Refusal(400, str(error))
    if isinstance(error, _PASSING):
        _log.warning("an answer has to wait: %s", error)
        return Refusal(503, _what_to_do(error), {"Retry-After": str(RETRY_SECONDS)})
    _log.error("an answer failed", exc_info=error)
    return Refusal(500, "This should not have happened. The log of the dashboard has the cause.")


def _what_to_do(error: Exception) -> str:
    if isinstance(error, WindowsUnavailable):
        return str(error)
    if isinstance(error, PRICE_FAULTS):
        return "Plans or rate cards cannot be used as they are; the log of the dashboard names the faults."
    return "The totals cannot be read at the moment. Try again in some seconds."


class Shell:
    """Puts security headers on every answer, and ends bodies that are too long."""

    def __init__(self, app: ASGIApp, is_https: bool) -> None:
        """Take the application, and whether browsers reach it by https only."""
        self._app = app
        self._headers = _HEADERS | ({"Strict-Transport-Security": _HSTS} if is_https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0

        async def bounded_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES_MAX:
                raise Refusal(413, f"The body is longer than {BODY_BYTES_MAX} bytes.")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", _PRIVATE)
            await send(message)

        await self._app(scope, bounded_receive, send_with_headers)


def tagged(request: Request, response: Response, *parts: str) -> Response:
    """Give an answer its entity tag; answer 304 where the client has it already.

    Args:
        request: may carry If-None-Match.
        response: what would be sent.
        parts: everything that the answer depends on beside the URL.
    """
    digest = hashlib.sha256("\0".join((request.url.path, request.url.query, *parts)).encode()).hexdigest()[
        :32
    ]
    # Weak: the bytes of a workbook or a compressed answer may differ while it says the same.
    tag = f'W/"{digest}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Accept, Authorization, Cookie",
    }
    asked = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    if request.method in ("GET", "HEAD") and (tag in asked or tag.removeprefix("W/") in asked):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def tagged_by_content(request: Request, response: Response) -> Response:
    """Do the same for an answer that is made anyway: its tag goes by its bytes, whatever they depend on."""
    return tagged(request, response, hashlib.sha256(response.body).hexdigest())


def safe_file_name(name: str) -> str:
    """Return a file's name of plain characters only, whatever accounts are called."""
    return "".join(
        character if character.isascii() and (character.isalnum() or character in "-_.") else "_"
        for character in name
    )[:150]


def attachment(content: bytes, media_type: str, file_name: str) -> Response:
    """Return a file to save."""
    headers = {"Content-Disposition": f'attachment; filename="{safe_file_name(file_name)}"'}
    return Response(content, headers=headers, media_type=media_type)
