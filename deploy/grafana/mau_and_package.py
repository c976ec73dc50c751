"""The dashboard of monthly active users: how they grow within the month, and how far the packages go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.grafana.mau_sql import (
    FIRST_MONTH,
    LAST_OF_MONTH,
    MAY_HAVE_PACKAGE,
    MONTH,
    active,
    months,
    packages_in_force,
    use_of_packages,
)
from deploy.grafana.panels import (
    CLICKHOUSE_VARIABLE,
    TIME_SERIES,
    Json,
    by_day,
    dashboard,
    lines,
    override,
    query_variable,
    row,
    sql,
    stat,
    steps,
    table,
)
from deploy.grafana.sql import LAST_DAY, OF_ACCOUNT, OF_COUNTRY, OF_NUMBER, indented

_WHOLE_ACCOUNT: Final = "v.number = ''"
_COUNTED: Final = (
    "A user is active in a month with an incoming message or a delivered one (rule `any`), or with both (rule "
    "`both`); the plan says which rule its package goes by, without a plan it is `any`."
)
_MONTH: Final = "Of the month that the picker's end lies in."
_ACCOUNTS_ADD_UP: Final = "Over the accounts shown; each account counts its own users, once."
_SCOPE: Final = "if(number = '', 'whole account', number) AS scope"


def _choices(column: str, *conditions: str) -> str:
    # Every version of a row names the same places, so none is older here.
    rows = active(FIRST_MONTH, LAST_OF_MONTH, *conditions).replace(" FINAL\n", "\n", 1)
    return f"SELECT v.{column} AS {column}\n{rows}\nGROUP BY {column}\nORDER BY {column}"


_PLACES: Final = (
    query_variable(
        "account",
        "Account",
        _choices("account", _WHOLE_ACCOUNT, "v.country = ''"),
        multi=False,
        follows_time=True,
    ),
    query_variable(
        "number",
        "Number",
        _choices("number", "v.number != ''", "v.country = ''", OF_ACCOUNT),
        multi=True,
        follows_time=True,
    ),
    query_variable(
        "country",
        "Country",
        _choices("country", _WHOLE_ACCOUNT, "v.country != ''", OF_ACCOUNT),
        multi=True,
        follows_time=True,
    ),
)


def _at_a_glance() -> Iterator[Json]:
    yield row("The month that the picker's end lies in")
    shown = use_of_packages(MONTH, LAST_OF_MONTH, _WHOLE_ACCOUNT, OF_ACCOUNT, with_idle=True)
    asked = f"""\
SELECT
    sum(mau) AS mau,
    sum(package) AS package,
    sum(balance) AS balance,
    sum(amau) AS amau,
    max(used_percent) AS highest_used_percent
FROM
(
{indented(shown)}
)"""
    # One question for five figures: it reads a whole month.
    yield stat(
        "Users and packages",
        f"{_COUNTED} Balance: what is left of the packages; one account's rest does not help another. Beyond: "
        f"users beyond their account's package. {_ACCOUNTS_ADD_UP} Highest use: of the account that is furthest. "
        f"{_MONTH}",
        sql(asked),
        width=24,
        overrides=(
            override("mau", displayName="active users"),
            override("amau", displayName="beyond the package"),
            override(
                "highest_used_percent",
                displayName="highest use",
                unit="percent",
                decimals=1,
                thresholds=steps("green", (80, "orange"), (100, "red")),
            ),
        ),
    )


_GRID_END: Final = f"least({LAST_OF_MONTH}, {LAST_DAY}, toDate(now(), 'UTC'))"
_LEGENDS: Final = (
    override("active_any", displayName="incoming or delivered (any)"),
    override("active_both", displayName="incoming and delivered (both)"),
    override("package", displayName="package", custom__fillOpacity=0, custom__lineStyle={"fill": "dash"}),
)


def _growth() -> Json:
    """Return users who have been active so far, by day: each counts on the first day of the month they were active."""
    asked = f"""\
SELECT
    time,
    sum(added_any) OVER so_far AS active_any,
    sum(added_both) OVER so_far AS active_both,
    (
{indented(packages_in_force(LAST_OF_MONTH, _WHOLE_ACCOUNT, OF_ACCOUNT), 2)}
    ) AS package
FROM
(
    SELECT time, sum(added_any) AS added_any, sum(added_both) AS added_both
    FROM
    (
        SELECT v.day AS time, sumIf(v.users, v.rule = 'any') AS added_any, sumIf(v.users, v.rule = 'both') AS added_both
{indented(active(MONTH, LAST_OF_MONTH, _WHOLE_ACCOUNT, "v.country = ''", OF_ACCOUNT), 2)}
        GROUP BY time
        UNION ALL
        SELECT {MONTH} + number AS time, 0 AS added_any, 0 AS added_both
        FROM numbers(toUInt64(greatest(0, {_GRID_END} - {MONTH} + 1)))
    )
    GROUP BY time
)
WINDOW so_far AS (ORDER BY time ROWS UNBOUNDED PRECEDING)
ORDER BY time"""
    panel = lines(
        "Active users so far, by day of the month",
        f"Whoever has been active since the 1st, up to each day. {_COUNTED} {_ACCOUNTS_ADD_UP} {_MONTH}",
        sql(asked, TIME_SERIES),
        width=12,
    )
    panel["fieldConfig"]["overrides"] = list(_LEGENDS)
    return panel


def _by_month() -> Json:
    asked = f"""\
