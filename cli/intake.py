"""Lines of a file, or dead letters, on their way into the log: parse, pack by partition, append.

Owns how a line that cannot be read is refused. The same parsers as the gateway's read the lines.
"""

from __future__ import annotations

from collections.abc import Callable

from cli.engine import InputFormat, Intake
from runtime.clock import Clock
from runtime.metrics import Metrics
from schemas.canonical import parse as parse_canonical
from schemas.events import Event, Parsed, Refusal, canonical_json
from schemas.meta import parse as parse_meta
from schemas.refusing import UnparseableBody
from streams.embedded.log import EmbeddedLog
from streams.normalize import event_appends, redacted, refusal_appends

Parse = Callable[[bytes, int], Parsed]
PARSERS: dict[InputFormat, Parse] = {"meta": parse_meta, "canonical": parse_canonical}
_DESCRIBED_REFUSALS_MAX = 20


class LineIntake:
    """Takes lines into the embedded log."""

    def __init__(
        self, log: EmbeddedLog, partitions: int, metrics: Metrics, clock: Clock, known: frozenset[str] | None
    ) -> None:
        """Write to an open log; ``known`` = the only accounts to accept, None = all."""
        self._log = log
        self._partitions = partitions
        self._metrics = metrics
        self._clock = clock
        self._known = known

    async def take(self, lines: list[bytes], parse: Parse, first_line: int, source: str) -> Intake:
        """Parse the lines and return once their events and their dead letters are durable."""
        now_ms = self._clock.now_ms()
        intake = Intake(lines=len(lines))
        events: list[Event] = []
        refusals: list[Refusal] = []
        for position, line in enumerate(lines):
            parsed = self._parse(line, parse, now_ms)
            events += parsed.events
            refusals += parsed.refusals
            for name in parsed.ignored:
                self._metrics.count_ignored(name)
            intake.ignored += len(parsed.ignored)
            for refusal in parsed.refusals:
                if len(intake.refusals) < _DESCRIBED_REFUSALS_MAX:
                    intake.refusals.append(
                        f"line {first_line + position}: {refusal.reason}: {refusal.detail}"
                    )
        intake.accepted, intake.refused = len(events), len(refusals)
        appends = [
            *event_appends(events, self._partitions, now_ms),
            *refusal_appends(refusals, now_ms, source),
        ]
        if appends:
            await self._log.transaction(appends, {})
        for event in events:
            self._metrics.count_events(event.kind, "accepted")
        for refusal in refusals:
            self._metrics.count_refused(refusal.reason)
            self._metrics.count_dead_letters(refusal.reason)
        return intake

    def _parse(self, line: bytes, parse: Parse, now_ms: int) -> Parsed:
        if not line.strip():
            return Parsed()
        try:
            parsed = parse(line, now_ms)
        except UnparseableBody as error:
            return Parsed(refusals=[Refusal("malformed", str(error), redacted(line))])
        if self._known is not None:
            self._refuse_unknown(parsed, self._known)
        return parsed

    def _refuse_unknown(self, parsed: Parsed, known: frozenset[str]) -> None:
        strangers = [event for event in parsed.events if event.account not in known]
        parsed.events = [event for event in parsed.events if event.account in known]
        parsed.refusals += [unknown_account(event) for event in strangers]


def unknown_account(event: Event) -> Refusal:
    """Return the refusal of an event whose account is not configured."""
    return Refusal(
        "unknown_account",
        "the account has no entry in the settings, and unknown_accounts = refuse",
        canonical_json(event),
        event.account,
    )
