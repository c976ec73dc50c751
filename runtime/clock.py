"""The only place that reads a clock.

Owns wall time and monotonic time. Everything else takes a ``Clock``, so that tests move time by hand and never sleep.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ms(self) -> int:
        """Return the wall clock in UTC milliseconds since 1970."""

    def now_seconds(self) -> int:
        """Return the wall clock in whole UTC seconds since 1970."""

    def monotonic_seconds(self) -> float:
        """Return a clock that never goes back, for durations only; its zero means nothing."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return the wall clock in UTC milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def now_seconds(self) -> int:
        """Return the wall clock in whole UTC seconds since 1970."""
        return time.time_ns() // 1_000_000_000

    def monotonic_seconds(self) -> float:
        """Return the machine's monotonic clock in seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now_ms: int = 0) -> None:
        """Start at ``now_ms`` (UTC milliseconds); the monotonic clock starts at 0."""
        self._now_ms = now_ms
        self._elapsed_ms = 0

    def now_ms(self) -> int:
        """Return the time it was set to, in UTC milliseconds."""
        return self._now_ms

    def now_seconds(self) -> int:
        """Return the time it was set to, in whole UTC seconds."""
        return self._now_ms // 1000

    def monotonic_seconds(self) -> float:
        """Return the sum of all advances in seconds."""
        return self._elapsed_ms / 1000

    def advance(self, milliseconds: int) -> None:
        """Move both clocks forward.

        Raises:
            ValueError: the advance is negative; only ``set_ms`` may turn the wall clock back.
        """
        if milliseconds < 0:
            raise ValueError(f"a clock advances by 0 or more milliseconds, not {milliseconds}")
        self._now_ms += milliseconds
        self._elapsed_ms += milliseconds

    def set_ms(self, now_ms: int) -> None:
        """Set the wall clock, also backwards, as an administrator may; the monotonic clock does not move."""
        self._now_ms = now_ms
