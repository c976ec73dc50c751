"""Rows that ClickHouse does not have yet: the newest committed value of each, and how far the commits have come.

Shared between a partition's task, which adds, and the flusher, which takes; both run on the event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas.rows import CounterKey
from sinks.clickhouse.writer import CounterRow, Progress
from streams.lineage import Lineage


class DirtyRows:
    """What one partition still owes ClickHouse."""

    def __init__(self, partition: int, flushed: Progress, lineage: Lineage | None = None) -> None:
        """Start from what ClickHouse says it has; ``lineage`` tells whose commits these are."""
        self.partition = partition
        self.lineage = lineage or Lineage(partition)
        self.flushed = flushed
        self.committed = flushed
        self.received_until_ms = 0
        """Time of the newest source record that is committed, UTC milliseconds; 0 = not known."""
        self._rows: dict[CounterKey, CounterRow] = {}
        self._changed_ms = 0
        """When the oldest commit was made that is owed, those of the flush under way aside; 0 = there is none."""
        self._taken = 0
        self._taken_changed_ms = 0
        """The same of the flush under way."""

    def __len__(self) -> int:
        """Return the number of rows owed."""
        return len(self._rows)

    @property
    def held(self) -> int:
        """Return the number of rows in memory: those owed, and those of the flush under way."""
        return len(self._rows) + self._taken

    @property
    def oldest_change_ms(self) -> int:
        """Return when the oldest unflushed commit was made (UTC milliseconds); 0 = nothing is owed.

        However often a flush of it is tried: what ClickHouse has not acknowledged grows old.
        """
        return min(filter(None, (self._taken_changed_ms, self._changed_ms)), default=0)

    @property
    def owes(self) -> bool:
        """Tell whether ClickHouse is behind, be it only in its progress mark."""
        return self.committed != self.flushed

    def add(
        self,
        rows: Mapping[CounterKey, tuple[int, ...]],
        committed: Progress,
        now_ms: int,
        received_until_ms: int = 0,
    ) -> None:
        """Note a commit: its rows, how far it goes, and when the newest record in it was received."""
        for key, values in rows.items():
            self._rows[key] = CounterRow(key, values, committed.sequence)
        if committed != self.flushed and not self._changed_ms:
            self._changed_ms = now_ms
        self.committed = committed
        self.received_until_ms = max(self.received_until_ms, received_until_ms)

    def restore(
        self,
        rows: dict[CounterKey, CounterRow],
        committed: Progress,
        now_ms: int,
        received_until_ms: int = 0,
    ) -> None:
        """Owe the rows that a restored state has and ClickHouse has not."""
        self._rows = rows
        self.committed = committed
        self.received_until_ms = received_until_ms
        if self.owes:
            self._changed_ms = now_ms

    def take(self) -> tuple[list[CounterRow], Progress]:
        """Hand out everything owed, for one flush, which ends in ``flushed_until`` or ``give_back``."""
        rows = list(self._rows.values())
        self._rows = {}
        self._taken = len(rows)
        self._taken_changed_ms, self._changed_ms = self._changed_ms, 0
        return rows, self.committed

    def flushed_until(self, progress: Progress) -> None:
        """Note that ClickHouse acknowledged everything up to ``progress``."""
        self.flushed = progress
        self._taken = self._taken_changed_ms = 0

    def give_back(self, rows: Iterable[CounterRow], now_ms: int) -> None:
        """Owe rows again whose flush failed, unless a newer value came meanwhile."""
        for row in rows:
            self._rows.setdefault(row.key, row)
        self._changed_ms = self.oldest_change_ms or now_ms
        self._taken = self._taken_changed_ms = 0
