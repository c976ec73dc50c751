"""What the alerts know: the counts of each month by partition, and which notices were given about it.

Owns how a count changes that, and which notices follow. Pure: each count, the terms and the time are arguments, so that
the same counts in the same order give the same notices, whenever they come and however they are cut into steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

import msgspec

from metering.alert_limits import added, limits_now
from metering.alerts import Crossing, LimitNow, LimitState, judge
from metering.calendar import final_from, first_of
from metering.charges import PriceData
from metering.limits import percent_of
from schemas.alerts import Cause, LimitName, MonthCount, MonthTotals, Notice, notice_id
from schemas.thresholds import DEFAULT_THRESHOLDS

MonthScope = tuple[str, str, str]
"""``(account, number, "YYYY-MM")``; number "" = the whole account."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What counts are judged by."""

    data: PriceData
    default_thresholds: tuple[str, ...] = DEFAULT_THRESHOLDS
    """Where no plan says others."""
    hysteresis_percent: Fraction = Fraction(1)
    digest: str = ""
    """The same for the same terms."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is judged."""

    now_ms: int
    """UTC milliseconds."""
    today: date
    """In the account's zone."""


class PartitionCount(msgspec.Struct, array_like=True, frozen=True):
    """The newest count of one partition. Field order is the storage format."""

    sequence: int
    received_until_ms: int
    totals: MonthTotals


class MonthState(msgspec.Struct, array_like=True):
    """What is known of one account or number in one month. Field order is the storage format."""

    counts: dict[int, PartitionCount] = {}
    """By partition of ``events``."""
    limits: dict[LimitName, LimitState] = {}
    is_closed: bool = False
    """A partition has forgotten the month: its totals are known no more, and nothing is judged."""

    @property
    def totals(self) -> MonthTotals:
        """Return the month's totals."""
        return added([MonthTotals(), *(count.totals for count in self.counts.values())])

    @property
    def received_until_ms(self) -> int:
        """Return the time of the newest webhook that any of the counts has in it, UTC milliseconds."""
        return max((count.received_until_ms for count in self.counts.values()), default=0)


class AlertBook:
    """The months of the accounts and numbers of one partition of ``mau.counts``."""

    def __init__(self) -> None:
        """Begin without any; ``months`` may be filled with what was stored."""
        self.months: dict[MonthScope, MonthState] = {}

    def take(self, count: MonthCount) -> MonthScope | None:
        """Take up a count. Returns the month that it changes, or None: it is known already."""
        scope = (count.account, count.number, count.month)
        month = self.months.get(scope)
        known = month.counts.get(count.partition) if month else None
        if count.is_closed:
            return self._close(scope)
        if (known is not None and known.sequence >= count.sequence) or (month and month.is_closed):
            return None
        if month is None:
            month = self.months[scope] = MonthState()
        month.counts[count.partition] = PartitionCount(count.sequence, count.received_until_ms, count.totals)
        return scope

    def _close(self, scope: MonthScope) -> MonthScope | None:
        """Close a month for good: forgotten, it would begin anew with the next count, and give notices again."""
        month = self.months.get(scope)
        if month is not None and month.is_closed:
            return None
        self.months[scope] = MonthState(is_closed=True)
        return scope

    def limits(self, scope: MonthScope, terms: Terms) -> list[LimitNow]:
        """Return the limits of a month as it is counted now."""
        account, number, month = scope
        totals = self.months[scope].totals
        return limits_now(account, number, first_of(month), totals, terms.data, terms.default_thresholds)

    def limits_judged(self, scope: MonthScope) -> dict[LimitName, int | None]:
        """Return what the limits of a month were when they were judged last, of those that are kept."""
        month = self.months.get(scope)
        return {name: state.limit for name, state in month.limits.items()} if month else {}

    def notices(self, scope: MonthScope, terms: Terms, cause: Cause, moment: Moment) -> list[Notice]:
        """Bring the limits of a month up to date and return the notices that follow from it, in order."""
        month = self.months.get(scope)
        if month is None or month.is_closed:
            return []
        notices: list[Notice] = []
        for limit in self.limits(scope, terms):
            state = month.limits.get(limit.name) or LimitState()
            crossings = judge(state, limit, terms.hysteresis_percent)
            if crossings:
                # Kept only once there is something to keep: most limits are far from their thresholds.
                month.limits[limit.name] = state
            notices += _notices(scope, limit, crossings, cause, moment, month.received_until_ms)
        return notices


def _notices(
    scope: MonthScope,
    limit: LimitNow,
    crossings: Iterable[Crossing],
    cause: Cause,
    moment: Moment,
    received_until_ms: int,
) -> list[Notice]:
    account, number, month = scope
    percent = percent_of(limit.used, limit.limit)
    return [
        Notice(
            id=notice_id(account, number, month, limit.name, crossing.threshold, crossing.n),
            kind=crossing.kind,
            level=crossing.level,
            level_before=crossing.level_before,
            account=account,
            number=number,
            month=month,
            limit_name=limit.name,
            threshold=crossing.threshold,
            threshold_count=crossing.threshold_count,
            n=crossing.n,
            limit=limit.limit,
            used=limit.used,
            used_percent="" if percent is None else str(percent),
            cause=cause,
            received_until_ms=received_until_ms,
            noticed_at_ms=moment.now_ms,
            is_past=moment.today >= final_from(first_of(month)),
        )
        for crossing in crossings
    ]
