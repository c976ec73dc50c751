"""Traffic that never ends and happens now, for demonstrations and soak runs.

Owns the pace and the choice of what happens next. Does not own a clock, does not sleep, and keeps no truth. People
change their phones and pass them on within the first hours; after those everybody keeps what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from math import log
from random import Random

from simulation.accounts import make_accounts
from simulation.arrivals import LONE, MESSAGES, STATUSES, Routes
from simulation.casting import Casting
from simulation.generator import make_thread, rename_update, voices
from simulation.guises import Guise
from simulation.people import Person, PhoneBook
from simulation.provider import Provider
from simulation.render import incoming_json, status_json
from simulation.story import Storyteller
from simulation.world import HOUR_SECONDS, Account, BusinessNumber, Contact

DEFAULT_UPDATES_PER_SECOND = 5.0
DEFAULT_USERS = 300
DEFAULT_ACCOUNTS = 3

# What would happen later than this is never seen; it bounds what waits in memory.
_FORESIGHT_SECONDS = HOUR_SECONDS
# An episode begins a moment ago, so that its first update is due at once and never in the future.
_HEAD_START_SECONDS = 3
_REPEAT_SHARE = 0.02

# Lives turn within so long after the beginning.
_TURNS_SECONDS = 4 * HOUR_SECONDS
_LATE_SECONDS_MAX = HOUR_SECONDS // 2

_TURNS_SECONDS = 4 * HOUR_SECONDS
"""Lives turn within so long after the beginning."""

_Due = tuple[int, int, int, str, str]
"""Time it is sent (UTC seconds), tie-breaker, route, entry of ``contacts[]``, entry of the list."""


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
    troupe = _Troupe(rng, make_accounts(accounts), users, seed, clock_seconds())
    body = b""
    while True:
        delay = -log(1 - rng.random()) / updates_per_second
        if not body or rng.random() >= _REPEAT_SHARE:
            body = troupe.next_body(clock_seconds())
        yield delay, body


class _Actor:
    """One person and the one number that it talks to."""

    def __init__(
        self, rng: Random, person: Person, account: Account, number: BusinessNumber, *, stays: bool
    ) -> None:
        self.account = account
        self.number = number
        self.guise = Guise(rng, person, account)
        self.voice_of = voices(with_status_contact=True)
        self.begins_at = person.begins_at
        self.ends_at = None if stays else person.ends_at
        """``None`` = for ever."""

    def is_there(self, at: int) -> bool:
        return self.begins_at <= at and (self.ends_at is None or at < self.ends_at)


class _Troupe:
    """A fixed crowd that acts whenever nothing else is due."""

    def __init__(
        self, rng: Random, accounts: tuple[Account, ...], users: int, seed: int, begins_at: int
    ) -> None:
        self._rng = rng
        self._routes = Routes(accounts)
        self._due: list[_Due] = []
        self._sequence = count()
        message_ids = count()
        self._storyteller = Storyteller(rng, lambda: f"wamid.l{seed}d{begins_at}n{next(message_ids)}")
        turned_at = begins_at + _TURNS_SECONDS
        self._cast: list[_Actor] = []
        # The first person whose phone passes on gets another one, so that there is always somebody to act.
        casting = Casting(rng, PhoneBook(rng), begins_at - _HEAD_START_SECONDS, turned_at)
        for person in casting.people(users, usernames=True):
            if not person.is_heir:  # who gets a phone is met where its former owner was known
                account = accounts[int(rng.random() * len(accounts))]
                number = account.numbers[int(rng.random() * len(account.numbers))]
            actor = _Actor(rng, person, account, number, stays=person.ends_at == turned_at)
            self._cast.append(actor)
            self._schedule_renames(actor)

    def next_body(self, now: int) -> bytes:
        """Return the oldest update that is due, after starting something new if none is."""
        while not self._due or self._due[0][0] > now:
            self._act(now)
        at, _, route, contact, item = heappop(self._due)
        return self._routes.body([(route, [(float(at), route, contact, item)])])

    def _act(self, now: int) -> None:
        actor = self._cast[int(self._rng.random() * len(self._cast))]
        if not actor.is_there(now - _HEAD_START_SECONDS):
            return
        episode = self._storyteller.episode(now - _HEAD_START_SECONDS)
        provider = Provider(self._rng, conversation_always=actor.account.conversation_always)
        end = now + _FORESIGHT_SECONDS
        thread = make_thread(actor.number, [episode], provider, min(end, actor.ends_at or end))
        contact = actor.guise.dressed(Contact(actor.account, actor.guise.usual, [thread]))
        base = self._routes.base(actor.number) + (LONE if actor.guise.is_varied else 0)
        for outgoing in thread.outgoing:
            for status in outgoing.statuses:
                voice = actor.voice_of(status.shown or contact.identity)
                person = "" if status.name == "failed" else voice.status_contact
                item = status_json(voice, outgoing.message_id, status)
                self._schedule(status.at, base + STATUSES, person, item)
        for message in thread.incoming:
            voice = actor.voice_of(message.shown or contact.identity)
            self._schedule(message.at, base + MESSAGES, voice.contact, incoming_json(voice, message))

    def _schedule_renames(self, actor: _Actor) -> None:
        for rename in actor.guise.renames():
            update = rename_update(self._routes, actor.number, rename, actor.voice_of(rename.before))
            delay = int(self._rng.random() * _LATE_SECONDS_MAX) if rename.is_late else 0
            self._schedule(rename.at + delay, *update[1:])

    def _schedule(self, due_at: int, route: int, contact: str, item: str) -> None:
        heappush(self._due, (due_at, next(self._sequence), route, contact, item))
