"""Records of the input topics: bodies of platform teams that already have Kafka, turned into events.

Owns which parser reads a record. The events, the dead letters and the input's own offset are committed together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from schemas.admission import KnownAccounts, admit
from schemas.canonical import parse as parse_canonical
from schemas.codec import encode_batch, partition_of
from schemas.dead_letter import dead_letter_of, encode_dead_letter
from schemas.events import Event, Parsed, Refusal
from schemas.meta import parse as parse_meta
from schemas.redact import without_text
from schemas.refusing import UnparseableBody, load_json
from schemas.topics import DEAD_LETTER, EVENTS
from streams.records import Append, Record

BATCH_EVENTS_MAX = 500
InputFormat = Literal["meta", "canonical"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How bodies are read that did not come through the gateway: files, input topics, dead letters."""

    known: KnownAccounts = None
    keep_text: bool = False
    """Leave message text in what is refused."""

    def read(self, value: bytes, received_at_ms: int, input_format: InputFormat | None = None) -> Parsed:
        """Return the updates of a body. Nothing is raised: a body that cannot be read is one refusal.

        Without a format, a body with ``entry`` is a webhook body of Meta, and any other canonical.
        """
        chosen = input_format or ("meta" if is_webhook(value) else "canonical")
        parse = parse_meta if chosen == "meta" else parse_canonical
        try:
            parsed = parse(value, received_at_ms, keep_text=self.keep_text)
        except UnparseableBody as error:
            return Parsed(refusals=[Refusal("malformed", str(error), self._unreadable(value))])
        return admit(parsed, self.known)

    def read_events(self, value: bytes, received_at_ms: int) -> tuple[list[Event], list[Refusal]]:
        """Read a JSON record of the ``events`` topic: canonical, from a producer of one's own."""
        parsed = self.read(value, received_at_ms)
        return parsed.events, parsed.refusals

    def _unreadable(self, value: bytes) -> bytes:
        """Return what to keep of a body that is not of its format; of one that is not even JSON, the size only."""
        try:
            return orjson.dumps(without_text(load_json(value), keep_text=self.keep_text))
        except (UnparseableBody, orjson.JSONEncodeError):
            return value if self.keep_text else b'{"unreadable_bytes": %d}' % len(value)


def is_webhook(value: bytes) -> bool:
    """Tell webhook bodies from canonical events."""
    try:
        body = load_json(value)
    except UnparseableBody:
        return False
    return isinstance(body, dict) and "entry" in body


def event_appends(events: Iterable[Event], partition_count: int, now_ms: int) -> list[Append]:
    """Return batch records for events, each in the partition that owns its user."""
    by_partition: dict[int, list[Event]] = {}
    for event in events:
        by_partition.setdefault(partition_of(event.account, event.user_key, partition_count), []).append(
            event
        )
    return [
        Append(
            EVENTS,
            partition,
            [
                Record(None, encode_batch(own[start : start + BATCH_EVENTS_MAX]), now_ms)
                for start in range(0, len(own), BATCH_EVENTS_MAX)
            ],
        )
        for partition, own in by_partition.items()
    ]


def refusal_appends(refusals: Sequence[Refusal], now_ms: int, source: str) -> list[Append]:
    """Return the dead letters of refusals."""
    if not refusals:
        return []
    letters = [
        Record(None, encode_dead_letter(dead_letter_of(refusal, now_ms, source)), now_ms)
        for refusal in refusals
    ]
    return [Append(DEAD_LETTER, 0, letters)]
