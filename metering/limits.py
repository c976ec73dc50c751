"""The monthly limits of an account and how far they are used up: package, free service messages, budget, volume tiers.

Owns what counts towards which limit. Does not own the projection (``metering.forecast``) nor alerts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

import msgspec

from metering.calendar import last_day_of, month_after, month_before
from metering.charges import Charge, ConversationCount, PriceData
from metering.courses import DailyCounts
from metering.forecast import EARLIER_MONTHS_MAX, Kind, burn_down
from metering.licence import package
from metering.pricing import SERVICE, priced_as
from schemas.plans import Plan
from schemas.rate_cards import Band
from schemas.regimes import PriceRegime


class LimitUse(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of one month. What of it is projected says by which method."""

    month: str
    """"YYYY-MM"."""
    account: str
    number: str
    """Empty = the limit is the whole account's."""
    limit_name: str
    """"mau_package", "free_service", "conversation_budget" or "volume_tier"."""
    market: str
    """Of a tier, else empty."""
    category: str
    """Of a tier, else empty."""
    limit: int | None
    """None = the highest tier, which has no end."""
    used: int
    left: int | None
    used_percent: Decimal | None
    """With one decimal, rounded half-up. None = there is no limit, or none of it: 0 users in the package."""
    projected: int | None
    """By the month's end; None = too early to say."""
    exhausted_on: str | None
    """"YYYY-MM-DD" on which the last of it was or will be used; None = not in this month."""
    method: str
    """See ``metering.forecast.Method``."""
    projected_low: int | None = None
    """Four of five months are to end between this and ``projected_high``."""
    projected_high: int | None = None
    exhausted_from: str | None = None
    """"YYYY-MM-DD" on which the last of it will be used if the month comes to its high bound."""
    exhausted_to: str | None = None
    """The same for the low bound; None = then not in this month."""
    projected_amau: int | None = None
    """Of a package: users beyond it by the month's end."""
    projected_amau_cost: Decimal | None = None
    """What they will come to, in ``currency``; None = too early, or no price agreed."""
    currency: str = ""
    """Of the plan; of a package only."""


@dataclass(frozen=True, slots=True)
class MonthSoFar:
    """What happened in a month and those before, of one account."""

    account: str
    first: date
    now: datetime
    """Local, without a zone."""
    active: Mapping[tuple[str, str], DailyCounts]
    """New active users by (number, rule), of this month and up to three before."""
    charges: Sequence[Charge]
    """Of the same months."""
    conversations: Sequence[ConversationCount] = ()
    """Of the same months."""

    def split(self, counts: DailyCounts) -> tuple[DailyCounts, list[DailyCounts]]:
        """Return the counts of this month, and those of the months before, the newest first."""
        months: list[DailyCounts] = []
        first = self.first
        for _ in range(1 + EARLIER_MONTHS_MAX):
            following = month_after(first)
            months.append({day: count for day, count in counts.items() if first <= day < following})
            first = month_before(first)
        return months[0], months[1:]

    def is_recent(self, counts: DailyCounts) -> bool:
        """Tell whether there are days of this month or the one before: older ones only shape the forecast."""
        return any(day >= month_before(self.first) for day in counts)


def limits_of(so_far: MonthSoFar, data: PriceData) -> list[LimitUse]:
    """Return every limit of an account: those of its plans, the regime and its tiers."""
    return [
        *_packages(so_far, data),
        *_budgets(so_far, data),
        *_allotments(so_far, data),
        *_tiers(so_far, data),
    ]


def _packages(so_far: MonthSoFar, data: PriceData) -> Iterator[LimitUse]:
    last = last_day_of(so_far.first)
    for number in ("", *data.plans.numbers(so_far.account)):
        plan = data.plans.in_force(so_far.account, number, last)
        if plan is not None:
            counts = so_far.active.get((number, plan.mau_rule), {})
            use = _use(so_far, "mau_package", number, counts, plan.mau_package, "users")
            yield _with_cost(use, plan)


def _with_cost(use: LimitUse, plan: Plan) -> LimitUse:
    """Add what the users beyond a package are expected to come to."""
    if use.projected is None:
        return msgspec.structs.replace(use, currency=plan.currency)
    beyond = package(use.projected, plan)
    return msgspec.structs.replace(
        use,
        projected_amau=beyond.amau,
        projected_amau_cost=beyond.amau_total,
        currency=plan.currency,
    )