SELECT
    month AS time,
    sum(mau_any) AS active_any,
    sum(mau_both) AS active_both,
    sum(mau_phones) AS phones,
    sum(package) AS package
FROM
(
{indented(use_of_packages(FIRST_MONTH, LAST_OF_MONTH, _WHOLE_ACCOUNT, OF_ACCOUNT, with_idle=False))}
)
GROUP BY time
ORDER BY time"""
    panel = by_day(
        "Active users by month",
        f"Whole months, all that the picker touches. {_COUNTED} phones: the same by phone number under rule `any`, "
        f"where one person may have several. {_ACCOUNTS_ADD_UP}",
        asked,
    )
    panel["fieldConfig"]["overrides"] = list(_LEGENDS)
    return panel


def _all_accounts() -> Json:
    every = use_of_packages(MONTH, LAST_OF_MONTH, MAY_HAVE_PACKAGE, with_idle=True)
    return table(
        "All accounts by use of their package",
        f"Every account, whatever is chosen above, and numbers that have a plan of their own. mau: {_COUNTED} "
        f"amau_value: users beyond the package at their agreed price; empty = none agreed. {_MONTH}",
        f"""\
SELECT
    account,
    {_SCOPE},
    package,
    mau,
    used_percent,
    balance,
    amau,
    amau_value,
    currency,
    mau_any,
    mau_both,
    mau_phones
FROM
(
{indented(every)}
)
WHERE isNotNull(package) OR (number = '' AND (mau_any != 0 OR mau_both != 0 OR mau_phones != 0))
ORDER BY used_percent DESC NULLS LAST, account, number""",
        size=(24, 12),
        overrides=[
            override("used_percent", unit="percent", decimals=1),
            override("amau_value", unit="none", decimals=2),
        ],
    )


def _numbers_and_countries() -> Iterator[Json]:
    yield row("Numbers and countries, each by itself")
    of_numbers = use_of_packages(
        MONTH, LAST_OF_MONTH, "v.number != ''", OF_ACCOUNT, OF_NUMBER, with_idle=True
    )
    yield table(
        "Each number by itself",
        "A user of two numbers is counted for both: numbers never add up to the account. package: of the number's own "
        f"plan. {_MONTH}",
        f"""\
SELECT
    account,
    number,
    mau_any,
    mau_both,
    mau_phones,
    package,
    mau,
    used_percent
FROM
(
{indented(of_numbers)}
)
ORDER BY mau DESC, account, number""",
        overrides=[override("used_percent", unit="percent", decimals=1)],
    )
    yield table(
        "Each country by itself",
        f"Of the whole account, by the country of the user's phone number; users of no known country are in none. "
        f"{_MONTH}",
        f"""\
SELECT
    v.account AS account,
    v.country AS country,
    sumIf(v.users, v.rule = 'any') AS mau_any,
    sumIf(v.users, v.rule = 'both') AS mau_both
{active(MONTH, LAST_OF_MONTH, _WHOLE_ACCOUNT, "v.country != ''", OF_ACCOUNT, OF_COUNTRY)}
GROUP BY account, country
ORDER BY mau_any DESC, account, country""",
    )
    yield _growth_of_numbers()


def _growth_of_numbers() -> Json:
    conditions = ("v.number != ''", "v.rule = 'any'", OF_ACCOUNT, OF_NUMBER)
    asked = f"""\
SELECT
    time,
    concat(account, ' ', number) AS place,
    sum(added) OVER (PARTITION BY account, number ORDER BY time ROWS UNBOUNDED PRECEDING) AS active_any
FROM
(
    SELECT v.day AS time, v.account AS account, v.number AS number, sum(v.users) AS added
{indented(active(MONTH, LAST_OF_MONTH, "v.country = ''", *conditions))}
    GROUP BY time, account, number
)
WHERE (account, number) IN
(
    SELECT account, number
    FROM
    (
{indented(months(MONTH, LAST_OF_MONTH, *conditions), 2)}
    )
    ORDER BY mau_any DESC, account, number
    LIMIT 20
)
ORDER BY time, place"""
    return lines(
        "Active users of each number so far, by day of the month",
        f"Under rule `any`, each number by itself; the 20 numbers with the most users. {_MONTH}",
        sql(asked, TIME_SERIES),
        width=24,
        displayName="${__field.labels.place}",
    )


def mau_and_package() -> Json:
    """Return the dashboard."""
    return dashboard(
        "convometer-mau-and-package",
        "convometer: active users and packages",
        "Monthly active users and how far packages go. Months are those of each account's own time zone; the picker's "
        "days are taken as they stand in UTC.",
        [*_at_a_glance(), _growth(), _by_month(), _all_accounts(), *_numbers_and_countries()],
        (CLICKHOUSE_VARIABLE, *_PLACES),
        span=("now/M", "now/M"),
    )
