"""The largest of what was seen within the last minutes, in little memory and at little cost.

Owns how it is forgotten. Does not own what is noted.
"""

from __future__ import annotations

from collections import deque

from runtime.clock import Clock


class LargestOfLate:
    """The largest value noted within a while, remembered by slices of it."""

    def __init__(self, clock: Clock, slice_seconds: float, slices: int) -> None:
        """Remember a value for ``slices`` slices at the most, and one less at the least."""
        self._clock = clock
        self._slice_seconds = slice_seconds
        self._slices = slices
        self._largest: deque[tuple[int, float]] = deque(maxlen=slices)
        """``(slice, largest value in it)``, oldest first."""

    def note(self, value: float) -> None:
        """Take a value into account."""
        now = self._slice_now()
        if self._largest and self._largest[-1][0] == now:
            if value > self._largest[-1][1]:
                self._largest[-1] = (now, value)
        else:
            self._largest.append((now, value))

    def largest(self) -> float:
        """Return the largest value that is remembered; 0 if there is none."""
        first = self._slice_now() - self._slices + 1
        return max((value for at, value in self._largest if at >= first), default=0.0)

    def _slice_now(self) -> int:
        return int(self._clock.monotonic_seconds() / self._slice_seconds)
