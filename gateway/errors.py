"""The one shape of every answer that is not a success: ``{"error": {"code", "message", "hint"}}``.

Owns the shape and the words for what Starlette itself refuses. Does not own when a request is refused.
"""

from __future__ import annotations

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

JSON = "application/json"
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


def json_response(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(content), status, headers, media_type=JSON)


def refusal_response(refused: RequestRefused) -> Response:
    """Return the error answer of a refused request."""
    error = {"code": refused.code, "message": refused.message, "hint": refused.hint}
    return json_response({"error": error}, refused.status, refused.headers)


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
    return json_response({"error": error}, status, dict(exception.headers or {}))


async def internal_error(_request: Request, _exception: Exception) -> Response:
    """Return the error answer for a fault of ours; the server logs the traceback."""
    refused = RequestRefused(
        500,
        "internal_error",
        "the gateway failed on this request",
        "repeat it; the gateway's log has the cause",
    )
    return refusal_response(refused)
