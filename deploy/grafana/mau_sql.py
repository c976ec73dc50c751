"""Monthly active users in SQL, beside the package of the plan in force on the month's last day: as ``v_mau`` has them.

Active users of several numbers or countries are never added up: the same user may be among several. The rows of number
'' are the whole account, those of country '' all countries. Users of several accounts may be added up, as each account
counts its own.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.sql import FIRST_DAY, LAST_DAY, LIVE, LOADED, indented

FIRST_MONTH: Final = f"toStartOfMonth({FIRST_DAY})"
MONTH: Final = f"toStartOfMonth({LAST_DAY})"
"""The month that the picker's end lies in."""
LAST_OF_MONTH: Final = f"toLastDayOfMonth({LAST_DAY})"
MAY_HAVE_PACKAGE: Final = f"(v.number = '' OR v.number IN (SELECT number FROM plans WHERE digest = {LOADED}))"
"""Whole accounts, and numbers that any plan names: the others need not be read where packages are asked for."""

_USERS: Final = """\
sumIf(v.users, v.rule = 'any') AS mau_any,
    sumIf(v.users, v.rule = 'both') AS mau_both,
    sumIf(v.users, v.rule IN ('any', 'phones')) AS mau_phones"""


def active(first: str, last: str, *conditions: str) -> str:
    """Return FROM and WHERE: the rows of active users of these days."""
    return "\n    AND ".join(
        (f"FROM active_users AS v FINAL\nPREWHERE v.day BETWEEN {first} AND {last}", LIVE, *conditions)
    )


def months(first: str, last: str, *conditions: str) -> str:
    """Return active users by month, account and number, over all countries."""
    return f"""\
SELECT
    toStartOfMonth(v.day) AS month,
    v.account AS account,
    v.number AS number,
    {_USERS}
{active(first, last, "v.country = ''", *conditions)}
GROUP BY month, account, number"""


def _planned(first: str, *conditions: str) -> str:
    """Return a row without users for everything that has a plan, so that nobody is missing who has a package."""
    where = "\n    AND ".join((f"WHERE v.digest = {LOADED}", *conditions))
    return f"""\
SELECT DISTINCT
    {first} AS month, v.account AS account, v.number AS number, 0 AS mau_any, 0 AS mau_both, 0 AS mau_phones
FROM plans AS v FINAL
{where}"""


def use_of_packages(first: str, last: str, *conditions: str, with_idle: bool) -> str:
    """Return active users beside packages by month, account and number.

    Args:
        first: first day of the first month, as SQL.
        last: last day of the last month, as SQL.
        conditions: on ``v.account`` and ``v.number``.
        with_idle: of one month, those as well who have a plan and no active user.
    """
    counted = months(first, last, *conditions)
    if with_idle:
        both = indented(f"{counted}\nUNION ALL\n{_planned(first, *conditions)}")
        sums = ",\n".join(f"    sum({name}) AS {name}" for name in ("mau_any", "mau_both", "mau_phones"))
        keys = "month, account, number"
        counted = f"SELECT\n    {keys},\n{sums}\nFROM\n(\n{both}\n)\nGROUP BY {keys}"
    return f"""\
SELECT
    months.month AS month,
    months.account AS account,
    months.number AS number,
    months.mau_any AS mau_any,
    months.mau_both AS mau_both,
    months.mau_phones AS mau_phones,
    if(plan.account = '' OR plan.until < toLastDayOfMonth(months.month), NULL, plan.mau_package) AS package,
    if(plan.mau_rule = 'both', months.mau_both, months.mau_any) AS mau,
    if(package > 0, 100 * mau / package, NULL) AS used_percent,
    if(isNull(package), NULL, greatest(0, toInt64(package) - mau)) AS balance,
    if(isNull(package), NULL, greatest(0, mau - toInt64(package))) AS amau,
    plan.currency AS currency,
    if(amau = 0, 0, toInt64(plan.amau_price * 1000000) * amau / 1000000) AS amau_value
FROM
(
{indented(counted)}
) AS months
ASOF LEFT JOIN
(
    SELECT account, number, effective, until, mau_package, mau_rule, amau_price, currency
    FROM plans FINAL
    WHERE digest = {LOADED}
) AS plan
    ON months.account = plan.account AND months.number = plan.number
    AND toDate32(toLastDayOfMonth(months.month)) >= plan.effective"""


def packages_in_force(day: str, *conditions: str) -> str:
    """Return the sum of all packages in force on a day; NULL = there is none."""
    where = "\n        AND ".join((f"WHERE v.digest = {LOADED}", f"v.effective <= {day}", *conditions))
    return f"""\
SELECT sumOrNull(plan.1)
FROM
(
    SELECT argMax((v.mau_package, ifNull(v.until, {day})), v.effective) AS plan
    FROM plans AS v FINAL
    {where}
    GROUP BY v.account, v.number
)
WHERE plan.2 >= {day}"""
