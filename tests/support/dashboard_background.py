"""A dashboard that a thread serves over a real connection, for tests that ask without an event loop.

Owns that thread and its loop. What is served is the caller's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import uvicorn

from cli.serving import App
from gateway.server import server_config

Opening = Callable[[], AbstractAsyncContextManager[tuple[App, str]]]
"""Opens a dashboard in the thread's loop; gives it with a token that may do everything."""
_START_SECONDS = 60


class BackgroundDashboard:
    """Serves from ``with`` to its end, on a free port of this machine."""

    def __init__(self, opening: Opening) -> None:
        """Take what opens the dashboard."""
        self._opening = opening
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.url = self.token = ""
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> BackgroundDashboard:
        """Wait until it serves; what prevents it is raised here."""
        self._thread.start()
        assert self._ready.wait(_START_SECONDS)
        if self._fault is not None:
            raise self._fault
        return self

    def __exit__(self, *_: object) -> None:
        """End it; what failed meanwhile is raised."""
        assert self._loop is not None
        assert self._stop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_SECONDS)
        assert not self._thread.is_alive()
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as fault:
            self._fault = fault
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self._opening() as (app, token):
            config = server_config(app)
            config.loop, config.port = "none", 0
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
                await asyncio.sleep(0.01)
            self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            self.token = token
            self._ready.set()
            await self._stop.wait()
            server.should_exit = True
            await task
