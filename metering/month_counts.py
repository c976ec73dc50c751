"""Everything counted of one account in one month, as the final report takes it. Owns the values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from metering.charges import Counts
from schemas.final_report import Freshness


class MauCount(NamedTuple):
    """Active users of one month. Number "" = the whole account."""

    number: str
    by_any: int
    by_both: int
    by_phones: int


class OutgoingCount(NamedTuple):
    """Outgoing messages of one month by ``template``: 1, 0, or -1 = unknown."""

    number: str
    template: int
    total: int
    sent: int
    delivered: int
    read: int
    not_delivered: int


class IncomingCount(NamedTuple):
    """Incoming messages of one month."""

    number: str
    messages: int


@dataclass(frozen=True, slots=True)
class MonthCounts:
    """Everything counted of one account in one local month."""

    month: date
    """The 1st."""
    counts: Counts
    mau: tuple[MauCount, ...] = ()
    outgoing: tuple[OutgoingCount, ...] = ()
    incoming: tuple[IncomingCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What only the process that makes a report knows."""

    time_zone: str
    generated_at: datetime
    """UTC."""
    today: date
    """In the account's zone."""
    freshness: tuple[Freshness, ...] = ()
    price_data: str = ""
