"""``alerts``: the notices that were given about limits, and whether new ones would arrive.

Owns options and the shape of the rows. When a notice is given is ``metering.alerts``.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click
import msgspec

from cli.context import common_options, engine_of, run_async, settings_of
from cli.filtering import month_option
from cli.notices import channels_of
from cli.output import OutputFormat, format_option, print_rows
from runtime.clock import SystemClock
from schemas.alerts import Notice, notice_id
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from sinks.notify.channel import DeliveryFailed

COLUMNS = NoticeRow.__struct_fields__


@click.group("alerts")
def alerts() -> None:
    """Notices before a MAU package, free service messages or a conversation budget are used up."""


@alerts.command("list")
@month_option("Only about this local month, YYYY-MM.")
@click.option("--account", "accounts", multiple=True, help="Only this account; may be repeated.")
@click.option(
    "--number", "numbers", multiple=True, help='Only this business number; may be repeated. "" = accounts.'
)
@click.option(
    "--limit", "rows_max", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Newest ones."
)
@format_option
@common_options
@run_async
async def list_notices(
    month: date | None,
    accounts: tuple[str, ...],
    numbers: tuple[str, ...],
    rows_max: int,
    output: OutputFormat | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """List the notices, newest first. n counts those of one threshold in a month: odd = crossed, even = recovered."""
    async with engine_of(settings_of(config, data), catch_up=True) as engine:
        rows = await engine.notices(NoticesAsked(month, accounts, numbers, rows_max))
    print_rows([_shown(row) for row in rows], COLUMNS, output)


def _shown(row: NoticeRow) -> dict[str, object]:
    return msgspec.structs.asdict(row) | {
        "received_until": row.received_until.isoformat(timespec="milliseconds"),
        "noticed_at": row.noticed_at.isoformat(timespec="milliseconds"),
    }


@alerts.command("test")
@click.option(
    "--account", default="", help="Only those that get notices about it; the notice says it is about it."
)
@common_options
@run_async
async def send_test(account: str, config: Path | None, data: Path | None) -> None:
    """Send a notice of no meaning to each webhook and each group of addresses in the settings.

    It goes out once, from this process, and is kept nowhere. Exit code 1 = not all have taken it.
    """
    settings, clock = settings_of(config, data), SystemClock()
    notice = _test_notice(account or "test", clock.now_ms())
    channels = [each for each in channels_of(settings, clock).values() if not account or each.wants(notice)]
    if not channels:
        about = f" about account {account}" if account else ""
        raise click.ClickException(
            f"no webhook and no address gets notices{about}; see [alerts] in the settings"
        )
    failed = 0
    for channel in channels:
        try:
            await channel.deliver([notice])
        except DeliveryFailed as error:
            failed += 1
            click.echo(f"{channel.title}: {error}", err=True)
        else:
            click.echo(f"{channel.title}: taken")
    if failed:
        raise click.ClickException(f"{failed} of {len(channels)} did not take the notice")


def _test_notice(account: str, now_ms: int) -> Notice:
    return Notice(
        id=notice_id(account, "", "test", "mau_package", str(now_ms), 1),
        kind="crossed",
        level="warning",
        level_before="ok",
        account=account,
        number="",
        month="test",
        limit_name="mau_package",
        threshold="80%",
        threshold_count=80,
        n=1,
        limit=100,
        used=80,
        used_percent="80.0",
        cause="count",
        received_until_ms=now_ms,
        noticed_at_ms=now_ms,
        is_past=False,
    )
