"""Asks the workers for a user's windows: whichever has the user's partition answers.

Owns the HTTP of it. What a worker answers is ``gateway.windows``'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import httpx
import msgspec

from dashboard.ports import WindowsUnavailable
from gateway.windows import WINDOWS_PATH
from schemas.user_windows import Elsewhere, UserWindows, WindowsAsked

_TIMEOUT_SECONDS: Final = 5.0
_HOPS_MAX: Final = 20
_NOT_HERE: Final = 421
_decode_windows = msgspec.json.Decoder(UserWindows).decode

Answer = UserWindows | Elsewhere | str
"""Of one worker; a text says why there is none."""


class _Refusal(msgspec.Struct):
    elsewhere: Elsewhere


class WorkerWindows:
    """The workers of a cluster."""

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        here: Callable[[WindowsAsked], UserWindows | Elsewhere] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Take the workers' addresses, what they know us by, and the worker of this very process, if it has one."""
        self._urls = urls
        self._token = token
        self._here = here
        self._transport = transport

    async def ask(self, asked: WindowsAsked) -> UserWindows:
        """Return what the worker that has the user says.

        Raises:
            WindowsUnavailable: none does; says what to do.
        """
        if not self._urls and self._here is None:
            raise WindowsUnavailable(
                "Users' windows are in the workers, and the settings name none (`dashboard.workers`)."
            )
        for _ in range(_HOPS_MAX):
            answers = await self._all(asked)
            known = next((each for each in answers if isinstance(each, UserWindows)), None)
            if known is not None:
                return known
            keys = {each.key for each in answers if isinstance(each, Elsewhere)} - {asked.key or asked.user}
            if not keys:
                break
            # References lead to ever earlier names; a worker that has none yet says the name it was asked for.
            asked = msgspec.structs.replace(asked, key=min(keys))
        faults = sorted({each for each in answers if isinstance(each, str)})
        raise WindowsUnavailable(
            "; ".join(faults)
            or "No worker has the user's partition open; one may just be starting. Try again in some seconds."
        )

    async def _all(self, asked: WindowsAsked) -> list[Answer]:
        answers: list[Answer] = [] if self._here is None else [self._here(asked)]
        if any(isinstance(each, UserWindows) for each in answers):
            return answers
        headers = {"Authorization": f"Bearer {self._token}"}
        async with httpx.AsyncClient(
            timeout=_TIMEOUT_SECONDS, headers=headers, transport=self._transport
        ) as client:
            return answers + list(await asyncio.gather(*(_ask(client, url, asked) for url in self._urls)))


async def _ask(client: httpx.AsyncClient, url: str, asked: WindowsAsked) -> Answer:
    try:
        response = await client.post(url + WINDOWS_PATH, content=msgspec.json.encode(asked))
        if response.status_code == 200:
            return _decode_windows(response.content)
        if response.status_code == _NOT_HERE:
            return msgspec.json.decode(response.content, type=_Refusal).elsewhere
    except (httpx.HTTPError, msgspec.MsgspecError) as error:
        return f"The worker at {url} does not answer ({type(error).__name__})."
    if response.status_code in (401, 404):
        return (
            f"The worker at {url} does not take our token: `dashboard.worker_token` has to be one of its "
            "`worker.query_tokens`."
        )
    return f"The worker at {url} answered {response.status_code}."
