"""One partition's work: records in, one atomic step out.

Owns the order: decode, set aside what is late or unreadable, meter user by user, add up, and hand out one ``Step``
that the caller commits. Nothing here waits or writes; the store is only read. After a failed commit the object
must not be used again (its caches are ahead of the store): the process ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from metering.ladder_health import heard_of
from metering.meter import Outcome, meter
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
from schemas.parcels import (
    PARCEL_TAG,
    Ask,
    KeyParcel,
    Meet,
    NamesSeen,
    Parcel,
    RoutedEvents,
    Told,
    Walk,
    decode_parcels,
    encode_parcels,
)
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
from streams.agreement import answer, hear
from streams.counters import Counters
from streams.folding import fold_cached
from streams.linking import Changes, Linking
from streams.meeting import Meeting
from streams.month_totals import Counted, MonthCounter, records_of
from streams.step import ProcessorConfig, SourceRecord, Step
from streams.store import PartitionStore, Table
from streams.tiers import tier_changes, tier_day
from streams.users import CachedUser, UserKey, Users

_EPOCH_MILLISECONDS_PER_SECOND = 1000
_EVENTS_PER_RECORD = 500
"""Of those passed on: a record must stay far below the log's limit."""
_NEVER = 1 << 62
"""Later than any event: an account that has none yet."""


