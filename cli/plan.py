"""``plan``: check a file of plans, and show what is in force.

Owns options and the shape of the rows.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import click
import msgspec

from cli.context import common_options, readable_errors, settings_of
from cli.filtering import month_option
from cli.output import OutputFormat, Row, format_option, print_rows
from metering.calendar import last_day_of
from metering.licence import licence_line
from runtime.clock import SystemClock
from schemas.final_report import LicenceLine
from schemas.money import decimal_of
from schemas.plan_files import load_plans
from schemas.plans import Plan, PlanBook
from schemas.rate_faults import names_of_markets
from schemas.rate_files import load_rate_book
from schemas.thresholds import in_words

COLUMNS = (
    "account",
    "number",
    "effective",
    "activated",
    *LicenceLine.__struct_fields__[1:],
    "mau_package",
    "mau_rule",
    "amau_price",
    "rate_currency",
    "volume_tiers",
    "conversation_budget",
    "alert_thresholds",
)


@click.group("plan")
def plan() -> None:
    """Check and show plans: licences, packages, prices."""


@plan.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@common_options
def check(file: Path, config: Path | None, data: Path | None) -> None:
    """Name every fault of a file of plans; exit 1 if there is one."""
    with readable_errors():
        rates = load_rate_book(settings_of(config, data).rate_cards)
        plans = load_plans(file, names_of_markets(rates.markets))
    for account, number in _scopes(plans):
        history = plans.history(account, number)
        name = f"account {account}{f', number {number}' if number else ''}"
        click.echo(
            f"{name}: {len(history)} {'entry' if len(history) == 1 else 'entries'}, {_described(history[-1])}"
        )
    if not plans.plans:
        click.echo("no plans")


def _described(newest: Plan) -> str:
    ends = f" until {newest.until}" if newest.until else ""
    licence = "no licence" if newest.licence == "none" else f"{newest.licence} licence"
    parts = [licence, newest.currency, f"{newest.mau_package} users in the package"]
    if newest.conversation_budget:
        parts.append(f"{newest.conversation_budget} conversations in the budget")
    if newest.alert_thresholds is not None:
        thresholds = newest.alert_thresholds
        parts.append(f"notices at {in_words(thresholds)}" if thresholds else "no notices")
    return f"from {newest.effective}{ends}: {', '.join(parts)}"


@plan.command("show")
@month_option("Local month, YYYY-MM (default: the current one, UTC).")
@click.option("--account", "accounts", multiple=True, help="Only this account; may be repeated.")
@click.option("--number", "numbers", multiple=True, help="Only this business number; may be repeated.")
@format_option
@common_options
def show(
    month: date | None,
    accounts: tuple[str, ...],
    numbers: tuple[str, ...],
    output: OutputFormat | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """Show the plans in force in a month, with their licence periods and what is charged."""
    with readable_errors():
        plans = load_plans(settings_of(config, data).plans)
    first = month or datetime.fromtimestamp(SystemClock().now_seconds(), UTC).date().replace(day=1)
    rows = [
        row
        for account, number in _scopes(plans)
        if (not accounts or account in accounts) and (not numbers or number in numbers)
        if (row := _row(plans, account, number, first)) is not None
    ]
    print_rows(rows, COLUMNS, output)


def _scopes(plans: PlanBook) -> list[tuple[str, str]]:
    return sorted({(each.account, each.number) for each in plans.plans})


def _row(plans: PlanBook, account: str, number: str, first: date) -> Row | None:
    in_force = plans.in_force(account, number, last_day_of(first))
    if in_force is None:
        return None
    line = licence_line(plans.history(account, number), (first.year, first.month))
    licence = msgspec.structs.asdict(line) if line else {"licence": in_force.licence}
    thresholds = in_force.alert_thresholds
    return {
        "account": account,
        "number": number,
        "effective": in_force.effective.isoformat(),
        "activated": in_force.activated.isoformat(),
        **{key: value.isoformat() if isinstance(value, date) else value for key, value in licence.items()},
        "currency": in_force.currency,
        "mau_package": in_force.mau_package,
        "mau_rule": in_force.mau_rule,
        "amau_price": None if in_force.amau_price is None else decimal_of(in_force.amau_price),
        "rate_currency": in_force.card_currency,
        "volume_tiers": in_force.volume_tiers,
        "conversation_budget": in_force.conversation_budget or None,
        # None = where the settings say.
        "alert_thresholds": None if thresholds is None else in_words(thresholds),
    }
