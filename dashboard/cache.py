"""Keeps answers for as long as the totals have not changed: many people look at the same page.

Owns when an answer is too old, and how much is kept. What is asked at the same time is asked once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar, cast

Answer = TypeVar("Answer")

ROWS_KEPT_MAX = 20_000
"""Longer lists are given and not kept."""
ROWS_IN_ALL_MAX = 100_000
"""Of all lists kept together, about 60 MB: where nothing is counted for a night, no version ever ends them."""
VERSION_SECONDS = 1.0
"""For how long the version read last is taken for the current one."""


class VersionedCache:
    """Answers by question, of one version of the totals at a time. For one event loop."""

    def __init__(
        self,
        read_version: Callable[[], Awaitable[str]],
        monotonic_seconds: Callable[[], float],
        answers_max: int = 512,
    ) -> None:
        """Take what reads the version of the totals, and a clock that never goes back."""
        self._read_version = read_version
        self._monotonic_seconds = monotonic_seconds
        self._answers_max = answers_max
        self._version = ""
        self._read_at = float("-inf")
        self._reading: asyncio.Task[str] | None = None
        self._answers: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._rows = 0

    async def version(self) -> str:
        """Return the version of the totals, at most a second old."""
        if self._reading is None and self._monotonic_seconds() - self._read_at < VERSION_SECONDS:
            return self._version
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(self._reading_ended)
        return await asyncio.shield(self._reading)

    async def _read(self) -> str:
        asked_at = self._monotonic_seconds()
        version = await self._read_version()
        if version != self._version:
            self._answers.clear()
            self._rows = 0
        self._version, self._read_at = version, asked_at
        return version

    def _reading_ended(self, task: asyncio.Task[str]) -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # those who wait for it have it; nobody may be left

    async def get(
        self, question: Hashable, ask: Callable[[], Awaitable[Answer]], moment: Hashable = None
    ) -> Answer:
        """Return the answer to a question under the current version; a failed one is not kept.

        Args:
            question: what is asked, all of it.
            ask: asks it.
            moment: of answers that also change with the clock, the span of time that they are good for: the next one
                takes the place of this.
        """
        await self.version()
        kept = self._answers.get(question)
        if kept is None or kept.moment != moment:
            self._drop(question)
            kept = self._answers[question] = _Kept(moment, asyncio.ensure_future(_asked(ask)))
            kept.task.add_done_callback(lambda _task: self._ended(question, kept))
            while len(self._answers) > self._answers_max:
                self._drop(next(iter(self._answers)))
        else:
            self._answers.move_to_end(question)
        # A visitor who leaves must not take the answer from the others who wait for it.
        return cast("Answer", await asyncio.shield(kept.task))

    def _drop(self, question: Hashable) -> None:
        dropped = self._answers.pop(question, None)
        self._rows -= dropped.rows if dropped is not None else 0

    def _ended(self, question: Hashable, kept: _Kept) -> None:
        is_failed = kept.task.cancelled() or kept.task.exception() is not None
        if self._answers.get(question) is not kept:
            return
        kept.rows = 0 if is_failed else _rows_of(kept.task.result())
        self._rows += kept.rows
        if is_failed or kept.rows > ROWS_KEPT_MAX:
            self._drop(question)
        while self._rows > ROWS_IN_ALL_MAX:
            self._drop(next(iter(self._answers)))


@dataclass(eq=False, slots=True)
class _Kept:
    """An answer that is kept, or under way."""

    moment: Hashable
    task: asyncio.Task[object]
    rows: int = 0
    """0 while it is under way."""


def _rows_of(answer: object) -> int:
    return len(answer) if isinstance(answer, list) else 1


async def _asked(ask: Callable[[], Awaitable[object]]) -> object:
    return await ask()


class TimedCache:
    """Answers that may be some time old, such as what there is to choose from. For one event loop.

    An old answer is given at once, and asked for anew meanwhile: nobody waits for it but the first.
    """

    def __init__(
        self, monotonic_seconds: Callable[[], float], fresh_seconds: float = 30.0, answers_max: int = 2000
    ) -> None:
        """Take a clock that never goes back, how old an answer may be before it is asked for again, and how many."""
        self._monotonic_seconds = monotonic_seconds
        self._fresh_seconds = fresh_seconds
        self._answers_max = answers_max
        self._answers: OrderedDict[Hashable, tuple[float, object]] = OrderedDict()
        self._asking: dict[Hashable, asyncio.Task[object]] = {}

    async def get(self, question: Hashable, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer to a question."""
        known = self._answers.get(question)
        if known is None or self._monotonic_seconds() - known[0] >= self._fresh_seconds:
            asking = self._ask(question, ask)
            if known is None:
                return cast("Answer", await asyncio.shield(asking))
        assert known is not None, "without an answer it was waited for"
        return cast("Answer", known[1])

    def _ask(self, question: Hashable, ask: Callable[[], Awaitable[object]]) -> asyncio.Task[object]:
        asking = self._asking.get(question)
        if asking is None:
            asking = self._asking[question] = asyncio.ensure_future(self._renewed(question, ask))
            asking.add_done_callback(lambda task: self._ended(question, task))
        return asking

    async def _renewed(self, question: Hashable, ask: Callable[[], Awaitable[object]]) -> object:
        answer = await ask()
        self._answers[question] = (self._monotonic_seconds(), answer)
        self._answers.move_to_end(question)
        while len(self._answers) > self._answers_max:
            self._answers.popitem(last=False)
        return answer

    def _ended(self, question: Hashable, task: asyncio.Task[object]) -> None:
        self._asking.pop(question, None)
        if not task.cancelled():
            task.exception()  # whoever waited has it; an old answer stays until the next try
