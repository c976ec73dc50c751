"""Brings rate cards and tiers into the operator's directory: what a file holds, what it would replace, the writing.

Owns the names of the files there and what may be overwritten. Does not own formats (``schemas``) or options.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from schemas.market_files import decoded, read_text
from schemas.meta_rate_files import Imported, import_meta_file
from schemas.meta_rate_grid import is_workbook
from schemas.rate_cards import Band, MarketRow, RateBook, RateCard, RateKey, TierTable
from schemas.rate_faults import FaultList, RateFaults, names_of_markets
from schemas.rate_files import is_own_format, rate_file_paths, read_rate_file, write_rate_file

Content = RateCard | TierTable
Identity = tuple[type, date, str]


class CardInTheWay(Exception):
    """What is to be written would overwrite something else."""


def read_any(
    path: Path, effective: date | None, currency: str | None, markets: Sequence[MarketRow]
) -> Imported:
    """Return what a file of ours or of the provider holds.

    Args:
        path: the file.
        effective: from when on a file of the provider is in force, where it does not say so itself.
        currency: of a file of the provider, where it does not say so itself.
        markets: the market mapping in force.

    Raises:
        RateFaults: with every fault of the file.
    """
    name = str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RateFaults([f"{name}: cannot be read ({error.strerror or error})"]) from error
    faults = FaultList(name)
    if is_workbook(data) or not is_own_format(text := decoded(data, faults)):
        return import_meta_file(data, name, effective, currency, markets)
    faults.raise_if_any()
    cards, tables = read_rate_file(text, name, names_of_markets(markets))
    own = Imported(cards, tables, ())
    for content in own.contents:
        if effective not in (None, content.effective) or currency not in (None, content.currency):
            faults.add(
                0, f"holds {content.currency} rates of {content.effective}, which is not what was told"
            )
    faults.raise_if_any()
    return own


def file_name_of(content: Content) -> str:
    """Return the name of a card's or table's file in the operator's directory."""
    return f"{content.effective}-{content.currency}{'-tiers' if isinstance(content, TierTable) else ''}.csv"


def _figures(content: Content) -> dict[RateKey, int] | dict[RateKey, tuple[Band, ...]]:
    return dict(content.rates) if isinstance(content, RateCard) else dict(content.bands)


def _identity(content: Content) -> Identity:
    return type(content), content.effective, content.currency


@dataclass(frozen=True, slots=True)
class Target:
    """A file to write."""

    path: Path
    contents: tuple[Content, ...]

    @property
    def text(self) -> str:
        """Return what will be in it."""
        cards = [content for content in self.contents if isinstance(content, RateCard)]
        return write_rate_file(
            cards, [content for content in self.contents if isinstance(content, TierTable)]
        )


def targets_of(imported: Imported, directory: Path, output: Path | None) -> list[Target]:
    """Return the files to write: one for each card and table in a directory, or all in one."""
    if output is not None:
        return [Target(output, imported.contents)]
    return [Target(directory / file_name_of(content), (content,)) for content in imported.contents]


def check_targets(
    targets: Sequence[Target], directory: Path, markets: Sequence[MarketRow], *, replace: bool
) -> list[Target]:
    """Return the targets that are not there yet with the same rates.

    Raises:
        CardInTheWay: a target would overwrite what says something else, or would be a second file with its card.
        RateFaults: a file that is there cannot be read.
    """
    names = names_of_markets(markets)
    for target in targets:
        if target.path.parent.resolve() == directory.resolve():
            _check_neighbours(target, names)
    return [target for target in targets if not _is_there(target, names, replace=replace)]


def _check_neighbours(target: Target, names: frozenset[str]) -> None:
    """Raise ``CardInTheWay`` if another file beside a target holds a card of it: no book could be made of both."""
    new = {_identity(content) for content in target.contents}
    for path in rate_file_paths(target.path.parent):
        twice = new & _contents(path, names).keys() if path.name != target.path.name else set()
        if twice:
            what = " and ".join(sorted(file_name_of(content) for content in target.contents))
            raise CardInTheWay(
                f"{path} holds what {what} would: take it out there first; nothing was written"
            )


def _contents(path: Path, names: frozenset[str]) -> dict[Identity, Content]:
    held = Imported(*read_rate_file(read_text(path), str(path), names), ())
    return {_identity(content): content for content in held.contents}


def _is_there(target: Target, names: frozenset[str], *, replace: bool) -> bool:
    """Tell whether a target's file says the same already.

    Raises:
        CardInTheWay: it says something else that is not to be replaced.
    """
    new = {_identity(content): content for content in target.contents}
    there = _contents(target.path, names) if target.path.exists() else {}
    if others := there.keys() - new.keys():
        what = " and ".join(sorted(file_name_of(there[identity]) for identity in others))
        raise CardInTheWay(f"{target.path} also holds what belongs into {what}; nothing was written")
    different = [identity for identity in there if _figures(there[identity]) != _figures(new[identity])]
    if different and not replace:
        raise CardInTheWay(
            f"{target.path} holds other rates; give --replace to replace them; nothing was written"
        )
    return there.keys() == new.keys() and not different


def differences(before: RateBook, content: Content) -> str:
    """Return in one sentence what a card or table changes against the one in force on its first day until now."""
    old: Content | None = (
        before.card(content.currency, content.effective)
        if isinstance(content, RateCard)
        else before.tier_table(content.currency, content.effective)
    )
    name = f"{_kind(content)} {content.currency} {content.effective}"
    now = _by_market(content)
    if old is None:
        return f"{name}: the first one, {_markets(len(now))}"
    then = _by_market(old)
    changed = [market for market in now.keys() & then.keys() if now[market] != then[market]]
    sets = (("added", now.keys() - then.keys()), ("removed", then.keys() - now.keys()), ("changed", changed))
    told = ", ".join(f"{len(found)} {what}{_listed(found)}" for what, found in sets)
    return f"{name}: {_markets(len(now))}; against {old.effective}: {told}"


def _kind(content: Content) -> str:
    return "card" if isinstance(content, RateCard) else "tiers"


def _markets(count: int) -> str:
    return f"{count} market{'' if count == 1 else 's'}"


def _listed(markets: Iterable[str]) -> str:
    names = sorted(markets)
    return f" ({', '.join(names)})" if names else ""


def _by_market(content: Content) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for (market, category), figure in _figures(content).items():
        found.setdefault(market, {})[category] = figure
    return found


def summary(content: Content) -> str:
    """Return in one sentence what a card or table holds."""
    count = len(_figures(content))
    what = "rate" if isinstance(content, RateCard) else "tier table"
    name = f"{_kind(content)} {content.currency} {content.effective}"
    return f"{name}: {_markets(len(_by_market(content)))}, {count} {what}{'' if count == 1 else 's'}"


def write_atomically(path: Path, text: str) -> None:
    """Put a file in its place whole: whoever reads it sees the old one or the new one, also after a power loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not *.csv: whoever lists the directory meanwhile must not take it for a card.
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
