"""The counter families: which totals exist, by which dimensions, and what is added up.

This is the contract between the core (which emits differences), the worker's counters table (which adds them up)
and ClickHouse (which holds the absolute values). A test compares it with the live columns. Dimensions of a family
can never be added for past days, so the families keep more than today's queries ask (metering.md §2-§5).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Family(IntEnum):
    """Storage codes of the families; append only."""

    MESSAGES = 1
    DELIVERIES = 2
    FAILURES = 3
    CONVERSATIONS = 4
    INCOMING = 5
    ACTIVE_USERS = 6
    VOLUME_TIERS = 7


@dataclass(frozen=True, slots=True)
class FamilySchema:
    """One family: its ClickHouse table, dimension columns and measure columns, in storage order.

    Every family starts with the dimensions ``day`` (days since 1970-01-01, in the account's zone), ``account``
    and ``number``.
    """

    family: Family
    table: str
    dimensions: tuple[str, ...]
    measures: tuple[str, ...]


FAMILIES: Final[dict[Family, FamilySchema]] = {
    schema.family: schema
    for schema in (
        # Each measure is counted on the day of its own timestamp. category "" = none;
        # template 1 = template, 0 = chat, -1 = unknown.
        FamilySchema(
            Family.MESSAGES,
            "messages",
            ("day", "account", "number", "country", "category", "template"),
            ("total", "sent", "delivered", "read", "not_delivered"),
        ),
        # One per delivered message, on the day of delivered_at: everything that pricing will ask.
        # pricing_type "" = none said; billable 1/0/-1 = yes/no/none said (the provider's raw word);
        # service_window 1 = sent_at lies in an open customer service window;
        # free_entry_point 1 = delivered inside a free entry point.
        FamilySchema(
            Family.DELIVERIES,
            "deliveries",
            (
                "day",
                "account",
                "number",
                "country",
                "category",
                "template",
                "pricing_type",
                "billable",
                "service_window",
                "free_entry_point",
            ),
            ("delivered",),
        ),
        # One per not delivered message, on the day of not_delivered_at. error_code 0 = none given.
        FamilySchema(
            Family.FAILURES,
            "failures",
            ("day", "account", "number", "country", "category", "template", "error_code"),
            ("not_delivered",),
        ),
        # type: free_entry_point, service, utility, marketing, authentication, authentication_international,
        # unknown; category: that of the opening message before folding ("" = none).
        FamilySchema(
            Family.CONVERSATIONS,
            "conversations",
            ("day", "account", "number", "country", "type", "category"),
            ("total", "free", "charged"),
        ),
        FamilySchema(
            Family.INCOMING,
            "incoming",
            ("day", "account", "number", "country"),
            ("count",),
        ),
        # day = day of the first activity in its month; number "" = the whole account; country "" = all countries;
        # rule: "any" (incoming or delivered), "both" (incoming and delivered), "phones": by how much the phones
        # of those active under "any" exceed the people, also negative; no row = as many. So the phones of a month
        # are the sum over "any" and "phones" (metering.md §7). Only sums over whole months mean anything there: a
        # correction stands on some day of its month.
        FamilySchema(
            Family.ACTIVE_USERS,
            "active_users",
            ("day", "account", "number", "country", "rule"),
            ("users",),
        ),
        # What the provider reported, not a count. day = 1st of the month for which the tier counts; number "";
        # region = its word for the market; upper 0 = no limit. updated_at = earliest time at which it reported the
        # tier, UTC seconds: a minimum, which repeated and reordered reports do not change.
        FamilySchema(
            Family.VOLUME_TIERS,
            "volume_tiers",
            ("day", "account", "number", "region", "category", "lower", "upper"),
            ("updated_at",),
        ),
    )
}

CounterKey = tuple[int | str, ...]
"""``(family, day, account, number, *further dimensions)`` with the family's storage code first."""
