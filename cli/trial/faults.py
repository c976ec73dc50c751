"""The faults of a trial: what happens when. Owns the schedule, drawn from a seed, and counts what was done."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from cli.trial.processes import Child
from cli.trial.subjects import SESSION_SECONDS, Subject

_WORKERS_MAX = 4
_SINK_DOWN_SECONDS = 2.0
_WORK_BETWEEN = 0.5
"""How often work is waited for before the next fault: a process that is always killed while it starts shows little."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """What is done to the subject, and to the traffic."""

    kills: int = 0
    rebalance: bool = False
    """Workers join, leave, and are suspended for longer than their session lasts."""
    sink_down: bool = False
    duplicate: bool = False
    late: bool = False


class Faults:
    """Does the faults of a plan, one after the other, at random moments."""

    def __init__(self, plan: FaultPlan, subject: Subject, random: Random) -> None:
        """Draw the schedule."""
        self.done: Counter[str] = Counter()
        self.fed = asyncio.Event()
        """To be set whenever something that was fed has been acknowledged."""
        self._subject = subject
        self._random = random
        schedule = ["kill"] * plan.kills
        rounds = max(1, plan.kills // 6)
        if plan.rebalance:
            schedule += ["join", "leave", "suspend"] * rounds
        if plan.sink_down and subject.door is not None:
            schedule += ["sink"] * rounds
        random.shuffle(schedule)
        self._schedule = schedule

    async def do_all(self) -> None:
        """Do one fault after the other, with pauses of random length; ``fed`` has to be set meanwhile."""
        acts = {
            "kill": self._kill,
            "join": self._join,
            "leave": self._leave,
            "suspend": self._suspend,
            "sink": self._sink,
        }
        for fault in self._schedule:
            await acts[fault]()
            await asyncio.sleep(self._random.uniform(0.0, 0.6))
            if self._random.random() < _WORK_BETWEEN:
                self.fed.clear()
                await self.fed.wait()

    def _victim(self) -> Child | None:
        running = [child for child in self._subject.children if child.is_running]
        return self._random.choice(running) if running else None

    async def _kill(self) -> None:
        """Kill a process that is alive; a kill that finds none is tried again."""
        while True:
            await asyncio.sleep(self._random.uniform(0.0, 0.4))
            victim = self._victim()
            if victim is not None and victim.kill():
                self.done["kill -9"] += 1
                return

    async def _join(self) -> None:
        if len(self._subject.children) < _WORKERS_MAX and await self._subject.add_worker():
            self.done["worker joined"] += 1

    async def _leave(self) -> None:
        """End one worker in order; the last one stays."""
        if len(self._subject.children) > 1:
            child = self._random.choice(self._subject.children)
            self._subject.children.remove(child)
            await child.stop()
            self.done["worker left"] += 1

    async def _suspend(self) -> None:
        """Make a zombie: a worker that sleeps for longer than its session, and wakes as if nothing had happened."""
        while (victim := self._victim()) is None:  # noqa: ASYNC110 - only the processes tell
            await asyncio.sleep(0.1)
        if len(self._subject.children) == 1:
            # Without somebody who takes over its partitions it would only be late.
            await self._join()
            await self._subject.children[-1].worked()
        victim.suspend()
        await asyncio.sleep(SESSION_SECONDS + self._random.uniform(1.0, 3.0))
        victim.resume()
        self.done["suspended beyond its session"] += 1

    async def _sink(self) -> None:
        assert self._subject.door is not None
        await self._subject.door.shut()
        await asyncio.sleep(self._random.uniform(0.2, _SINK_DOWN_SECONDS))
        await self._subject.door.open()
        self.done["ClickHouse away"] += 1
