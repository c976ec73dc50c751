"""What the gateway needs from a log, and what it promises with it.

Owns the two interfaces. Does not own an implementation: ``gateway.batching`` packs records, the broker keeps them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from schemas.events import Event, Refusal

AppendRecord = Callable[[str, int, bytes | None, bytes], Awaitable[int]]
"""``append_record(topic, partition, key, value)``: resolves to the record's offset once it is durable."""


class LogUnavailable(Exception):
    """Nothing is promised about the updates given; the sender must repeat them (repeats change no number)."""


class EventLogPort(Protocol):
    """Takes what one request brought."""

    async def append(self, events: Sequence[Event], refusals: Sequence[Refusal]) -> None:
        """Return only when every event and every refusal is durable in the log.

        May be called concurrently, and cancelled: what was handed over may then be durable or not.

        Raises:
            LogUnavailable: the log is down, does not take the record, or too much is waiting for it already.
        """
