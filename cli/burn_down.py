"""``burn-down``: how much of the MAU package, free service messages, conversation budget and volume tier is used.

Owns options and the shape of the rows. What counts towards a limit is ``metering.limits``, the projection
``metering.forecast``.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click
import msgspec

from cli.context import common_options, engine_of, run_async, settings_of
from cli.filtering import month_option
from cli.output import OutputFormat, format_option, print_rows
from metering.limits import LimitUse
from sinks.billing import LimitsAsked

COLUMNS = LimitUse.__struct_fields__


@click.command("burn-down")
@month_option("Local month, YYYY-MM (default: the current one of each account).")
@click.option("--account", "accounts", multiple=True, help="Only this account; may be repeated.")
@click.option(
    "--number", "numbers", multiple=True, help='Only this business number; may be repeated. "" = accounts.'
)
@format_option
@common_options
@run_async
async def burn_down(
    month: date | None,
    accounts: tuple[str, ...],
    numbers: tuple[str, ...],
    output: OutputFormat | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """How much of each monthly limit is used, and where the month is heading.

    `method` says how `projected` was made: `earlier_months` and `last_month` take the share that those had reached at
    the same point, `growth_curve` (users only) how new ones became fewer so far, `straight_line` an even pace;
    `complete` means that the month is over, and `too_early` that there is no projection yet. Four of five months end
    between `projected_low` and `projected_high`.
    """
    async with engine_of(settings_of(config, data), catch_up=True) as engine:
        uses = await engine.limits(LimitsAsked(month, accounts, numbers))
    print_rows([msgspec.structs.asdict(use) for use in uses], COLUMNS, output)
