"""Makes exports in a process of its own: drawing holds the interpreter for as long as it takes.

Owns the process, the queue in front of it, and what was drawn lately. One export is made at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
Made = TypeVar("Made")

CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
_SET_PARENT_DEATH_SIGNAL: Final = 1


class ExportsBusy(RuntimeError):
    """Too many exports wait already."""

    retry_after_seconds = 5


class ExportTooLong(RuntimeError):
    """An export took longer than it may; it was given up."""


class ExportPool:
    """One process that makes exports. For one event loop."""

    def __init__(
        self, queue_max: int, timeout_seconds: float, cache_bytes_max: int = CACHE_BYTES_MAX
    ) -> None:
        """Take how many exports may wait or run, and how long one may take."""
        self._queue_max = queue_max
        self._timeout_seconds = timeout_seconds
        self._cache_bytes_max = cache_bytes_max
        self._turn = asyncio.Lock()
        self._pending = 0
        self._executor: ProcessPoolExecutor | None = None
        self._made: OrderedDict[Hashable, bytes] = OrderedDict()
        self._made_bytes = 0
        self._making: dict[Hashable, asyncio.Task[bytes]] = {}

    async def run(self, function: Callable[P, Made], *args: P.args, **kwargs: P.kwargs) -> Made:
        """Return what a function returns, called in the other process.

        It and its arguments are pickled. Waiting for its turn is not counted as its time.

        Raises:
            ExportsBusy: the queue is full.
            ExportTooLong: it took longer than it may.
            Exception: whatever the function raises.
        """
        if self._pending >= self._queue_max:
            raise ExportsBusy("too many exports wait")
        self._pending += 1
        try:
            async with self._turn:
                return await self._make(partial(function, *args, **kwargs))
        finally:
            self._pending -= 1

    async def _make(self, call: Callable[[], Made]) -> Made:
        try:
            return await self._made_once(call)
        except BrokenProcessPool:
            # The process died, by a lack of memory perhaps. An export changes nothing, so it is tried once more.
            self._drop()
            return await self._made_once(call)

    async def _made_once(self, call: Callable[[], Made]) -> Made:
        future = asyncio.get_running_loop().run_in_executor(self._process(), call)
        try:
            return await asyncio.wait_for(future, self._timeout_seconds)
        except TimeoutError as error:
            if not future.cancelled():
                raise  # the function's own
            self._drop()
            raise ExportTooLong(f"an export took longer than {self._timeout_seconds:g} s") from error
        except (asyncio.CancelledError, BrokenProcessPool):
            # Nobody waits for it any more: it must not keep the next one waiting.
            self._drop()
            raise

    def _process(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # Forked, it would inherit the database engine and the event loop.
            self._executor = ProcessPoolExecutor(1, get_context("spawn"), _begin, (os.getpid(),))
        return self._executor

    def _drop(self) -> None:
        """End the process, at whatever it is; the next export starts another."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        for process in list((executor._processes or {}).values()):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        executor.shutdown(wait=False, cancel_futures=True)

    async def cached(
        self, key: Hashable, function: Callable[P, bytes], *args: P.args, **kwargs: P.kwargs
    ) -> bytes:
        """Return what ``run`` returns, made once for a key: by one of those who ask at the same time.

        Raises:
            Exception: as ``run``; a failure is not kept.
        """
        known = self._made.get(key)
        if known is not None:
            self._made.move_to_end(key)
            return known
        task = self._making.get(key)
        if task is None:
            task = asyncio.ensure_future(self.run(function, *args, **kwargs))
            self._making[key] = task
            task.add_done_callback(partial(self._keep, key))
        # Whoever leaves must not take it from the others.
        return await asyncio.shield(task)

    def _keep(self, key: Hashable, task: asyncio.Task[bytes]) -> None:
        self._making.pop(key, None)
        if task.cancelled() or task.exception() is not None:
            return
        content = task.result()
        self._made[key] = content
        self._made_bytes += len(content)
        while self._made_bytes > self._cache_bytes_max:
            _, oldest = self._made.popitem(last=False)
            self._made_bytes -= len(oldest)

    async def close(self) -> None:
        """End the process. What is being made is given up."""
        for task in list(self._making.values()):
            task.cancel()
        self._drop()


def _begin(parent: int) -> None:
    """Prepare the other process: Ctrl-C is its parent's to handle, and it ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix" and os.uname().sysname == "Linux":
        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
