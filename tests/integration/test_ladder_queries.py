"""Judged minutes in ClickHouse: repeated they are one, of two lives they add up, and what was before is beside."""

from __future__ import annotations

import time

from metering.ladder_health import LadderCounts, LadderMinute
from sinks.clickhouse.ladder_health import (
    RECENT_SECONDS,
    USUAL_SECONDS,
    JudgedMinute,
    LadderHealth,
    read_ladder_health,
    write_ladder_minutes,
)
from tests.integration.conftest import Database

# Rows are forgotten by the server's clock.
NOW = int(time.time()) // 60 * 60
RECENT, BEFORE = NOW - RECENT_SECONDS, NOW - RECENT_SECONDS - 60
OLDEST, TOO_OLD = RECENT - USUAL_SECONDS, RECENT - USUAL_SECONDS - 60


def judged(
    minute_at: int, *counts: int, partition: int = 0, account: str = "A", number: str = "N"
) -> JudgedMinute:
    """Return a judged minute."""
    return JudgedMinute(partition, LadderMinute(account, number, minute_at, LadderCounts(*counts)))


def test_minutes_add_up_by_number(shared_database: Database) -> None:
    """Partitions and lives add up, a repeated insert does not; the last hours and the week before are kept apart."""
    client = shared_database.client
    first_life = [
        judged(NOW - 60, 10, 3, 1, 0),
        judged(NOW - 60, 5, 0, 0, 2, partition=1),
        judged(RECENT, 1, 1, 0, 0),
        judged(BEFORE, 100, 10, 0, 0),
        judged(OLDEST, 200, 5, 3, 0, partition=1),
        judged(TOO_OLD, 10_000, 10_000, 0, 0),
        judged(NOW - 60, 7, 7, 0, 0, number="M"),
        judged(BEFORE, 4, 0, 0, 4, number="L"),
        judged(NOW - 60, 50, 50, 0, 0, account="B"),
    ]
    for _ in range(2):
        write_ladder_minutes(client, first_life, "one")
    write_ladder_minutes(client, [judged(NOW - 60, 2, 1, 0, 0)], "two")
    write_ladder_minutes(client, [], "two")
    found = read_ladder_health(client, "A", NOW)
    assert found == [
        LadderHealth("L", LadderCounts(), LadderCounts(4, 0, 0, 4)),
        LadderHealth("M", LadderCounts(7, 7, 0, 0), LadderCounts()),
        LadderHealth("N", LadderCounts(18, 5, 1, 2), LadderCounts(300, 15, 3, 0)),
    ]
    assert found[2].expected("silent") == 18 * 15 / 300
    assert read_ladder_health(client, "C", NOW) == []
