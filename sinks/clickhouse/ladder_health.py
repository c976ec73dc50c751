"""Writes and reads what became of messages some time after they were first heard of.

Owns the table ``ladder_health``. What is judged, and how, is ``metering.ladder_health``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec

from metering.ladder_health import LadderCounts, LadderMinute
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.reader import named_query

RECENT_SECONDS: Final = 3 * 3600
"""What "now" is: so far back messages are looked at."""
USUAL_SECONDS: Final = 7 * 86_400
_COLUMNS: Final = ("minute", "account", "number", "partition", "writer", *LadderCounts._fields)


class LadderHealth(msgspec.Struct, frozen=True):
    """What became of the messages of one number lately, and before that."""

    number: str
    recent: LadderCounts
    usual: LadderCounts
    """Of the seven days before."""

    def expected(self, measure: str) -> float | None:
        """Return how many of the recent messages would be so if all went as usual; None = nobody knows what is."""
        if not self.usual.messages:
            return None
        share = getattr(self.usual, measure) / self.usual.messages
        return float(share * self.recent.messages)


@dataclass(frozen=True, slots=True)
class JudgedMinute:
    """A minute as one partition saw it."""

    partition: int
    minute: LadderMinute


def write_ladder_minutes(client: ClickHouse, minutes: Sequence[JudgedMinute], writer: str) -> None:
    """Write judged minutes; repeated, they are the same rows.

    Raises:
        ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
    """
    rows = [
        (
            datetime.fromtimestamp(each.minute.minute_at, UTC),
            each.minute.account,
            each.minute.number,
            each.partition,
            writer,
            *each.minute.counts,
        )
        for each in minutes
    ]
    if rows:
        client.insert("ladder_health", _COLUMNS, [list(column) for column in zip(*rows, strict=True)])


def read_ladder_health(client: ClickHouse, account: str, now_seconds: int) -> list[LadderHealth]:
    """Return what became of an account's messages, by number.

    Raises:
        ClickHouseAway, ClickHouseRefused: see ``ClickHouse``.
    """
    since = now_seconds - RECENT_SECONDS
    parameters = {
        "account": account,
        "since": datetime.fromtimestamp(since, UTC),
        "usual_since": datetime.fromtimestamp(since - USUAL_SECONDS, UTC),
    }
    rows = client.query(named_query("ladder-health"), parameters)
    size = len(LadderCounts._fields)
    return [
        LadderHealth(number, LadderCounts(*counts[:size]), LadderCounts(*counts[size:]))
        for number, *counts in rows
    ]
