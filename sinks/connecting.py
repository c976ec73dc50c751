"""A connection to a host that has several addresses, of which some may not answer at all. Owns how they take turns."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar

Connection = TypeVar("Connection")
_HEAD_START_SECONDS: Final = 0.3
"""Longer than most connections take: an address that comes later is seldom tried for nothing."""


async def first_connection(
    attempts: Sequence[Callable[[], Coroutine[Any, Any, Connection]]],
    close: Callable[[Connection], Awaitable[None]],
) -> Connection:
    """Return the first connection that comes about, and close those that come about beside it.

    Each attempt begins when that before it failed, or has had a head start. One after the other would not do: an
    address that drops what is sent to it uses up all the time that there is, each time.

    Args:
        attempts: to connect, the preferred one first; at least one.
        close: ends a connection that is not needed.

    Raises:
        Exception: what the last attempt failed with, once all have.
    """
    begun: list[asyncio.Task[Connection]] = []
    winner: asyncio.Task[Connection] | None = None
    try:
        while winner is None:
            is_more = len(begun) < len(attempts)
            if is_more:
                begun.append(asyncio.create_task(attempts[len(begun)]()))
            under_way = [task for task in begun if not task.done()]
            if not under_way and not is_more:
                break
            if under_way:
                await asyncio.wait(
                    under_way,
                    timeout=_HEAD_START_SECONDS if len(begun) < len(attempts) else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            winner = next((task for task in begun if task.done() and task.exception() is None), None)
    finally:
        await _end([task for task in begun if task is not winner], close)
    return (winner or begun[-1]).result()


async def connected_socket(host: str, port: int) -> socket.socket:
    """Return a connection to the first address of a host that answers.

    Raises:
        OSError: there is no such host, or none of its addresses takes a connection.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await first_connection(
        [partial(_connected, family, kind, address) for family, kind, _, _, address in found], _close
    )


async def _connected(family: int, kind: int, address: tuple[Any, ...]) -> socket.socket:
    connection = socket.socket(family, kind)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _close(connection: socket.socket) -> None:
    connection.close()


async def _end(
    tasks: Sequence[asyncio.Task[Connection]], close: Callable[[Connection], Awaitable[None]]
) -> None:
    """End attempts that are not needed; one of them may just have got through."""
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(ended, BaseException):
            await close(ended)
