"""Notices in ClickHouse's table ``alerts``, for dashboards: the newest copy of each id counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import UTC, date, datetime
from typing import Final, TypeVar

from schemas.alerts import Notice
from sinks.clickhouse.client import ClickHouse, ClickHouseAway, ClickHouseRefused
from sinks.clickhouse.reader import named_query
from sinks.notify.channel import ChannelKind, DeliveryFailed

Answer = TypeVar("Answer")

COLUMNS: Final = (
    "id",
    "month",
    "account",
    "number",
    "limit_name",
    "threshold",
    "n",
    "kind",
    "level",
    "level_before",
    "threshold_count",
    "limit",
    "used",
    "cause",
    "is_past",
    "received_until",
    "noticed_at",
)


class TableChannel:
    """A ``KeepingChannel`` that writes every notice into ClickHouse, past months too; it never gives up."""

    kind: ChannelKind = "clickhouse"
    title = "table in ClickHouse"
    batch_max = 1000
    gives_up = False

    def __init__(self, client: Callable[[], ClickHouse], executor: Executor | None = None) -> None:
        """Take what gives the calling thread's client, and where to call it."""
        self._client = client
        self._executor = executor

    def wants(self, notice: Notice) -> bool:
        """See ``Channel.wants``."""
        assert notice.id
        return True

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """See ``Channel.deliver``."""
        rows = [row_of(notice) for notice in notices]
        columns = [list(column) for column in zip(*rows, strict=True)]
        await self._ask(lambda client: client.insert("alerts", COLUMNS, columns))

    async def lacks(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """See ``KeepingChannel.lacks``."""
        asked = {
            "accounts": sorted({notice.account for notice in notices}),
            "ids": [notice.id for notice in notices],
        }
        rows = await self._ask(lambda client: client.query(named_query("alert-ids"), asked))
        known = {row[0] for row in rows}
        return [notice for notice in notices if notice.id not in known]

    async def _ask(self, ask: Callable[[ClickHouse], Answer]) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._executor, lambda: ask(self._client())
            )
        except (ClickHouseAway, ClickHouseRefused) as error:
            raise DeliveryFailed(str(error)) from error


def row_of(notice: Notice) -> tuple[object, ...]:
    """Return a notice as a row of ``alerts``."""
    return (
        notice.id,
        date.fromisoformat(f"{notice.month}-01"),
        notice.account,
        notice.number,
        notice.limit_name,
        notice.threshold,
        notice.n,
        notice.kind,
        notice.level,
        notice.level_before,
        notice.threshold_count,
        notice.limit,
        notice.used,
        notice.cause,
        int(notice.is_past),
        datetime.fromtimestamp(notice.received_until_ms / 1000, UTC),
        datetime.fromtimestamp(notice.noticed_at_ms / 1000, UTC),
    )
