"""Charges in SQL, as far as SQL has them: every delivered message at the list rate of its day.

Regimes, cards and markets are looked up in ``price_list``, which is written by the rules that the reports go by. Does
not know the month's allotments of free service messages and volume tiers, which depend on the order of delivery. Leaves
out days on which conversations are charged. Money is summed in whole millionths; only the sum becomes a fraction.

To be quick with many accounts, rows are added up before they are priced: accounts whose plans say the same about the
card's currency are one kind, and where there are sums for each account, days between two changes of prices are one day.
Tables are read directly, and in few levels, as planning a query over views or many levels takes longer than running it.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.sql import FIRST_DAY, LAST_DAY, indented, rows_of
from metering.charges import DEFAULT_CURRENCY
from metering.pricing import MESSAGE_CATEGORIES, SERVICE, UNKNOWN

_SAID: Final = ", ".join(f"'{category}'" for category in MESSAGE_CATEGORIES if category != UNKNOWN)

_IN_FORCE: Final = f"digest = load.1 AND layout = load.2 AND begins <= {LAST_DAY} AND ends >= {FIRST_DAY}"
# The plans of each account as far as they matter here: (number, first day, last day, currency of the card). Those of
# numbers come before that of the whole account.
_KINDS: Final = f"""\
SELECT
    account,
    arrayReverseSort(groupArray((
        number, greatest(begins, toDate32({FIRST_DAY})), least(ends, toDate32({LAST_DAY})), currency
    ))) AS terms,
    terms[1].1 != '' AS has_numbers,
    cityHash64(toString(terms)) AS kind
FROM plan_currencies FINAL
WHERE {_IN_FORCE}
GROUP BY account"""

_LOAD: Final = f"""\
(SELECT argMax((digest, layout, changes), loaded_at) FROM price_loads) AS load,
arrayFilter(change -> change > {FIRST_DAY} AND change <= {LAST_DAY}, load.3) AS changes"""
_FIRST_AT_SAME_PRICES: Final = f"""\
if(
        empty(changes) OR v.day < changes[1], {FIRST_DAY}, toDate(arrayLast(change -> change <= v.day, changes))
    )"""
_BY_KIND: Final = """\
if(kinds.has_numbers, v.number, '') AS number,
    kinds.kind AS kind,
    any(kinds.terms) AS terms"""
_ROWS: Final = rows_of("deliveries")
_ROWS_WITH_PLANS: Final = _ROWS.replace(
    "AS v FINAL", "AS v FINAL\nLEFT ANY JOIN kinds ON v.account = kinds.account"
)
_UNITS: Final = f"""\
SELECT
    <of>,
    <day> AS day,
    v.country AS country,
    multiIf(
        v.category IN ({_SAID}),
        toString(v.category),
        v.template = 1, '{UNKNOWN}',
        '{SERVICE}'
    ) AS category,
    v.free_entry_point = 1 AS in_free_entry_point,
    v.service_window = 1 AS in_service_window,
    sum(v.delivered) AS count,
    sumIf(
        v.delivered, if(v.pricing_type = '', v.billable = 1, NOT startsWith(v.pricing_type, 'free_'))
    ) AS provider_charged
<rows>
GROUP BY ALL"""

# The number's own plan, else the account's; without one the currency is that of metering.charges.
_CURRENCY: Final = f"""\
coalesce(
        nullIf(arrayFirst(
            term -> term.1 IN ('', units.number) AND units.day BETWEEN term.2 AND term.3, terms
        ).4, ''),
        '{DEFAULT_CURRENCY}'
    )"""
# Where no prices are loaded yet, messages stand without a rate.
_PRICED: Final = f"""\
FROM units<plans>
ASOF LEFT JOIN
(
    SELECT
        currency, country, category, begins, market, unit, is_free, is_free_in_service_window,
        isNotNull(rate) AS has_rate,
        toInt64(ifNull(rate, 0) * 1000000) AS rate_micros
    FROM price_list FINAL
    WHERE {_IN_FORCE}
) AS list
    ON {_CURRENCY} = list.currency
    AND if(
        units.country IN (SELECT country FROM markets WHERE digest = load.1), units.country, ''
    ) = list.country
    AND units.category = list.category
    AND toDate32(units.day) >= list.begins
WHERE list.unit != 'conversation'"""

_IS_FREE: Final = (
    "(in_free_entry_point OR list.is_free OR (in_service_window AND list.is_free_in_service_window))"
)
VALUE: Final = f"sumIf(units.count * list.rate_micros, NOT {_IS_FREE}) / 1000000"
SUMS: Final = f"""\
    sum(units.count) AS delivered,
    sumIf(units.count, {_IS_FREE}) AS free,
    {VALUE} AS value,
    sum(units.provider_charged * list.rate_micros) / 1000000 AS provider_value,
    sumIf(units.count, NOT {_IS_FREE} AND NOT list.has_rate) AS without_rate"""


def priced(columns: str, end: str, *, by_account: bool = False) -> str:
    """Return the question for delivered messages with their prices.

    Args:
        columns: of ``units`` (number, day, country, category, count, ...) and ``list`` (currency, market, rate, ...).
        end: of the statement, from GROUP BY on.
        by_account: ``units`` have an account, and ``day`` is only the first one at the same prices.
    """
    of = "v.account AS account,\n    v.number AS number" if by_account else _BY_KIND
    rows = _ROWS if by_account else _ROWS_WITH_PLANS
    plans = "\nLEFT ANY JOIN kinds ON units.account = kinds.account" if by_account else ""
    units = _put(_UNITS, of=of, day=_FIRST_AT_SAME_PRICES if by_account else "v.day", rows=rows)
    parts = ",\n".join(
        f"{name} AS\n(\n{indented(text)}\n)" for name, text in (("kinds", _KINDS), ("units", units))
    )
    clauses = indented(f"{_LOAD},\n{parts}")
    return f"WITH\n{clauses}\nSELECT\n{columns}\n{_put(_PRICED, plans=plans)}\n{end}"


def _put(text: str, **parts: str) -> str:
    """Return a text with its parts; not by ``format``, as Grafana's variables stand in braces."""
    for name, part in parts.items():
        text = text.replace(f"<{name}>", part)
    return text
