"""A process of its own for exports: drawing and laying out hold the interpreter, and an event loop has to go on.

Owns that process, the queue before it, and the results that are kept. Jobs are functions of a module with arguments
that can be pickled. One job runs at a time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from math import ceil
from multiprocessing.connection import wait
from time import monotonic
from typing import Final, ParamSpec, TypeVar

MIB: Final = 2**20
_START_SECONDS: Final = 60.0
"""For the process to come up; apart from the time of a job, as it can be long on a busy machine."""
_GRACE_SECONDS: Final = 5
_RECENT_WEIGHT: Final = 0.3

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ExportsBusy(RuntimeError):
    """As many exports as allowed wait or run."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"too many exports at once; try again in {retry_after_seconds} seconds")
        self.retry_after_seconds = retry_after_seconds


class ExportTooLong(RuntimeError):
    """An export took longer than allowed and was ended."""


class ExportCrashed(RuntimeError):
    """The process ended twice under the same export."""


class ExportsClosed(RuntimeError):
    """Nothing is exported any more: the process that asked is about to end."""


class ExportPool:
    """Runs exports one after the other in a process of their own; used from one event loop."""

    def __init__(self, queue_max: int, timeout_seconds: float, *, cache_bytes_max: int = 64 * MIB) -> None:
        self._queue_max = queue_max
        self._timeout_seconds = timeout_seconds
        self._turn = asyncio.Lock()
        self._places_taken = 0
        self._worker: _Worker | None = None
        self._abandoned: set[asyncio.Task[object]] = set()
        self._recent_seconds = 1.0
        self._closed = False
        self._kept = _Kept(cache_bytes_max)
        self._flights: dict[Hashable, _Flight] = {}

    async def run(self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run one export and return what it returns; what it raises is raised.

        Whoever is cancelled gives up its place at once; a job that runs already ends by itself or by its timeout.

        Raises:
            ExportsBusy: there is no place in the queue.
            ExportTooLong: it ran for longer than allowed; waiting for its turn does not count.
            ExportCrashed: it ended the process, twice.
            ExportsClosed: the pool is closed.
        """
        if self._closed:
            raise ExportsClosed("exports are closed")
        if self._places_taken >= self._queue_max:
            raise ExportsBusy(max(1, ceil(self._recent_seconds * self._places_taken)))
        self._places_taken += 1
        try:
            await self._turn.acquire()
            # A task, as the turn is over when the job is, not when nobody wants it any more.
            job = asyncio.create_task(self._job(lambda worker: worker.submit(function, *args, **kwargs)))
            self._abandoned.add(job)
            job.add_done_callback(self._job_done)
            return await asyncio.shield(job)
        finally:
            self._places_taken -= 1

    async def cached(
        self, key: Hashable, function: Callable[_P, bytes], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> bytes:
        """Return the kept result of this key, or run the export and keep it; who asks meanwhile waits for the same.

        The key must name everything that the result depends on, also how new the numbers are.
        """
        if (kept := self._kept.get(key)) is not None:
            return kept
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(self.run(function, *args, **kwargs)))
            self._flights[key] = flight
            flight.task.add_done_callback(lambda task: self._landed(key, task))
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                del self._flights[key]
                flight.task.cancel()

    async def close(self) -> None:
        """End the process; what runs or waits fails. Ends nothing but what it started."""
        self._closed = True
        if self._worker is not None:
            await self._worker.end()
        while self._abandoned:
            await asyncio.wait(set(self._abandoned))
        self._worker = None

    @property
    def pending(self) -> int:
        """Return how many exports run or wait for their turn."""
        return self._places_taken

    @property
    def process_id(self) -> int | None:
        """Return the id of the process, if there is one."""
        return self._worker.process_id if self._worker is not None else None

    def _landed(self, key: Hashable, task: asyncio.Task[bytes]) -> None:
        flight = self._flights.get(key)
        if flight is not None and flight.task is task:
            del self._flights[key]
        # Asking for the exception tells the loop that it was seen.
        if not task.cancelled() and task.exception() is None:
            self._kept.put(key, task.result())

    def _job_done(self, job: asyncio.Task[object]) -> None:
        self._abandoned.discard(job)
        self._turn.release()
        if not job.cancelled():
            job.exception()

    async def _job(self, submit: Callable[[_Worker], asyncio.Future[_T]]) -> _T:
        for _ in range(2):
            if self._closed:
                raise ExportsClosed("exports are closed")
            try:
                worker = await self._ready_worker()
                begun = monotonic()
                done = await asyncio.wait_for(asyncio.shield(submit(worker)), self._timeout_seconds)
            except BrokenProcessPool:
                await self._drop_worker()
                continue
            except TimeoutError as late:
                await self._drop_worker()
                message = f"the export took longer than {self._timeout_seconds:g} seconds"
                raise ExportTooLong(message) from late
            except (OSError, RuntimeError) as fault:
                if self._closed:
                    # Killed while it was being fed, the executor says whatever its pipe says.
                    raise ExportsClosed("exports are closed") from fault
                raise
            self._recent_seconds += _RECENT_WEIGHT * (monotonic() - begun - self._recent_seconds)
            return done
        if self._closed:
            raise ExportsClosed("exports are closed")
        raise ExportCrashed("the process of exports ended twice under the same one")

    async def _ready_worker(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(ceil(self._timeout_seconds) + _GRACE_SECONDS)
        await self._worker.start()
        return self._worker

    async def _drop_worker(self) -> None:
        if self._closed:
            return  # whoever closes ends it, and two at once would take its pipes from one another
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()


class _Worker:
    """One process, and the executor that feeds it."""

    def __init__(self, limit_seconds: int) -> None:
        self._limit_seconds = limit_seconds
        self.process_id: int | None = None
        # Forked, it would share the threads' locks and the databases of this process.
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(1, mp_context=context, initializer=_begin)

    async def start(self) -> None:
        """Wait until the process is there."""
        if self.process_id is None:
            asked = asyncio.get_running_loop().run_in_executor(self._executor, os.getpid)
            self.process_id = await asyncio.wait_for(asked, _START_SECONDS)

    def submit(
        self, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> asyncio.Future[_T]:
        """Begin a job."""
        begun = self._executor.submit(_limited, self._limit_seconds, function, *args, **kwargs)
        future: asyncio.Future[_T] = asyncio.wrap_future(begun)
        # A job that was given up may still fail; nobody asks.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        return future

    async def end(self) -> None:
        """Kill the process, and wait until it is gone; one that never came up ends by itself when it does."""
        for process in multiprocessing.active_children():
            if process.pid == self.process_id:
                process.kill()
        await asyncio.to_thread(
            self._executor.shutdown, wait=self.process_id is not None, cancel_futures=True
        )


@dataclass
class _Flight:
    """One export that several wait for."""

    task: asyncio.Task[bytes]
    waiting: int = 0


class _Kept:
    """The results used last, as many as fit."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._results: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        """Return a result, which counts as a use."""
        if key not in self._results:
            return None
        self._results.move_to_end(key)
        return self._results[key]

    def put(self, key: Hashable, result: bytes) -> None:
        """Keep a result and drop those whose last use is longest ago; one that never fits drops nothing."""
        if len(result) > self._bytes_max:
            return
        self._bytes -= len(self._results.pop(key, b""))
        self._results[key] = result
        self._bytes += len(result)
        while self._bytes > self._bytes_max:
            _, dropped = self._results.popitem(last=False)
            self._bytes -= len(dropped)


def _begin() -> None:
    """Prepare the process: Ctrl-C is the parent's to handle, and without a parent there is nothing to do."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in a child only"
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _limited(limit_seconds: int, function: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a job that the system ends at the limit, even where the parent is gone and the interpreter is held."""
    signal.alarm(limit_seconds)
    try:
        return function(*args, **kwargs)
    finally:
        signal.alarm(0)
