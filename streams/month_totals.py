"""What one partition has counted of each month towards the limits, kept up with its counter rows.

Owns no state of its own: the totals are sums of counter rows, read off the store when an account is first touched and
brought up to date by what a step changes. So they can never say anything else than the rows do. A month whose first
rows have left the store is closed: its totals cannot be read off any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from metering.alert_book import MonthScope
from metering.alert_limits import COUNTING_FAMILIES, totals_of
from metering.calendar import date_of, day_number, first_of
from schemas.alert_codec import encode_count
from schemas.alerts import MonthCount, MonthTotals
from schemas.codec import partition_of
from schemas.rows import CounterKey
from streams.counters import Counters, account_rows_prefix, decode_key, decode_value, measure_count
from streams.store import PartitionStore, Table

FloorOf = Callable[[str], int]
_Months = dict[tuple[str, str], list[int]]
"""Totals of one account by ``(number, month)``."""


class MonthCounter:
    """The month's totals of the accounts of one partition."""

    def __init__(self, store: PartitionStore) -> None:
        """Read from a partition's store."""
        self._store = store
        self._accounts: dict[str, _Months] = {}

    def take(
        self, before: Mapping[CounterKey, tuple[int, ...]], counters: Counters, floor_of: FloorOf
    ) -> dict[MonthScope, MonthTotals]:
        """Take up changed rows and return the totals that changed with them.

        Args:
            before: the rows' values before the change, which the store still has.
            counters: has their values now.
            floor_of: gives of an account the day before which rows have left the store.
        """
        changed: set[MonthScope] = set()
        for key, old in before.items():
            if key[0] not in COUNTING_FAMILIES:
                continue
            account, day = str(key[2]), int(key[1])
            new = counters.values(key)
            added = totals_of(key, tuple(b - a for a, b in zip(old, new, strict=True)))
            for number, totals in added:
                if any(totals):
                    month = month_of(day)
                    _add(self._of(account), number, month, totals)
                    changed.add((account, number, month))
        return self._open(changed, floor_of)

    def everything(self, accounts: Iterable[str], floor_of: FloorOf) -> dict[MonthScope, MonthTotals]:
        """Return all totals of accounts."""
        scopes = {(account, *place) for account in accounts for place in self._of(account)}
        return self._open(scopes, floor_of)

    def close(self, account: str, dropped: Iterable[CounterKey]) -> set[MonthScope]:
        """Forget an account whose rows leave the store and return the months that are closed by that."""
        self._accounts.pop(account, None)
        return {
            (account, number, month_of(int(key[1])))
            for key in dropped
            for number, _ in totals_of(key, (0,) * measure_count(int(key[0])))
        }

    def _open(self, scopes: Iterable[MonthScope], floor_of: FloorOf) -> dict[MonthScope, MonthTotals]:
        return {
            (account, number, month): MonthTotals(*self._of(account)[number, month])
            for account, number, month in sorted(scopes)
            if first_day_of(month) >= floor_of(account)
        }

    def _of(self, account: str) -> _Months:
        months = self._accounts.get(account)
        if months is None:
            months = self._accounts[account] = {}
            for key, measures in self._stored(account):
                for number, totals in totals_of(key, measures):
                    _add(months, number, month_of(int(key[1])), totals)
        return months

    def _stored(self, account: str) -> Iterator[tuple[CounterKey, tuple[int, ...]]]:
        for stored_key, value in self._store.scan(Table.COUNTERS, account_rows_prefix(account)):
            yield decode_key(stored_key), decode_value(value)[1]


@dataclass(frozen=True, slots=True)
class Counted:
    """Who counted something, and as of when."""

    partition: int
    partition_count: int
    sequence: int
    received_until_ms: int


def records_of(
    months: Mapping[MonthScope, MonthTotals], closed: Iterable[MonthScope], counted: Counted
) -> dict[int, list[tuple[bytes, bytes]]]:
    """Return records (key, value) for ``mau.counts``, by its partitions: totals, then months that are closed."""
    records: dict[int, list[tuple[bytes, bytes]]] = {}
    open_months = [(scope, totals, False) for scope, totals in months.items()]
    closed_months = [(scope, MonthTotals(), True) for scope in sorted(closed)]
    for (account, number, month), totals, is_closed in (*open_months, *closed_months):
        count = MonthCount(
            account=account,
            number=number,
            month=month,
            partition=counted.partition,
            sequence=counted.sequence,
            received_until_ms=counted.received_until_ms,
            totals=totals,
            is_closed=is_closed,
        )
        owner = partition_of(account, number, counted.partition_count)
        records.setdefault(owner, []).append(encode_count(count))
    return records


def _add(months: _Months, number: str, month: str, totals: MonthTotals) -> None:
    own = months.setdefault((number, month), [0] * len(totals))
    for place, count in enumerate(totals):
        own[place] += count


@lru_cache(maxsize=4096)
def month_of(day: int) -> str:
    """Return the month of a day (days since 1970-01-01)."""
    return f"{date_of(day):%Y-%m}"


@lru_cache(maxsize=4096)
def first_day_of(month: str) -> int:
    """Return the first day of a month, in days since 1970-01-01."""
    return day_number(first_of(month))
