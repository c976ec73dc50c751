"""Serving HTTP and ending in order: what ``run``, ``gateway`` and ``worker`` share.

Owns the listening socket, signals and the server's life. Does not own what is served.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import click
import uvicorn

from gateway.server import server_config

App = Callable[..., Awaitable[None]]


def quiet_libraries() -> None:
    """Silence services that report every start and stop of their parts: noise for whoever runs this."""
    for name in ("faust", "mode", "uvicorn.error", "streams.embedded", "streams.kafka", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # They tell of each coordinator that is looked for and each record that is sent again; what matters is raised.
    for name in ("aiokafka.consumer.group_coordinator", "aiokafka.producer.sender"):
        logging.getLogger(name).setLevel(logging.ERROR)


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Return a listening socket; a taken port is told before anything is opened."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host} port {port} ({error.strerror}); choose another with {option}"
        ) from error
    # Connections inherit it. asyncio sets it only where a socket names its protocol, and these do not; without it, the
    # body of an answer waits for the client to acknowledge the headers: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def serving(app: App, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Serve an application until the block ends; gives the task that ends when the server ends by itself."""
    server = uvicorn.Server(server_config(app))
    # Our own handlers end everything in order; uvicorn's would end the server alone.
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started:
            if task.done():
                raise click.ClickException("the HTTP server did not start; the log above says why")
            await asyncio.sleep(0.01)
        yield task
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)


def on_hangup() -> asyncio.Event:
    """Return an event that every SIGHUP sets from now on. None ends the process, not even after its event loop."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask(_signal: int, _frame: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(asked.set)

    # Not the loop's own way: when it closes, it gives the signal back its deadly default.
    signal.signal(signal.SIGHUP, ask)
    # Nor Python's, which does the same to handlers, but not to what is ignored, in its last milliseconds.
    atexit.register(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    return asked


async def until_stopped(*endings: Awaitable[Any], ready: Callable[[], None] = lambda: None) -> bool:
    """Return when it is time to end, and whether that is because somebody asked for it.

    Args:
        endings: what else is a reason to end: a failure to wait for, the server's task.
        ready: called once signals are heeded: who is told that it runs may end it at once.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stopped.set)
    ready()
    waiting = [asyncio.ensure_future(ending) for ending in (stopped.wait(), *endings)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    # The server's own task ends in its own way.
    for future, ending in zip(waiting[1:], endings, strict=True):
        if future is not ending:
            future.cancel()
    waiting[0].cancel()
    return stopped.is_set()
