"""Charges in SQL, as far as SQL has them: every delivered message at the list rate of its day.

Follows ``metering.pricing`` in regimes, in what is charged, in markets, currencies and cards. Does not know the month's
allotments of free service messages and volume tiers, which depend on the order of delivery, and leaves out days on
which conversations are charged. Money is summed in whole millionths; only the sum becomes a fraction.

To be quick with many accounts, rows are added up before they are priced: accounts whose plans say the same about the
card's currency are one kind, and where there are sums for each account, days between two changes of prices are one day.
Tables are read directly, as planning a query over views takes longer than running it.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.sql import FIRST_DAY, LAST_DAY, LOADED, indented, rows_of

_REGIMES: Final = """\
(
    SELECT arraySort(groupArray((effective, unit, utility_free_in_service_window, service)))
    FROM price_regimes FINAL WHERE digest = loaded
) AS regimes"""
_CARDS: Final = """\
(
    SELECT groupUniqArray((currency, effective)) FROM rates FINAL WHERE digest = loaded AND lower = 0
) AS cards"""

# The plans of each account as far as they matter here: (number, first day, last day, currency of the card).
_KINDS: Final = f"""\
SELECT
    account,
    arraySort(groupArray((number, begins, ends, card_currency))) AS terms,
    arrayExists(term -> term.1 != '', terms) AS has_numbers,
    cityHash64(toString(terms)) AS kind
