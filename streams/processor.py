"""One partition's work: records in, one atomic step out.

Owns the order: decode, set aside what is late or unreadable, meter user by user, add up, and hand out one ``Step``
that the caller commits. Nothing here waits or writes; the store is only read. After a failed commit the object
must not be used again (its caches are ahead of the store): the process ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from metering.calendar import ZoneRules
from metering.ladder import Differences
from metering.meter import Outcome, meter
from metering.retention import Cut
from metering.rules import Regimes
from metering.state import incoming_id_digest, message_id_digest
from metering.storage import expired_item
from metering.user import AccountRules
from schemas.codec import (
    BATCH_TAG,
    CONTROL_TAG,
    Control,
    UnreadableRecord,
    decode_batch,
    decode_control,
    encode_batch,
    partition_of,
)
from schemas.events import Event, Refusal, canonical_json
from schemas.rows import CounterKey
from streams.accounts import (
    PARTITION_KEY,
    AccountRecord,
    PartitionRecord,
    calendar_of,
    check_regimes,
    check_zones,
    decode_account,
    decode_partition,
    encode_record,
)
from streams.counters import Counters
from streams.folding import fold_cached
from streams.store import PartitionStore, Table
from streams.users import CachedUser, UserKey, Users

_EPOCH_MILLISECONDS_PER_SECOND = 1000
_NEVER = 1 << 62
"""Later than any event: an account that has none yet."""


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
    refusals: list[Refusal] = field(default_factory=list)
    forwards: dict[int, list[bytes]] = field(default_factory=dict)
    """Batch records for the partitions that events in the wrong partition belong to."""
    sequence: int = 0
    source_offset: int = 0
    outcomes: dict[tuple[str, str], int] = field(default_factory=dict)
    """Number of events by (kind, outcome)."""
    identity_pairs: int = 0
    event_count: int = 0
    refused_run: int = 0
    """The longest row of refused updates that ended in this step, those of earlier steps included."""


SourceRecord = tuple[int, bytes, int]
"""``(offset, bytes, time in UTC milliseconds)``"""


class Processor:
    """Meters the events of one partition."""

    def __init__(self, store: PartitionStore, config: ProcessorConfig, now_seconds: int) -> None:
        """Take up a restored store.

        Raises:
            RulesChanged: zones or regimes differ for what is already counted.
            StateMismatch: the state belongs to another installation or another number of partitions.
        """
        self.store = store
        self.config = config
        self.users = Users(store, config.cached_items_max)
        self.counters = Counters(store)
        self.accounts: dict[str, AccountRecord] = {}
        self._rules: dict[str, AccountRules] = {}
        self._refused_run = 0
        """Updates refused since the last good one."""
        self.record = self._take_up(store.get(Table.ACCOUNTS, PARTITION_KEY))
        for key, value in store.scan(Table.ACCOUNTS):
            if key != PARTITION_KEY:
                self._take_up_account(key.decode(), decode_account(value))
        newest = max((record.newest_at for record in self.accounts.values()), default=0)
        check_regimes(self.record, config.regimes, min(newest, now_seconds) // 86_400 + 1)
        self.record.regimes = list(config.regimes.rows)

    def _take_up(self, stored: bytes | None) -> PartitionRecord:
        if stored is None:
            return PartitionRecord(self.config.installation, self.config.partition_count)
        record = decode_partition(stored)
        if record.installation != self.config.installation:
            raise StateMismatch(
                f"the state of partition {self.config.partition} belongs to installation {record.installation}, the "
                f"log to {self.config.installation}; they were not made together. Restore the pair that belongs "
                "together, or move the state directory away to rebuild it from the log's changelogs"
            )
        if record.partition_count != self.config.partition_count:
            raise StateMismatch(
                f"the state was built for {record.partition_count} partitions, the settings say "
                f"{self.config.partition_count}; set partitions = {record.partition_count}. Another number needs an "
                "empty data directory"
            )
        return record

    def _take_up_account(self, account: str, record: AccountRecord) -> None:
        record.zones = check_zones(account, record, self.config.zones_of(account))
        self.accounts[account] = record

    def rules(self, account: str) -> AccountRules:
        """Return the rules of an account, opening its record when it is new."""
        rules = self._rules.get(account)
        if rules is None:
            record = self.accounts.get(account)
            if record is None:
                record = AccountRecord(zones=self.config.zones_of(account), oldest_at=_NEVER)
                self.accounts[account] = record
            rules = self._rules[account] = AccountRules(calendar_of(record), self.config.regimes)
        return rules

    def process(self, records: Sequence[SourceRecord], now_seconds: int) -> Step:
        """Meter the records and return the step to commit. ``records`` follow on the last ones."""
        step = Step()
        touched_accounts: set[str] = set()
        by_user: dict[UserKey, list[Event]] = {}
        for _, value, time_ms in records:
            for event in self._events(value, time_ms, step, touched_accounts, now_seconds):
                self._admit(event, step, by_user, touched_accounts)
        self._meter(by_user, step)
        next_offset = records[-1][0] + 1 if records else self.record.source_offset
        return self.finish(step, touched_accounts, next_offset)

    def finish(self, step: Step, touched_accounts: Iterable[str], next_offset: int) -> Step:
        """Complete a step with the accounts' and the partition's own records."""
        self.record.sequence += 1
        self.record.source_offset = next_offset
        step.sequence, step.source_offset = self.record.sequence, next_offset
        accounts = step.writes[Table.ACCOUNTS]
        for account in touched_accounts:
            accounts[account.encode()] = encode_record(self.accounts[account])
        accounts[PARTITION_KEY] = encode_record(self.record)
        changed = set(step.rows)
        step.rows = {key: self.counters.values(key) for key in changed}
        step.writes[Table.COUNTERS].update(self.counters.writes(changed, step.sequence))
        return step

    def after_commit(self) -> None:
        """Trim the caches once the step is in the store."""
        self.users.after_commit()
        self.counters.after_commit()

    def _events(
        self, value: bytes, time_ms: int, step: Step, touched_accounts: set[str], now_seconds: int
    ) -> list[Event]:
        """Return the events of one record; what is not readable goes to the dead letter."""
        tag = value[0] if value else -1
        try:
            if tag == BATCH_TAG:
                return decode_batch(value)
            if tag == CONTROL_TAG:
                self._obey(decode_control(value), time_ms // 1000, touched_accounts, now_seconds)
                return []
            events, refusals = self.config.parse_json(value, time_ms)
        except UnreadableRecord as error:
            refusals = [Refusal("malformed", str(error), value)]
            events = []
        if refusals:
            step.refusals.extend(refusals)
            self._count_run(len(refusals), step)
        return events

    def _count_run(self, refused: int, step: Step) -> None:
        self._refused_run += refused
        step.refused_run = max(step.refused_run, self._refused_run)

    def _obey(self, control: Control, said_at: int, touched_accounts: set[str], now_seconds: int) -> None:
        """Take or give up a hold. It lasts as long from now as it did when it was said.

        Whoever works on a log that has been waiting for days would otherwise find every hold in it expired.
        """
        self.rules(control.account)
        record = self.accounts[control.account]
        holds = {hold: expires_at for hold, expires_at in record.holds.items() if expires_at > now_seconds}
        holds.pop(control.hold_id, None)
        if control.action == "hold":
            holds[control.hold_id] = now_seconds + control.expires_at - said_at
        record.holds = holds
        touched_accounts.add(control.account)

    def _admit(
        self, event: Event, step: Step, by_user: dict[UserKey, list[Event]], touched_accounts: set[str]
    ) -> None:
        """Sort an event to its user, or set it aside."""
        step.event_count += 1
        key = (event.account, event.user_key)
        if key not in by_user:
            owner = partition_of(*key, self.config.partition_count)
            if owner != self.config.partition:
                step.forwards.setdefault(owner, []).append(encode_batch([event]))
                _count(step, event, "forwarded")
                return
        self.rules(event.account)
        record = self.accounts[event.account]
        if event.occurred_at < record.cut:
            self._set_aside(event, "late", f"before the cut of its account at {record.cut}", step)
            return
        self._refused_run = 0
        if event.user_bsuid and event.user_phone:
            step.identity_pairs += 1
        newest = min(event.occurred_at, event.received_at // _EPOCH_MILLISECONDS_PER_SECOND)
        if newest > record.newest_at or event.account not in touched_accounts:
            record.newest_at = max(record.newest_at, newest)
            touched_accounts.add(event.account)
        record.oldest_at = min(record.oldest_at, event.occurred_at)
        by_user.setdefault(key, []).append(event)

    def _meter(self, by_user: dict[UserKey, list[Event]], step: Step) -> None:
        users = self.users.load(by_user)
        # All folds come first: what they drop is not in the state any more, and its marks not yet in the store.
        dropped = {key: self._fold(key, users[key], step) for key in by_user}
        expired = self._expired(by_user, users)
        changed: list[CachedUser] = []
        changes: list[tuple[str, Differences]] = []
        for key, events in by_user.items():
            account = key[0]
            record, rules, cached = self.accounts[account], self.rules(account), users[key]
            result = meter(
                cached.metered,
                events,
                rules,
                expired=dropped[key] | expired.get(key, set()),
                floor_day=record.floor_day,
            )
            if result.differences:
                changes.append((account, result.differences))
            self._note_outcomes(events, result.outcomes, step)
            if cached.metered.touched_items:
                changed.append(cached)
        step.writes[Table.USERS].update(self.users.writes(changed))
        self.counters.load(changes)
        rows: set[CounterKey] = set()
        for account, differences in changes:
            self.counters.add(account, differences, rows)
        step.rows = dict.fromkeys(rows, ())

    def _fold(self, key: UserKey, cached: CachedUser, step: Step) -> set[bytes]:
        """Fold a user up to its account's cut and return the items that this drops."""
        account = key[0]
        marks = fold_cached(cached, self.accounts[account].cut, self.config.retention, self.rules(account))
        step.writes[Table.USERS].update(marks)
        return {item for mark in marks if (item := expired_item(mark)) is not None}

    def _expired(
        self, by_user: dict[UserKey, list[Event]], users: dict[UserKey, CachedUser]
    ) -> dict[UserKey, set[bytes]]:
        """Look up dropped items, only for accounts that dropped any and items that are not in the state."""
        candidates: list[tuple[UserKey, bytes]] = []
        for key, events in by_user.items():
            if not self.accounts[key[0]].cut:
                continue
            user = users[key].metered.user
            for event in events:
                incoming = event.kind == "incoming"
                item = incoming_id_digest(event) if incoming else message_id_digest(event)
                if item not in (user.incoming if incoming else user.messages):
                    candidates.append((key, item))
        return self.users.expired(candidates)

    def _note_outcomes(self, events: list[Event], outcomes: list[Outcome], step: Step) -> None:
        for event, outcome in zip(events, outcomes, strict=True):
            if outcome == "late":
                self._set_aside(event, "late", "would change a day whose totals have left the worker", step)
            elif outcome == "expired_status":
                self._set_aside(event, outcome, "the state of its message was dropped", step)
            else:
                _count(step, event, outcome)

    def _set_aside(self, event: Event, reason: str, detail: str, step: Step) -> None:
        step.refusals.append(Refusal(reason, detail, canonical_json(event), event.account))
        _count(step, event, reason)


class StateMismatch(RuntimeError):
    """State, log and ClickHouse do not belong together; says which and what to do."""


def _count(step: Step, event: Event, outcome: str) -> None:
    key = (event.kind, outcome)
    step.outcomes[key] = step.outcomes.get(key, 0) + 1
