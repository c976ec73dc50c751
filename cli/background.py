"""What goes on beside a worker for as long as the process lives; nothing of it may end unnoticed.

Owns the tasks, from their start until they are stopped. What is told of one that ends by itself must end the process:
gauges that nobody sets any more would stand at their last healthy values, and alerts would believe them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """Tasks that end only when they are stopped. In every role the same."""

    def __init__(self, fail: Callable[[BaseException], None]) -> None:
        """Take what is called with the reason when a task ends by itself."""
        self._fail = fail
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on until ``stop``."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._fail(failure)
        elif not self._is_stopping:
            self._fail(RuntimeError(f"the task {task.get_name()} ended by itself"))

    async def stop(self) -> None:
        """Cancel all of it, and return once it has ended."""
        self._is_stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
