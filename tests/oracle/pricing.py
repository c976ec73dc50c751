"""What every single message and conversation costs, one by one: the slow way, straight from the spec (metering.md §5).

Owns no code of the product's but the values that it takes. Each unit is an object of its own, put in order, and asked
what it is; nothing is added up before it is priced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from metering.charges import ConversationCount, Counts, DeliveryCount, PriceData, WhatIf
from schemas.plans import Plan
from schemas.rate_cards import RateCard
from schemas.regimes import PriceRegime

NO_RATE = None
TEMPLATES = {"marketing", "marketing_lite", "utility", "authentication", "authentication_international"}


@dataclass(frozen=True)
class Unit:
    """One delivered message or one conversation."""

    day: date
    number: str
    country: str
    unit: str
    category: str
    free_because: str
    """Empty = not before the allotment."""
    word: str
    """What the provider said: "free", "charged" or ""."""


@dataclass(frozen=True)
class Priced:
    """What one unit comes to."""

    unit: Unit
    market: str
    currency: str
    is_free: bool
    by_allotment: bool
    rate: int | None
    provider_rate: int | None
    """Meaningful only where the provider's word is "charged"."""


def price_everything(counts: Counts, data: PriceData, what_if: WhatIf = WhatIf()) -> list[Priced]:  # noqa: B008
    """Price every unit by itself, in the order of delivery."""
    units = sorted(
        units_of(counts, data, what_if),
        key=lambda unit: (unit.day, unit.number, unit.country, unit.unit, unit.category),
    )
    used_allotment: dict[tuple[int, int, str], int] = defaultdict(int)
    volumes: dict[tuple[object, ...], int] = defaultdict(int)
    result = []
    for unit in units:
        regime = regime_for(data, what_if, unit.day)
        is_free, by_allotment = bool(unit.free_because), False
        if not is_free and unit.category == "service" and regime.service_allotment:
            scope = unit.number if regime.service_allotment_per == "number" else ""
            month = (unit.day.year, unit.day.month, scope)
            if used_allotment[month] < regime.service_allotment:
                used_allotment[month] += 1
                is_free = by_allotment = True
        result.append(_rated(unit, counts, data, what_if, volumes, is_free, by_allotment))
    return result


def _rated(
    unit: Unit,
    counts: Counts,
    data: PriceData,
    what_if: WhatIf,
    volumes: dict[tuple[object, ...], int],
    is_free: bool,
    by_allotment: bool,
) -> Priced:
    day = rates_day(data, what_if, unit.day)
    market = "Other"
    for row in sorted(data.rates.markets, key=lambda row: row.effective or date.min):
        if row.country == unit.country and (row.effective or date.min) <= day:
            market = row.market
    plan = plan_for(data, counts.account, unit.number, unit.day)
    currency = (plan.rate_currency or plan.currency) if plan else "USD"
    category = "marketing" if unit.category == "marketing_lite" else unit.category
    card: RateCard | None = None
    for each in sorted(data.rates.cards, key=lambda each: each.effective):
        if each.currency == currency and each.effective <= day:
            card = each
    listed = card.rates.get((market, category)) if card else NO_RATE
    bands = None
    for table in sorted(data.rates.tiers, key=lambda table: table.effective):
        if table.currency == currency and table.effective <= day:
            bands = table.bands.get((market, category))
    rates: dict[str, int | None] = {}
    for view, charged in (("rule", not is_free), ("provider", unit.word == "charged")):
        rate = listed
        if plan and bands and unit.unit == "message" and plan.volume_tiers == "counted" and charged:
            month = (view, unit.day.year, unit.day.month, currency, market, category)
            volumes[month] += 1
            within = [
                b for b in bands if b.lower <= volumes[month] and (not b.upper or volumes[month] <= b.upper)
            ]
            rate = within[0].rate if within else NO_RATE
        rates[view] = rate
    return Priced(unit, market, currency, is_free, by_allotment, rates["rule"], rates["provider"])


def units_of(counts: Counts, data: PriceData, what_if: WhatIf) -> Iterator[Unit]:
    """Yield every unit that is charged for under its regime, and what makes it free at once."""
    for message in counts.deliveries:
        regime = regime_for(data, what_if, message.day)
        if regime.unit == "message":
            yield from _messages(message, regime)
    for opened in counts.conversations:
        regime = regime_for(data, what_if, opened.day)
        if regime.unit == "conversation":
            yield from _conversations(opened, regime)


def _messages(row: DeliveryCount, regime: PriceRegime) -> Iterator[Unit]:
    category = row.category
    if category not in TEMPLATES and category != "service":
        category = "unknown" if row.template == 1 else "service"
    free = ""
    if row.free_entry_point:
        free = "free entry point"
    elif category == "service" and regime.service == "free":
        free = "service"
    elif category == "utility" and row.service_window == 1 and regime.utility_free_in_service_window:
        free = "service window"
    word = {1: "charged", 0: "free", -1: ""}[row.billable]
    if row.pricing_type:
        word = "charged" if row.pricing_type == "regular" else "free"
    for _ in range(row.delivered):
        yield Unit(row.day, row.number, row.country, "message", category, free, word)


def _conversations(row: ConversationCount, regime: PriceRegime) -> Iterator[Unit]:
    free = ""
    if row.type == "free_entry_point":
        free = "free entry point"
    elif row.type == "service" and regime.service == "free":
        free = "service"
    for place in range(row.total):
        word = "charged" if place < row.charged else "free"
        yield Unit(row.day, row.number, row.country, "conversation", row.type, free, word)


def regime_for(data: PriceData, what_if: WhatIf, day: date) -> PriceRegime:
    """Return the last regime that has begun, or the first of all."""
    asked = what_if.regime or day
    begun = [row for row in data.regimes.rows if row.start <= asked]
    return begun[-1] if begun else data.regimes.rows[0]


def rates_day(data: PriceData, what_if: WhatIf, day: date) -> date:
    """Return the day itself, the one asked for, or the nearest on which the regime asked for was in force."""
    if what_if.rates_on:
        return what_if.rates_on
    if not what_if.regime:
        return day
    regime = regime_for(data, what_if, what_if.regime)
    later = [row.start for row in data.regimes.rows if row.start > regime.start]
    if day < regime.start:
        return regime.start
    if later and day >= later[0]:
        return date.fromordinal(later[0].toordinal() - 1)
    return day


def plan_for(data: PriceData, account: str, number: str, day: date) -> Plan | None:
    """Return the number's own plan, else the account's."""
    for scope in (number, ""):
        begun = [
            plan
            for plan in sorted(data.plans.plans, key=lambda plan: plan.effective)
            if (plan.account, plan.number) == (account, scope) and plan.effective <= day
        ]
        if begun and (begun[-1].until is None or begun[-1].until >= day):
            return begun[-1]
    return None
