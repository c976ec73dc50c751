"""What was counted in the last minutes, by account: how the totals of the last days grew.

Owns the samples. They come from the totals themselves, so that the page is right for one process and for many, and
each visitor sees the growth of their own accounts only.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from sinks.clickhouse.directory import DayCount

_log = logging.getLogger(__name__)

SAMPLE_SECONDS: Final = 5
"""While somebody looks."""
_QUIET_SECONDS: Final = 20
"""While nobody does: a sample asks for every account's totals."""
_LOOKED_SECONDS: Final = 120
MINUTES_KEPT: Final = 60
_DAYS_BACK: Final = 2
"""Today is another day elsewhere, and what was sent at night is delivered in the morning."""

Figures = tuple[int, int, int, int, int]
"""Messages, delivered, read, not delivered, incoming."""
NOTHING: Final[Figures] = (0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Minute:
    """What one minute added."""

    at: datetime
    """UTC, the minute's begin."""
    messages: int
    delivered: int
    read: int
    not_delivered: int
    incoming: int


class LiveCounts:
    """Growth by minute and account. Pure: the time is an argument."""

    def __init__(self) -> None:
        """Begin without a sample: the first one says where the totals stand, not what has just happened."""
        self._last: dict[tuple[str, date], Figures] | None = None
        self._minutes: deque[tuple[int, dict[str, list[int]]]] = deque(maxlen=MINUTES_KEPT)

    def first_day(self, now_seconds: int) -> date:
        """Return since which day the totals are wanted."""
        return datetime.fromtimestamp(now_seconds, UTC).date() - timedelta(days=_DAYS_BACK)

    def add(self, counts: Iterable[DayCount], now_seconds: int) -> None:
        """Take the totals of now, of all days since ``first_day``."""
        figures = {
            (row.account, row.day): (row.messages, row.delivered, row.read, row.not_delivered, row.incoming)
            for row in counts
        }
        since = self.first_day(now_seconds)
        if self._last is not None:
            grown = self._minute(now_seconds // 60)
            for (account, day), current in figures.items():
                before = self._last.get((account, day), NOTHING)
                if current != before and day >= since:
                    for place, (new, old) in enumerate(zip(current, before, strict=True)):
                        grown[account][place] += new - old
        self._last = figures

    def _minute(self, minute: int) -> dict[str, list[int]]:
        if not self._minutes or self._minutes[-1][0] < minute:
            self._minutes.append((minute, defaultdict(lambda: [0] * len(NOTHING))))
        return self._minutes[-1][1]

    def minutes(self, account: str, now_seconds: int, length: int = MINUTES_KEPT) -> Sequence[Minute]:
        """Return the last minutes of an account, oldest first, those without any growth too."""
        current = now_seconds // 60
        known = {minute: by_account.get(account) for minute, by_account in self._minutes}
        return [
            Minute(datetime.fromtimestamp(minute * 60, UTC), *(known.get(minute) or NOTHING))
            for minute in range(current - length + 1, current + 1)
        ]


class LiveSampler:
    """Takes a sample every few seconds. What it cannot read it tries again; the page says how old the last one is."""

    def __init__(
        self,
        recent: Callable[[date], Awaitable[list[DayCount]]],
        now_seconds: Callable[[], int],
    ) -> None:
        """Take what gives the totals since a day, and the clock."""
        self.counts = LiveCounts()
        self.sampled_at: int | None = None
        self._recent = recent
        self._now_seconds = now_seconds
        self._fault = ""
        self._looked_at = 0
        self._wanted = asyncio.Event()

    def look(self) -> LiveCounts:
        """Return the growth so far; for the next minutes samples are taken more often."""
        now = self._now_seconds()
        if now - self._looked_at > _LOOKED_SECONDS:
            self._wanted.set()
        self._looked_at = now
        return self.counts

    async def sample(self) -> None:
        """Take one sample."""
        rows = await self._recent(self.counts.first_day(self._now_seconds()))
        now = self._now_seconds()
        self.counts.add(rows, now)
        self.sampled_at = now

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            try:
                await self.sample()
                self._fault = ""
            except Exception as error:
                # Whatever it is, pages say so themselves when they ask; here it is said once.
                if str(error) != self._fault:
                    _log.warning("no live figures for now: %s", error)
                self._fault = str(error)
            is_watched = self._now_seconds() - self._looked_at <= _LOOKED_SECONDS
            self._wanted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(SAMPLE_SECONDS if is_watched else _QUIET_SECONDS):
                    await self._wanted.wait()
