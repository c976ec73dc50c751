"""From parsed updates to durable ones: account policy, the wait for the log, the counting.

Owns what an accepted request promises. Does not own HTTP nor the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from gateway.deadline import Deadlines
from gateway.errors import RequestRefused
from gateway.port import EventLogPort, LogUnavailable
from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import Derived, SettingsInForce
from schemas.admission import admit
from schemas.events import Event, Parsed, Refusal

Parse = Callable[[bytes, int], Parsed]
"""``parse(body, received_at_ms)``; raises ``ValueError`` (``UnparseableBody``) if the body is not of its format."""

RETRY_SECONDS = 5

_log = logging.getLogger(__name__)


class Intake:
    """Parses bodies of authentic senders and makes their updates durable."""

    def __init__(self, port: EventLogPort, in_force: SettingsInForce, metrics: Metrics, clock: Clock) -> None:
        """Take the log and the policies; which accounts are known may change meanwhile."""
        gateway = in_force.settings.gateway
        self._port = port
        self._metrics = metrics
        self._clock = clock
        self._updates_max = gateway.updates_per_body_max
        self._deadlines = Deadlines(gateway.append_timeout_seconds)
        self._known_accounts = Derived(in_force, Settings.known_accounts)

    def parse(self, body: bytes, parse: Parse) -> Parsed:
        """Return the updates of a body.

        Raises:
            RequestRefused: 400, if the body cannot be read or holds too many updates.
        """
        try:
            parsed = parse(body, self._clock.now_ms())
        except ValueError as error:
            # Not the error's text: it may quote the body.
            _log.warning("an authentic body is unreadable (%s)", type(error).__name__)
            raise unreadable_body() from None
        if parsed.update_count > self._updates_max:
            raise RequestRefused(
                400,
                "too_many_updates",
                f"the body holds {parsed.update_count} updates, at most {self._updates_max} are taken",
                "send fewer in one body, or raise gateway.updates_per_body_max",
            )
        return parsed

    async def keep(self, parsed: Parsed) -> dict[str, object]:
        """Make everything durable, count it, and return what the sender is told.

        Raises:
            RequestRefused: 503, if the log does not take all of it in time; nothing is promised then.
        """
        parsed = admit(parsed, self._known_accounts())
        events, refusals = parsed.events, parsed.refusals
        if events or refusals:
            try:
                with self._deadlines.limit():
                    await self._port.append(events, refusals)
            except (LogUnavailable, TimeoutError):
                raise _unavailable() from None
        _count(self._metrics, events, refusals)
        for name in parsed.ignored:
            self._metrics.count_ignored(name)
        return {
            "status": "ok",
            "accepted": len(events),
            "refused": len(refusals),
            "ignored": len(parsed.ignored),
        }


def unreadable_body() -> RequestRefused:
    """Return the refusal of an authentic body that is not what the path takes."""
    return RequestRefused(
        400, "body_unreadable", "the body is not in the format of this path", "see the gateway guide"
    )


def _unavailable() -> RequestRefused:
    return RequestRefused(
        503,
        "log_unavailable",
        "the updates could not be made durable; none of them is promised",
        "repeat the request; repeats change no number",
        retry_seconds=RETRY_SECONDS,
    )


def _count(metrics: Metrics, events: Sequence[Event], refusals: Sequence[Refusal]) -> None:
    """Count what one request made durable."""
    metrics.count_live(events)
    for refusal in refusals:
        metrics.count_refused(refusal.reason)
        metrics.count_dead_letters(refusal.reason)