FROM
(
    SELECT
        account,
        number,
        card_currency,
        leadInFrame(toNullable(effective)) OVER (
            PARTITION BY account, number ORDER BY effective
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS next,
        toDate32({LAST_DAY}) AS last_day,
        greatest(effective, toDate32({FIRST_DAY})) AS begins,
        least(coalesce(next - 1, last_day), coalesce(until, last_day), last_day) AS ends
    FROM plans FINAL
    WHERE digest = loaded
)
WHERE begins <= ends
GROUP BY account"""

_CHANGES: Final = f"""\
(
    SELECT arraySort(arrayDistinct(arrayFilter(
        change -> change > {FIRST_DAY} AND change <= {LAST_DAY},
        arrayConcat(groupUniqArray(change), arrayMap(each -> each.1, regimes), arrayMap(each -> each.2, cards))
    )))
    FROM
    (
        SELECT effective AS change FROM markets WHERE digest = loaded
        UNION ALL SELECT arrayJoin([effective, assumeNotNull(until) + 1]) FROM plans WHERE digest = loaded
    )
) AS changes"""
_FIRST_AT_SAME_PRICES: Final = f"""\
if(
        empty(changes) OR v.day < changes[1], {FIRST_DAY}, toDate(arrayLast(change -> change <= v.day, changes))
    )"""
# Plans are looked up for each row, or for each sum where those are by account anyway.
_BY_KIND: Final = """\
if(kinds.has_numbers, v.number, '') AS plan_number,
    kinds.kind AS kind,
    any(kinds.terms) AS terms,"""
_ROWS: Final = rows_of("deliveries")
_ROWS_WITH_PLANS: Final = _ROWS.replace(
    "AS v FINAL", "AS v FINAL\nLEFT ANY JOIN kinds ON v.account = kinds.account"
)
_UNITS: Final = """\
SELECT
    <kept><day> AS day,
    v.country AS country,
    <planned>
    v.category AS said_category,
    v.template AS template,
    v.free_entry_point = 1 AS in_free_entry_point,
    v.service_window = 1 AS in_service_window,
    sum(v.delivered) AS count,
    sumIf(
        v.delivered, if(v.pricing_type = '', v.billable = 1, NOT startsWith(v.pricing_type, 'free_'))
    ) AS provider_charged
<rows>
GROUP BY ALL"""

# The number's own plan, else the account's; without a plan the currency is metering.charges.DEFAULT_CURRENCY.
# The first regime also covers everything before it. A card replaces the one before it whole.
_IN_FORCE: Final = "term.2 <= units.day AND units.day <= term.3"
_NAMED: Final = f"""\
SELECT
    <kept>units.day AS day,
    units.country AS country,
    units.count AS count,
    units.provider_charged AS provider_charged,
    units.in_free_entry_point AS in_free_entry_point,
    units.in_service_window AS in_service_window,
    multiIf(
        said_category IN (
            'marketing', 'marketing_lite', 'utility', 'authentication', 'authentication_international', 'service'
        ), toString(said_category),
        template = 1, 'unknown',
        'service'
    ) AS category,
    if(units.day < regimes[1].1, regimes[1], arrayLast(each -> each.1 <= units.day, regimes)) AS regime,
    arrayFirst(term -> term.1 != '' AND term.1 = plan_number AND {_IN_FORCE}, terms).4 AS of_number,
    arrayFirst(term -> term.1 = '' AND {_IN_FORCE}, terms).4 AS of_account
FROM units<plans>"""
# A condition on the regime would be tried on every row of the table before they are added up.
_PRICED: Final = """\
SELECT
    <kept>named.day AS day,
    named.country AS country,
    named.category AS category,
    if(regime.2 = 'message', named.count, 0) AS count,
    if(regime.2 = 'message', named.provider_charged, 0) AS provider_charged,
    in_free_entry_point
        OR (named.category = 'service' AND regime.4 = 'free')
        OR (named.category = 'utility' AND in_service_window AND regime.3) AS is_free,
    multiIf(of_number != '', of_number, of_account != '', of_account, 'USD') AS currency,
    toDate32(named.day) AS priced_on,
    if(named.category = 'marketing_lite', 'marketing', named.category) AS priced_as,
    arrayMax(arrayMap(
        each -> if(each.1 = currency AND each.2 <= named.day, each.2, toDate32('1900-01-01')), cards
    )) AS card
FROM named"""

_CHARGES: Final = """\
SELECT
    <kept>priced.day AS day,
    priced.country AS country,
    priced.category AS category,
    priced.currency AS currency,
    priced.is_free AS is_free,
    priced.count AS count,
    priced.provider_charged AS provider_charged,
    if(zones.market = '', 'Other', zones.market) AS market,
    list.currency != '' AS has_rate,
    toInt64(list.rate * 1000000) AS rate_micros
FROM priced
ASOF LEFT JOIN (SELECT country, effective, market FROM markets FINAL WHERE digest = loaded) AS zones
    ON priced.country = zones.country AND priced.priced_on >= zones.effective
LEFT ANY JOIN
(
    SELECT currency, effective, market, category, rate FROM rates FINAL WHERE digest = loaded AND lower = 0
) AS list
    ON priced.currency = list.currency AND priced.card = list.effective AND priced.priced_as = list.category
    AND if(zones.market = '', 'Other', zones.market) = list.market"""


def with_charges(*, by_account: bool = False) -> str:
    """Return the WITH clause that a SELECT from ``charges`` follows: by day, country and category.

    Args:
        by_account: by account and number as well, and ``day`` is only the first one at the same prices.
    """

    def kept(table: str) -> str:
        return f"{table}.account AS account,\n    {table}.number AS number,\n    " if by_account else ""

    scalars = (f"{LOADED} AS loaded", _REGIMES, _CARDS, *((_CHANGES,) if by_account else ()))
    planned, rows = ("v.number AS plan_number,", _ROWS) if by_account else (_BY_KIND, _ROWS_WITH_PLANS)
    plans = "\nLEFT ANY JOIN kinds ON units.account = kinds.account" if by_account else ""
    day = _FIRST_AT_SAME_PRICES if by_account else "v.day"
    parts = (
        ("kinds", _KINDS),
        ("units", _put(_UNITS, kept=kept("v"), day=day, planned=planned, rows=rows)),
        ("named", _put(_NAMED, kept=kept("units"), plans=plans)),
        ("priced", _put(_PRICED, kept=kept("named"))),
        ("charges", _put(_CHARGES, kept=kept("priced"))),
    )
    clauses = [indented(scalar) for scalar in scalars]
    clauses += [f"    {name} AS\n    (\n{indented(text, 2)}\n    )" for name, text in parts]
    return "WITH\n" + ",\n".join(clauses)


def _put(text: str, **parts: str) -> str:
    """Return a text with its parts; not by ``format``, as Grafana's variables stand in braces."""
    for name, part in parts.items():
        text = text.replace(f"<{name}>", part)
    return text


VALUE: Final = "sumIf(count * rate_micros, NOT is_free AND has_rate) / 1000000"
PROVIDER_VALUE: Final = "sumIf(provider_charged * rate_micros, has_rate) / 1000000"
UNRATED: Final = "sumIf(count, NOT is_free AND NOT has_rate)"
