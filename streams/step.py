"""What a partition's processor is told, and what it hands out: one step to commit.

Owns no behaviour beyond adding to a step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from metering.alert_book import MonthScope
from metering.calendar import ZoneRules
from metering.ladder_health import Heard
from metering.retention import Cut
from metering.rules import Regimes
from schemas.alerts import MonthTotals
from schemas.events import Event, Refusal
from schemas.parcels import Parcel
from schemas.rows import CounterKey
from streams.store import Table

SourceRecord = tuple[int, bytes, int]
"""``(offset, bytes, time in UTC milliseconds)``"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long state is kept; seconds unless said otherwise (metering.md §6)."""

    horizon_seconds: int = 16 * 86_400
    message_seconds: int = 35 * 86_400
    expired_mark_seconds: int = 400 * 86_400

    def cut_at(self, folded_until: int) -> Cut:
        """Return the cut that goes with an account's cut instant."""
        return Cut(folded_until, folded_until + self.horizon_seconds - self.message_seconds)


@dataclass(frozen=True, slots=True)
class ProcessorConfig:
    """What a processor needs to know beyond its store."""

    partition: int
    partition_count: int
    installation: str
    regimes: Regimes
    zones_of: Callable[[str], ZoneRules]
    parse_json: Callable[[bytes, int], tuple[list[Event], list[Refusal]]]
    """Reads a record that another producer wrote as JSON; the second argument is its time in UTC milliseconds."""
    retention: Retention = field(default_factory=Retention)
    cached_items_max: int = 200_000


@dataclass(slots=True)
class Step:
    """What one commit makes durable, and what it came to."""

    writes: dict[Table, dict[bytes, bytes | None]] = field(
        default_factory=lambda: {table: {} for table in Table}
    )
    rows: dict[CounterKey, tuple[int, ...]] = field(default_factory=dict)
    """Counter rows with their new absolute measures."""
    months: dict[MonthScope, MonthTotals] = field(default_factory=dict)
    """Totals of months that changed, as absolute values."""
    closed_months: set[MonthScope] = field(default_factory=set)
    """Months of which rows left the store with this step."""
    published: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    """Records for ``mau.counts``, by its partitions."""
    heard: list[Heard] = field(default_factory=list)
    """What is known of live messages that it spoke of."""
    refusals: list[Refusal] = field(default_factory=list)
    forwards: dict[int, list[bytes]] = field(default_factory=dict)
    """Records for other partitions, or for this one's own next step."""
    misplaced: dict[int, list[Event]] = field(default_factory=dict)
    """Events of users whom another partition owns."""
    parcels: dict[int, list[Parcel]] = field(default_factory=dict)
    """What partitions are told about linked users."""
    user_records: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    """Keys of the marks and arrived parts that are written, by ``(account, user key)``."""
    accounts: set[str] = field(default_factory=set)
    """Accounts whose record changes."""
    links: Counter[str] = field(default_factory=Counter)
    """What was done about linked users: announced, refused, moved_out, joined, unrestated, beyond_state."""
    sequence: int = 0
    source_offset: int = 0
    received_until_ms: int = 0
    """Time of the newest source record counted by then, UTC milliseconds; 0 = none."""
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of events by (kind, outcome)."""
    event_count: int = 0
    refused_run: int = 0
    """The longest row of refused updates that ended in this step, those of earlier steps included."""

    def write_record(self, user: tuple[str, str], key: bytes, value: bytes) -> None:
        """Write a record that is a user's, but no piece of its state."""
        self.writes[Table.USERS][key] = value
        self.user_records.setdefault(user, []).append(key)

    def send(self, parcels: Mapping[int, Parcel]) -> None:
        """Send parcels to partitions."""
        for partition, parcel in parcels.items():
            self.parcels.setdefault(partition, []).append(parcel)

    def count(self, event: Event, outcome: str) -> None:
        """Count what became of an event."""
        key = (event.kind, outcome)
        self.outcomes[key] = self.outcomes.get(key, 0) + 1
