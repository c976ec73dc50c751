"""Follows the live messages of the partitions of this process, and brings what became of them to ClickHouse.

Owns when that happens. What cannot be written now waits, within bounds: it is health, and nothing else waits for it,
nor ends by a fault of it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Final

from metering.ladder_health import Heard, LadderWatch
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused, ClientPool
from sinks.clickhouse.ladder_health import JudgedMinute, write_ladder_minutes
from streams.threads import in_thread

_log = logging.getLogger(__name__)
_JUDGE_SECONDS: Final = 15
_WAITING_MAX: Final = 50_000
_ROWS_MAX: Final = 5_000


class LadderWatcher:
    """One watch for each partition that is metered here."""

    def __init__(
        self,
        clients: ClientPool,
        wait_minutes: int,
        now_seconds: Callable[[], int],
        observe: Callable[[JudgedMinute], None] = lambda _: None,
    ) -> None:
        """Take where judged minutes go.

        Args:
            clients: of ClickHouse.
            wait_minutes: after which a message is judged; 0 = nothing is watched.
            now_seconds: the clock.
            observe: called with each judged minute; for metrics.
        """
        self._clients = clients
        self._wait_minutes = wait_minutes
        self._now_seconds = now_seconds
        self._observe = observe
        self._watches: dict[int, LadderWatch] = {}
        self._waiting: deque[JudgedMinute] = deque(maxlen=_WAITING_MAX)
        self._writer = secrets.token_hex(8)
        self._fault = ""

    def take(self, partition: int, heard: Iterable[Heard]) -> None:
        """Take up what a commit says of live messages."""
        if self._wait_minutes:
            watch = self._watches.get(partition)
            if watch is None:
                watch = self._watches[partition] = LadderWatch(self._wait_minutes)
            try:
                watch.take(heard)
            except Exception as fault:
                # The commit is done: metering has no part in this.
                self._begin_anew(partition, fault)

    def forget(self, partition: int) -> None:
        """Follow a partition no longer: it is another worker's now."""
        self._watches.pop(partition, None)

    async def run(self, behind_seconds: Callable[[], Mapping[int, float]]) -> None:
        """Judge and write until cancelled.

        Args:
            behind_seconds: returns the age of the oldest record that a partition has not taken up, of those here.
        """
        while True:
            await asyncio.sleep(_JUDGE_SECONDS)
            try:
                await self.judge(behind_seconds())
            except Exception as fault:
                self._tell("messages are looked at again later", fault)

    async def judge(self, behind_seconds: Mapping[int, float]) -> None:
        """Judge what is old enough, and write what is judged.

        What a partition has not taken up yet is no step that did not come: it is judged as of what it has read.
        """
        now = self._now_seconds()
        for partition in sorted(self._watches.keys() & behind_seconds.keys()):
            try:
                self._judge_partition(partition, int(now - behind_seconds[partition]))
            except Exception as fault:
                self._begin_anew(partition, fault)
        while self._waiting:
            rows = list(islice(self._waiting, _ROWS_MAX))
            try:
                await in_thread(self._write, rows)
            except (ClickHouseAway, ClickHouseRefused) as error:
                if str(error) != self._fault:
                    _log.warning("what became of messages waits to be written: %s", error)
                self._fault = str(error)
                return
            self._fault = ""
            for _ in rows:
                self._waiting.popleft()

    def _judge_partition(self, partition: int, until: int) -> None:
        for minute in self._watches[partition].judge(until):
            judged = JudgedMinute(partition, minute)
            self._waiting.append(judged)
            self._observe(judged)

    def _begin_anew(self, partition: int, fault: Exception) -> None:
        """Forget the messages of a partition: what is known of them may be half of it."""
        self.forget(partition)
        self._tell(f"live messages of partition {partition} are followed anew", fault)

    def _tell(self, what: str, fault: Exception) -> None:
        """Log a fault of ours, once for as long as it is the same: it may come with each commit."""
        text = f"{what}: {type(fault).__name__}: {fault}"
        if text != self._fault:
            _log.error("%s", text, exc_info=fault)
        self._fault = text

    def _write(self, rows: list[JudgedMinute]) -> None:
        write_ladder_minutes(self._clients.get(), rows, self._writer)
