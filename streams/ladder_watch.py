"""Follows the live messages of the partitions of this process, and brings what became of them to ClickHouse.

Owns when that happens. What cannot be written now waits, within bounds: it is health, and nothing else waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
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
            watch.take(heard)

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
            await self.judge(behind_seconds())

    async def judge(self, behind_seconds: Mapping[int, float]) -> None:
        """Judge what is old enough, and write what is judged.

        What a partition has not taken up yet is no step that did not come: it is judged as of what it has read.
        """
        now = self._now_seconds()
        for partition, watch in self._watches.items():
            behind = behind_seconds.get(partition)
            for minute in () if behind is None else watch.judge(int(now - behind)):
                judged = JudgedMinute(partition, minute)
                self._waiting.append(judged)
                self._observe(judged)
        while self._waiting:
            rows = [self._waiting[place] for place in range(min(_ROWS_MAX, len(self._waiting)))]
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

    def _write(self, rows: list[JudgedMinute]) -> None:
        write_ladder_minutes(self._clients.get(), rows, self._writer)
