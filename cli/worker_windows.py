"""Asks the workers for a user's windows: whichever has the user's state answers.

Owns the HTTP of it. What a worker answers is ``gateway.windows``'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from dashboard.ports import WindowsUnavailable
from schemas.user_windows import UserWindows, WindowsAsked

_TIMEOUT_SECONDS = 5.0


class WorkerWindows:
    """The workers of a cluster."""

    def __init__(self, urls: Sequence[str], token: str) -> None:
        """Take their addresses and what they know us by."""
        self._urls = urls
        self._token = token

    async def ask(self, asked: WindowsAsked) -> UserWindows:
        """Return what the worker that has the user says.

        Raises:
            WindowsUnavailable: none does; says what to do.
        """
        raise WindowsUnavailable("not there yet")
