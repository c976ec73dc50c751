"""``report``: the final report on WhatsApp channel messages of one month.

Owns options and where the report goes. What is in it is the core's, how it looks is ``sinks.exports``.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import date
from pathlib import Path

import click

from cli.context import common_options, engine_of, run_async, settings_of
from cli.filtering import month_option
from sinks.billing import ReportAsked
from sinks.exports import ReportFormat, render


@click.command("report")
@month_option("Local month, YYYY-MM.", required=True)
@click.option("--account", required=True, help="Whose report.")
@click.option("--number", default="", help="Only this business number (default: the whole account).")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["json", "csv", "xlsx", "pdf"]),
    help="Default: by the name of --output, else json.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="File to write (default: stdout, where xlsx and pdf only go to a pipe).",
)
@common_options
@run_async
async def report(
    month: date,
    account: str,
    number: str,
    output_format: ReportFormat | None,
    output: Path | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """The final report of a month: licence, MAU and AMAU, conversations, outgoing and incoming messages.

    The numbers are the same in every format. The report says until which day it can still change.
    """
    chosen = _format(output_format, output)
    if output is None and chosen in ("xlsx", "pdf") and sys.stdout.isatty():
        raise click.UsageError(f"--format {chosen} does not go to a terminal: add --output FILE")
    async with engine_of(settings_of(config, data), catch_up=True) as engine:
        made = await engine.report(ReportAsked(month, account, number))
    content = render(made, chosen)
    await asyncio.to_thread(_write, content, output)
    if not made.is_final:
        click.echo(
            f"provisional: webhooks may still come until {made.final_from} ({made.time_zone})", err=True
        )
    for note in made.notes:
        click.echo(note, err=True)


def _write(content: bytes, output: Path | None) -> None:
    if output is not None:
        output.write_bytes(content)
        return
    stdout = click.get_binary_stream("stdout")
    stdout.write(content)
    stdout.flush()


def _format(asked: ReportFormat | None, output: Path | None) -> ReportFormat:
    if asked is not None:
        return asked
    formats: dict[str, ReportFormat] = {".json": "json", ".csv": "csv", ".xlsx": "xlsx", ".pdf": "pdf"}
    return formats.get(output.suffix.lower(), "json") if output else "json"
