"""Whether the steps of messages arrive as they should: sent, then delivered, then read.

Owns what is watched, and how a message is judged once enough time has passed. It watches live traffic only, in memory
and within bounds: this is health, not metering, and no total depends on it. Pure: its time is that of the events'
receipt, so that a worker that is behind sees what one that is not would have seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from metering.state import Message, message_id_digest
from schemas.events import Event

MINUTE_SECONDS: Final = 60
LIVE_SECONDS: Final = 900
"""A message of which nothing came within this time belongs to a backfill or a repeat, and says nothing of now."""
WAIT_SECONDS_MAX: Final = 86_400
WATCHED_MAX: Final = 200_000
_KINDS: Final = frozenset({"sent", "delivered", "read", "failed"})
_SENT, _DELIVERED, _READ, _FAILED = 1, 2, 4, 8


class Heard(NamedTuple):
    """What is known of a message by now."""

    account: str
    number: str
    message: int
    """Tells messages apart, in this process only."""
    steps: int
    """Sum of 1 = sent, 2 = delivered, 4 = read, 8 = failed: the events that came, not what follows from them."""
    first_at: int
    """When it began, UTC seconds."""
    heard_at: int
    """When the event that speaks of it was received, UTC seconds."""


def heard_of(
    user: tuple[str, str], events: Iterable[Event], messages: Mapping[bytes, Message]
) -> Iterator[Heard]:
    """Yield what is known of the messages that events of one user speak of, but for those too old to be watched.

    Args:
        user: account and key of the state that the messages are in. How an event names the user says nothing: the
            provider leaves the BSUID out of `failed` (spec §7).
        events: just taken up.
        messages: of the user, by digest, with these events in them.
    """
    for event in events:
        heard_at = event.received_at // 1000
        since = heard_at - LIVE_SECONDS - WAIT_SECONDS_MAX
        # A message began no later than any of its events.
        if event.kind in _KINDS and event.occurred_at >= since:
            digest = message_id_digest(event)
            message = messages.get(digest)
            if message is not None and message.first_at >= since:
                key = hash((*user, digest))
                yield Heard(user[0], event.number, key, _steps(message), message.first_at, heard_at)


def _steps(message: Message) -> int:
    return (
        _SENT * bool(message.sent)
        + _DELIVERED * bool(message.delivered)
        + _READ * bool(message.read)
        + _FAILED * bool(message.failed)
    )


class LadderCounts(NamedTuple):
    """What became of the messages that were first heard of in one minute, some time later."""

    messages: int = 0
    silent: int = 0
    """Sent, and nothing since: neither delivered nor failed."""
    read_without_delivered: int = 0
    delivered_without_sent: int = 0


@dataclass(frozen=True, slots=True)
class LadderMinute:
    """The counts of one minute and business number."""

    account: str
    number: str
    minute_at: int
    """UTC seconds; the messages were first heard of within the minute from here on."""
    counts: LadderCounts


class LadderWatch:
    """Follows the messages of the last minutes."""

    def __init__(self, wait_minutes: int, watched_max: int = WATCHED_MAX) -> None:
        """Begin without a message.

        Args:
            wait_minutes: after which a message is judged.
            watched_max: how many are followed at once; of more, only a part is, and the counts stand for all.
        """
        self._wait_seconds = wait_minutes * MINUTE_SECONDS
        self._fresh_seconds = min(LIVE_SECONDS, self._wait_seconds)
        self._watched_max = watched_max
        self._messages: dict[int, int] = {}
        """The steps that came, by message."""
        self._minutes: dict[int, dict[tuple[str, str], list[int]]] = {}
        """Messages by the minute in which they were first heard of, account and number; in order of minutes."""
        self._one_in = 1
        self._judged_until = 0

    @property
    def one_in(self) -> int:
        """Return of how many messages one is followed: 1 = all."""
        return self._one_in

    def take(self, heard: Iterable[Heard]) -> None:
        """Take up what is known of messages; one that is not watched yet is from now on, if it began a moment ago."""
        for account, number, message, steps, first_at, heard_at in heard:
            if message in self._messages:
                self._messages[message] |= steps
            elif heard_at - first_at <= self._fresh_seconds and message % self._one_in == 0:
                minute = heard_at - heard_at % MINUTE_SECONDS
                # A minute is judged once. What another partition forwards may come hours after it was received, and be
                # about a message that was judged.
                if self._end_of_wait(minute) <= self._judged_until:
                    continue
                self._messages[message] = steps
                self._minutes.setdefault(minute, {}).setdefault((account, number), []).append(message)
        if len(self._messages) > self._watched_max:
            self._thin_out()

    def judge(self, heard_until: int) -> list[LadderMinute]:
        """Return the minutes that are old enough, and follow their messages no longer.

        Args:
            heard_until: everything that was received before is taken up, UTC seconds.
        """
        judged: list[LadderMinute] = []
        self._judged_until = max(self._judged_until, heard_until)
        for minute in sorted(self._minutes):
            if self._end_of_wait(minute) > heard_until:
                break
            for (account, number), messages in sorted(self._minutes.pop(minute).items()):
                steps = [self._messages.pop(message) for message in messages]
                counts = LadderCounts(*(count * self._one_in for count in _counts(steps)))
                judged.append(LadderMinute(account, number, minute, counts))
        if not self._messages:
            self._one_in = 1
        return judged

    def _end_of_wait(self, minute: int) -> int:
        return minute + MINUTE_SECONDS + self._wait_seconds

    def _thin_out(self) -> None:
        """Follow half as many: those whose key says so, whenever they come."""
        while len(self._messages) > self._watched_max // 2:
            self._one_in *= 2
            self._messages = {
                message: steps for message, steps in self._messages.items() if message % self._one_in == 0
            }
        for scopes in self._minutes.values():
            for scope, messages in scopes.items():
                scopes[scope] = [message for message in messages if message in self._messages]


def _counts(steps: Iterable[int]) -> LadderCounts:
    messages = silent = read_alone = delivered_alone = 0
    for each in steps:
        messages += 1
        silent += each == _SENT
        read_alone += each & (_READ | _DELIVERED) == _READ
        delivered_alone += each & (_DELIVERED | _SENT) == _DELIVERED
    return LadderCounts(messages, silent, read_alone, delivered_alone)
