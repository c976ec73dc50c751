"""Blocking calls beside the event loop. Owns no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Call a function in a thread and return what it returns.

    Unlike ``asyncio.to_thread``, a cancellation waits for the call: whoever is cancelled may then close what the
    call was using.
    """
    future = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait({future})
        raise
