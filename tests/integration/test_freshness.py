"""How fresh the rows in ClickHouse are, as a report says it."""

from __future__ import annotations

from datetime import UTC, datetime

from sinks.clickhouse.reader import PartitionFreshness, freshness
from sinks.clickhouse.writer import ClickHouseWriter, Progress
from tests.integration.conftest import Database

AT = datetime(2026, 11, 22, 12, 0, 0, 250_000, tzinfo=UTC)


def of_partition(database: Database, partition: int) -> PartitionFreshness:
    """Return what is said of one partition."""
    [found] = [each for each in freshness(database.client) if each.partition == partition]
    return found


def test_the_newest_mark_says_when_its_newest_record_was_received(database: Database) -> None:
    """To the millisecond; a mark that does not know says so."""
    writer = ClickHouseWriter(database.pool)
    writer.flush(3, [], Progress(1, 10))
    first = of_partition(database, 3)
    assert (first.source_offset, first.received_until) == (10, None)
    writer.flush(3, [], Progress(2, 20), received_until_ms=int(AT.timestamp() * 1000))
    second = of_partition(database, 3)
    assert (second.source_offset, second.received_until) == (20, AT)
    assert second.flushed_at.tzinfo is not None
    assert second.flushed_at >= first.flushed_at
