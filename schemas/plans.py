"""Plans: what an operator charges a customer for an account or a number, by date.

Owns the values of a plan and which of them is in force. Reading and checking the file is ``schemas.plan_files``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import zip_longest
from typing import Final, Literal

from schemas.money import Micros

Licence = Literal["monthly", "annual", "none"]
MauRule = Literal["any", "both"]
TierSource = Literal["none", "counted", "reported"]
"""Whence the volume tier: always the list rate; the account's own count of the month; the provider's tier webhooks."""
LICENCES: Final[tuple[Licence, ...]] = ("monthly", "annual", "none")
CONVERSATION_TYPES: Final = (
    "free_entry_point",
    "service",
    "utility",
    "authentication",
    "authentication_international",
    "marketing",
    "unknown",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The terms of one account or number from one day on. Amounts include VAT as given (metering.md §8)."""

    account: str
    number: str
    """Empty = the whole account."""
    effective: date
    """First local day. The first plan of an account or number begins on its activation, later ones on the 1st."""
    activated: date
    """Day on which the licence was activated. The same as in the plan before: that licence goes on."""
    licence: Licence
    price: Micros
    """Of a whole licence period: a month or twelve."""
    currency: str
    vat_percent: Micros | None = None
    """Contained in the prices, in millionths of a percent; None = not said."""
    until: date | None = None
    """Last day of the licence, the end of a month; None = it renews."""
    mau_package: int = 0
    """Monthly active users that the price covers."""
    mau_rule: MauRule = "any"
    amau_price: Micros | None = None
    """Of each active user beyond the package; None = no price agreed."""
    conversation_prices: Mapping[str, Micros] = field(default_factory=dict)
    """Of a charged conversation, by type (``CONVERSATION_TYPES``)."""
    conversation_market_prices: Mapping[tuple[str, str], Micros] = field(default_factory=dict)
    """By ``(market, type)``; goes before ``conversation_prices``."""
    rate_currency: str = ""
    """Currency in which the provider bills the account; empty = that of the plan."""
    volume_tiers: TierSource = "none"
    conversation_budget: int = 0
    """Charged conversations a month beyond which somebody wants to know; 0 = no budget. Nothing is charged by it."""
    alert_thresholds: tuple[str, ...] | None = None
    """Where notices are given (``schemas.thresholds``); None = where the settings say."""

    @property
    def card_currency(self) -> str:
        """Return the currency of the rate card that the provider's charges are figured by."""
        return self.rate_currency or self.currency

    def conversation_price(self, market: str, type_: str) -> Micros | None:
        """Return the agreed price of a charged conversation; None = none agreed."""
        own = self.conversation_market_prices.get((market, type_))
        return self.conversation_prices.get(type_) if own is None else own


@dataclass(frozen=True, slots=True)
class PlanBook:
    """All plans of an installation."""

    plans: tuple[Plan, ...] = ()
    _histories: dict[tuple[str, str], tuple[Plan, ...]] = field(init=False, repr=False, compare=False)
    """Plans by account and number, oldest first: each count that is judged asks."""
    _numbers: dict[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_scope: dict[tuple[str, str], list[Plan]] = {}
        for plan in sorted(self.plans, key=lambda plan: plan.effective):
            by_scope.setdefault((plan.account, plan.number), []).append(plan)
        numbers: dict[str, list[str]] = {}
        for account, number in sorted(by_scope):
            if number:
                numbers.setdefault(account, []).append(number)
        object.__setattr__(self, "_histories", {scope: tuple(plans) for scope, plans in by_scope.items()})
        object.__setattr__(self, "_numbers", {account: tuple(own) for account, own in numbers.items()})

    def history(self, account: str, number: str) -> tuple[Plan, ...]:
        """Return the plans of exactly this account or number, oldest first."""
        return self._histories.get((account, number), ())

    def with_ends(self) -> Iterator[tuple[Plan, date | None]]:
        """Yield each plan with its last day in force; None = it has no end. By account and number, oldest first."""
        for history in self._histories.values():
            for plan, after in zip_longest(history, history[1:]):
                replaced = after.effective - timedelta(days=1) if after else None
                yield plan, min((day for day in (replaced, plan.until) if day is not None), default=None)

    def in_force(self, account: str, number: str, day: date) -> Plan | None:
        """Return the plan of exactly this account or number that is in force on a day, or None."""
        begun = [plan for plan in self.history(account, number) if plan.effective <= day]
        if not begun or (begun[-1].until is not None and begun[-1].until < day):
            return None
        return begun[-1]

    def numbers(self, account: str) -> tuple[str, ...]:
        """Return the numbers of an account that have plans of their own, sorted."""
        return self._numbers.get(account, ())
