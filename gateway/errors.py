"""The one shape of every answer that is not a success: ``{"error": {"code", "message", "hint"}}``.

Owns the shape and the words for what Starlette itself refuses. Does not own when a request is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import Response

_CLOSE = {"connection": "close"}


class RequestRefused(Exception):
    """The request ends with an error answer.

    ``code`` is a short stable word for programs, ``message`` says what happened, ``hint`` what to do about it.
    ``close`` ends the connection, for bodies that were not read to their end.
    """

    def __init__(
        self, status: int, code: str, message: str, hint: str, *, retry_seconds: int = 0, close: bool = False
    ) -> None:
        """Take what the answer will say."""
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
        self.headers = {"retry-after": str(retry_seconds)} if retry_seconds else {}
        if close:
            self.headers |= _CLOSE
        if status == 401:
            self.headers["www-authenticate"] = "Bearer" if "token" in code else "X-Hub-Signature-256"


class JsonResponse(Response):
    """A JSON answer, without the general header handling of Starlette's: every webhook's answer is made here."""

    def __init__(self, content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Encode the content; header names in lower case."""
        self.status_code = status
        self.background = None
        self.body = orjson.dumps(content)
        self.raw_headers = [
            (b"content-length", b"%d" % len(self.body)),
            (b"content-type", b"application/json"),
        ]
        if headers:
            self.raw_headers += [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def refusal_response(refused: RequestRefused) -> Response:
    """Return the error answer of a refused request."""
    error = {"code": refused.code, "message": refused.message, "hint": refused.hint}
    return JsonResponse({"error": error}, refused.status, refused.headers)


_ROUTER_REFUSALS = {
    404: ("not_found", "there is nothing at this path", "see the list of routes in the gateway guide"),
    405: (
        "method_not_allowed",
        "the path does not take this method",
        "the Allow header lists those it takes",
    ),
}


def router_refusal(exception: HTTPException) -> Response:
    """Return the error answer for what the router refuses, keeping its headers (``Allow``)."""
    status = exception.status_code
    code, message, hint = _ROUTER_REFUSALS.get(status, ("refused", str(exception.detail), ""))
    error = {"code": code, "message": message, "hint": hint}
    return JsonResponse(
        {"error": error}, status, {name.lower(): value for name, value in (exception.headers or {}).items()}
    )


INTERNAL_ERROR = RequestRefused(
    500, "internal_error", "the gateway failed on this request", "repeat it; the gateway's log has the cause"
)
"""The answer to a fault of ours."""
