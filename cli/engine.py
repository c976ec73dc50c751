"""What the verbs ask of a data directory, answered by whoever owns it.

``Engine`` has two implementations: ``cli.node.Node``, which owns the directory, and ``cli.remote.RemoteEngine``, which
reaches the owner through its socket. A verb does not know which one it talks to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from metering.charges import Charge
from metering.limits import LimitUse
from schemas.final_report import FinalReport
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters
from streams.normalize import InputFormat

__all__ = ["DeadLetterRow", "Engine", "InputFormat", "Intake", "QueryName", "Row"]

HOPS_MAX = 6
"""How often the end of the log is looked at again: an event of a linked user is passed on a few times at most."""

QueryName = Literal["usage", "conversations", "incoming", "active-users"]
Row = dict[str, object]


class Intake(msgspec.Struct):
    """What a chunk of lines came to. The numbers count updates; ``lines`` counts lines."""

    lines: int = 0
    accepted: int = 0
    ignored: int = 0
    refused: int = 0
    refusals: list[str] = []
    """Of the first refused updates: line number, reason and detail, for the person who feeds the file."""

    def add(self, other: Intake) -> None:
        """Add another chunk's numbers."""
        self.lines += other.lines
        self.accepted += other.accepted
        self.ignored += other.ignored
        self.refused += other.refused
        self.refusals.extend(other.refusals)


class DeadLetterRow(msgspec.Struct):
    """A dead letter as ``dlq`` shows it."""

    id: int
    reason: str
    detail: str
    account: str
    received_at: int
    source: str
    payload: str


class Engine(Protocol):
    """A running convometer."""

    async def ingest(self, lines: list[bytes], input_format: InputFormat, first_line: int) -> Intake:
        """Take lines (one webhook body or event each); return once all, refused ones too, are durable in the log."""
        ...

    async def hold(self, accounts: list[str], hold_id: str, release: bool) -> None:
        """Hold the cut of accounts for a backfill, or release it, in order with what was ingested before."""
        ...

    async def positions(self) -> dict[int, int]:
        """Return the ends of the log's partitions."""
        ...

    async def wait_flushed(self, positions: Mapping[int, int]) -> None:
        """Return once ClickHouse has everything before the positions.

        That includes what partitions tell each other because of it.
        """
        ...

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """Answer one of the queries."""
        ...

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """Return what the counted traffic costs."""
        ...

    async def report(self, asked: ReportAsked) -> FinalReport:
        """Return the final report of a month."""
        ...

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """Return how far the limits of a month are used up."""
        ...

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """Return the notices that were given about limits, the newest first."""
        ...

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetterRow]:
        """Return dead letters with an id greater than ``after``, oldest first."""
        ...

    async def replay(self, ids: list[int]) -> Intake:
        """Send dead letters through the parser again; what is refused again becomes a new dead letter."""
        ...

    async def accept(self, topic: str, partition: int) -> None:
        """Let stopped partitions go on; "" = of any topic, -1 = any partition."""
        ...

    async def close(self) -> None:
        """Let go: stop the node if it was started for this verb, else only hang up."""
        ...
