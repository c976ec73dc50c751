"""``charges``: what the counted traffic costs, line by line, under the rules of its time or under others.

Owns options and the shape of the rows. The arithmetic is the core's.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal

import click

from cli.context import common_options, engine_of, run_async, settings_of
from cli.filtering import check_days, date_option, filter_options
from cli.output import OutputFormat, Row, format_option, plain, print_rows
from metering.charge_sums import by_month, sums_of
from metering.charges import Charge
from schemas.money import Micros, decimal_of
from sinks.billing import ChargesAsked

COLUMNS = (
    "account",
    "number",
    "country",
    "market",
    "unit",
    "category",
    "regime",
    "currency",
    "rate",
    "count",
    "free",
    "allotted",
    "charged",
    "amount",
    "provider_free",
    "provider_charged",
    "provider_unsaid",
    "provider_amount",
)
"""Behind ``day`` or ``month``."""
_MONEY = ("rate", "amount", "provider_amount")


@click.command("charges")
@filter_options
@click.option(
    "--by",
    type=click.Choice(["day", "month"]),
    default="day",
    show_default=True,
    help="Add the days of a month up.",
)
@date_option("--regime", "regime", "Price everything under the rules in force on this day.")
@date_option("--rates-on", "rates_on", "Price everything by the rate cards and markets in force on this day.")
@format_option
@common_options
@run_async
async def charges(  # noqa: PLR0913, PLR0917 - one parameter per option
    first_day: date | None,
    last_day: date | None,
    accounts: tuple[str, ...],
    numbers: tuple[str, ...],
    countries: tuple[str, ...],
    by: Literal["day", "month"],
    regime: date | None,
    rates_on: date | None,
    output: OutputFormat | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """What delivered messages and conversations cost by the provider's rate cards.

    Each day is priced under the regime that was in force on it: by conversation until June 2025, by delivered
    message since. `--regime 2026-10-01` answers what it would have cost under the rules of that day; unless
    `--rates-on` names a day, by the card of that regime's time that is nearest to each day.

    Amounts are exact and not rounded; without a rate on the card an amount is empty (null), never 0. The columns
    `provider_...` say what the provider's own webhooks said of the same messages.
    """
    check_days(first_day, last_day)
    asked = ChargesAsked(first_day, last_day, accounts, numbers, countries, regime, rates_on)
    async with engine_of(settings_of(config, data), catch_up=True) as engine:
        lines = await engine.charges(asked)
    span = by_month(lines) if by == "month" else lines
    print_rows([_row(line, by) for line in span], (by, *COLUMNS), output)
    _report_sums(lines)


def _row(charge: Charge, by: Literal["day", "month"]) -> Row:
    day = charge.day.isoformat()
    row: dict[str, object] = {by: day if by == "day" else day[:7]}
    for column in COLUMNS:
        value = getattr(charge, column)
        if column in _MONEY:
            value = _money(value)
        row[column] = value.isoformat() if column == "regime" else value
    return row


def _money(micros: Micros | None) -> Decimal | None:
    return None if micros is None else decimal_of(micros)


def _report_sums(lines: list[Charge]) -> None:
    """Say the sums on stderr, where they do not disturb a program that reads the rows."""
    for total in sums_of(lines):
        parts = [f"{total.currency} {plain(decimal_of(total.amount))} for {total.charged} of {total.count}"]
        if total.unrated:
            parts.append(f"{total.unrated} without a rate are not in it")
        if total.provider_amount is not None:
            parts.append(
                f"by the provider's word {plain(decimal_of(total.provider_amount))} for {total.provider_charged}"
            )
        click.echo("; ".join(parts), err=True)