@dataclass(slots=True)
class _Intake:
    """What the records of one step hold, sorted."""

    by_user: dict[UserKey, list[Event]] = field(default_factory=dict)
    late: dict[UserKey, list[Event]] = field(default_factory=dict)
    """Events before the cut that their account has here; their user's state may be elsewhere."""
    parcels: list[KeyParcel] = field(default_factory=list)
    tiers: list[Event] = field(default_factory=list)


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
        self.months = MonthCounter(store)
        self.accounts: dict[str, AccountRecord] = {}
        self._rules: dict[str, AccountRules] = {}
        self._refused_run = 0
        """Updates refused since the last good one."""
        self.record = self._take_up(store.get(Table.ACCOUNTS, PARTITION_KEY))
        for key, value in store.scan(Table.ACCOUNTS):
            if key != PARTITION_KEY:
                self._take_up_account(key.decode(), decode_account(value))
        self.linking = Linking(self)
        self.meeting = Meeting(self)
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
        step, intake = Step(), _Intake()
        for _, value, time_ms in records:
            for event in self._events(value, time_ms, step, intake, now_seconds):
                self._admit(event, step, intake)
        changed: dict[UserKey, CachedUser] = {}
        changes = self._meter(intake, step, changed)
        for user, cached in changed.items():
            events = intake.by_user.get(user, ())
            step.heard += heard_of(user, events, cached.metered.user.messages)
        changes += self.linking.take(intake.parcels, step, changed)
        step.writes[Table.USERS].update(self.users.writes(changed.values()))
        changes += self._tier_changes(intake.tiers, step)
        self._add_up(changes, step)
        next_offset = records[-1][0] + 1 if records else self.record.source_offset
        newest_ms = max((time_ms for _, _, time_ms in records), default=0)
        self.record.received_until_ms = max(self.record.received_until_ms, newest_ms)
        return self.finish(step, next_offset)

    def finish(self, step: Step, next_offset: int) -> Step:
        """Complete a step with what it tells others, and the accounts' and the partition's own records."""
        self._owe_all_months(step)
        self.record.sequence += 1
        self.record.source_offset = next_offset
        step.received_until_ms = self.record.received_until_ms
        step.sequence, step.source_offset = self.record.sequence, next_offset
        accounts = step.writes[Table.ACCOUNTS]
        for account in step.accounts:
            accounts[account.encode()] = encode_record(self.accounts[account])
        accounts[PARTITION_KEY] = encode_record(self.record)
        for owner, events in step.misplaced.items():
            chunks = (
                events[at : at + _EVENTS_PER_RECORD] for at in range(0, len(events), _EVENTS_PER_RECORD)
            )
            step.forwards.setdefault(owner, []).extend(map(encode_batch, chunks))
        for owner, parcels in step.parcels.items():
            step.forwards.setdefault(owner, []).extend(encode_parcels(parcels))
        step.published = records_of(step.months, step.closed_months, self._counted(step))
        changed = set(step.rows)
        step.rows = {key: self.counters.values(key) for key in changed}
        step.writes[Table.COUNTERS].update(self.counters.writes(changed, step.sequence))
        return step

    def _counted(self, step: Step) -> Counted:
        config = self.config
        return Counted(config.partition, config.partition_count, step.sequence, step.received_until_ms)

    @property
    def owes_months(self) -> bool:
        """Tell whether there are months that the alerts have never been told of."""
        return bool(self.accounts) and not self.record.has_published

    def _owe_all_months(self, step: Step) -> None:
        """Tell of all months once: in state of a version that published nothing are some that nothing touches again."""
        if not self.record.has_published:
            step.months = self.months.everything(self.accounts, self._floor_of) | step.months
            self.record.has_published = True

    def after_commit(self) -> None:
        """Trim the caches once the step is in the store."""
        self.users.after_commit()
        self.counters.after_commit()

    def _events(
        self, value: bytes, time_ms: int, step: Step, intake: _Intake, now_seconds: int
    ) -> list[Event]:
        """Return the events of one record; what is not readable goes to the dead letter."""
        tag = value[0] if value else -1
        try:
            if tag == BATCH_TAG:
                return decode_batch(value)
            if tag == CONTROL_TAG:
                self._obey(decode_control(value), time_ms // 1000, step.accounts, now_seconds)
                return []
            if tag == PARCEL_TAG:
                self._unpack(decode_parcels(value), step, intake)
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

    def _unpack(self, parcels: list[Parcel], step: Step, intake: _Intake) -> None:
        """Sort parcels from other partitions; events in them are for the key that they are addressed to."""
        for parcel in parcels:
            if isinstance(parcel, RoutedEvents):
                for event in decode_batch(parcel.batch):
                    self._admit_to((parcel.account, parcel.key), event, step, intake)
            elif isinstance(parcel, Ask):
                step.send(answer(parcel, self.config.partition))
            elif isinstance(parcel, Told):
                self._hear(parcel, step)
            elif isinstance(parcel, NamesSeen):
                self.meeting.hear(parcel, step)
            elif isinstance(parcel, Walk):
                self.meeting.walk(parcel, step)
            elif isinstance(parcel, Meet):
                self.meeting.meet(parcel, step)
            else:
                intake.parcels.append(parcel)

    def _hear(self, told: Told, step: Step) -> None:
        self.rules(told.account)
        step.accounts.add(told.account)
        here, count = self.config.partition, self.config.partition_count
        step.send(hear(self.accounts[told.account], told, here, count))

    def _admit(self, event: Event, step: Step, intake: _Intake) -> None:
        """Sort an event to its user."""
        key = (event.account, event.user_key)
        if key not in intake.by_user:
            owner = partition_of(*key, self.config.partition_count)
            if owner != self.config.partition:
                step.event_count += 1
                step.misplaced.setdefault(owner, []).append(event)
                step.count(event, "forwarded")
                return
        self._admit_to(key, event, step, intake)

    def _admit_to(self, key: UserKey, event: Event, step: Step, intake: _Intake) -> None:
        """Sort an event to a user, and take note of the account's time."""
        step.event_count += 1
        self.rules(event.account)
        if event.kind == "tier":
            # No user's, of no time of its own: it neither waits for a cut nor moves one.
            self._refused_run = 0
            intake.tiers.append(event)
            return
        record = self.accounts[event.account]
        if event.kind != "identity":
            if event.occurred_at < record.cut:
                intake.late.setdefault(key, []).append(event)
                return
            newest = min(event.occurred_at, event.received_at // _EPOCH_MILLISECONDS_PER_SECOND)
            if newest > record.newest_at or event.account not in step.accounts:
                record.newest_at = max(record.newest_at, newest)
                step.accounts.add(event.account)
            record.oldest_at = min(record.oldest_at, event.occurred_at)
        self._refused_run = 0
        intake.by_user.setdefault(key, []).append(event)

    def _meter(self, intake: _Intake, step: Step, changed: dict[UserKey, CachedUser]) -> Changes:
        """Meter events user by user; return the differences by account and add the users that changed."""
        by_user = intake.by_user
        users = self.linking.follow(by_user, step)
        if intake.late:
            self.linking.follow(intake.late, step)
            for event in (event for events in intake.late.values() for event in events):
                cut = self.accounts[event.account].cut
                self._set_aside(event, "late", f"before the cut of its account at {cut}", step)
        # All folds come first: what they drop is not in the state any more, and its marks not yet in the store.
        dropped = {key: self.fold(key, users[key], step) for key in by_user}
        expired = self._expired(by_user, users)
        changes: Changes = []
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
            step.links["unrestated"] += result.unrestated
            self._note_outcomes(events, result.outcomes, step)
            if cached.metered.is_touched:
                changed[key] = cached
                self.linking.announce(key, cached, step)
            if result.alone:
                self.meeting.note(key, result.alone, step)
        return changes

    def _tier_changes(self, tiers: list[Event], step: Step) -> Changes:
        """Take up reported tiers."""
        late = [event for event in tiers if tier_day(event) < self.accounts[event.account].floor_day]
        for event in late:
            self._set_aside(event, "late", "would change what has left the worker", step)
        return tier_changes([event for event in tiers if event not in late], self.counters, step)

    def _add_up(self, changes: Changes, step: Step) -> None:
        """Add differences to the counter rows."""
        self.counters.load(changes)
        before: dict[CounterKey, tuple[int, ...]] = {}
        for account, differences in changes:
            self.counters.add(account, differences, before)
        step.rows = before
        step.months.update(self.months.take(before, self.counters, self._floor_of))

    def _floor_of(self, account: str) -> int:
        """Return the day before which counter rows of an account have left the store."""
        return self.accounts[account].floor_day

    def fold(self, key: UserKey, cached: CachedUser, step: Step) -> set[bytes]:
        """Fold a user up to its account's cut and return the items that this drops."""
        account = key[0]
        marks = fold_cached(cached, self.accounts[account].cut, self.config.retention, self.rules(account))
        for mark, day in marks.items():
            assert day is not None
            step.write_record(key, mark, day)
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
                if event.kind == "identity":
                    continue
                incoming = event.kind == "incoming"
                item = incoming_id_digest(event) if incoming else message_id_digest(event)
                if item not in (user.incoming if incoming else user.messages):
                    candidates.append((key, item))
        return self.users.expired(candidates)

    def _note_outcomes(self, events: list[Event], outcomes: list[Outcome], step: Step) -> None:
        for event, outcome in zip(events, outcomes, strict=True):
            if outcome == "late":
                self._set_aside(event, "late", "would change what has left the worker", step)
            elif outcome == "expired_status":
                self._set_aside(event, outcome, "the state of its message was dropped", step)
            else:
                step.count(event, outcome)

    def _set_aside(self, event: Event, reason: str, detail: str, step: Step) -> None:
        step.refusals.append(Refusal(reason, detail, canonical_json(event), event.account))
        step.count(event, reason)


class StateMismatch(RuntimeError):
    """State, log and ClickHouse do not belong together; says which and what to do."""
