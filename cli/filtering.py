"""The options by which queries are narrowed down: days, accounts, numbers, countries, and months."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import ParamSpec

import click

P = ParamSpec("P")


def _as_date(_: click.Context, __: click.Parameter, value: datetime | None) -> date | None:
    return value.date() if value else None


def _as_dates(
    names: str, variable: str, form: str, text: str
) -> Callable[[Callable[P, None]], Callable[P, None]]:
    return click.option(names, variable, type=click.DateTime([form]), callback=_as_date, help=text)


def filter_options(command: Callable[P, None]) -> Callable[P, None]:
    """Add ``--from``, ``--to``, ``--account``, ``--number`` and ``--country``."""
    for option in (
        click.option("--country", "countries", multiple=True, help="Only this country; may be repeated."),
        click.option(
            "--number", "numbers", multiple=True, help="Only this business number; may be repeated."
        ),
        click.option("--account", "accounts", multiple=True, help="Only this account; may be repeated."),
        _as_dates("--to", "last_day", "%Y-%m-%d", "Last local day, included (default: everything)."),
        _as_dates("--from", "first_day", "%Y-%m-%d", "First local day, included (default: everything)."),
    ):
        command = option(command)
    return command


def date_option(name: str, variable: str, text: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return an option that takes a day."""
    return _as_dates(name, variable, "%Y-%m-%d", text)


def month_option(text: str, *, required: bool = False) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Return ``--month`` as the parameter ``month``, the 1st of it."""
    return click.option(
        "--month", "month", type=click.DateTime(["%Y-%m"]), callback=_as_date, required=required, help=text
    )


def check_days(first_day: date | None, last_day: date | None) -> None:
    """Make sure that days are in order.

    Raises:
        click.UsageError: they are not.
    """
    if first_day and last_day and first_day > last_day:
        raise click.UsageError(f"--from {first_day} is after --to {last_day}")
