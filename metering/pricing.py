"""Turns the counts of one account into charges, under the regime of each day (metering.md §5).

Owns what is charged, what is free and why, allotments, volume tiers and rates. A pure function of counts and data: no
clock, and nothing is kept between two calls. Does not own licences and active users (``metering.licence``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from metering.charges import (
    DEFAULT_CURRENCY,
    Charge,
    ConversationCount,
    Counts,
    DeliveryCount,
    PriceData,
    TierUpdate,
    WhatIf,
)
from schemas.money import Micros
from schemas.plans import TierSource
from schemas.rate_cards import Band
from schemas.regimes import PriceRegime

SERVICE = "service"
UNKNOWN = "unknown"
_TEMPLATE_CATEGORIES = (
    "marketing",
    "marketing_lite",
    "utility",
    "authentication",
    "authentication_international",
)
MESSAGE_CATEGORIES = (*_TEMPLATE_CATEGORIES, SERVICE, UNKNOWN)
"""What a delivered message can be charged as (``charged_category``)."""
_PRICED_AS = {"marketing_lite": "marketing"}
_PROVIDER_FREE_PREFIX = "free_"


@dataclass(slots=True)
class _Units:
    """What of one day, number, country and category is counted, before allotments and rates."""

    free: int = 0
    chargeable: int = 0
    provider_free: int = 0
    provider_charged: int = 0
    provider_unsaid: int = 0


@dataclass(frozen=True, slots=True, order=True)
class _Key:
    """The order of this key is the order of delivery, as far as the counts tell it: by day.

    Within a day the counts do not tell it. By convention (metering.md §5) it is by number, then by country.
    """

    day: date
    number: str
    country: str
    unit: str
    category: str


@dataclass(slots=True)
class _At:
    """What stands at one rate of one key."""

    charged: int = 0
    provider_charged: int = 0


@dataclass(slots=True)
class _Month:
    """What a month has used up so far; a month has one regime."""

    allotted: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Free service units by number, or by "" where the account shares them."""
    volume: dict[tuple[str, str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    """Charged units by (view, currency, market, category)."""


def charges_of(counts: Counts, data: PriceData, what_if: WhatIf = WhatIf()) -> list[Charge]:  # noqa: B008 - frozen
    """Return the charges of an account, in the order of their keys.

    Args:
        counts: of whole local months.
        data: regimes, rates, markets and plans.
        what_if: other rules than those of each day.
    """
    units: dict[_Key, _Units] = defaultdict(_Units)
    for delivery in counts.deliveries:
        regime = what_if.regime_of(data.regimes, delivery.day)
        if regime.unit == "message" and delivery.delivered:
            _add_delivery(units, delivery, regime)
    for conversation in counts.conversations:
        regime = what_if.regime_of(data.regimes, conversation.day)
        if regime.unit == "conversation" and conversation.total:
            _add_conversation(units, conversation, regime)
    pricer = _Pricer(counts, data, what_if)
    charges = [charge for key in sorted(units) for charge in pricer.price(key, units[key])]
    _check(units.values(), charges)
    return charges


def charged_category(category: str, template: int) -> str:
    """Return what a delivered message is charged as: its category, service if it is free-form, or unknown."""
    if category in _TEMPLATE_CATEGORIES or category == SERVICE:
        return category
    return UNKNOWN if template == 1 else SERVICE


def priced_as(category: str) -> str:
    """Return the category whose rate a category is charged at."""
    return _PRICED_AS.get(category, category)


def _add_delivery(units: dict[_Key, _Units], row: DeliveryCount, regime: PriceRegime) -> None:
    category = charged_category(row.category, row.template)
    own = units[_Key(row.day, row.number, row.country, "message", category)]
    if row.free_entry_point == 1 or is_free(category, row.service_window == 1, regime):
        own.free += row.delivered
    else:
        own.chargeable += row.delivered
    if row.pricing_type.startswith(_PROVIDER_FREE_PREFIX) or (not row.pricing_type and row.billable == 0):
        own.provider_free += row.delivered
    elif row.pricing_type or row.billable == 1:
        own.provider_charged += row.delivered
    else:
        own.provider_unsaid += row.delivered


def is_free(category: str, in_service_window: bool, regime: PriceRegime) -> bool:
    """Tell whether a message of a category is free by the regime, outside of free entry points and allotments."""
    if category == SERVICE:
        return regime.service == "free"
    return category == "utility" and in_service_window and regime.utility_free_in_service_window


def _add_conversation(units: dict[_Key, _Units], row: ConversationCount, regime: PriceRegime) -> None:
    own = units[_Key(row.day, row.number, row.country, "conversation", row.type)]
    if row.type == "free_entry_point" or (row.type == SERVICE and regime.service == "free"):
        own.free += row.total
    else:
        own.chargeable += row.total
    own.provider_free += row.free
    own.provider_charged += row.charged


class _Pricer:
    """Prices the keys of one account in their order."""

    def __init__(self, counts: Counts, data: PriceData, what_if: WhatIf) -> None:
        self._account = counts.account
        self._data = data
        self._what_if = what_if
        self._months: dict[tuple[int, int], _Month] = defaultdict(_Month)
        self._updates: dict[tuple[str, str, str], list[TierUpdate]] = defaultdict(list)
        for update in sorted(counts.tier_updates, key=lambda update: (update.day, update.lower)):
            self._updates[update.month, update.market, update.category].append(update)

    def price(self, key: _Key, units: _Units) -> Iterator[Charge]:
        """Yield the lines of one key, one for each rate."""
        data, what_if = self._data, self._what_if
        regime = what_if.regime_of(data.regimes, key.day)
        month = self._months[key.day.year, key.day.month]
        allotted = _take_allotment(month, key, units.chargeable, regime)
        rates_day = what_if.rates_day(data.regimes, key.day)
        market = data.rates.market_of(key.country, rates_day)
        plan = data.plan_of(self._account, key.number, key.day)
        currency = plan.card_currency if plan else DEFAULT_CURRENCY
        source = plan.volume_tiers if plan else "none"
        place = _Place(key, currency, market, rates_day, priced_as(key.category))
        rates: dict[Micros | None, _At] = {}
        for view, charged in (
            ("rule", units.chargeable - allotted),
            ("provider", units.provider_charged),
        ):
            for rate, count in self._at_rates(month, place, view, charged, source):
                at = rates.setdefault(rate, _At())
                if view == "rule":
                    at.charged += count
                else:
                    at.provider_charged += count
        free = units.free + allotted
        for rate, at in rates.items():
            yield self._charge(place, regime, market, rate, at, units, free, allotted)
            # What is free stands on the first line of its key.
            free, allotted, units = 0, 0, _Units()

    def _at_rates(
        self, month: _Month, place: _Place, view: str, charged: int, source: TierSource
    ) -> list[tuple[Micros | None, int]]:
        """Return what a number of charged units cost each: one rate, or those of the tiers they fall in."""
        rates = self._data.rates
        listed = rates.rate(place.currency, place.market, place.priced_as, place.rates_day)
        bands = rates.bands(place.currency, place.market, place.priced_as, place.rates_day)
        if source == "none" or not bands or place.key.unit != "message":
            return [(listed, charged)]
        if source == "reported":
            return [(self._reported_rate(place, bands, listed), charged)]
        used = (view, place.currency, place.market, place.priced_as)
        before = month.volume[used]
        month.volume[used] += charged
        return _through_bands(bands, before, charged) or [(_band_at(bands, before + 1).rate, 0)]

    def _reported_rate(self, place: _Place, bands: tuple[Band, ...], listed: Micros | None) -> Micros | None:
        """Return the rate of the tier that the provider last reported before the day."""
        if self._what_if.is_asked:
            return listed
        month = f"{place.key.day:%Y-%m}"
        updates = self._updates.get((month, place.market, place.priced_as), [])
        # On the day of the switch itself the earlier tier still counts: never less than what will be asked.
        reached = [update for update in updates if update.day < place.key.day]
        return _band_at(bands, max(1, reached[-1].lower)).rate if reached else bands[0].rate

    def _charge(  # noqa: PLR0913, PLR0917 - the parts of one line
        self,
        place: _Place,
        regime: PriceRegime,
        market: str,
        rate: Micros | None,
        at: _At,
        units: _Units,
        free: int,
        allotted: int,
    ) -> Charge:
        key, said = place.key, not self._what_if.regime
        return Charge(
            day=key.day,
            account=self._account,
            number=key.number,
            country=key.country,
            market=market,
            regime=regime.start,
            unit=key.unit,
            category=key.category,
            currency=place.currency,
            rate=rate,
            count=free + at.charged,
            free=free,
            allotted=allotted,
            charged=at.charged,
            amount=_amount(at.charged, rate),
            provider_free=units.provider_free if said else None,
            provider_charged=at.provider_charged if said else None,
            provider_unsaid=units.provider_unsaid if said else None,
            provider_amount=_amount(at.provider_charged, rate) if said else None,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the units of a key stand on the cards."""

    key: _Key
    currency: str
    market: str
    rates_day: date
    priced_as: str


def _take_allotment(month: _Month, key: _Key, chargeable: int, regime: PriceRegime) -> int:
    """Return how many of the chargeable units the month's allotment still makes free."""
    if key.category != SERVICE or not regime.service_allotment:
        return 0
    scope = key.number if regime.service_allotment_per == "number" else ""
    taken = min(chargeable, regime.service_allotment - month.allotted[scope])
    month.allotted[scope] += taken
    return taken


def _through_bands(bands: tuple[Band, ...], before: int, count: int) -> list[tuple[Micros | None, int]]:
    """Return how many units behind the first ``before`` of the month fall into each band, at its rate."""
    result: list[tuple[Micros | None, int]] = []
    first, last = before + 1, before + count
    for band in bands:
        upper = band.upper or last
        within = min(last, upper) - max(first, band.lower) + 1
        if within > 0:
            result.append((band.rate, within))
    if bands[-1].upper and last > bands[-1].upper:
        # Beyond what the table says there is no rate.
        result.append((None, last - max(before, bands[-1].upper)))
    return result


def _band_at(bands: tuple[Band, ...], place: int) -> Band:
    """Return the band of the ``place``-th unit of a month, or the last one."""
    return next((band for band in bands if not band.upper or place <= band.upper), bands[-1])


def _amount(charged: int, rate: Micros | None) -> Micros | None:
    if not charged:
        return 0
    return None if rate is None else charged * rate


def _check(units: Iterable[_Units], charges: list[Charge]) -> None:
    """Assert that no unit was lost or priced twice, and that every line's amount is its units times its rate."""
    assert sum(each.free + each.chargeable for each in units) == sum(charge.count for charge in charges)
    for charge in charges:
        assert charge.count == charge.free + charge.charged
        assert charge.amount is None or charge.amount == charge.charged * (charge.rate or 0)
