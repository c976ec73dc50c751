"""Where the months of accounts are heading, kept for the gauges: asked now and then, a few accounts at a time.

Owns when ClickHouse is asked and what is kept meanwhile. What it answers late, or not at all, delays nothing but the
forecasts, and no fault of theirs ends anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from cli.prices import PRICE_FAULTS
from metering.limits import LimitUse
from runtime.clock import Clock
from sinks.billing import LimitsAsked
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused

_log = logging.getLogger(__name__)
ACCOUNTS_A_QUESTION: Final = 50
"""So that one question does not keep others from the threads that ask ClickHouse for long."""
_FORESEEN: Final = (*PRICE_FAULTS, ClickHouseAway, ClickHouseRefused)
AskLimits = Callable[[LimitsAsked], Awaitable[list[LimitUse]]]


class LimitForecasts:
    """The forecasts of the accounts that somebody wants them of."""

    def __init__(self, ask: AskLimits, clock: Clock, renew_seconds: float) -> None:
        """Begin without any.

        Args:
            ask: answers how limits are used up and where they are heading.
            clock: says when a forecast is old.
            renew_seconds: after which it is asked for again.
        """
        self._ask = ask
        self._clock = clock
        self._renew_seconds = renew_seconds
        self._due_at: dict[str, float] = {}
        self._uses: dict[str, dict[tuple[str, str], LimitUse]] = {}
        """By account, then (number, limit name)."""
        self._fault = ""

    def want(self, accounts: Iterable[str]) -> None:
        """Keep forecasts of these accounts, and of no others."""
        self._due_at = {account: self._due_at.get(account, 0.0) for account in accounts}
        self._uses = {account: uses for account, uses in self._uses.items() if account in self._due_at}

    def of(self, account: str, number: str, limit_name: str, month: str) -> LimitUse | None:
        """Return what a limit's month comes to as asked last; None = not known."""
        use = self._uses.get(account, {}).get((number, limit_name))
        # That of the month before says nothing of this one.
        return use if use is not None and use.month == month else None

    async def run(self, look_seconds: float) -> None:
        """Ask again and again until cancelled, one question at a time.

        Args:
            look_seconds: after which it is looked again whether a forecast is due.
        """
        while True:
            is_answered = await self.renew()
            # Each question waits behind those that others ask meanwhile; after a fault there is no hurry.
            await asyncio.sleep(0 if is_answered else look_seconds)

    async def renew(self) -> bool:
        """Ask about accounts whose forecasts are due, as many as one question takes.

        Returns:
            Whether there were any, and an answer; more may be due.
        """
        now = self._clock.monotonic_seconds()
        # Those first that have waited for longest: where answers are slow, all have their turn.
        waiting = sorted((at, account) for account, at in self._due_at.items() if at <= now)
        due = [account for _, account in waiting[:ACCOUNTS_A_QUESTION]]
        if not due:
            return False
        try:
            self._keep(due, await self._ask(LimitsAsked(None, tuple(due))))
        except Exception as fault:
            self._tell(fault)
            return False
        else:
            self._fault = ""
            return True
        finally:
            # Also after a fault: what goes wrong about some accounts must not keep the others from their turn.
            later = self._clock.monotonic_seconds() + self._renew_seconds
            self._due_at |= dict.fromkeys(due, later)

    def _keep(self, accounts: Iterable[str], uses: Iterable[LimitUse]) -> None:
        by_account: dict[str, dict[tuple[str, str], LimitUse]] = {account: {} for account in accounts}
        for use in uses:
            by_account[use.account][use.number, use.limit_name] = use
        self._uses |= by_account

    def _tell(self, fault: Exception) -> None:
        """Log a fault, once for as long as it is the same."""
        name = f"{type(fault).__name__}: {fault}"
        if name == self._fault:
            return
        self._fault = name
        text = "limits are shown with the forecasts as they were: %s"
        if isinstance(fault, _FORESEEN):
            _log.warning(text, fault)
        else:
            _log.error(text, name, exc_info=fault)
