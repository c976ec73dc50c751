"""One trial: generated traffic, faults while it is fed, and the four queries against the truth at the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from cli.engine import QueryName
from cli.trial.comparison import Cell, Verdict, cells_of, compare
from cli.trial.faults import FaultPlan, Faults
from cli.trial.subjects import Subject
from simulation.generator import World, WorldOptions
from simulation.truth import Truth

QUERIES: tuple[QueryName, ...] = ("usage", "conversations", "incoming", "active-users")
_CHUNK_LINES = 40
_LATE_DAYS = 3
_SETTLE_SECONDS_MAX = 300.0
_REPEAT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Traffic:
    """Webhook bodies in the order of arrival, and what metering must make of them."""

    lines: tuple[bytes, ...]
    updates: int
    truth: dict[Cell, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial came to."""

    lines: int
    updates: int
    faults: Counter[str]
    restarts: int
    verdict: Verdict


def make_traffic(options: WorldOptions, plan: FaultPlan) -> Traffic:
    """Return a world's traffic, with what the plan adds to its own disorder."""
    truth = Truth({})
    world = World(options, truth)
    world.settle()
    bodies = list(world.bodies())
    lines = [body for _, body in bodies]
    random = Random(f"traffic {options.seed}")  # noqa: S311 - a seed repeats it
    if plan.duplicate:
        # Every fourth body comes again, somewhere later.
        for position in sorted(random.sample(range(len(lines)), len(lines) // 4), reverse=True):
            lines.insert(random.randint(position, min(len(lines), position + 200)), lines[position])
    if plan.late:
        lines = _delayed(lines, len(lines) * _LATE_DAYS // options.days, random)
    cells: dict[Cell, int] = {}
    for row in truth.rows():
        fields = dict(row)
        query = str(fields.pop("query"))
        cells.update(cells_of(query, [fields]))
    return Traffic(tuple(lines), sum(count for count, _ in bodies), cells)


def _delayed(lines: list[bytes], most: int, random: Random) -> list[bytes]:
    """Hold back every tenth line for up to ``most`` lines: some days of the world's time."""
    places = [
        (position + (random.randint(1, most) if random.random() < 0.1 else 0), position)
        for position in range(len(lines))
    ]
    return [lines[position] for _, position in sorted(places)]


async def run_trial(subject: Subject, traffic: Traffic, plan: FaultPlan, seed: int) -> Outcome:
    """Feed the traffic while the faults happen, and compare.

    Args:
        subject: what is on trial; must be empty.
        traffic: to feed.
        plan: of the faults.
        seed: of the moments at which they happen.
    """
    random = Random(f"faults {seed}")  # noqa: S311 - a seed repeats it
    faults = Faults(plan, subject, random)
    chunks = [
        list(traffic.lines[start : start + _CHUNK_LINES])
        for start in range(0, len(traffic.lines), _CHUNK_LINES)
    ]
    breaking = asyncio.create_task(faults.do_all())
    try:
        await _feed(subject, chunks, breaking, faults.fed)
        # A fault that could not be done ends the trial.
        await breaking
    finally:
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)
    async with asyncio.timeout(_SETTLE_SECONDS_MAX):
        await subject.settle()
    counted: dict[Cell, int] = {}
    for name in QUERIES:
        counted.update(cells_of(name, await subject.query(name)))
    restarts = sum(child.starts - 1 for child in subject.children)
    verdict = compare(traffic.truth, counted)
    return Outcome(len(traffic.lines), traffic.updates, faults.done, restarts, verdict)


async def _feed(
    subject: Subject, chunks: list[list[bytes]], breaking: asyncio.Task[None], fed: asyncio.Event
) -> None:
    """Feed everything, and again while there are faults left: repeats change no number."""
    position = 0
    while position < len(chunks) or not breaking.done():
        await subject.feed(chunks[position % len(chunks)])
        fed.set()
        position += 1
        # Repeats only keep the workers busy: what they pile up has to be worked off before the comparison.
        await asyncio.sleep(0 if position < len(chunks) else _REPEAT_SECONDS)
