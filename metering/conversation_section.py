"""The section "Conversations" of the final report: edna's types, with every country and its agreed price.

Owns which counted type stands on which line, and the amounts. Does not own what a conversation is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import msgspec

from metering.charges import ConversationCount, PriceData
from schemas.final_report import ConversationDetail, ConversationLine
from schemas.money import Micros, decimal_of, printed_micros
from schemas.plans import Plan

CONVERSATION_LINES = {
    "free_entry_point": ("free_entry_point",),
    "incoming": ("service",),
    "service": ("utility",),
    "authentication": ("authentication", "authentication_international"),
    "marketing": ("marketing",),
    "unknown": ("unknown",),
}
"""The report's types and what is counted in them (metering.md §3). "unknown" is left out where there is none."""


class _DetailKey(NamedTuple):
    country: str
    market: str
    type: str
    price: Micros | None
    currency: str


class _Tally(NamedTuple):
    total: int = 0
    free: int = 0
    charged: int = 0

    def plus(self, row: ConversationCount) -> _Tally:
        return _Tally(self.total + row.total, self.free + row.free, self.charged + row.charged)


def conversation_lines(
    rows: Sequence[ConversationCount], data: PriceData, account: str
) -> tuple[list[ConversationLine], bool]:
    """Return the section's lines, and whether any plan prices conversations at all."""
    details: dict[str, dict[_DetailKey, _Tally]] = {line: defaultdict(_Tally) for line in CONVERSATION_LINES}
    line_of = {type_: line for line, types in CONVERSATION_LINES.items() for type_ in types}
    priced = False
    for row in rows:
        market = data.rates.market_of(row.country, row.day)
        plan = data.plan_of(account, row.number, row.day)
        priced = priced or (plan is not None and _prices_conversations(plan))
        key = _DetailKey(
            row.country,
            market,
            row.type,
            plan.conversation_price(market, row.type) if plan else None,
            plan.currency if plan else "",
        )
        tallies = details[line_of[row.type]]
        tallies[key] = tallies[key].plus(row)
    lines = [
        _conversation_line(line, tallies) for line, tallies in details.items() if tallies or line != "unknown"
    ]
    currencies = {line.currency for line in lines if line.currency}
    if priced and len(currencies) == 1:
        # A type that did not occur costs nothing, in the currency of those that did.
        [currency] = currencies
        nothing = {"amount": printed_micros(0, currency), "currency": currency}
        lines = [line if line.details else msgspec.structs.replace(line, **nothing) for line in lines]
    return lines, priced


def _prices_conversations(plan: Plan) -> bool:
    return bool(plan.conversation_prices or plan.conversation_market_prices)


def _conversation_line(line: str, tallies: dict[_DetailKey, _Tally]) -> ConversationLine:
    details = [
        ConversationDetail(
            country=key.country,
            market=key.market,
            total=tally.total,
            free=tally.free,
            charged=tally.charged,
            price=decimal_of(key.price) if key.price is not None else None,
            amount=_detail_amount(key, tally.charged),
            currency=key.currency,
            type=key.type,
        )
        # Prices and currencies are never compared where one is missing: a key without a price comes first.
        for key, tally in sorted(
            tallies.items(), key=lambda item: (*item[0][:3], item[0].price or -1, item[0].currency)
        )
    ]
    currencies = {detail.currency for detail in details if detail.currency}
    amounts = [detail.amount for detail in details]
    summable = len(currencies) == 1 and None not in amounts
    return ConversationLine(
        type=line,
        total=sum(detail.total for detail in details),
        free=sum(detail.free for detail in details),
        charged=sum(detail.charged for detail in details),
        amount=sum((amount for amount in amounts if amount is not None), Decimal(0)) if summable else None,
        currency=next(iter(currencies)) if len(currencies) == 1 else "",
        details=details,
    )


def _detail_amount(key: _DetailKey, charged: int) -> Decimal | None:
    if not key.currency:
        return None
    if not charged:
        return printed_micros(0, key.currency)
    return None if key.price is None else printed_micros(charged * key.price, key.currency)


def conversation_amounts(
    lines: list[ConversationLine], priced: bool
) -> list[tuple[str, Decimal | None, int]]:
    """Return what the section adds up: the details, as their currencies may differ. Nothing where none is priced."""
    if not priced:
        return []
    return [
        (detail.currency, detail.amount, detail.charged)
        for line in lines
        for detail in line.details
        if detail.currency
    ]
