"""Which limits of a month notices are given for, and how much of each is used by what was counted.

Owns what counts towards which limit in the stream; ``metering.limits`` says the same of what ClickHouse holds, and a
test compares them. Does not own when a notice is given (``metering.alerts``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from metering.alerts import LimitNow
from metering.calendar import last_day_of
from metering.charges import PriceData
from metering.pricing import SERVICE, charged_category
from schemas.alerts import MonthTotals
from schemas.plans import Plan
from schemas.rows import CounterKey, Family
from schemas.thresholds import shares

_ACTIVE, _DELIVERIES, _CONVERSATIONS = Family.ACTIVE_USERS, Family.DELIVERIES, Family.CONVERSATIONS
COUNTING_FAMILIES = frozenset({_ACTIVE, _DELIVERIES, _CONVERSATIONS})
"""Rows of other families count towards no limit."""
_NOTHING: tuple[tuple[str, MonthTotals], ...] = ()


def totals_of(key: CounterKey, measures: tuple[int, ...]) -> Iterable[tuple[str, MonthTotals]]:
    """Return what a counter row adds to the month's totals, by number; "" = the whole account.

    Args:
        key: of the row (``schemas.rows``).
        measures: its values, or by how much they changed.
    """
    family = key[0]
    if family == _ACTIVE:
        _, _, _, number, country, rule = key
        if country == "" and rule in ("any", "both"):
            [users] = measures
            totals = MonthTotals(mau_any=users) if rule == "any" else MonthTotals(mau_both=users)
            return ((str(number), totals),)
        return _NOTHING
    if family == _DELIVERIES:
        category, template, free_entry_point = key[5], key[6], key[9]
        if free_entry_point == 1 or charged_category(str(category), int(template)) != SERVICE:
            return _NOTHING
        return _of_number(key, MonthTotals(service_messages=measures[0]))
    if family == _CONVERSATIONS:
        total, _, charged = measures
        of_service = total if key[5] == SERVICE else 0
        return _of_number(key, MonthTotals(service_conversations=of_service, charged_conversations=charged))
    return _NOTHING


def _of_number(key: CounterKey, totals: MonthTotals) -> tuple[tuple[str, MonthTotals], ...]:
    number = str(key[3])
    return (("", totals), (number, totals)) if number else (("", totals),)


def added(totals: Iterable[MonthTotals]) -> MonthTotals:
    """Return the sum of totals."""
    return MonthTotals(*map(sum, zip(*totals, strict=True)))


def limits_now(
    account: str,
    number: str,
    month: date,
    totals: MonthTotals,
    data: PriceData,
    default_thresholds: tuple[str, ...],
) -> list[LimitNow]:
    """Return the limits of an account or number in a month (its 1st), as of its totals."""
    last = last_day_of(month)
    plan = data.plans.in_force(account, number, last)
    return [
        *_of_plan(plan, totals, default_thresholds),
        *_allotment(
            number, month, totals, data, _thresholds(account, number, last, data, default_thresholds)
        ),
    ]


def _of_plan(plan: Plan | None, totals: MonthTotals, default: tuple[str, ...]) -> Iterator[LimitNow]:
    if plan is None:
        return
    thresholds = default if plan.alert_thresholds is None else plan.alert_thresholds
    used = totals.mau_both if plan.mau_rule == "both" else totals.mau_any
    yield LimitNow("mau_package", plan.mau_package, used, thresholds)
    if plan.conversation_budget:
        yield LimitNow(
            "conversation_budget", plan.conversation_budget, totals.charged_conversations, shares(thresholds)
        )


def _allotment(
    number: str, month: date, totals: MonthTotals, data: PriceData, thresholds: tuple[str, ...]
) -> Iterator[LimitNow]:
    regime = data.regimes.at(month)
    is_scope = bool(number) == (regime.service_allotment_per == "number")
    if regime.service_allotment and is_scope:
        used = totals.service_messages if regime.unit == "message" else totals.service_conversations
        yield LimitNow("free_service", regime.service_allotment, used, shares(thresholds))


def _thresholds(
    account: str, number: str, day: date, data: PriceData, default: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the thresholds of the plan that a number falls under: its own, else the account's."""
    plan = data.plan_of(account, number, day)
    return default if plan is None or plan.alert_thresholds is None else plan.alert_thresholds
