"""``rates``: show the rate cards in force, check files of rates, bring in those of the provider.

Owns options and what is printed. ``cli.rate_import`` decides what is written where.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path

import click

from cli.context import common_options, run_async, settings_of
from cli.output import OutputFormat, Row, format_option, print_rows
from cli.rate_import import (
    CardInTheWay,
    check_targets,
    differences,
    read_any,
    summary,
    targets_of,
    write_atomically,
)
from runtime.clock import SystemClock
from schemas.market_files import MARKETS_FILE, load_markets, read_market_file, read_text
from schemas.money import Micros, is_currency
from schemas.rate_cards import RateBook
from schemas.rate_faults import RateFaults
from schemas.rate_files import load_rate_book, rate_text, tiers_beside_cards

_COLUMNS = ("effective", "currency", "market", "category", "lower", "upper", "rate", "source")
_SENTENCES_MAX = 5


def _as_date(_: click.Context, __: click.Parameter, value: datetime | None) -> date | None:
    return value.date() if value else None


def _as_currency(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_currency(value.upper()):
        raise click.BadParameter(f"{value!r} is not an ISO 4217 code such as USD")
    return value.upper() if value else None


_effective_option = click.option(
    "--effective",
    type=click.DateTime(["%Y-%m-%d"]),
    callback=_as_date,
    help="From when on a file of the provider is in force; goes before what the file says.",
)
_currency_option = click.option(
    "--currency",
    callback=_as_currency,
    help="Currency of a file of the provider that does not say so itself.",
)


@click.group("rates")
def rates() -> None:
    """Rate cards: what the provider asks, as data with a date."""


@rates.command("show")
@click.option("--currency", "currencies", multiple=True, help="Only this currency; may be repeated.")
@click.option(
    "--on",
    "day",
    type=click.DateTime(["%Y-%m-%d"]),
    callback=_as_date,
    help="In force on this day (default: today, UTC).",
)
@click.option("--market", "markets", multiple=True, help="Only this market; may be repeated.")
@format_option
@common_options
@run_async
async def show(
    currencies: tuple[str, ...],
    day: date | None,
    markets: tuple[str, ...],
    output: OutputFormat | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """Show the rate cards and volume tiers in force.

    Rows without `lower` are list rates; the others are tiers, from the lower-th to the upper-th message of a month.
    """
    book = load_rate_book(settings_of(config, data).rate_cards)
    day = day or datetime.fromtimestamp(SystemClock().now_seconds(), UTC).date()
    chosen_currencies = _chosen("currency", currencies, book.currencies())
    chosen_markets = _chosen("market", markets, _markets_with_rates(book))
    rows = [row for currency in chosen_currencies for row in _rows(book, currency, day, chosen_markets)]
    chosen = output or ("table" if sys.stdout.isatty() else "ndjson")
    if chosen != "table":
        print_rows(rows, _COLUMNS, chosen)
        return
    print_rows(rows, _COLUMNS[:-1], chosen)
    # Once for each card: beside every rate, a sentence would drown the figures.
    for told in dict.fromkeys(f"{row['currency']} {row['effective']}: {row['source']}" for row in rows):
        click.echo(told)


def _markets_with_rates(book: RateBook) -> set[str]:
    keys = [key for card in book.cards for key in card.rates]
    keys += [key for table in book.tiers for key in table.bands]
    return {market for market, _ in keys}


def _chosen(what: str, wanted: tuple[str, ...], known: Collection[str]) -> list[str]:
    """Return the known names that were wanted, whatever their case; all if none was.

    Raises:
        click.UsageError: one is not known: a slip of the pen must not look like "no rates".
    """
    by_folded = {name.casefold(): name for name in known}
    for name in wanted:
        if name.casefold() not in by_folded:
            near = get_close_matches(name.casefold(), sorted(by_folded), n=3)
            hint = " or ".join(by_folded[match] for match in near) or ", ".join(sorted(known))
            raise click.UsageError(f"no rates are known for the {what} {name!r}; did you mean {hint}?")
    return sorted({by_folded[name.casefold()] for name in wanted} if wanted else known)


def _rows(book: RateBook, currency: str, day: date, markets: Collection[str]) -> Iterator[Row]:
    """Give the rows of a card, by market, each list rate followed by its tiers."""
    card, table = book.card(currency, day), book.tier_table(currency, day)
    rates_of = card.rates if card else {}
    bands_of = table.bands if table else {}
    for market, category in sorted({*rates_of, *bands_of}):
        if market not in markets:
            continue
        if card and (market, category) in rates_of:
            yield _row((card.effective, currency, market, category), rates_of[market, category], card.source)
        for band in bands_of.get((market, category), ()):
            assert table is not None
            of = (table.effective, currency, market, category)
            yield _row(of, band.rate, table.source, (band.lower, band.upper or None))


def _row(
    of: tuple[date, str, str, str],
    rate: Micros,
    source: str,
    bounds: tuple[int | None, int | None] = (None, None),
) -> Row:
    effective, currency, market, category = of
    values = (effective.isoformat(), currency, market, category, *bounds, Decimal(rate_text(rate)), source)
    return dict(zip(_COLUMNS, values, strict=True))


@rates.command("check")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@_effective_option
@_currency_option
@common_options
@run_async
async def check(
    files: tuple[Path, ...],
    effective: date | None,
    currency: str | None,
    config: Path | None,
    data: Path | None,
) -> None:
    """Check FILES of rates, of our format or the provider's, and say what they hold. Nothing is written."""
    markets = load_markets(settings_of(config, data).rate_cards)
    faults: list[str] = []
    for path in files:
        try:
            if path.name == MARKETS_FILE:
                click.echo(
                    f"{path}: {len(read_market_file(read_text(path), str(path)))} rows of the market mapping"
                )
                continue
            held = read_any(path, effective, currency, markets)
        except RateFaults as error:
            faults += error.faults
            continue
        for note in held.notes:
            click.echo(f"{path}: {note}", err=True)
        for content in held.contents:
            click.echo(f"{path}: {summary(content)}")
    if faults:
        raise RateFaults(faults)


@rates.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_effective_option
@_currency_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write one file here (default: a file for each card in the directory of rate cards).",
)
@click.option("--replace", is_flag=True, help="Replace what is there for the same currency and day.")
@common_options
@run_async
async def import_file(
    file: Path,
    effective: date | None,
    currency: str | None,
    output: Path | None,
    replace: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Bring FILE, a rate card or tier file of the provider or of our format, into the directory of rate cards.

    Says what differs from the rates in force on that day until now.
    """
    directory = settings_of(config, data).rate_cards
    before = load_rate_book(directory)
    imported = read_any(file, effective, currency, before.markets)
    for note in imported.notes:
        click.echo(note, err=True)
    targets = targets_of(imported, directory, output)
    try:
        wanted = check_targets(targets, directory, before.markets, replace=replace)
    except CardInTheWay as error:
        raise click.ClickException(str(error)) from error
    for content in imported.contents:
        click.echo(differences(before, content))
    for target in wanted:
        write_atomically(target.path, target.text)
    for target in targets:
        click.echo(f"{'wrote' if target in wanted else 'is there already:'} {target.path}")
    after = before.replacing(imported.cards, imported.tables)
    keys = dict.fromkeys((content.currency, content.effective) for content in imported.contents)
    told = tiers_beside_cards(after, list(keys))
    for sentence in told[:_SENTENCES_MAX]:
        click.echo(f"note: {sentence}", err=True)
    if len(told) > _SENTENCES_MAX:
        click.echo(f"note: and {len(told) - _SENTENCES_MAX} more like these", err=True)
