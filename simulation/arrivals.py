"""What the network makes of the world: delay, disorder, repeats, retries days later, and batches.

Owns the order in which updates arrive and how they are packed into bodies. An update is never changed here, and
never arrives before it happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from math import exp, log
from random import Random

import msgspec

from simulation.render import body, messages_change
from simulation.world import DAY_SECONDS, HOUR_SECONDS, Account, BusinessNumber

RETRY_SECONDS_MAX = int(6.7 * DAY_SECONDS)
"""Longest delay of a retry; with the longest wait for a batch and for its repeat it arrives within 6.9 days."""

_BATCH_WAIT_SECONDS_MAX = 2 * HOUR_SECONDS
_REPEAT_WAIT_SECONDS_MAX = 2 * HOUR_SECONDS
_BATCH_UPDATES_MAX = 48
_BATCH_SHARE = 0.015
_MERGED_BATCH_SHARE = 0.3
_REPEATED_BODY_SHARE = 0.001

_DUPLICATE_SHARE = 0.03
_PROMPT_SHARE = 0.90
_SLOW_SHARE = 0.07
_SLOWER_SHARE = 0.02  # the rest are retries over hours and days

_BUCKET_SECONDS = HOUR_SECONDS

STATUSES = 0
MESSAGES = 1
LONE_STATUSES = 2
LONE_MESSAGES = 3
WHOLE_CHANGE = 4

LONE = LONE_STATUSES - STATUSES
"""From the route of updates that may share a change to that of updates that may share only a body."""

_PARTS = (STATUSES, MESSAGES, LONE_STATUSES, LONE_MESSAGES, WHOLE_CHANGE)
_LISTS = {LONE_STATUSES: "statuses", LONE_MESSAGES: "messages", STATUSES: "statuses", MESSAGES: "messages"}

Update = tuple[float, int, str, str]
"""Arrival (UTC seconds), route, entry of ``contacts[]`` ("" = none), entry of the list. Plain: millions wait."""


class Route(msgspec.Struct, frozen=True):
    """Where updates go that may share one change.

    Those of the ``LONE`` parts only share a body; ``WHOLE_CHANGE`` updates are complete changes and stay alone.
    """

    account: Account
    number: BusinessNumber
    part: int


class Routes:
    """All routes of the accounts, by small integers."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        """Number the routes."""
        self._routes = [
            Route(account, number, part)
            for account in accounts
            for number in account.numbers
            for part in _PARTS
        ]
        self._base = {
            self._routes[index].number.number_id: index for index in range(0, len(self._routes), len(_PARTS))
        }

    def base(self, number: BusinessNumber) -> int:
        """Return the number of the ``STATUSES`` route; add a part for the others."""
        return self._base[number.number_id]

    def __getitem__(self, route: int) -> Route:
        """Return the route with that number."""
        return self._routes[route]

    def body(self, batches: Iterable[tuple[int, list[Update]]]) -> bytes:
        """Return one body with the updates of one or more routes of one account, in as few changes as they may."""
        changes: list[str] = []
        account = None
        for index, updates in batches:
            route = self._routes[index]
            assert account is None or account is route.account
            account = route.account
            if route.part == WHOLE_CHANGE:
                changes += [update[3] for update in updates]
                continue
            list_name = _LISTS[route.part]
            shares = [updates] if route.part < LONE else [[update] for update in updates]
            for share in shares:
                people, items = (update[2] for update in share), [update[3] for update in share]
                changes.append(messages_change(route.number, list_name, people, items))
        assert account is not None
        return body(account, changes)


class Arrivals:
    """Collects updates as they happen and gives them back as they arrive."""

    def __init__(self, rng: Random) -> None:
        """Start empty."""
        self._random = rng.random
        self._buckets: dict[int, list[Update]] = {}
        self.duplicates = 0
        self.late = 0
        """First copies that arrive more than an hour after they happened."""

    def add(self, at: int, route: int, contact: str, item: str, *, is_late: bool = False) -> None:
        """Send an update that happened at ``at``, once or (rarely) twice; the first copy ``is_late`` for sure."""
        self._put(at + (self._retry_lag() if is_late else self._lag()), route, contact, item)
        if self._random() < _DUPLICATE_SHARE:
            self.duplicates += 1
            self._put(at + self._between(1, RETRY_SECONDS_MAX), route, contact, item)

    def drain(self) -> Iterator[Update]:
        """Yield every update in order of arrival, forgetting it."""
        for bucket in sorted(self._buckets):
            updates = self._buckets.pop(bucket)
            updates.sort()
            yield from updates

    def _put(self, arrival: float, route: int, contact: str, item: str) -> None:
        self._buckets.setdefault(int(arrival) // _BUCKET_SECONDS, []).append((arrival, route, contact, item))

    def _lag(self) -> float:
        kind = self._random()
        if kind < _PROMPT_SHARE:
            return 0.2 + self._random() * 3
        kind -= _PROMPT_SHARE
        if kind < _SLOW_SHARE:
            return self._between(3, 90)
        if kind < _SLOW_SHARE + _SLOWER_SHARE:
            return self._between(90, HOUR_SECONDS)
        return self._retry_lag()

    def _retry_lag(self) -> float:
        self.late += 1
        return self._between(HOUR_SECONDS, RETRY_SECONDS_MAX)

    def _between(self, low: float, high: float) -> float:
        return exp(log(low) + self._random() * (log(high) - log(low)))


class _Batch(msgspec.Struct):
    updates: list[Update]
    size: int
    deadline: float


class Packer:
    """Packs arriving updates into bodies: mostly one each, sometimes dozens, now and then a body twice."""

    def __init__(self, routes: Routes, rng: Random) -> None:
        """Start with no batch open."""
        self._routes = routes
        self._random = rng.random
        self._open: dict[int, _Batch] = {}
        self._next_deadline = float("inf")
        self._now = 0.0
        self._recent: deque[tuple[float, tuple[int, bytes]]] = deque(maxlen=50)
        """When a batch left, and the batch: those that may still be repeated."""

    def pack(self, updates: Iterable[Update]) -> Iterator[tuple[int, bytes]]:
        """Yield ``(number of updates, body)``; every update given is in at least one body."""
        for update in updates:
            self._now = update[0]
            if update[0] >= self._next_deadline:
                yield from self._expired(update[0])
            route = update[1]
            batch = self._open.get(route)
            if batch is not None:
                batch.updates.append(update)
                if len(batch.updates) >= batch.size:
                    yield self._close(route)
            elif self._random() < _BATCH_SHARE and self._routes[route].part != WHOLE_CHANGE:
                self._begin(route, update)
            else:
                yield 1, self._routes.body([(route, [update])])
            if self._random() < _REPEATED_BODY_SHARE:
                yield from self._repeated()
        while self._open:
            yield self._close(next(iter(self._open)))

    def _repeated(self) -> Iterator[tuple[int, bytes]]:
        """Yield one recent batch again, if there is any; in a quiet world the last few may be weeks old."""
        while self._recent and self._recent[0][0] < self._now - _REPEAT_WAIT_SECONDS_MAX:
            self._recent.popleft()
        if self._recent:
            yield self._recent[int(self._random() * len(self._recent))][1]

    def _begin(self, route: int, first: Update) -> None:
        size = 2 + int(self._random() * (_BATCH_UPDATES_MAX - 1))
        deadline = first[0] + _BATCH_WAIT_SECONDS_MAX * self._random()
        self._open[route] = _Batch([first], size, deadline)
        self._next_deadline = min(self._next_deadline, deadline)

    def _expired(self, now: float) -> Iterator[tuple[int, bytes]]:
        while overdue := [route for route, batch in self._open.items() if batch.deadline <= now]:
            yield self._close(overdue[0])
        self._next_deadline = min((batch.deadline for batch in self._open.values()), default=float("inf"))

    def _close(self, route: int) -> tuple[int, bytes]:
        """Return the batch as a body, sometimes together with another batch of the same account."""
        batch = self._open.pop(route)
        batches = [(route, batch.updates)]
        if self._random() < _MERGED_BATCH_SHARE:
            account = self._routes[route].account
            other = next((index for index in self._open if self._routes[index].account is account), None)
            if other is not None:
                batches.append((other, self._open.pop(other).updates))
        packed = sum(len(updates) for _, updates in batches), self._routes.body(batches)
        # What is found overdue when the next update comes left at its deadline.
        self._recent.append((min(self._now, batch.deadline), packed))
        return packed
