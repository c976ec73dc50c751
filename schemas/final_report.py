"""The final report on WhatsApp channel messages of one month: its sections and columns, as values.

Owns the shape that all formats (json, csv, xlsx, pdf) print, so that their numbers agree. Does not own how anything is
figured (``metering.statement``) nor how it is printed (``sinks.exports``).

Amounts are ``Decimal`` with exactly the decimals of their currency; None = there is no price, which is not 0.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import msgspec


class LicenceLine(msgspec.Struct, frozen=True, kw_only=True):
    """Section "License", for the account's plan (number "") or a number's own."""

    number: str
    licence: str
    """"monthly", "annual" or "none"."""
    period: str
    """"activation" or "renewal": what began in this month; "running": paid for in an earlier month."""
    valid_from: date
    valid_until: date
    """Last day, included."""
    plan_cost: Decimal
    charged: Decimal
    """Within this month."""
    currency: str
    vat_percent: Decimal | None


class MauLine(msgspec.Struct, frozen=True, kw_only=True):
    """Section "MAU/AMAU". Without a plan only the counts are there."""

    number: str
    rule: str
    """By which the plan counts: "any" or "both"; "any" without a plan."""
    mau: int
    """By that rule."""
    mau_any: int
    mau_both: int
    mau_phones: int
    licence_cost: Decimal | None
    package: int | None
    balance: int | None
    amau: int | None
    amau_price: Decimal | None
    """Unrounded, as agreed."""
    amau_total: Decimal | None
    currency: str
    """Empty without a plan."""


class ConversationDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One country of a conversation line."""

    country: str
    market: str
    total: int
    free: int
    charged: int
    price: Decimal | None
    """Agreed in the plan, unrounded."""
    amount: Decimal | None
    currency: str
    type: str = ""
    """As it is counted (metering.md §3): a line may hold several types, of which each can have its price."""


class ConversationLine(msgspec.Struct, frozen=True, kw_only=True):
    """Section "Conversations": one of edna's types, or "unknown" where there is any."""

    type: str
    """"free_entry_point", "incoming", "service", "authentication", "marketing", "unknown" (metering.md §3)."""
    total: int
    free: int
    charged: int
    amount: Decimal | None
    """Sum of the details' amounts in ``currency``; None while any charged detail has no price."""
    currency: str
    details: list[ConversationDetail]


class OutgoingLine(msgspec.Struct, frozen=True, kw_only=True):
    """Section "Outgoing messages"."""

    type: str
    """"chat", "hsm", and "unclassified" where there is any."""
    total: int
    sent: int
    delivered: int
    read: int
    not_delivered: int
    pending: int


class ProviderLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider asks by its rate card, by our rule and by its own word side by side, over all numbers."""

    unit: str
    """"message" or "conversation"."""
    category: str
    market: str
    currency: str
    rate: Decimal | None
    """None = no rate is known."""
    count: int
    free: int
    charged: int
    amount: Decimal | None
    """None while something is charged and has no rate."""
    provider_charged: int | None
    provider_amount: Decimal | None


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """A sum of printed lines, of one section ("licence", "amau", "conversations", "provider") and currency."""

    section: str
    currency: str
    amount: Decimal
    unpriced: int
    """How many charged users, conversations or messages are not in the amount, since they have no price."""


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """How far the input is in the numbers."""

    partition: int
    position: int
    """Next position of the log."""
    received_until: datetime | None
    """When the newest record counted was received; None = not known."""
    flushed_at: datetime


class FinalReport(msgspec.Struct, frozen=True, kw_only=True):
    """The final report of one account, or of one of its numbers, for one local month."""

    month: str
    """"YYYY-MM"."""
    account: str
    number: str
    """Empty = the whole account."""
    time_zone: str
    first_day: date
    last_day: date
    generated_at: datetime
    """UTC."""
    is_final: bool
    """Nothing that the lateness allows can change it any more."""
    final_from: date
    """Local day from which it is, if the input is fresh by then."""
    licences: list[LicenceLine]
    mau: list[MauLine]
    conversations: list[ConversationLine]
    outgoing: list[OutgoingLine]
    incoming_total: int
    provider: list[ProviderLine]
    totals: list[Total]
    freshness: list[Freshness]
    price_data: str
    """Digest of plans, rate cards, markets and regimes that it was made with."""
    notes: list[str]
    """What a reader must know: what has no price, what was assumed."""
