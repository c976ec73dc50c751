"""Answers dashboards that ask a worker for a user's windows.

Owns the HTTP of it and who may ask: whoever has one of the tokens in ``worker.query_tokens``. Without a token there is
nothing at the path.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from gateway.errors import JsonResponse, RequestRefused
from schemas.user_windows import Elsewhere, UserWindows, WindowsAsked

WINDOWS_PATH: Final = "/v1/windows"
_BODY_BYTES_MAX: Final = 4096
_NAME_MAX: Final = 200
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(WindowsAsked, strict=True).decode

FindWindows = Callable[[WindowsAsked], UserWindows | Elsewhere]


class WindowsEndpoint:
    """``POST /v1/windows``: the JSON of a question, answered with that of the windows.

    421 says that the user's partition is not here, with the partition and the name to look under.
    """

    def __init__(self, find: FindWindows, tokens: Callable[[], Sequence[str]]) -> None:
        """Take who answers, and the tokens in force."""
        self._find = find
        self._tokens = tokens

    async def answer(self, scope: Scope, receive: Receive) -> Response:
        """Answer one question.

        Raises:
            RequestRefused: 404, 401, 413 or 400.
        """
        self._check(scope)
        asked = _asked(await _body(receive))
        found = self._find(asked)
        if isinstance(found, Elsewhere):
            error = {
                "code": "not_here",
                "message": f"partition {found.partition} is not open in this worker",
                "hint": "ask the other workers",
            }
            elsewhere = {"partition": found.partition, "key": found.key}
            return JsonResponse({"error": error, "elsewhere": elsewhere}, 421)
        return Response(_encode(found), media_type="application/json")

    def _check(self, scope: Scope) -> None:
        tokens = self._tokens()
        if not tokens:
            raise RequestRefused(404, "not_found", "no tokens are configured", "set worker.query_tokens")
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        # Every token is compared, so that the time tells nothing about which one was nearly right.
        is_known = [hmac.compare_digest(known.encode(), token.strip()) for known in tokens]
        if scheme.lower() != b"bearer" or not any(is_known):
            raise RequestRefused(
                401, "bad_token", "the bearer token is not one of ours", "see worker.query_tokens"
            )


async def _body(receive: Receive) -> bytes:
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestRefused(400, "gone", "the sender went away", "send it again")
        body += bytes(message.get("body", b""))
        if len(body) > _BODY_BYTES_MAX:
            raise RequestRefused(
                413,
                "too_long",
                f"the question is longer than {_BODY_BYTES_MAX} bytes",
                "shorten it",
                close=True,
            )
        if not message.get("more_body"):
            return body


def _asked(body: bytes) -> WindowsAsked:
    try:
        asked = _decode(body)
    except msgspec.MsgspecError as error:
        raise RequestRefused(400, "bad_question", str(error), "see docs/guides/dashboard.md") from None
    texts = (asked.account, asked.user, asked.number, asked.key)
    if not asked.account or not asked.user or any(len(text) > _NAME_MAX or "\0" in text for text in texts):
        raise RequestRefused(
            400, "bad_question", "account and user are needed, 200 characters each", "check it"
        )
    return asked
