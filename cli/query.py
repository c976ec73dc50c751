"""The four queries: ``usage``, ``conversations``, ``incoming``, ``active-users``.

Owns options and output formats. The rows and their keys are the reader's.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import click
import orjson

from cli.context import common_options, engine_of, run_async, settings_of
from cli.engine import QueryName, Row
from cli.main import VERBS
from sinks.clickhouse.reader import Filters, columns_of

OutputFormat = Literal["table", "ndjson", "csv"]


def _as_date(_: click.Context, __: click.Parameter, value: datetime | None) -> date | None:
    return value.date() if value else None


def _query_command(name: QueryName) -> click.Command:
    @click.command(name, help=VERBS[name][2])
    @click.option(
        "--from",
        "first_day",
        type=click.DateTime(["%Y-%m-%d"]),
        callback=_as_date,
        help="First local day, included (default: everything).",
    )
    @click.option(
        "--to",
        "last_day",
        type=click.DateTime(["%Y-%m-%d"]),
        callback=_as_date,
        help="Last local day, included (default: everything).",
    )
    @click.option("--account", "accounts", multiple=True, help="Only this account; may be repeated.")
    @click.option("--number", "numbers", multiple=True, help="Only this business number; may be repeated.")
    @click.option("--country", "countries", multiple=True, help="Only this country; may be repeated.")
    @click.option(
        "--format",
        "output",
        type=click.Choice(["table", "ndjson", "csv"]),
        help="Default: table on a terminal, ndjson in a pipe.",
    )
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
        if first_day and last_day and first_day > last_day:
            raise click.UsageError(f"--from {first_day} is after --to {last_day}")
        filters = Filters(first_day, last_day, accounts, numbers, countries)
        async with engine_of(settings_of(config, data), catch_up=True) as engine:
            rows = await engine.query(name, filters)
        chosen = output or ("table" if sys.stdout.isatty() else "ndjson")
        _WRITERS[chosen](name, rows)
        # Here a full disk is an error with a name; at the end of the process it would be a traceback.
        sys.stdout.flush()

    return command


def _write_ndjson(_: QueryName, rows: list[Row]) -> None:
    stdout = click.get_binary_stream("stdout")
    for row in rows:
        stdout.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def _write_csv(name: QueryName, rows: list[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns_of(name))
    writer.writerows([_as_text(value) for value in row.values()] for row in rows)


def _write_table(_: QueryName, rows: list[Row]) -> None:
    from rich import box  # noqa: PLC0415 - not needed in a pipe
    from rich.console import Console  # noqa: PLC0415
    from rich.measure import Measurement  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        click.echo("no rows", err=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in rows[0].items():
        counted = isinstance(value, int) and not isinstance(value, bool)
        table.add_column(name, justify="right" if counted else "left")
    for row in rows:
        # As text: an account may be called anything, brackets included.
        table.add_row(*(Text(_as_text(value)) for value in row.values()))
    console = Console()
    # A number that is cut off is worse than a line that wraps.
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


_WRITERS: dict[str, Callable[[QueryName, list[Row]], None]] = {
    "ndjson": _write_ndjson,
    "csv": _write_csv,
    "table": _write_table,
}

usage = _query_command("usage")
conversations = _query_command("conversations")
incoming = _query_command("incoming")
active_users = _query_command("active-users")
