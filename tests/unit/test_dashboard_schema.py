"""Everything that the API's document allows, and much that it does not, over a real connection: no server error."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dashboard.access.permissions import Permission
from dashboard.api.routes import router
from gateway.server import server_config
from tests.support.dashboards import Served, serving_dashboard

EXAMPLES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 10
_START_SECONDS = 30


class _Background:
    """A dashboard that is served by a thread with an event loop of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = self.token = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> _Background:
        self._thread.start()
        assert self._ready.wait(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serving_dashboard(self._directory, users={"root": ("admin", None)}) as served:
            await self._until_stopped(served, self._stop)

    async def _until_stopped(self, served: Served, stop: asyncio.Event) -> None:
        config = server_config(served.dashboard.app)
        config.loop, config.port = "none", 0
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.01)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        self.token = served.token("root", *Permission)
        self._ready.set()
        await stop.wait()
        server.should_exit = True
        await task


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Background]:
    """Return a dashboard on a free port of this machine."""
    with _Background(tmp_path_factory.mktemp("dashboard")) as serving:
        yield serving


@pytest.fixture(scope="module")
def api(background: _Background) -> Any:
    """Return the API by its own document."""
    return schemathesis.openapi.from_url(f"{background.url}/api/openapi.json")


PATHS = [route.path for route in router.routes if isinstance(route, APIRoute)]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_a_server_error(
    api: Any, background: _Background, path: str, mode: schemathesis.GenerationMode
) -> None:
    """Whatever is asked, fitting or not, the answer is documented in status, type and shape, and no server error."""
    headers = {"Authorization": f"Bearer {background.token}"}
    statuses: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=api[path]["GET"].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(headers=headers)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    ask()
    assert statuses, "something was asked"
    assert not [status for status in statuses if status >= 500]
