"""Reads the layout of Meta's tier files: a market's bands side by side for three categories.

Owns that layout. Column "vs. List" repeats what the rates say and is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from schemas.meta_rate_cells import is_no_rate, read_count, read_market, read_rate, words_of
from schemas.meta_rate_grid import GridRow, Importing
from schemas.money import Micros
from schemas.rate_cards import Band, RateKey
from schemas.rate_faults import check_bands, in_order

GROUP_CATEGORIES: Final = {
    "utility": "utility",
    "authentication": "authentication",
    "authenticationinternational": "authentication_international",
    "authenticationintl": "authentication_international",
    "authinternational": "authentication_international",
    "authintl": "authentication_international",
}
_DOCUMENTED_ORDER: Final = ("utility", "authentication", "authentication_international")
_FIELDS: Final = ("from", "to", "ratetype", "rate", "vslist")
_FIRST_GROUP: Final = 2
_GROUPS: Final = 3
_WIDTH: Final = _FIRST_GROUP + _GROUPS * len(_FIELDS)
_RATE_TYPES: Final = frozenset({"list", "tier"})

CurrencyBands = dict[str, dict[RateKey, tuple[Band, ...]]]


def tier_header(rows: Sequence[GridRow]) -> int | None:
    """Return the place of the row that names the columns of tiers, or None where no row does."""
    for place, (_, cells) in enumerate(rows):
        fields = [_split(cell)[1] for cell in cells]
        if "from" in fields and "to" in fields and "rate" in fields:
            return place
    return None


def _split(cell: str) -> tuple[str | None, str]:
    """Return the category that a column's name begins with, if any, and the rest of the name."""
    words = words_of(cell)
    for group in sorted(GROUP_CATEGORIES, key=len, reverse=True):
        if words.startswith(group) and words[len(group) :] in _FIELDS:
            return GROUP_CATEGORIES[group], words[len(group) :]
    return None, words


@dataclass(slots=True)
class _Tiers:
    """What has been read of a tier file so far."""

    importing: Importing
    categories: tuple[str, ...]
    width: int
    begun: bool = False
    """A market has been named."""
    market: str | None = None
    """The market of the rows that come; None = it is not known, which is a fault of its own."""
    currency: str | None = None
    bands: dict[tuple[str, RateKey], list[tuple[int, int, int | None, Micros]]] = field(default_factory=dict)
    untellable: set[tuple[str, RateKey]] = field(default_factory=set)


def read_tiers(rows: Sequence[GridRow], header: int, importing: Importing) -> CurrencyBands:
    """Return the bands below a header, by currency; whatever is wrong with them is a fault."""
    categories = _categories(rows, header, importing)
    if categories is None:
        return {}
    tiers = _Tiers(importing, categories, len(rows[header][1]))
    for line, cells in rows[header + 1 :]:
        _read_row(line, cells, tiers)
    found: CurrencyBands = {}
    for (currency, key), bands in tiers.bands.items():
        if (currency, key) not in tiers.untellable:
            of = f"{currency}, {key[0]}, {key[1]}"
            check_bands(of, ((line, lower, upper) for line, lower, upper, _ in bands), importing.faults)
        found.setdefault(currency, {})[key] = in_order(
            Band(lower, upper or 0, rate) for _, lower, upper, rate in bands
        )
    return found


def _categories(rows: Sequence[GridRow], header: int, importing: Importing) -> tuple[str, ...] | None:
    """Return the categories of the three groups of columns, or None after a fault."""
    line, cells = rows[header]
    above = rows[header - 1][1] if header else []
    split = [_split(cell) for cell in cells[_FIRST_GROUP:_WIDTH]]
    leading = [
        words_of(cells[place]) or words_of("".join(above[place : place + 1])) for place in range(_FIRST_GROUP)
    ]
    if [name for _, name in split] != [*_FIELDS] * _GROUPS or leading != ["market", "currency"]:
        importing.faults.add(
            line, "expected Market, Currency and three times From, To, Rate type, Rate, vs. List"
        )
        return None
    for name in filter(None, cells[_WIDTH:]):
        importing.note(f"the column {' '.join(name.split())!r} was skipped: it is no part of a tier")
    named = [_group_name(group, split, above) for group in range(_GROUPS)]
    if not any(named):
        importing.note(
            "nothing names the three groups of columns; taken as utility, authentication, auth-international"
        )
        return _DOCUMENTED_ORDER
    if None in named or len(set(named)) < _GROUPS:
        importing.faults.add(
            line, "expected the groups Utility, Authentication and Auth-International, each once"
        )
        return None
    return tuple(name for name in named if name is not None)


def _group_name(group: int, split: Sequence[tuple[str | None, str]], above: Sequence[str]) -> str | None:
    first = group * len(_FIELDS)
    own = split[first][0]
    if own is not None:
        return own
    over = above[_FIRST_GROUP + first : _FIRST_GROUP + first + len(_FIELDS)]
    return next(
        (GROUP_CATEGORIES[words_of(cell)] for cell in over if words_of(cell) in GROUP_CATEGORIES), None
    )


def _read_row(line: int, cells: list[str], tiers: _Tiers) -> None:
    importing = tiers.importing
    alone = cells[0] if cells[0] and not any(cells[1:]) else ""
    if alone and not _is_market(alone, importing):
        importing.note(f"line {line} was skipped: {' '.join(alone.split())[:80]}")
        return
    if not alone and not _WIDTH <= len(cells) <= tiers.width:
        # A cell too many, such as by a comma inside a number, would put numbers under wrong names.
        importing.faults.add(line, f"found {len(cells)} columns, expected {tiers.width} as in the header")
        return
    if cells[0]:
        tiers.begun = True
        try:
            tiers.market = read_market(cells[0], importing.markets)
        except ValueError as error:
            tiers.market = None
            importing.faults.add(line, str(error))
    elif not tiers.begun:
        importing.faults.add(line, "found a row before the first market")
    if alone:
        return
    tiers.currency = importing.row_currency(line, cells[1], tiers.currency)
    if tiers.market is None or tiers.currency is None:
        return
    for group, category in enumerate(tiers.categories):
        first = _FIRST_GROUP + group * len(_FIELDS)
        _read_band(
            line, cells[first : first + len(_FIELDS)], (tiers.currency, (tiers.market, category)), tiers
        )


def _is_market(cell: str, importing: Importing) -> bool:
    try:
        read_market(cell, importing.markets)
    except ValueError:
        return False
    return True


def _read_band(line: int, cells: list[str], place: tuple[str, RateKey], tiers: _Tiers) -> None:
    first, last, rate_type, rate_cell, _ = cells
    if is_no_rate(first) and is_no_rate(rate_cell):
        return
    faults = tiers.importing.faults
    currency, (market, category) = place
    of = f"{market}, {category}"
    if rate_type.lower() not in _RATE_TYPES:
        faults.add(line, f"rate type of {of}: found {rate_type[:40]!r}, expected List or Tier")
    rate = 0
    try:
        rate = read_rate(rate_cell, currency)
    except ValueError as error:
        faults.add(line, f"rate of {of}: {error}")
    try:
        lower = max(read_count(first), 1)
    except ValueError as error:
        faults.add(line, f"from of {of}: {error}")
        tiers.untellable.add(place)
        return
    upper: int | None = None
    try:
        upper = 0 if last and is_no_rate(last) else read_count(last)
    except ValueError as error:
        faults.add(line, f"to of {of}: {error}, or -- for no limit")
    tiers.bands.setdefault(place, []).append((line, lower, upper, rate))
