"""What goes on beside a worker: whatever ends by itself is told, and what is stopped is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cli.background import Background


async def forever() -> None:
    """Go on until cancelled."""
    await asyncio.Event().wait()


async def fails() -> None:
    """End by a fault."""
    raise TypeError("a fault of ours")


async def ends() -> None:
    """End as if there were nothing left to do."""


async def cancelled() -> None:
    """End as if cancelled, though nobody asked for it."""
    raise asyncio.CancelledError


async def told_of(*works: Callable[[], object]) -> list[str]:
    """Return what is told of work until it is stopped, a moment later."""
    told: list[BaseException] = []
    background = Background(told.append)
    for number, work in enumerate(works):
        background.start(f"work-{number}", work())  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    await background.stop()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return [f"{type(failure).__name__}: {failure}" for failure in told]


def test_what_is_stopped_did_not_end_by_itself() -> None:
    """The end of the process is no fault of anything."""
    assert asyncio.run(told_of(forever, forever)) == []


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (fails, "TypeError: a fault of ours"),
        (ends, "RuntimeError: the task work-1 ended by itself"),
        (cancelled, "RuntimeError: the task work-1 ended by itself"),
    ],
)
def test_what_ends_by_itself_is_told(work: Callable[[], object], told: str) -> None:
    """However it does."""
    assert asyncio.run(told_of(forever, work)) == [told]


def test_a_fault_on_the_way_out_is_told() -> None:
    """It may be why everything was stopped."""

    async def fails_at_last() -> None:
        try:
            await forever()
        finally:
            await fails()

    assert asyncio.run(told_of(fails_at_last)) == ["TypeError: a fault of ours"]
