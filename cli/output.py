"""Prints rows on stdout, as a table for people or as ndjson or csv for programs.

Owns the formats and the option that chooses one. Does not own any row.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Literal, ParamSpec

import click
import orjson

OutputFormat = Literal["table", "ndjson", "csv"]
Row = Mapping[str, object]
P = ParamSpec("P")


def format_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add ``--format`` as the parameter ``output``."""
    return click.option(
        "--format",
        "output",
        type=click.Choice(["table", "ndjson", "csv"]),
        help="Default: table on a terminal, ndjson in a pipe.",
    )(command)


def print_rows(rows: Sequence[Row], columns: Sequence[str], output: OutputFormat | None) -> None:
    """Print rows.

    Args:
        rows: numbers as int; money and other decimal numbers as ``Decimal``, which are printed as text: a JSON number
            would be read as a binary fraction.
        columns: of csv and tables. A row may lack some of them.
        output: None = a table on a terminal, else ndjson.
    """
    chosen = output or ("table" if sys.stdout.isatty() else "ndjson")
    if chosen == "ndjson":
        _print_ndjson(rows)
    elif chosen == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_as_text(row.get(column)) for column in columns] for row in rows)
    else:
        _print_table(rows, columns)
    # Here a full disk is an error with a name; at the end of the process it would be a traceback.
    sys.stdout.flush()


def _print_ndjson(rows: Iterable[Row]) -> None:
    stdout = click.get_binary_stream("stdout")
    for row in rows:
        stdout.write(orjson.dumps(dict(row), default=_as_json, option=orjson.OPT_APPEND_NEWLINE))


def _as_json(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    raise TypeError(f"found {type(value).__name__}, expected what JSON has")


def _print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    from rich import box  # noqa: PLC0415 - not needed in a pipe
    from rich.console import Console  # noqa: PLC0415
    from rich.measure import Measurement  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    if not rows:
        click.echo("no rows", err=True)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if _is_counted(rows, column) else "left")
    for row in rows:
        # As text: an account may be called anything, brackets included.
        table.add_row(*(Text(_as_text(row.get(column))) for column in columns))
    console = Console()
    # A number that is cut off is worse than a line that wraps.
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _is_counted(rows: Sequence[Row], column: str) -> bool:
    known = next((row[column] for row in rows if row.get(column) is not None), None)
    return isinstance(known, int | Decimal) and not isinstance(known, bool)


def _as_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return plain(value) if isinstance(value, Decimal) else str(value)


def plain(amount: Decimal) -> str:
    """Return a decimal number without an exponent, such as "0.000001"."""
    return f"{amount:f}"


def as_date(value: object) -> object:
    """Return a date as text, anything else as it is."""
    return value.isoformat() if isinstance(value, date) else value
