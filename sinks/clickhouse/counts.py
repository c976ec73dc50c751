"""Reads what pricing and the final report take from ClickHouse, by account.

Owns the shape in which the core takes the counts. The queries are in ``schemas/sql/queries``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from metering.charges import ConversationCount, Counts, DeliveryCount
from metering.month_counts import IncomingCount, MauCount, OutgoingCount
from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.reader import named_query, within_dates


@dataclass(frozen=True, slots=True)
class ActiveDay:
    """New active users of one day. Number "" = the whole account; rule "any", "both" or "phones"."""

    account: str
    day: date
    number: str
    rule: str
    users: int


@dataclass(frozen=True, slots=True)
class ReportedTier:
    """A volume tier that the provider reported, for one month ("YYYY-MM")."""

    month: str
    account: str
    region: str
    category: str
    lower: int
    upper: int
    """0 = no limit."""
    updated_at: int
    """Earliest report, UTC seconds."""


@dataclass(slots=True)
class _Collected:
    deliveries: list[DeliveryCount] = field(default_factory=list)
    conversations: list[ConversationCount] = field(default_factory=list)


def billing_counts(
    client: ClickHouse, first_day: date, last_day: date, accounts: Sequence[str] = ()
) -> list[Counts]:
    """Return what is priced, by account in order of their ids; no accounts = all.

    The caller gives whole months, without tier updates.
    """
    collected: dict[str, _Collected] = defaultdict(_Collected)
    parameters = _parameters(first_day, last_day, accounts)
    for account, *delivery in _rows(client, "deliveries", parameters):
        collected[account].deliveries.append(DeliveryCount(*delivery))
    for account, *conversation in _rows(client, "conversation-days", parameters):
        collected[account].conversations.append(ConversationCount(*conversation))
    return [
        Counts(account, tuple(own.deliveries), tuple(own.conversations))
        for account, own in sorted(collected.items())
    ]


def active_days(
    client: ClickHouse, first_day: date, last_day: date, accounts: Sequence[str] = ()
) -> list[ActiveDay]:
    """Return the new active users of each day; no accounts = all."""
    return [
        ActiveDay(*row) for row in _rows(client, "active-days", _parameters(first_day, last_day, accounts))
    ]


def reported_tiers(
    client: ClickHouse, first_day: date, last_day: date, accounts: Sequence[str] = ()
) -> list[ReportedTier]:
    """Return the reported tiers of months that begin in a span of days; no accounts = all."""
    rows = _rows(client, "volume-tiers", _parameters(first_day, last_day, accounts))
    return [ReportedTier(*row) for row in rows]


def mau_counts(days: Sequence[ActiveDay]) -> tuple[MauCount, ...]:
    """Return the active users of one account's month from those of its days."""
    sums: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for day in days:
        sums[day.number][day.rule] += day.users
    return tuple(
        MauCount(number, rules["any"], rules["both"], rules["any"] + rules["phones"])
        for number, rules in sorted(sums.items())
    )


def outgoing_counts(
    client: ClickHouse, first_day: date, last_day: date, account: str
) -> tuple[OutgoingCount, ...]:
    """Return an account's outgoing messages by number and template."""
    rows = _rows(client, "outgoing-types", _parameters(first_day, last_day, [account]))
    return tuple(OutgoingCount(*row[1:]) for row in rows)


def incoming_counts(
    client: ClickHouse, first_day: date, last_day: date, account: str
) -> tuple[IncomingCount, ...]:
    """Return an account's incoming messages by number."""
    rows = _rows(client, "incoming-totals", _parameters(first_day, last_day, [account]))
    return tuple(IncomingCount(*row[1:]) for row in rows)


def _rows(client: ClickHouse, name: str, parameters: dict[str, object]) -> list[tuple[Any, ...]]:
    return client.query(named_query(name), parameters)


def _parameters(first_day: date, last_day: date, accounts: Sequence[str]) -> dict[str, object]:
    return {
        "first_day": within_dates(first_day),
        "last_day": within_dates(last_day),
        "accounts": list(accounts),
    }
