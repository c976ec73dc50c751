"""The faults of a trial: each that the plan names is done, whatever the seed."""

from __future__ import annotations

import asyncio
from random import Random
from typing import cast

import pytest

from cli.trial.faults import FaultPlan, Faults
from cli.trial.subjects import Subject


class Worker:
    """A process that a supervisor starts again, a little after it was killed."""

    is_running = True

    def kill(self) -> bool:
        self.is_running = False
        asyncio.get_running_loop().call_soon(self._start)
        return True

    def _start(self) -> None:
        self.is_running = True

    def suspend(self) -> None:
        assert self.is_running

    def resume(self) -> None:
        assert self.is_running

    async def worked(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> int:
        return 0


class Workers:
    """What is on trial: at first two workers, and a ClickHouse server that can go away."""

    def __init__(self) -> None:
        self.children = [Worker(), Worker()]
        self.door = self

    async def add_worker(self) -> bool:
        self.children.append(Worker())
        return True

    async def shut(self) -> None:
        """Be the door."""

    async def open(self) -> None:
        """Be the door."""


@pytest.mark.parametrize("seed", [951542962, *range(60)])
def test_every_fault_of_the_plan_is_done(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all suspensions come while one worker is left, as with the first seed: another one joins then."""
    wait_a_round = asyncio.sleep
    monkeypatch.setattr("cli.trial.faults.asyncio.sleep", lambda _seconds: wait_a_round(0))
    plan = FaultPlan(kills=25, rebalance=True, sink_down=True)

    async def trial() -> Faults:
        faults = Faults(plan, cast("Subject", Workers()), Random(f"faults {seed}"))
        doing = asyncio.create_task(faults.do_all())
        while not doing.done():
            faults.fed.set()
            await wait_a_round(0)
        await doing
        return faults

    done = asyncio.run(trial()).done
    assert done["kill -9"] == 25
    assert done["suspended beyond its session"] == 4
    assert done["ClickHouse away"] == 4
    assert done["worker joined"] > 0
    assert done["worker left"] > 0
