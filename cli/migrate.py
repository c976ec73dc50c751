"""``migrate``: bring ClickHouse to the schema of this version."""

from __future__ import annotations

from pathlib import Path

import click

from cli.context import common_options, run_async, settings_of
from cli.node import clickhouse_address
from sinks.clickhouse.client import open_client
from sinks.clickhouse.migrations import migrate
from streams.embedded.log import EmbeddedLog
from streams.embedded.records import LogOwned


@click.command("migrate")
@click.option("--dry-run", is_flag=True, help="Only list what would be applied.")
@common_options
@run_async
async def migrate_command(dry_run: bool, config: Path | None, data: Path | None) -> None:
    """Apply the numbered migrations that ClickHouse does not have yet.

    With embedded ClickHouse this happens at every start by itself.
    """
    settings = settings_of(config, data)
    # The embedded engine has one owner, like the log: taking the log's lock keeps two processes out of it.
    try:
        lock = (
            EmbeddedLog.open(settings.log_directory.absolute())
            if settings.chdb_directory and settings.log_directory
            else None
        )
    except LogOwned:
        click.echo("nothing to apply: the process that owns the data directory did so at its start")
        return
    try:
        client = open_client(clickhouse_address(settings))
        applied = migrate(client, dry_run=dry_run)
        client.close()
    finally:
        if lock is not None:
            lock.close_blocking()
    for name in applied:
        click.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not applied:
        click.echo("nothing to apply")
