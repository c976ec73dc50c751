"""The sweep: moves an account's cut and forgets what lies before it, a bounded number of users per commit.

Owns when a cut moves (metering.md §6), once all partitions have agreed (``streams.agreement``). The new cut is
committed first; from then on earlier events are late, and users are folded when next looked at, by an event or by
this walk, so that a crash in the middle loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from metering.rules import DAY_SECONDS
from metering.storage import account_prefix, alias_of, expired_item, is_head_key, is_met_key, split_key
from schemas.rows import CounterKey
from streams.accounts import AccountRecord
from streams.agreement import ask
from streams.counters import account_rows_prefix, decode_key, decode_value
from streams.folding import fold_cached, removal_if_empty
from streams.meeting import is_outdated
from streams.processor import Processor
from streams.step import Step
from streams.store import Table
from streams.users import CachedUser

SWEEP_EVERY_SECONDS = DAY_SECONDS
"""A cut moves once the account's time has gone on by this much: state is walked once a day, not at each event."""
_RECORDS_PER_STEP = 500
_FIRST_DAY = -(1 << 31)


class Sweep:
    """Walks the accounts of one partition whose time has gone on."""

    def __init__(self, processor: Processor) -> None:
        """Sweep a processor's accounts."""
        self._processor = processor
        self._under_way: Iterator[Step | None] | None = None

    @property
    def under_way(self) -> bool:
        """Tell whether a walk has begun and not ended."""
        return self._under_way is not None

    def next_step(self, now_seconds: int, flushed_sequence: int) -> Step | None:
        """Return the next step to commit, or None when nothing is to be forgotten now.

        None may also mean that a part of the walk found nothing; ``under_way`` tells.

        Args:
            now_seconds: the receiver's clock, for holds that ran out.
            flushed_sequence: rows changed by later commits are not in ClickHouse yet and must stay.
        """
        if self._under_way is None:
            account = self._due(now_seconds)
            if account is None:
                return self._ask(now_seconds)
            self._under_way = self._steps(account, flushed_sequence)
        try:
            return next(self._under_way)
        except StopIteration:
            self._under_way = None
            return None

    def _due(self, now_seconds: int) -> str | None:
        for account, record in self._processor.accounts.items():
            if self._processor.config.partition_count == 1 and self._may_move(record, now_seconds):
                # There is nobody else to ask.
                record.agreed = self._target(record)
            if record.swept < record.cut or (
                record.agreed > record.cut and not _is_held(record, now_seconds)
            ):
                return account
        return None

    def _ask(self, now_seconds: int) -> Step | None:
        """Ask all partitions about the accounts whose time has gone on."""
        config = self._processor.config
        step = Step()
        for account, record in self._processor.accounts.items():
            if not record.asked and self._may_move(record, now_seconds):
                step.send(
                    ask(account, record, self._target(record), config.partition, config.partition_count)
                )
                step.accounts.add(account)
        return self._processor.finish(step, self._processor.record.source_offset) if step.accounts else None

    def _may_move(self, record: AccountRecord, now_seconds: int) -> bool:
        if _is_held(record, now_seconds):
            return False
        target = self._target(record)
        if record.cut == 0 and record.oldest_at >= target:
            # There is nothing to forget yet, and a backfill of older days may come.
            return False
        return target > 0 and target >= max(record.cut, record.agreed) + SWEEP_EVERY_SECONDS

    def _target(self, record: AccountRecord) -> int:
        return record.newest_at - self._processor.config.retention.horizon_seconds

    def _steps(self, account: str, flushed_sequence: int) -> Iterator[Step | None]:
        record = self._processor.accounts[account]
        if record.swept == record.cut:
            record.cut = record.agreed
            yield self._finished(Step(), account)
        after: bytes | None = None
        while True:
            store = self._processor.store
            page = list(islice(store.scan(Table.USERS, account_prefix(account), after), _RECORDS_PER_STEP))
            if not page:
                break
            after = page[-1][0]
            step = self._fold_page(page, account)
            # A page without changes gives way too: millions of marks in one go would hold up everything else.
            yield self._finished(step, account) if step.writes[Table.USERS] else None
        record.swept = record.cut
        yield self._finished(self._drop_rows(account, flushed_sequence), account)

    def _finished(self, step: Step, account: str) -> Step:
        processor = self._processor
        step.accounts.add(account)
        return processor.finish(step, processor.record.source_offset)

    def _fold_page(self, page: list[tuple[bytes, bytes]], account: str) -> Step:
        processor = self._processor
        step = Step()
        writes = step.writes[Table.USERS]
        record, rules = processor.accounts[account], processor.rules(account)
        retention = processor.config.retention
        names_since = record.cut - retention.expired_mark_seconds
        marks_until = names_since // DAY_SECONDS
        writes.update(
            (key, None)
            for key, value in page
            if expired_item(key) is not None and int.from_bytes(value) < marks_until
        )
        items_until_day = retention.cut_at(record.cut).items_until // DAY_SECONDS
        writes.update(
            (key, None) for key, value in page if is_met_key(key) and is_outdated(value, items_until_day)
        )
        keys = [split_key(key) for key, value in page if is_head_key(key) and alias_of(value) is None]
        changed: list[CachedUser] = []
        for key, cached in processor.users.load(keys).items():
            writes.update(fold_cached(cached, record.cut, retention, rules))
            removal = removal_if_empty(cached, names_since)
            if removal:
                processor.linking.forget(key, cached, step)
                writes.update(removal)
                processor.users.forget(key)
            else:
                changed.append(cached)
        writes.update(processor.users.writes(changed))
        return step

    def _drop_rows(self, account: str, flushed_sequence: int) -> Step:
        """Drop counter rows of days that no kept message can change, if all of them are in ClickHouse."""
        processor = self._processor
        record = processor.accounts[account]
        retention = processor.config.retention
        floor_at = record.cut - retention.message_seconds - retention.horizon_seconds
        floor_day = processor.rules(account).calendar.day(floor_at) if floor_at > 0 else _FIRST_DAY
        step = Step()
        dropped: list[CounterKey] = []
        newest = 0
        for stored_key, value in processor.store.scan(Table.COUNTERS, account_rows_prefix(account)):
            key = decode_key(stored_key)
            day, sequence = key[1], decode_value(value)[0]
            assert isinstance(day, int)
            if day >= floor_day:
                break
            if sequence > flushed_sequence:
                # Not acknowledged by ClickHouse: all of them stay until the next sweep.
                return Step()
            step.writes[Table.COUNTERS][stored_key] = None
            dropped.append(key)
            newest = max(newest, sequence)
        record.floor_day = max(record.floor_day, floor_day)
        processor.record.note_dropped(newest, floor_day - 1)
        processor.counters.forget(dropped)
        step.closed_months = processor.months.close(account, dropped)
        return step


def _is_held(record: AccountRecord, now_seconds: int) -> bool:
    return any(expires_at > now_seconds for expires_at in record.holds.values())
