"""The dashboard of usage and cost: what was counted on the chosen days and places, and its value at list rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.grafana.cost_sql import SUMS, VALUE, priced
from deploy.grafana.panels import (
    CLICKHOUSE_VARIABLE,
    Json,
    by_day,
    dashboard,
    override,
    query_variable,
    row,
    sql,
    stat,
    steps,
    table,
)
from deploy.grafana.sql import ACCOUNTS, COUNTRIES, COUNTRY, NUMBERS, indented, rows_of

PLACES: Final = (
    query_variable("account", "Account", ACCOUNTS, multi=False, follows_time=True),
    query_variable("number", "Number", NUMBERS, multi=True, follows_time=True),
    query_variable("country", "Country", COUNTRIES, multi=True, follows_time=True),
)
"""Account, number and country, as far as they have rows on the chosen days."""

_LIST_RATES: Final = (
    "Delivered messages that are not free by the rules of their day, times the list rate of the card in force: before "
    "the month's free service messages and before volume tiers, so never less than what is charged. Days on which "
    "conversations were charged (before 1 July 2025) are left out. Exact charges: the report, or `convometer charges`."
)
_SIDE_BY_SIDE: Final = (
    "free: by the rules of the day. provider_value: what the provider's webhooks called billable, at the same rates; "
    "where it said nothing, nothing is in there. without_rate: would be charged, but no card has a rate; not in value."
)
_OPENED: Final = (
    "24-hour conversations on the day they were opened; how many of them the provider called free or charged."
)
_CONVERSATIONS: Final = """\
    sum(v.total) AS conversations,
    sum(v.free) AS free,
    sum(v.charged) AS charged"""
_MONEY: Final = "none"
_MARKED: Final = (
    override("value", unit=_MONEY, decimals=2),
    override("provider_value", unit=_MONEY, decimals=2),
    override(
        "without_rate",
        thresholds=steps("transparent", (1, "red")),
        custom__cellOptions={"type": "color-background"},
    ),
)


def _totals() -> Iterator[Json]:
    yield row("Usage")
    yield stat(
        "Outgoing messages",
        "Messages that the business sent, on the day of their first status.",
        sql(f"SELECT sum(v.total) AS outgoing\n{rows_of('messages')}"),
        width=6,
    )
    yield stat(
        "Delivered messages",
        "On the day of delivery: what is charged by the message.",
        sql(f"SELECT sum(v.delivered) AS delivered\n{rows_of('messages')}"),
        width=6,
    )
    yield stat(
        "Incoming messages",
        "Messages of users to the business.",
        sql(f"SELECT sum(v.count) AS incoming\n{rows_of('incoming')}"),
        width=6,
    )
    yield stat(
        "Conversations",
        _OPENED,
        sql(f"SELECT\n{_CONVERSATIONS}\n{rows_of('conversations')}"),
        width=6,
    )


def _days() -> Iterator[Json]:
    by_category = f"""\
SELECT
    v.day AS time,
    if(v.category = '', 'none', v.category) AS kind,
    sum(v.delivered) AS delivered
{rows_of("messages")}
GROUP BY time, kind
HAVING delivered != 0
ORDER BY time, kind"""
    yield by_day(
        "Delivered messages by category",
        "By the category that the provider named; `none` = it named none.",
        by_category,
        label="kind",
        is_stacked=True,
    )
    by_type = f"""\
