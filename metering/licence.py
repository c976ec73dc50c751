"""What a licence costs in a month, and how far its package goes (metering.md §8).

Owns licence periods and what is charged in which month. Pure: dates and plans in, printed amounts out.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from schemas.final_report import LicenceLine
from schemas.money import MICROS, Micros, decimal_of, printed
from schemas.plans import Plan

YEAR_MONTHS = 12
Period = Literal["activation", "renewal", "running"]


@dataclass(frozen=True, slots=True)
class LicencePeriod:
    """A span that is paid for at once."""

    first: date
    last: date
    """Included."""
    plan: Plan
    """In force when the period began: its terms count to the period's end."""
    is_activation: bool

    @property
    def charged(self) -> Fraction:
        """Return what the period costs, in units of the currency, unrounded."""
        price = Fraction(self.plan.price, MICROS)
        if not self.is_activation:
            return price
        days = monthrange(self.first.year, self.first.month)[1]
        left = Fraction(days - self.first.day + 1, days)
        if self.plan.licence == "monthly":
            return price * left
        return price * (YEAR_MONTHS - 1 + left) / YEAR_MONTHS


def licence_periods(history: Sequence[Plan], until: date) -> list[LicencePeriod]:
    """Return the licence periods of an account or number that begin up to a day, in order.

    Args:
        history: its plans, oldest first, as ``schemas.plan_files`` lets them pass.
        until: last day of interest.
    """
    periods: list[LicencePeriod] = []
    for place, plan in enumerate(history):
        following = history[place + 1].effective if place + 1 < len(history) else None
        if plan.licence == "none":
            continue
        begin = _first_day(plan, periods)
        while begin <= until and _is_in_force(plan, begin, following):
            is_activation = begin == plan.activated
            last = _last_day(plan, begin)
            if plan.until is not None:
                last = min(last, plan.until)
            periods.append(LicencePeriod(begin, last, plan, is_activation))
            begin = last + timedelta(days=1)
    return periods


def _first_day(plan: Plan, periods: list[LicencePeriod]) -> date:
    """Return where the next period begins: after the one under way, if the same licence goes on in the same way."""
    if plan.effective == plan.activated or not periods:
        return plan.effective
    running = periods[-1]
    if running.plan.activated == plan.activated and running.plan.licence == plan.licence:
        return max(plan.effective, running.last + timedelta(days=1))
    return plan.effective


def _is_in_force(plan: Plan, day: date, following: date | None) -> bool:
    return (following is None or day < following) and (plan.until is None or day <= plan.until)


def _last_day(plan: Plan, first: date) -> date:
    months = 1 if plan.licence == "monthly" else YEAR_MONTHS
    month = first.year * 12 + first.month - 1 + months
    return date(month // 12, month % 12 + 1, 1) - timedelta(days=1)


def licence_line(history: Sequence[Plan], month: tuple[int, int]) -> LicenceLine | None:
    """Return the licence line of a month (year, month), or None where no licence is valid in it.

    What begins in the month is charged in it, whole; a period that began earlier is charged no more. A licence that
    replaces another within its paid time stands for the month.
    """
    first = date(*month, 1)
    last = first.replace(day=monthrange(*month)[1])
    valid = [period for period in licence_periods(history, last) if period.last >= first]
    if not valid:
        return None
    period = valid[-1]
    begins = period.first >= first
    kind: Period = "running"
    if begins:
        kind = "activation" if period.is_activation else "renewal"
    plan = period.plan
    return LicenceLine(
        number=plan.number,
        licence=plan.licence,
        period=kind,
        valid_from=period.first,
        valid_until=period.last,
        plan_cost=printed(Fraction(plan.price, MICROS), plan.currency),
        charged=printed(period.charged if begins else Fraction(0), plan.currency),
        currency=plan.currency,
        vat_percent=None if plan.vat_percent is None else decimal_of(plan.vat_percent),
    )


@dataclass(frozen=True, slots=True)
class PackageUse:
    """How far a package goes."""

    balance: int
    amau: int
    amau_total: Decimal | None
    """None = there are users beyond the package and no price is agreed for them."""


def package(mau: int, plan: Plan) -> PackageUse:
    """Return what is left of a plan's package, who is beyond it, and what they cost (metering.md §4)."""
    amau = max(0, mau - plan.mau_package)
    price: Micros | None = plan.amau_price if amau else 0
    total = None if price is None else printed(Fraction(amau * price, MICROS), plan.currency)
    return PackageUse(max(0, plan.mau_package - mau), amau, total)
