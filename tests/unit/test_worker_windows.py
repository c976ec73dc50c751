"""Asking workers for a user's windows: the endpoint, and the dashboard that asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry

from cli.worker_windows import WorkerWindows
from dashboard.ports import WindowsUnavailable
from gateway.app import create_probes
from gateway.windows import WINDOWS_PATH, WindowsEndpoint
from metering.windows import unknown
from runtime.metrics import Metrics
from schemas.user_windows import Elsewhere, UserWindows, WindowsAsked

TOKEN = "a-token-of-the-tests"
ASKED = WindowsAsked("A", "4915100000001", 1_800_000_000)
Find = Callable[[WindowsAsked], UserWindows | Elsewhere]


def worker(find: Find, tokens: tuple[str, ...] = (TOKEN,)) -> httpx.ASGITransport:
    """Return a worker's HTTP side."""
    endpoint = WindowsEndpoint(find, lambda: tokens)
    return httpx.ASGITransport(app=create_probes(Metrics(CollectorRegistry()), dict, endpoint))


def post(transport: httpx.ASGITransport, body: bytes, token: str = TOKEN) -> httpx.Response:
    """Send one question."""

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
            return await client.post(
                WINDOWS_PATH, content=body, headers={"Authorization": f"Bearer {token}"} if token else {}
            )

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("tokens", "token", "status"),
    [
        ((), TOKEN, 404),
        ((TOKEN,), "", 401),
        ((TOKEN,), "another-token", 401),
        ((TOKEN,), TOKEN[:-1], 401),
        (("older-token", TOKEN), TOKEN, 200),
    ],
)
def test_only_those_with_a_token_are_answered(tokens: tuple[str, ...], token: str, status: int) -> None:
    """Without configured tokens there is nothing; several may be good at once."""
    assert post(worker(unknown, tokens), msgspec.json.encode(ASKED), token).status_code == status


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b'{"account": "A", "user": "1", "at": "now"}', 400),
        (b'{"account": "", "user": "1", "at": 1}', 400),
        (b'{"account": "A", "user": "\\u0000", "at": 1}', 400),
        (b'{"account": "A", "user": "' + b"1" * 300 + b'", "at": 1}', 400),
        (b" " * 5000, 413),
    ],
)
def test_bad_questions_are_refused(body: bytes, status: int) -> None:
    """What is no question never reaches the state."""

    def find(_asked: WindowsAsked) -> UserWindows:
        raise AssertionError("asked")

    response = post(worker(find), body)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"code", "message", "hint"}


def ask(find_by_host: dict[str, Find], **changes: object) -> UserWindows:
    """Ask workers as a dashboard does."""

    class Hosts(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.host == "silent":
                raise httpx.ConnectError("refused")
            return await worker(find_by_host[request.url.host]).handle_async_request(request)

    urls = [f"http://{host}" for host in find_by_host]
    token = str(changes.get("token", TOKEN))
    return asyncio.run(WorkerWindows(urls, token, transport=Hosts()).ask(ASKED))


def test_references_are_followed_from_worker_to_worker() -> None:
    """The first worker refers to a name that another has the state of."""

    def phones(asked: WindowsAsked) -> UserWindows | Elsewhere:
        return Elsewhere(1, "BR.1") if not asked.key else Elsewhere(1, asked.key)

    def people(asked: WindowsAsked) -> UserWindows | Elsewhere:
        return unknown(asked) if asked.key == "BR.1" else Elsewhere(0, asked.key or asked.user)

    found = ask({"one": phones, "two": people})
    assert found.user == ASKED.user


@pytest.mark.parametrize(
    ("workers", "token", "part"),
    [
        ({}, TOKEN, "dashboard.workers"),
        ({"silent": unknown}, TOKEN, "does not answer"),
        ({"one": unknown}, "a-wrong-token", "worker.query_tokens"),
        ({"one": lambda asked: Elsewhere(0, asked.user)}, TOKEN, "may just be starting"),
    ],
)
def test_who_cannot_be_asked_is_named(workers: dict[str, Find], token: str, part: str) -> None:
    """The visitor learns what is wrong and what to do."""
    with pytest.raises(WindowsUnavailable, match=part):
        ask(workers, token=token)


def test_one_silent_worker_does_not_matter_if_another_knows() -> None:
    """An answer is an answer, whoever else is away."""
    assert ask({"silent": unknown, "two": unknown}).account == "A"
