"""What the panels of active users and packages should show, added up in plain Python over the seeded rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

from metering.calendar import last_day_of
from schemas.plans import Plan
from schemas.rows import Family
from tests.support.grafana import Choice
from tests.support.grafana_rows import TODAY, Row, Seed
from tests.support.grafana_truth_sums import Expected, Rows, is_chosen, place_of, summed


def month_of(choice: Choice) -> tuple[date, date]:
    """Return the first and the last day of the month that the picker's end lies in."""
    first = choice.last.replace(day=1)
    return first, last_day_of(first)


def users(seed: Seed, first: date, last: date) -> Iterator[Row]:
    """Yield rows of active users with a column for each rule."""
    for row in seed.rows(Family.ACTIVE_USERS):
        if first <= row["day"] <= last:
            rule, count = row["rule"], row["users"]
            rules = {"mau_any": ("any",), "mau_both": ("both",), "mau_phones": ("any", "phones")}
            yield row | {name: count if rule in those else 0 for name, those in rules.items()}


def plan_in(seed: Seed, account: str, number: str, month: date) -> Plan | None:
    """Return the plan of exactly this scope on a month's last day."""
    return seed.prices.plans.in_force(account, number, last_day_of(month))


def packages(seed: Seed, month: date, *, with_idle: bool) -> Iterator[Row]:
    """Yield active users of a month beside their package, by account and number."""
    rows = [row for row in users(seed, month, last_day_of(month)) if not row["country"]]
    counts = {row[:2]: row[2:] for row in summed(rows, place_of, "mau_any", "mau_both", "mau_phones")}
    planned = [(each.account, each.number) for each in seed.prices.plans.plans] if with_idle else []
    for account, number in dict.fromkeys([*counts, *planned]):
        any_, both, phones = counts.get((account, number), (0, 0, 0))
        own = plan_in(seed, account, number, month)
        begun = [
            each
            for each in seed.prices.plans.history(account, number)
            if each.effective <= last_day_of(month)
        ]
        mau = both if begun and begun[-1].mau_rule == "both" else any_
        package = own.mau_package if own else None
        beyond = None if package is None else max(0, mau - package)
        price = begun[-1].amau_price if begun else None
        yield {
            "month": month, "account": account, "number": number, "mau_any": any_, "mau_both": both,
            "mau_phones": phones, "package": package, "mau": mau, "amau": beyond,
            "used_percent": 100 * mau / package if package else None,
            "balance": None if package is None else max(0, package - mau),
            "currency": begun[-1].currency if begun else "",
            "amau_value": 0 if beyond == 0 else None if beyond is None or price is None else beyond * price / 1_000_000,
        }  # fmt: skip


def _shown(seed: Seed, choice: Choice) -> list[Row]:
    rows = packages(seed, month_of(choice)[0], with_idle=True)
    return [row for row in rows if not row["number"] and is_chosen(choice, "account", row["account"])]


def _known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _sum_of(rows: list[Row], column: str) -> int | None:
    """Return a sum over the accounts shown; of nobody there is no package, and users are 0."""
    values = _known(row[column] for row in rows)
    return sum(values) if values or column == "mau" else None


def _at_a_glance(seed: Seed, choice: Choice) -> Rows:
    rows = _shown(seed, choice)
    sums = [_sum_of(rows, column) for column in ("mau", "package", "balance", "amau")]
    return [(*sums, max(_known(row["used_percent"] for row in rows), default=None))]


def _growth(seed: Seed, choice: Choice) -> Rows:
    first, last = month_of(choice)
    added: dict[date, Counter[str]] = defaultdict(Counter)
    for row in users(seed, first, last):
        if not row["number"] and not row["country"] and is_chosen(choice, "account", row["account"]):
            added[row["day"]].update({name: row[name] for name in ("mau_any", "mau_both")})
    day = first
    while day <= min(last, choice.last, TODAY):
        added.setdefault(day, Counter())
        day += timedelta(days=1)
    sums, result = Counter[str](), []
    package = _sum_of(_shown(seed, choice), "package")
    for day in sorted(added):
        sums.update(added[day])
        result.append((day, sums["mau_any"], sums["mau_both"], package))
    return result


def _growth_of_numbers(seed: Seed, choice: Choice) -> Rows:
    first, last = month_of(choice)
    days = Counter[tuple[str, str, date]]()
    for row in users(seed, first, last):
        is_shown = is_chosen(choice, "account", row["account"]) and is_chosen(choice, "number", row["number"])
        if row["number"] and not row["country"] and row["rule"] == "any" and is_shown:
            days[row["account"], row["number"], row["day"]] += row["mau_any"]
    result: Rows = []
    for account, number, day in days:
        of_number = [key for key in days if key[:2] == (account, number) and key[2] <= day]
        result.append((day, f"{account} {number}", sum(days[key] for key in of_number)))
    return result


def _by_month(seed: Seed, choice: Choice) -> Rows:
    month, last = choice.first.replace(day=1), choice.last
    result = []
    while month <= last:
        rows = [
            row
            for row in packages(seed, month, with_idle=False)
            if not row["number"] and is_chosen(choice, "account", row["account"])
        ]
        if rows:
            sums = [sum(row[name] for row in rows) for name in ("mau_any", "mau_both", "mau_phones")]
            known = _known(row["package"] for row in rows)
            result.append((month, *sums, sum(known) if known else None))
        month = last_day_of(month) + timedelta(days=1)
    return result


PACKAGE_COLUMNS = (
    "package", "mau", "used_percent", "balance", "amau", "amau_value", "currency", "mau_any", "mau_both", "mau_phones",
)  # fmt: skip


def _all_accounts(seed: Seed, choice: Choice) -> Rows:
    return [
        (row["account"], row["number"] or "whole account", *(row[name] for name in PACKAGE_COLUMNS))
        for row in packages(seed, month_of(choice)[0], with_idle=True)
        if row["package"] is not None or (not row["number"] and row["mau_any"])
    ]


def _each_number(seed: Seed, choice: Choice) -> Rows:
    names = ("account", "number", "mau_any", "mau_both", "mau_phones", "package", "mau", "used_percent")
    return [
        tuple(row[name] for name in names)
        for row in packages(seed, month_of(choice)[0], with_idle=True)
        if row["number"]
        and is_chosen(choice, "account", row["account"])
        and is_chosen(choice, "number", row["number"])
    ]


def _each_country(seed: Seed, choice: Choice) -> Rows:
    rows = [
        row
        for row in users(seed, *month_of(choice))
        if not row["number"]
        and row["country"]
        and is_chosen(choice, "account", row["account"])
        and is_chosen(choice, "country", row["country"])
    ]
    return summed(rows, lambda row: (row["account"], row["country"]), "mau_any", "mau_both")


MAU: dict[str, Expected] = {
    "Users and packages": _at_a_glance,
    "Active users so far, by day of the month": _growth,
    "Active users by month": _by_month,
    "All accounts by use of their package": _all_accounts,
    "Each number by itself": _each_number,
    "Each country by itself": _each_country,
    "Active users of each number so far, by day of the month": _growth_of_numbers,
}
