"""The dashboard of the way of messages: sent, delivered, read, and what was not delivered and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.grafana.panels import (
    CLICKHOUSE_VARIABLE,
    TIME_SERIES,
    Json,
    by_day,
    dashboard,
    gauge_bars,
    lines,
    override,
    row,
    sql,
    stat,
    steps,
    table,
)
from deploy.grafana.sql import COUNTRY, rows_of
from deploy.grafana.usage_and_cost import PLACES

_OWN_DAY: Final = (
    "Each step is counted on the day of its own status, so that a message that is sent in the evening may be read on "
    "the next day."
)
_STEPS: Final = """\
    sum(v.total) AS outgoing,
    sum(v.sent) AS sent,
    sum(v.delivered) AS delivered,
    sum(v.read) AS read,
    sum(v.not_delivered) AS not_delivered"""


def _share(part: str, whole: str) -> str:
    """Return a share as SQL; of nothing there is none."""
    return f"if({whole} = 0, NULL, {part} / {whole})"


_DELIVERED: Final = _share("delivered", "(delivered + not_delivered)")
_READ: Final = _share("read", "delivered")
_NOT_DELIVERED: Final = _share("not_delivered", "(delivered + not_delivered)")
_KIND: Final = (
    "if(v.category = '', 'none', v.category) AS category, "
    "multiIf(v.template = 1, 'template', v.template = 0, 'chat', 'unknown') AS kind"
)


def _shares_of(columns: str, names: str, order: str) -> str:
    return f"""\
SELECT
    {names},
    outgoing,
    sent,
    delivered,
    read,
    not_delivered,
    {_DELIVERED} AS delivered_share,
    {_READ} AS read_share
FROM
(
    SELECT
        {columns},
        {_STEPS.strip().replace(chr(10), chr(10) + "    ")}
    {rows_of("messages").replace(chr(10), chr(10) + "    ")}
    GROUP BY {names}
)
ORDER BY {order}"""


def _funnel() -> Iterator[Json]:
    yield row("The way of messages")
    yield gauge_bars(
        "From outgoing to read",
        f"Users can switch read receipts off. {_OWN_DAY}",
        f"SELECT\n{_STEPS}\n{rows_of('messages')}",
    )
    for title, text, share, colors in (
        (
            "Delivered",
            "Of the messages whose end is known: delivered or not delivered.",
            _DELIVERED,
            steps("red", (0.9, "orange"), (0.95, "green")),
        ),
        ("Read", "Of the delivered messages.", _READ, steps("blue")),
        (
            "Not delivered",
            "Of the messages whose end is known.",
            _NOT_DELIVERED,
            steps("green", (0.05, "orange"), (0.1, "red")),
        ),
    ):
        asked = f"SELECT {share} AS share\nFROM\n(\nSELECT\n{_STEPS}\n{rows_of('messages')}\n)"
        yield stat(title, f"{text} {_OWN_DAY}", sql(asked), unit="percentunit", thresholds=colors)


def _days() -> Iterator[Json]:
    yield by_day(
        "Steps by day",
        _OWN_DAY,
        f"SELECT\n    v.day AS time,\n{_STEPS}\n{rows_of('messages')}\nGROUP BY time\nORDER BY time",
    )
    shares = f"""\
SELECT
    time,
    {_DELIVERED} AS delivered_share,
    {_READ} AS read_share
FROM
(
SELECT
    v.day AS time,
{_STEPS}
{rows_of("messages")}
GROUP BY time
)
ORDER BY time"""
    yield lines(
        "Shares by day",
        f"Delivered: of those whose end is known. Read: of the delivered ones. {_OWN_DAY} A day may so be above 100 %.",
        sql(shares, TIME_SERIES),
        width=12,
        unit="percentunit",
    )


def _tables() -> Iterator[Json]:
    yield row("Where")
    shares = [override(name, unit="percentunit", decimals=1) for name in ("delivered_share", "read_share")]
    for title, text, columns, names in (
        (
            "By category and kind",
            "kind: template, chat (free-form), or unknown.",
            _KIND,
            "category, kind",
        ),
        ("By account and number", "", "v.account AS account, v.number AS number", "account, number"),
        ("By country", "`none` = it is not known.", f"{COUNTRY} AS country", "country"),
    ):
        asked = _shares_of(columns, names, f"outgoing DESC, {names}")
        yield table(title, f"{text} {_OWN_DAY}".strip(), asked, overrides=shares)
    yield table(
        "Error codes",
        "Messages that were not delivered, by the provider's error code on the day of the failure; 0 = none given. "
        "The 50 most frequent.",
        f"""\
SELECT
    toString(v.error_code) AS error_code,
    if(v.category = '', 'none', v.category) AS category,
    sum(v.not_delivered) AS not_delivered
{rows_of("failures")}
GROUP BY error_code, category
HAVING not_delivered != 0
ORDER BY not_delivered DESC, error_code, category
LIMIT 50""",
    )
    yield by_day(
        "Not delivered by error code",
        "On the day of the failure; 0 = none given.",
        f"""\
SELECT
    v.day AS time,
    toString(v.error_code) AS code,
    sum(v.not_delivered) AS not_delivered
{rows_of("failures")}
GROUP BY time, code
HAVING not_delivered != 0
ORDER BY time, code""",
        width=24,
        label="code",
        is_stacked=True,
    )


def messages_funnel() -> Json:
    """Return the dashboard."""
    return dashboard(
        "convometer-messages-funnel",
        "convometer: messages funnel",
        "From outgoing to read, and what was not delivered. Days are those of each account's own time zone; the "
        "picker's days are taken as they stand in UTC.",
        [*_funnel(), *_days(), *_tables()],
        (CLICKHOUSE_VARIABLE, *PLACES),
        span=("now-29d/d", "now/d"),
    )
