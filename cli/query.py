"""The four queries: ``usage``, ``conversations``, ``incoming``, ``active-users``.

Owns what is asked. The rows and their keys are the reader's.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from cli.context import common_options, engine_of, run_async, settings_of
from cli.engine import QueryName
from cli.filtering import check_days, filter_options
from cli.main import VERBS
from cli.output import OutputFormat, format_option, print_rows
from sinks.clickhouse.reader import Filters, columns_of


def _query_command(name: QueryName) -> click.Command:
    @click.command(name, help=VERBS[name][2])
    @filter_options
    @format_option
    @common_options
    @run_async
    async def command(  # noqa: PLR0913, PLR0917 - one parameter per option
        first_day: date | None,
        last_day: date | None,
        accounts: tuple[str, ...],
        numbers: tuple[str, ...],
        countries: tuple[str, ...],
        output: OutputFormat | None,
        config: Path | None,
        data: Path | None,
    ) -> None:
        check_days(first_day, last_day)
        filters = Filters(first_day, last_day, accounts, numbers, countries)
        async with engine_of(settings_of(config, data), catch_up=True) as engine:
            rows = await engine.query(name, filters)
        columns = columns_of(name)
        if any("package" in row for row in rows):
            columns += ("package", "balance", "amau")
        print_rows(rows, columns, output)

    return command


usage = _query_command("usage")
conversations = _query_command("conversations")
incoming = _query_command("incoming")
active_users = _query_command("active-users")
