"""Traffic that never ends and happens now, for demonstrations and soak runs.

Owns the pace and the choice of what happens next. Does not own a clock, does not sleep, and keeps no truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from math import log
from random import Random

from simulation.accounts import make_accounts
from simulation.arrivals import MESSAGES, STATUSES, Routes
from simulation.generator import make_thread
from simulation.people import Person, PhoneBook
from simulation.provider import Provider
from simulation.render import Voice, incoming_json, status_json
from simulation.story import Storyteller
from simulation.world import HOUR_SECONDS, Account, BusinessNumber

DEFAULT_UPDATES_PER_SECOND = 5.0
DEFAULT_USERS = 300
DEFAULT_ACCOUNTS = 3

# What would happen later than this is never seen; it bounds what waits in memory.
_FORESIGHT_SECONDS = HOUR_SECONDS
# An episode begins a moment ago, so that its first update is due at once and never in the future.
_HEAD_START_SECONDS = 3
_REPEAT_SHARE = 0.02

_Due = tuple[int, int, int, str, str]
"""Time it happens (UTC seconds), tie-breaker, route, entry of ``contacts[]``, entry of the list."""


def live_bodies(
    seed: int,
    clock_seconds: Callable[[], int],
    updates_per_second: float = DEFAULT_UPDATES_PER_SECOND,
    *,
    users: int = DEFAULT_USERS,
    accounts: int = DEFAULT_ACCOUNTS,
) -> Iterator[tuple[float, bytes]]:
    """Yield ``(delay, body)`` without end: wait ``delay`` seconds, then send ``body`` (one update each).

    ``clock_seconds`` gives UTC seconds and is asked once per body, before the delay: no update is from the future.
    Equal seeds and equal answers of the clock make equal traffic.
    """
    assert updates_per_second > 0
    rng = Random(f"live {seed}")
    troupe = _Troupe(rng, make_accounts(accounts), users, f"wamid.l{seed}d{clock_seconds()}n")
    body = b""
    while True:
        delay = -log(1 - rng.random()) / updates_per_second
        if not body or rng.random() >= _REPEAT_SHARE:
            body = troupe.next_body(clock_seconds())
        yield delay, body


class _Troupe:
    """A fixed crowd that acts whenever nothing else is due."""

    def __init__(self, rng: Random, accounts: tuple[Account, ...], users: int, id_prefix: str) -> None:
        self._rng = rng
        self._routes = Routes(accounts)
        self._due: list[_Due] = []
        self._sequence = count()
        message_ids = count()
        self._storyteller = Storyteller(rng, lambda: f"{id_prefix}{next(message_ids)}")
        phone_book = PhoneBook(rng)
        self._cast: list[tuple[Account, BusinessNumber, Voice]] = []
        for index in range(users):
            account = accounts[int(rng.random() * len(accounts))]
            number = account.numbers[int(rng.random() * len(account.numbers))]
            identity = Person(rng, phone_book, index, usernames=True).identity(account)
            self._cast.append((account, number, Voice(identity, with_status_contact=True)))

    def next_body(self, now: int) -> bytes:
        """Return the oldest update that is due, after starting something new if none is."""
        while not self._due or self._due[0][0] > now:
            self._act(now)
        at, _, route, contact, item = heappop(self._due)
        return self._routes.body([(route, [(float(at), route, contact, item)])])

    def _act(self, now: int) -> None:
        account, number, voice = self._cast[int(self._rng.random() * len(self._cast))]
        episode = self._storyteller.episode(now - _HEAD_START_SECONDS)
        provider = Provider(self._rng, conversation_always=account.conversation_always)
        thread = make_thread(number, [episode], provider, now + _FORESIGHT_SECONDS)
        base = self._routes.base(number)
        for outgoing in thread.outgoing:
            for status in outgoing.statuses:
                contact = "" if status.name == "failed" else voice.status_contact
                item = status_json(voice, outgoing.message_id, status)
                self._schedule(status.at, base + STATUSES, contact, item)
        for message in thread.incoming:
            self._schedule(message.at, base + MESSAGES, voice.contact, incoming_json(voice, message))

    def _schedule(self, at: int, route: int, contact: str, item: str) -> None:
        heappush(self._due, (at, next(self._sequence), route, contact, item))
