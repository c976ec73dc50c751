"""What each panel over ClickHouse should show, added up in plain Python over the seeded rows.

Owns the expected rows of every panel by dashboard and title, in the order of its columns. Nothing here reads the
dashboards' SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from schemas.rows import Family
from tests.support.grafana import Choice
from tests.support.grafana_rows import MARKS, Row, Seed
from tests.support.grafana_truth_sums import Expected, Rows, chosen_rows, place_of, summed
from tests.support.grafana_users_truth import MAU, PACKAGE_COLUMNS

STEPS = ("total", "sent", "delivered", "read", "not_delivered")
_KINDS_OF_CONVERSATIONS = ("total", "free", "charged")


def total(family: Family, *measures: str) -> Expected:
    """Return what a panel of plain totals shows; of nothing it is 0."""

    def expected(seed: Seed, choice: Choice) -> Rows:
        return summed(chosen_rows(seed, family, choice), lambda _row: (), *measures) or [(0,) * len(measures)]

    return expected


def by(family: Family, keys: Callable[[Row], tuple[Any, ...]], *measures: str) -> Expected:
    """Return what a panel of sums by key shows."""
    return lambda seed, choice: summed(chosen_rows(seed, family, choice), keys, *measures)


def _messages_by(keys: Callable[[Row], tuple[Any, ...]]) -> Expected:
    def expected(seed: Seed, choice: Choice) -> Rows:
        rows: list[Row] = []
        for family, names in (
            (Family.MESSAGES, {"total": "outgoing", "delivered": "delivered"}),
            (Family.INCOMING, {"count": "incoming"}),
        ):
            for row in chosen_rows(seed, family, choice):
                place = {name: row[name] for name in ("account", "number", "country")}
                rows.append(place | {shown: row[name] for name, shown in names.items()})
        return summed(rows, keys, "outgoing", "delivered", "incoming")

    return expected


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _with_shares(steps: tuple[int, ...]) -> tuple[float | None, float | None]:
    _all, _sent, delivered, read, lost = steps
    return _share(delivered, delivered + lost), _share(read, delivered)


def _shares_by(keys: Callable[[Row], tuple[Any, ...]], *, with_steps: bool = True) -> Expected:
    def expected(seed: Seed, choice: Choice) -> Rows:
        rows = summed(chosen_rows(seed, Family.MESSAGES, choice), keys, *STEPS)
        return [(*(row if with_steps else row[:-5]), *_with_shares(row[-5:])) for row in rows]

    return expected


def _share_of(part: str, whole: tuple[str, ...]) -> Expected:
    def expected(seed: Seed, choice: Choice) -> Rows:
        rows = list(chosen_rows(seed, Family.MESSAGES, choice))
        return [(_share(sum(row[part] for row in rows), sum(row[name] for row in rows for name in whole)),)]

    return expected


def _category(row: Row) -> str:
    return row["category"] or "none"


def _kind(row: Row) -> str:
    return {1: "template", 0: "chat", -1: "unknown"}[row["template"]]


def _country(row: Row) -> tuple[Any, ...]:
    return (row["country"] or "none",)


FUNNEL: dict[str, Expected] = {
    "From outgoing to read": total(Family.MESSAGES, *STEPS),
    "Delivered": _share_of("delivered", ("delivered", "not_delivered")),
    "Read": _share_of("read", ("delivered",)),
    "Not delivered": _share_of("not_delivered", ("delivered", "not_delivered")),
    "Steps by day": by(Family.MESSAGES, lambda row: (row["day"],), *STEPS),
    "Shares by day": _shares_by(lambda row: (row["day"],), with_steps=False),
    "By category and kind": _shares_by(lambda row: (_category(row), _kind(row))),
    "By account and number": _shares_by(place_of),
    "By country": _shares_by(_country),
    "Error codes": by(Family.FAILURES, lambda row: (str(row["error_code"]), _category(row)), "not_delivered"),
    "Not delivered by error code": by(
        Family.FAILURES, lambda row: (row["day"], str(row["error_code"])), "not_delivered"
    ),
}
USAGE: dict[str, Expected] = {
    "Outgoing messages": total(Family.MESSAGES, "total"),
    "Delivered messages": total(Family.MESSAGES, "delivered"),
    "Incoming messages": total(Family.INCOMING, "count"),
    "Conversations": total(Family.CONVERSATIONS, *_KINDS_OF_CONVERSATIONS),
    "Delivered messages by category": by(
        Family.MESSAGES, lambda row: (row["day"], _category(row)), "delivered"
    ),
    "Conversations by type": by(Family.CONVERSATIONS, lambda row: (row["day"], row["type"]), "total"),
    "Messages by account and number": _messages_by(place_of),
    "Messages by country": _messages_by(_country),
    "Conversations by account and number": by(Family.CONVERSATIONS, place_of, *_KINDS_OF_CONVERSATIONS),
    "Conversations by country": by(Family.CONVERSATIONS, _country, *_KINDS_OF_CONVERSATIONS),
}


def _charged_as(row: Row) -> str:
    known = {
        "marketing",
        "marketing_lite",
        "utility",
        "authentication",
        "authentication_international",
        "service",
    }
    if row["category"] in known:
        return str(row["category"])
    return "unknown" if row["template"] == 1 else "service"


def priced_rows(seed: Seed, choice: Choice) -> Iterator[Row]:
    """Yield delivered messages with their price, one row after the other, by the rules of ``docs/spec/metering.md``."""
    data = seed.prices
    for row in chosen_rows(seed, Family.DELIVERIES, choice):
        day, charged_as = row["day"], _charged_as(row)
        regime = data.regimes.at(day)
        if regime.unit != "message":
            continue
        in_force = data.plan_of(row["account"], row["number"], day)
        currency = in_force.card_currency if in_force else "USD"
        market = data.rates.market_of(row["country"], day)
        rate = data.rates.rate(currency, market, charged_as.replace("_lite", ""), day)
        is_free = bool(row["free_entry_point"]) or (
            {"service": regime.service == "free"}.get(charged_as, False)
            or (charged_as == "utility" and row["service_window"] and regime.utility_free_in_service_window)
        )
        said, count = row["pricing_type"], row["delivered"]
        provider = (
            count if (said and not said.startswith("free_")) or (not said and row["billable"] == 1) else 0
        )
        charged = 0 if is_free else count
        yield {
            "day": day, "account": row["account"], "number": row["number"], "place": row["country"] or "none",
            "market": market, "category": charged_as, "currency": currency, "delivered": count,
            "free": count - charged, "value": charged * (rate or 0), "provider_value": provider * (rate or 0),
            "without_rate": charged if rate is None else 0,
        }  # fmt: skip


def _money(keys: tuple[str, ...], *measures: str) -> Expected:
    def expected(seed: Seed, choice: Choice) -> Rows:
        rows = summed(priced_rows(seed, choice), lambda row: tuple(row[key] for key in keys), *measures)
        money = {len(keys) + place for place, name in enumerate(measures) if name.endswith("value")}
        return [
            tuple(each / 1_000_000 if place in money else each for place, each in enumerate(row))
            for row in rows
        ]

    return expected


def _value_by_day(seed: Seed, choice: Choice) -> Rows:
    rows = _money(("day", "category", "currency"), "value")(seed, choice)
    return [(day, f"{category} {currency}", value) for day, category, currency, value in rows if value]


_COLUMNS = ("delivered", "free", "value", "provider_value", "without_rate")
COST: dict[str, Expected] = {
    "Value by currency": _money(("currency",), *_COLUMNS),
    "Value at list rates by day": _value_by_day,
    "Value by account and number": _money(("account", "number", "currency"), *_COLUMNS),
    "Value by country and category": _money(("place", "market", "category", "currency"), *_COLUMNS),
}


def _marks(_seed: Seed, _choice: Choice) -> Rows:
    return [
        (partition, commit, moment.replace(tzinfo=None), (moment - timedelta(minutes=1)).replace(tzinfo=None))
        for partition, (commit, moment) in MARKS.items()
    ]


EXPECTED: dict[str, dict[str, Expected]] = {
    "usage-and-cost": USAGE | COST,
    "mau-and-package": MAU,
    "messages-funnel": FUNNEL,
    "pipeline-health": {"What ClickHouse has": _marks},
}
"""By dashboard and title."""

_STEPS = "outgoing sent delivered read not_delivered"
_SHARES = "delivered_share read_share"
_MESSAGES = "outgoing delivered incoming"
_CONVERSATIONS = "conversations free charged"
_VALUES = "currency delivered free value provider_value without_rate"
COLUMNS: dict[str, dict[str, str]] = {
    "usage-and-cost": {
        "Outgoing messages": "outgoing",
        "Delivered messages": "delivered",
        "Incoming messages": "incoming",
        "Conversations": _CONVERSATIONS,
        "Delivered messages by category": "time kind delivered",
        "Conversations by type": "time kind conversations",
        "Messages by account and number": f"account number {_MESSAGES}",
        "Messages by country": f"country {_MESSAGES}",
        "Conversations by account and number": f"account number {_CONVERSATIONS}",
        "Conversations by country": f"country {_CONVERSATIONS}",
        "Value by currency": _VALUES,
        "Value at list rates by day": "time kind value",
        "Value by account and number": f"account number {_VALUES}",
        "Value by country and category": f"place market category {_VALUES}",
    },
    "mau-and-package": {
        "Users and packages": "mau package balance amau highest_used_percent",
        "Active users so far, by day of the month": "time active_any active_both package",
        "Active users by month": "time active_any active_both phones package",
        "All accounts by use of their package": f"account scope {' '.join(PACKAGE_COLUMNS)}",
        "Each number by itself": "account number mau_any mau_both mau_phones package mau used_percent",
        "Each country by itself": "account country mau_any mau_both",
        "Active users of each number so far, by day of the month": "time place active_any",
    },
    "messages-funnel": {
        "From outgoing to read": _STEPS,
        "Delivered": "share",
        "Read": "share",
        "Not delivered": "share",
        "Steps by day": f"time {_STEPS}",
        "Shares by day": f"time {_SHARES}",
        "By category and kind": f"category kind {_STEPS} {_SHARES}",
        "By account and number": f"account number {_STEPS} {_SHARES}",
        "By country": f"country {_STEPS} {_SHARES}",
        "Error codes": "error_code category not_delivered",
        "Not delivered by error code": "time code not_delivered",
    },
    "pipeline-health": {"What ClickHouse has": "partition commit flushed_at received_until"},
}
"""The columns of every panel, which legends and overrides name."""
