"""What pricing takes and what it gives: counts by day, and charges with every free unit accounted for.

Owns the values. The rules are in ``metering.pricing``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import msgspec

from schemas.money import Micros
from schemas.plans import Plan, PlanBook
from schemas.rate_cards import RateBook
from schemas.regimes import PriceRegime, PriceRegimes

DEFAULT_CURRENCY = "USD"
"""By whose cards an account without a plan is priced."""


class DeliveryCount(NamedTuple):
    """Delivered messages of one day and kind: a row of ``deliveries`` (``schemas.rows``)."""

    day: date
    number: str
    country: str
    category: str
    template: int
    pricing_type: str
    billable: int
    service_window: int
    free_entry_point: int
    delivered: int


class ConversationCount(NamedTuple):
    """Conversations of one day and kind: a row of ``conversations`` (``schemas.rows``)."""

    day: date
    number: str
    country: str
    type: str
    total: int
    free: int
    charged: int


class TierUpdate(NamedTuple):
    """The provider says that a month's volume has reached a tier."""

    month: str
    """"YYYY-MM"."""
    market: str
    category: str
    lower: int
    """First message of the tier."""
    day: date
    """Local day of the switch."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Everything of one account that pricing needs, of whole months: allotments and tiers begin on the 1st."""

    account: str
    deliveries: tuple[DeliveryCount, ...] = ()
    conversations: tuple[ConversationCount, ...] = ()
    tier_updates: tuple[TierUpdate, ...] = ()


@dataclass(frozen=True, slots=True)
class PriceData:
    """All data that turn counts into money."""

    regimes: PriceRegimes
    rates: RateBook = field(default_factory=RateBook)
    plans: PlanBook = field(default_factory=PlanBook)

    def plan_of(self, account: str, number: str, day: date) -> Plan | None:
        """Return the number's own plan of a day, else the account's, or None."""
        return self.plans.in_force(account, number, day) or self.plans.in_force(account, "", day)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Other rules than those of the day: what it would have cost."""

    regime: date | None = None
    """Price everything under the regime in force on this day."""
    rates_on: date | None = None
    """Price everything by the cards, tiers and markets in force on this day."""

    def regime_of(self, regimes: PriceRegimes, day: date) -> PriceRegime:
        """Return the regime to price a day under."""
        return regimes.at(self.regime or day)

    def rates_day(self, regimes: PriceRegimes, day: date) -> date:
        """Return the day whose cards price a day.

        Under another regime that is the day nearest to it on which the regime was in force: a card lists what is
        charged under the rules of its time.
        """
        if self.rates_on is not None:
            return self.rates_on
        if self.regime is None:
            return day
        regime = regimes.at(self.regime)
        return min(max(day, regime.start), regimes.last_day(regime))

    @property
    def is_asked(self) -> bool:
        """Tell whether anything differs from what was in force."""
        return self.regime is not None or self.rates_on is not None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """One line: units of one day, number, country and category at one rate.

    By our rule ``count = free + charged`` and ``amount = charged * rate``. Of the ``provider_`` columns, which say what
    its webhooks said, the same units are ``provider_free + provider_charged + provider_unsaid``. Both stand at the same
    rate; where volume tiers put them at different ones, there are lines for each. All columns can be added up.
    """

    day: date
    account: str
    number: str
    country: str
    market: str
    regime: date
    """First day of the regime it is priced under."""
    unit: str
    """"message" or "conversation"."""
    category: str
    """What it is charged as; "unknown" = a template without a category."""
    currency: str
    rate: Micros | None
    """None = the card has no rate."""
    count: int
    free: int
    allotted: int
    """Of ``free``: those that the month's allotment made free."""
    charged: int
    amount: Micros | None
    """None = something is charged that has no rate."""
    provider_free: int | None
    """None, like the other two: the provider spoke under other rules than those asked for."""
    provider_charged: int | None
    provider_unsaid: int | None
    provider_amount: Micros | None
    """None = as for ``amount``, or not said under these rules."""


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Charges of one currency added up."""

    currency: str
    count: int
    free: int
    charged: int
    amount: Micros
    unrated: int
    """Charged units that are not in the amount, as no card has their rate."""
    provider_charged: int | None
    provider_amount: Micros | None
    provider_unrated: int | None
