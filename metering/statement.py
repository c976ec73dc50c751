"""Puts the final report of a month together from counts and price data (metering.md §8).

Owns which lines a report has and how its sections add up: every total is the sum of printed lines. A pure function;
what only a running process knows (the time, how fresh the counts are) is an argument.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple, TypeVar

from metering.calendar import final_from, last_day_of
from metering.charges import Charge, ConversationCount, PriceData
from metering.conversation_section import conversation_amounts, conversation_lines
from metering.licence import licence_line, package
from metering.month_counts import Circumstances, IncomingCount, MauCount, MonthCounts, OutgoingCount
from metering.pricing import charges_of
from schemas.final_report import FinalReport, MauLine, OutgoingLine, ProviderLine, Total
from schemas.money import Micros, decimal_of, printed_micros
from schemas.plans import Plan

Row = TypeVar("Row", ConversationCount, OutgoingCount, IncomingCount)

_UNPRICED = {
    "licence": "licenses",
    "amau": "users beyond the package",
    "conversations": "charged conversations",
    "provider": "messages or conversations that the provider charges",
}
_OUTGOING = {0: "chat", 1: "hsm", -1: "unclassified"}


def final_report(
    month: MonthCounts, data: PriceData, circumstances: Circumstances, number: str = ""
) -> FinalReport:
    """Return the final report of an account, or of one of its numbers."""
    account, first = month.counts.account, month.month
    last = last_day_of(first)
    scopes = _scopes(month, data, number)
    licences = [
        line
        for scope in scopes
        if (line := licence_line(data.plans.history(account, scope), (first.year, first.month)))
    ]
    costs = {line.number: line.plan_cost for line in licences}
    mau = [_mau_line(month, data, scope, costs.get(scope)) for scope in scopes]
    conversations, priced = conversation_lines(_of_number(month.counts.conversations, number), data, account)
    charges = [charge for charge in charges_of(month.counts, data) if number in ("", charge.number)]
    provider = _provider_lines(charges)
    totals = [
        *_totals("licence", [(line.currency, line.charged, 0) for line in licences]),
        *_totals("amau", [(line.currency, line.amau_total, line.amau or 0) for line in mau if line.currency]),
        *_totals("conversations", conversation_amounts(conversations, priced)),
        *_totals("provider", [(line.currency, line.amount, line.charged) for line in provider]),
    ]
    outgoing = _outgoing_lines(_of_number(month.outgoing, number))
    return FinalReport(
        month=f"{first:%Y-%m}",
        account=account,
        number=number,
        time_zone=circumstances.time_zone,
        first_day=first,
        last_day=last,
        generated_at=circumstances.generated_at,
        is_final=circumstances.today >= final_from(first),
        final_from=final_from(first),
        licences=licences,
        mau=mau,
        conversations=conversations,
        outgoing=outgoing,
        incoming_total=sum(row.messages for row in _of_number(month.incoming, number)),
        provider=provider,
        totals=totals,
        freshness=list(circumstances.freshness),
        price_data=circumstances.price_data,
        notes=_notes(data, account, number, last, mau, outgoing, totals),
    )


def _of_number(rows: Iterable[Row], number: str) -> list[Row]:
    return [row for row in rows if number in ("", row.number)]


def _scopes(month: MonthCounts, data: PriceData, number: str) -> list[str]:
    """Return what has an own line in the first two sections: the account ("") and its numbers, or one number."""
    if number:
        return [number]
    return [
        "",
        *sorted(
            {row.number for row in month.mau if row.number} | set(data.plans.numbers(month.counts.account))
        ),
    ]


def _plan_of_month(data: PriceData, account: str, scope: str, first: date) -> Plan | None:
    """Return the plan of a month: the one in force on its last day, as a plan can begin within it but not end."""
    return data.plans.in_force(account, scope, last_day_of(first))


def _mau_line(month: MonthCounts, data: PriceData, scope: str, licence_cost: Decimal | None) -> MauLine:
    counted = next((row for row in month.mau if row.number == scope), MauCount(scope, 0, 0, 0))
    plan = _plan_of_month(data, month.counts.account, scope, month.month)
    rule = plan.mau_rule if plan else "any"
    mau = counted.by_both if rule == "both" else counted.by_any
    used = package(mau, plan) if plan else None
    return MauLine(
        number=scope,
        rule=rule,
        mau=mau,
        mau_any=counted.by_any,
        mau_both=counted.by_both,
        mau_phones=counted.by_phones,
        licence_cost=licence_cost,
        package=plan.mau_package if plan else None,
        balance=used.balance if used else None,
        amau=used.amau if used else None,
        amau_price=decimal_of(plan.amau_price) if plan and plan.amau_price is not None else None,
        amau_total=used.amau_total if used else None,
        currency=plan.currency if plan else "",
    )


def _outgoing_lines(rows: Sequence[OutgoingCount]) -> list[OutgoingLine]:
    lines = []
    for template, name in _OUTGOING.items():
        own = [row for row in rows if row.template == template]
        if not own and name == "unclassified":
            continue
        total, delivered = sum(row.total for row in own), sum(row.delivered for row in own)
        not_delivered = sum(row.not_delivered for row in own)
        lines.append(
            OutgoingLine(
                type=name,
                total=total,
                sent=sum(row.sent for row in own),
                delivered=delivered,
                read=sum(row.read for row in own),
                not_delivered=not_delivered,
                pending=total - delivered - not_delivered,
            )
        )
    return lines


class _ProviderKey(NamedTuple):
    unit: str
    category: str
    market: str
    currency: str
    rate: Micros | None


def _provider_lines(charges: Iterable[Charge]) -> list[ProviderLine]:
    by_key: dict[_ProviderKey, list[Charge]] = defaultdict(list)
    for charge in charges:
        key = _ProviderKey(charge.unit, charge.category, charge.market, charge.currency, charge.rate)
        by_key[key].append(charge)
    return [
        _provider_line(key, by_key[key])
        for key in sorted(by_key, key=lambda key: (*key[:4], -1 if key.rate is None else key.rate))
    ]


def _provider_line(key: _ProviderKey, charges: list[Charge]) -> ProviderLine:
    charged = sum(charge.charged for charge in charges)
    provider_charged = sum(charge.provider_charged or 0 for charge in charges)
    return ProviderLine(
        unit=key.unit,
        category=key.category,
        market=key.market,
        currency=key.currency,
        rate=decimal_of(key.rate) if key.rate is not None else None,
        count=sum(charge.count for charge in charges),
        free=sum(charge.free for charge in charges),
        charged=charged,
        amount=_rated(charged, key),
        provider_charged=provider_charged,
        provider_amount=_rated(provider_charged, key),
    )


def _rated(charged: int, key: _ProviderKey) -> Decimal | None:
    if key.rate is None and charged:
        return None
    return printed_micros(charged * (key.rate or 0), key.currency)


def _totals(section: str, lines: Iterable[tuple[str, Decimal | None, int]]) -> list[Total]:
    """Return one total for each currency; each line is its currency, its amount, and its units in case it has none."""
    amounts: dict[str, Decimal] = {}
    unpriced: dict[str, int] = defaultdict(int)
    for currency, amount, units in lines:
        known = amounts.get(currency, printed_micros(0, currency))
        amounts[currency] = known + (amount or 0)
        unpriced[currency] += units if amount is None else 0
    return [
        Total(section=section, currency=currency, amount=amounts[currency], unpriced=unpriced[currency])
        for currency in sorted(amounts)
    ]


def _notes(
    data: PriceData,
    account: str,
    number: str,
    last: date,
    mau: list[MauLine],
    outgoing: list[OutgoingLine],
    totals: list[Total],
) -> list[str]:
    notes = []
    if number and data.plans.in_force(account, number, last) is None:
        if data.plans.in_force(account, "", last) is not None:
            notes.append(
                "This number has no plan of its own: licence and package are those of the whole account."
            )
        else:
            notes.append("There is no plan for this number.")
    elif not number and all(line.package is None for line in mau):
        notes.append("There is no plan for this account.")
    for total in totals:
        if total.unpriced:
            notes.append(
                f"{total.unpriced:,} {_UNPRICED[total.section]} ({total.currency}) have no price and are not in the "
                "total."
            )
    if any(line.pending < 0 for line in outgoing):
        notes.append(
            "Each status counts in the month of its own day. Pending is below zero where more was delivered in this "
            "month than was begun in it."
        )
    if sum(1 for total in totals if total.section == "provider"):
        notes.append(
            "Provider charges are figured by rate cards and rounded line by line; the provider's invoice is the final "
            "record."
        )
    return notes
