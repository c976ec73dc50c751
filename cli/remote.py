"""An ``Engine`` at the other end of the owner's socket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from cli.engine import DeadLetterRow, InputFormat, Intake, QueryName, Row
from cli.owner import (
    AcceptCall,
    DeadLettersCall,
    Failure,
    HoldCall,
    IngestCall,
    QueryCall,
    short_address,
    socket_path,
)
from metering.charges import Charge
from metering.limits import LimitUse
from schemas.final_report import FinalReport
from sinks.billing import ChargesAsked, LimitsAsked, ReportAsked
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.clickhouse.reader import Filters

Answer = TypeVar("Answer")


class OwnerFailed(RuntimeError):
    """The owner of the data directory answered with an error, or went away."""


class OwnerGone(OwnerFailed):
    """Nobody is at the other end of the socket any more, or nobody has been for long."""

    def __init__(self, error: httpx.HTTPError) -> None:
        """Take what became of the call."""
        super().__init__(
            f"the process that owns the data directory went away ({type(error).__name__}); nothing that it "
            "acknowledged is lost, run the command again"
        )


class RemoteEngine:
    """Speaks to the process that owns the data directory."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Take a client that is bound to the socket; use ``connect``."""
        self._client = client

    @classmethod
    async def connect(cls, data: Path) -> RemoteEngine | None:
        """Return an engine when somebody answers on the directory's socket, else None.

        Raises:
            OwnerFailed: who is there answered with an error.
        """
        path = socket_path(data)
        if not path.exists():
            return None
        address = short_address(path)
        transport = httpx.AsyncHTTPTransport(uds=address.__enter__())
        engine = cls(httpx.AsyncClient(transport=transport, base_url="http://owner", timeout=None))  # noqa: S113
        try:
            await engine.positions()
        except OwnerGone:
            # Left over from a process that was killed, maybe just now: there is no owner.
            await engine.close()
            return None
        return engine

    async def ingest(self, lines: list[bytes], input_format: InputFormat, first_line: int) -> Intake:
        """See ``Engine.ingest``."""
        return await self._call("ingest", IngestCall(lines, input_format, first_line), Intake)

    async def hold(self, accounts: list[str], hold_id: str, release: bool) -> None:
        """See ``Engine.hold``."""
        await self._call("hold", HoldCall(accounts, hold_id, release), type(None))

    async def positions(self) -> dict[int, int]:
        """See ``Engine.positions``."""
        return await self._call("positions", None, dict[int, int])

    async def wait_flushed(self, positions: Mapping[int, int]) -> None:
        """See ``Engine.wait_flushed``."""
        await self._call("wait-flushed", dict(positions), type(None))

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """See ``Engine.query``."""
        return await self._call("query", QueryCall(name, filters), list[Row])

    async def charges(self, asked: ChargesAsked) -> list[Charge]:
        """See ``Engine.charges``."""
        return await self._call("charges", asked, list[Charge])

    async def report(self, asked: ReportAsked) -> FinalReport:
        """See ``Engine.report``."""
        return await self._call("report", asked, FinalReport)

    async def limits(self, asked: LimitsAsked) -> list[LimitUse]:
        """See ``Engine.limits``."""
        return await self._call("limits", asked, list[LimitUse])

    async def notices(self, asked: NoticesAsked) -> list[NoticeRow]:
        """See ``Engine.notices``."""
        return await self._call("notices", asked, list[NoticeRow])

    async def dead_letters(self, after: int, limit: int) -> list[DeadLetterRow]:
        """See ``Engine.dead_letters``."""
        return await self._call("dead-letters", DeadLettersCall(after, limit), list[DeadLetterRow])

    async def replay(self, ids: list[int]) -> Intake:
        """See ``Engine.replay``."""
        return await self._call("replay", ids, Intake)

    async def accept(self, topic: str, partition: int) -> None:
        """See ``Engine.accept``."""
        await self._call("accept", AcceptCall(topic, partition), type(None))

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()

    async def _call(self, name: str, call: object, answer_type: type[Answer]) -> Answer:
        try:
            response = await self._client.post(f"/{name}", content=msgspec.msgpack.encode(call))
        except httpx.HTTPError as error:
            raise OwnerGone(error) from error
        if response.status_code != 200:
            raise OwnerFailed(msgspec.msgpack.decode(response.content, type=Failure).message)
        return msgspec.msgpack.decode(response.content, type=answer_type)