SELECT
    v.day AS time,
    v.type AS kind,
    sum(v.total) AS conversations
{rows_of("conversations")}
GROUP BY time, kind
HAVING conversations != 0
ORDER BY time, kind"""
    yield by_day(
        "Conversations by type",
        "On the day they were opened.",
        by_type,
        label="kind",
        is_stacked=True,
    )


def _messages(columns: str, names: str) -> str:
    """Return messages of each place; what a table does not have of a place is 0."""
    both = indented(
        f"SELECT {columns}, sum(v.total) AS outgoing, sum(v.delivered) AS delivered, 0 AS incoming\n"
        f"{rows_of('messages')}\nGROUP BY {names}\nUNION ALL\n"
        f"SELECT {columns}, 0 AS outgoing, 0 AS delivered, sum(v.count) AS incoming\n"
        f"{rows_of('incoming')}\nGROUP BY {names}"
    )
    sums = ",\n".join(f"    sum({name}) AS {name}" for name in ("outgoing", "delivered", "incoming"))
    return (
        f"SELECT\n    {names},\n{sums}\nFROM\n(\n{both}\n)\nGROUP BY {names}\nORDER BY outgoing DESC, {names}"
    )


def _conversations(columns: str, names: str) -> str:
    return (
        f"SELECT\n    {columns},\n{_CONVERSATIONS}\n{rows_of('conversations')}\n"
        f"GROUP BY {names}\nORDER BY conversations DESC, {names}"
    )


def _places() -> Iterator[Json]:
    # Two questions for a place and not one: together they would take too long for many accounts.
    of_numbers = "v.account AS account, v.number AS number", "account, number"
    of_countries = f"{COUNTRY} AS country", "country"
    no_country = "Country of the user's phone number; `none` = it is not known."
    yield table(
        "Messages by account and number", "Each on the day of its own status.", _messages(*of_numbers)
    )
    yield table("Messages by country", no_country, _messages(*of_countries))
    yield table("Conversations by account and number", _OPENED, _conversations(*of_numbers))
    yield table("Conversations by country", f"{_OPENED} {no_country}", _conversations(*of_countries))


def _cost() -> Iterator[Json]:
    yield row("Value at list rates, before free service messages of the month and volume tiers")
    yield table(
        "Value by currency",
        f"{_LIST_RATES} {_SIDE_BY_SIDE} Currencies are never added up.",
        _sums("list.currency AS currency", order="currency"),
        size=(24, 5),
        overrides=_MARKED,
    )
    daily = priced(
        "    units.day AS time,\n"
        "    concat(units.category, ' ', list.currency) AS kind,\n"
        f"    {VALUE} AS value",
        "GROUP BY time, kind\nHAVING value != 0\nORDER BY time, kind",
    )
    yield by_day(
        "Value at list rates by day",
        f"{_LIST_RATES} By what it is charged as, in the currency of the account's card.",
        daily,
        width=24,
        label="kind",
        is_stacked=True,
        unit=_MONEY,
        decimals=2,
    )
    yield table(
        "Value by account and number",
        f"{_LIST_RATES} {_SIDE_BY_SIDE}",
        _sums(
            "units.account AS account",
            "units.number AS number",
            "list.currency AS currency",
            order="value DESC, account, number, currency",
            by_account=True,
        ),
        overrides=_MARKED,
    )
    yield table(
        "Value by country and category",
        f"{_LIST_RATES} market: the price zone of the country. category: what it is charged as.",
        _sums(
            "if(units.country = '', 'none', units.country) AS place",
            "list.market AS market",
            "units.category AS category",
            "list.currency AS currency",
            order="value DESC, place, market, category, currency",
        ),
        overrides=_MARKED,
    )


def _sums(*keys: str, order: str, by_account: bool = False) -> str:
    """Return the sums of each key."""
    columns = ",\n".join((*(f"    {key}" for key in keys), SUMS))
    names = ", ".join(key.rpartition(" AS ")[2] for key in keys)
    end = f"GROUP BY {names}\nHAVING delivered != 0\nORDER BY {order}"
    return priced(columns, end, by_account=by_account)


def usage_and_cost() -> Json:
    """Return the dashboard."""
    return dashboard(
        "convometer-usage-and-cost",
        "convometer: usage and cost",
        "What was counted, and its value at list rates. Days are those of each account's own time zone; the picker's "
        "days are taken as they stand in UTC.",
        [*_totals(), *_days(), *_places(), *_cost()],
        (CLICKHOUSE_VARIABLE, *PLACES),
        span=("now-29d/d", "now/d"),
    )
