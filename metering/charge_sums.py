"""Adds charges up. Owns nothing else: whatever is grouped how, the sums are the same, to the last micro-unit."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from metering.charges import Charge, Sums


def sums_of(charges: Iterable[Charge]) -> list[Sums]:
    """Return charges added up by currency. What has no rate is counted, never taken for 0."""
    by_currency: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        by_currency[charge.currency].append(charge)
    return [_sum(currency, by_currency[currency]) for currency in sorted(by_currency)]


def _sum(currency: str, charges: list[Charge]) -> Sums:
    said = all(charge.provider_charged is not None for charge in charges)
    return Sums(
        currency=currency,
        count=sum(charge.count for charge in charges),
        free=sum(charge.free for charge in charges),
        charged=sum(charge.charged for charge in charges),
        amount=sum(charge.amount or 0 for charge in charges),
        unrated=sum(charge.charged for charge in charges if charge.amount is None),
        provider_charged=sum(charge.provider_charged or 0 for charge in charges) if said else None,
        provider_amount=sum(charge.provider_amount or 0 for charge in charges) if said else None,
        provider_unrated=(
            sum(charge.provider_charged or 0 for charge in charges if charge.provider_amount is None)
            if said
            else None
        ),
    )


def by_month(charges: Iterable[Charge]) -> list[Charge]:
    """Return charges with the days of a month added up: one line for each key and rate, on the 1st."""
    lines: dict[tuple[object, ...], Charge] = {}
    for charge in charges:
        first = charge.day.replace(day=1)
        key = (
            first,
            charge.account,
            charge.number,
            charge.country,
            charge.market,
            charge.unit,
            charge.category,
            charge.currency,
            charge.rate,
        )
        known = lines.get(key)
        lines[key] = msgspec.structs.replace(charge, day=first) if known is None else _added(known, charge)
    return list(lines.values())


def _added(known: Charge, charge: Charge) -> Charge:
    def both(one: int | None, other: int | None) -> int | None:
        return None if one is None or other is None else one + other

    return msgspec.structs.replace(
        known,
        count=known.count + charge.count,
        free=known.free + charge.free,
        allotted=known.allotted + charge.allotted,
        charged=known.charged + charge.charged,
        amount=both(known.amount, charge.amount),
        provider_free=both(known.provider_free, charge.provider_free),
        provider_charged=both(known.provider_charged, charge.provider_charged),
        provider_unsaid=both(known.provider_unsaid, charge.provider_unsaid),
        provider_amount=both(known.provider_amount, charge.provider_amount),
    )
