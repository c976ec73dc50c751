"""Deadlines for many short waits of the same length.

Owns the one timer behind them. ``asyncio.timeout`` arms and cancels a timer for every wait, which costs more than
checking a signature; here a wait costs one entry in a dictionary.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadlines:
    """All waits of one kind in one event loop. ``with deadlines.limit(): await ...`` raises TimeoutError when late."""

    def __init__(self, seconds: float) -> None:
        """Take the length of every wait."""
        self._seconds = seconds
        # As all waits are equally long, insertion order is the order of expiry.
        self._running: dict[_Limit, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> _Limit:
        """Return a context manager that cancels the body, and turns that into TimeoutError, once time is up."""
        return _Limit(self)

    def _begin(self, limit: _Limit) -> None:
        loop = asyncio.get_running_loop()
        self._running[limit] = ends_at = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(ends_at, self._expire, loop)

    def _end(self, limit: _Limit) -> None:
        self._running.pop(limit, None)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is late, and look again when the next one would be."""
        self._timer = None
        now = loop.time()
        for limit, ends_at in list(self._running.items()):
            if ends_at > now:
                self._timer = loop.call_at(ends_at, self._expire, loop)
                return
            del self._running[limit]
            limit.expire()


class _Limit:
    """One wait of the task that enters it."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None, "a limit is entered by a task"
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines._begin(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if not self._expired:
            self._deadlines._end(self)
            return
        # More cancellations than ours: someone stops the task, and that comes first.
        if self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Cancel the task from outside."""
        self._expired = True
        self._task.cancel()
