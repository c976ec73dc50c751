"""Deadlines: each wait ends in time, and only the late one is cancelled."""

from __future__ import annotations

import asyncio
import gc

import pytest

from gateway.deadline import Deadlines
from runtime.memory import YOUNG_OBJECTS, settle


def test_late_wait_is_a_timeout() -> None:
    """A wait that is too long raises TimeoutError, and the task goes on."""

    async def main() -> str:
        deadlines = Deadlines(0.02)
        with pytest.raises(TimeoutError), deadlines.limit():
            await asyncio.sleep(10)
        await asyncio.sleep(0)
        return "went on"

    assert asyncio.run(main()) == "went on"


def test_waits_in_time_are_left_alone() -> None:
    """Waits that start before and after a late one end by themselves; the timer serves all of them."""

    async def main() -> list[str]:
        deadlines = Deadlines(0.1)

        async def wait(seconds: float, start: float) -> str:
            await asyncio.sleep(start)
            try:
                with deadlines.limit():
                    await asyncio.sleep(seconds)
            except TimeoutError:
                return "late"
            return "in time"

        plan = ((0.01, 0.0), (10.0, 0.01), (0.04, 0.05), (10.0, 0.3))
        return await asyncio.gather(*(wait(*times) for times in plan))

    assert asyncio.run(main()) == ["in time", "late", "in time", "late"]


def test_other_errors_pass() -> None:
    """What goes wrong inside comes out as it is."""

    async def main() -> None:
        with Deadlines(1).limit():
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        asyncio.run(main())


def test_cancellation_from_outside_stays_one() -> None:
    """A task that is stopped by someone else is cancelled, not late."""

    async def main() -> None:
        deadlines = Deadlines(10)

        async def wait() -> None:
            with deadlines.limit():
                await asyncio.sleep(10)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())


def test_settled_memory_is_not_searched() -> None:
    """After settling, what start-up built is exempt from collection, and the collector runs less often."""
    threshold = gc.get_threshold()
    try:
        settle()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == YOUNG_OBJECTS
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