def _budgets(so_far: MonthSoFar, data: PriceData) -> Iterator[LimitUse]:
    last = last_day_of(so_far.first)
    for number in ("", *data.plans.numbers(so_far.account)):
        plan = data.plans.in_force(so_far.account, number, last)
        if plan is not None and plan.conversation_budget:
            counts: dict[date, int] = defaultdict(int)
            for row in so_far.conversations:
                if number in ("", row.number):
                    counts[row.day] += row.charged
            yield _use(so_far, "conversation_budget", number, counts, plan.conversation_budget)


def _allotments(so_far: MonthSoFar, data: PriceData) -> Iterator[LimitUse]:
    regime = data.regimes.at(so_far.first)
    if not regime.service_allotment:
        return
    by_scope: dict[str, dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for charge in so_far.charges:
        if charge.category == SERVICE and charge.unit == regime.unit:
            scope = charge.number if regime.service_allotment_per == "number" else ""
            by_scope[scope][charge.day] += charge.allotted + charge.charged
    for scope in sorted(by_scope):
        if so_far.is_recent(by_scope[scope]):
            yield _allotment(so_far, scope, by_scope[scope], regime)


def _allotment(so_far: MonthSoFar, scope: str, counts: DailyCounts, regime: PriceRegime) -> LimitUse:
    return _use(so_far, "free_service", scope, counts, regime.service_allotment)


def _tiers(so_far: MonthSoFar, data: PriceData) -> Iterator[LimitUse]:
    by_tier: dict[tuple[str, str, str], dict[date, int]] = defaultdict(lambda: defaultdict(int))
    for charge in so_far.charges:
        plan = data.plan_of(so_far.account, charge.number, charge.day)
        if charge.unit == "message" and _has_tiers(plan):
            key = (charge.currency, charge.market, priced_as(charge.category))
            by_tier[key][charge.day] += charge.charged
    for (currency, market, category), counts in sorted(by_tier.items()):
        bands = data.rates.bands(currency, market, category, so_far.first)
        if bands and so_far.is_recent(counts):
            used = sum(so_far.split(counts)[0].values())
            yield _tier(so_far, market, category, counts, _current(bands, used))


def _has_tiers(plan: Plan | None) -> bool:
    return plan is not None and plan.volume_tiers != "none"


def _current(bands: tuple[Band, ...], used: int) -> Band:
    """Return the band that the next message falls in."""
    return next((band for band in bands if not band.upper or used < band.upper), bands[-1])


def _tier(so_far: MonthSoFar, market: str, category: str, counts: DailyCounts, band: Band) -> LimitUse:
    use = _use(so_far, "volume_tier", "", counts, band.upper)
    use = msgspec.structs.replace(use, market=market, category=category)
    if band.upper:
        return use
    return msgspec.structs.replace(
        use,
        limit=None,
        left=None,
        used_percent=None,
        exhausted_on=None,
        exhausted_from=None,
        exhausted_to=None,
    )


def _use(
    so_far: MonthSoFar, name: str, number: str, counts: DailyCounts, limit: int, kind: Kind = "units"
) -> LimitUse:
    current, earlier = so_far.split(counts)
    state = burn_down(limit, current, earlier, so_far.first, so_far.now, kind)
    return LimitUse(
        month=f"{so_far.first:%Y-%m}",
        account=so_far.account,
        number=number,
        limit_name=name,
        market="",
        category="",
        limit=limit,
        used=state.used,
        left=state.left,
        used_percent=percent_of(state.used, limit),
        projected=state.projected,
        exhausted_on=_day_text(state.exhausted_on),
        method=state.method,
        projected_low=state.projected_low,
        projected_high=state.projected_high,
        exhausted_from=_day_text(state.exhausted_from),
        exhausted_to=_day_text(state.exhausted_to),
    )


def _day_text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def percent_of(used: int, limit: int) -> Decimal | None:
    """Return a share in percent with one decimal, rounded half-up; None = of nothing."""
    if not limit:
        return None
    tenths = Fraction(used * 1000, limit) + Fraction(1, 2)
    return Decimal(tenths.numerator // tenths.denominator).scaleb(-1)


def series_of(rows: Iterable[tuple[str, str, date, int]]) -> dict[tuple[str, str], dict[date, int]]:
    """Return counts by day from rows of (number, rule, day, users)."""
    result: dict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    for number, rule, day, users in rows:
        result[number, rule][day] = result[number, rule].get(day, 0) + users
    return result
