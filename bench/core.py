"""CPU time per event of the metering core alone: joining, evaluating, encoding; no log, no store, no counters.

Traffic: 20,000 users who get messages (sent, delivered, read) and write some, in order and shuffled; and one user with
200,000 events in order and, fewer, shuffled. From the repository's root::

    python -m bench.core --messages 80000 --heavy-events 200000

Prints one JSON object: microseconds of CPU per event, the ratio of late to early events of the heavy user (1 = flat),
and the bytes of state per user and per live message. The exit status is 1 if the ratio is above ``--bar``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from random import Random

import orjson

from metering.calendar import Calendar
from metering.meter import MeteredUser, meter
from metering.rules import shipped_regimes
from metering.storage import UserRecord, Writes, head_key, user_prefix
from metering.user import AccountRules
from runtime.memory import settle
from schemas.events import Category, Event, Kind

START = 1_790_000_000
WEEK_SECONDS = 7 * 86_400
BATCH_EVENTS = 4_000
LADDER: tuple[tuple[Kind, int], ...] = (("sent", 0), ("delivered", 2), ("read", 60))
CATEGORIES: tuple[Category, ...] = ("marketing", "utility", "service")

Users = dict[str, tuple[UserRecord, MeteredUser]]


def event(kind: Kind, at: int, message_id: str, user: int, category: Category | None = None) -> Event:
    """Return an event as Meta's webhooks come to it."""
    priced = category is not None
    return Event(
        "meta",
        "102290129340398",
        "106540352242922",
        kind,
        message_id,
        at,
        at * 1_000,
        "DE",
        user_phone=f"4917{user:08d}",
        number_display="15550001111",
        category=category,
        pricing_model="PMP" if priced else None,
        pricing_type="regular" if priced else None,
        billable=True if priced else None,
    )


def message_events(random: Random, index: int, at: int, user: int) -> list[Event]:
    """Return one message's events: one in five is incoming, the others are sent, delivered and read."""
    if random.random() < 0.2:
        return [event("incoming", at, f"wamid.I{index}", user)]
    category, message_id = random.choice(CATEGORIES), f"wamid.HBgMNDkxNzIyMjIyMjIyFQIAERgS{index:010d}"
    return [
        event(kind, at + step, message_id, user, category if kind != "read" else None)
        for kind, step in LADDER
    ]


def typical_traffic(messages: int, users: int) -> list[Event]:
    """Return a week of many users with few messages each, in order."""
    random = Random(1)
    events: list[Event] = []
    for index in range(messages):
        at = START + random.randrange(WEEK_SECONDS)
        events += message_events(random, index, at, random.randrange(users))
    return sorted(events, key=lambda event: event.occurred_at)


def heavy_traffic(event_count: int) -> list[Event]:
    """Return a week of one user with very many messages, in order."""
    random = Random(2)
    events: list[Event] = []
    index = 0
    while len(events) < event_count:
        events += message_events(random, index, START + index * 6, 0)
        index += 1
    return sorted(events[:event_count], key=lambda event: event.occurred_at)


class Core:
    """Meters batches as the worker's processor does: by user, then the records to write."""

    def __init__(self) -> None:
        """Start without users."""
        self.rules = AccountRules(Calendar((("", "Europe/Berlin"),)), shipped_regimes())
        self.users: Users = {}
        self.table: Writes = {}

    def run(self, events: Sequence[Event]) -> float:
        """Meter events; return the CPU time in microseconds per event."""
        settle()
        started = time.process_time()
        for position in range(0, len(events), BATCH_EVENTS):
            self._batch(events[position : position + BATCH_EVENTS])
        return (time.process_time() - started) / len(events) * 1e6

    def _batch(self, events: Iterable[Event]) -> None:
        by_user: dict[str, list[Event]] = {}
        for each in events:
            by_user.setdefault(each.user_key, []).append(each)
        for key, own in by_user.items():
            known = self.users.get(key)
            if known is None:
                record = UserRecord(user_prefix(own[0].account, key), None, lambda _: [])
                known = self.users[key] = (record, MeteredUser(record.user))
            record, metered = known
            meter(metered, own, self.rules)
            self.table.update(record.writes(metered.touched_items))
            metered.touched_items.clear()

    def decode_all(self) -> float:
        """Read every user from its records; return the CPU time in microseconds per user."""
        started = time.process_time()
        for record, _ in self.users.values():
            UserRecord(
                record.prefix, self.table[head_key(record.prefix)], lambda keys: [self.table[k] for k in keys]
            )
        return (time.process_time() - started) / len(self.users) * 1e6

    def state_bytes(self) -> tuple[float, float]:
        """Return the bytes of state per user without its messages, and per live message."""
        stored = sum(len(key) + len(value) for key, value in self.table.items() if value)
        messages = sum(len(m.user.messages) + len(m.user.incoming) for _, m in self.users.values())
        heads = 0
        for record, _ in self.users.values():
            empty = UserRecord(record.prefix, None, lambda _: [])
            empty.user.head = record.user.head
            heads += sum(len(key) + len(value or b"") for key, value in empty.writes([]).items())
        return heads / len(self.users), (stored - heads) / messages


def shuffled(events: Sequence[Event]) -> list[Event]:
    """Return the events in another order, the same every time."""
    return Random(3).sample(events, len(events))


def measure(messages: int, heavy_events: int) -> dict[str, float]:
    """Return all figures."""
    traffic = typical_traffic(messages, max(1, messages // 4))
    core = Core()
    figures = {"typical_in_order_us_per_event": core.run(traffic)}
    figures["decode_us_per_user"] = core.decode_all()
    figures["head_bytes_per_user"], figures["bytes_per_live_message"] = core.state_bytes()
    figures["typical_shuffled_us_per_event"] = Core().run(shuffled(traffic))
    heavy = heavy_traffic(heavy_events)
    quarter = len(heavy) // 4
    core = Core()
    figures["heavy_first_quarter_us_per_event"] = core.run(heavy[:quarter])
    core.run(heavy[quarter : 3 * quarter])
    figures["heavy_last_quarter_us_per_event"] = core.run(heavy[3 * quarter :])
    figures["heavy_flatness"] = (
        figures["heavy_last_quarter_us_per_event"] / figures["heavy_first_quarter_us_per_event"]
    )
    figures["heavy_shuffled_us_per_event"] = Core().run(shuffled(heavy[: heavy_events // 10]))
    return figures


def main() -> int:
    """Run the benchmark; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=80_000)
    parser.add_argument("--heavy-events", type=int, default=200_000)
    parser.add_argument("--bar", type=float, default=1.5, help="largest flatness ratio that passes")
    options = parser.parse_args()
    figures = measure(options.messages, options.heavy_events)
    print(orjson.dumps({name: round(value, 2) for name, value in figures.items()}).decode())
    return int(figures["heavy_flatness"] > options.bar)


if __name__ == "__main__":
    raise SystemExit(main())
