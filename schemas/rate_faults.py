"""What may be wrong with files of rates and markets, said with the line and all at once.

Owns the wording of faults that several formats share. Does not own any format.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from schemas.rate_cards import OTHER_MARKET, Band, MarketRow

LineBand = tuple[int, int, int | None]
"""``(line, lower, upper)``; upper 0 = no limit, None = not readable, which has a fault of its own."""


class RateFaults(Exception):
    """Files of rates cannot be used. ``faults`` lists everything that is wrong, one sentence each."""

    def __init__(self, faults: Sequence[str]) -> None:
        """Take the faults; each names its file and line."""
        self.faults = list(faults)
        count = f"{len(self.faults)} faults" if len(self.faults) > 1 else "1 fault"
        super().__init__("\n  - ".join([f"{count} in the rates:", *self.faults]))


class FaultList:
    """Collects the faults of one file, in the order of its lines."""

    def __init__(self, name: str) -> None:
        """Take the name of the file, as it will be shown."""
        self.name = name
        self._faults: list[tuple[int, str]] = []

    def add(self, line: int, text: str) -> None:
        """Take one fault; line 0 = the file as a whole."""
        self._faults.append((line, text))

    @property
    def faults(self) -> list[str]:
        """Return the faults with file and line."""
        ordered = sorted(self._faults, key=lambda fault: fault[0])
        return [f"{self.name}:{line}: {text}" if line else f"{self.name}: {text}" for line, text in ordered]

    def raise_if_any(self) -> None:
        """Raise ``RateFaults`` unless there are none."""
        if self._faults:
            raise RateFaults(self.faults)


def names_of_markets(rows: Iterable[MarketRow]) -> frozenset[str]:
    """Return the names that a rate may be for: those of a mapping, and ``Other``."""
    return frozenset(row.market for row in rows) | {OTHER_MARKET}


def unknown_market(name: str, markets: Collection[str]) -> str:
    """Return what to say of a market that is not in the mapping."""
    by_folded = {market.casefold(): market for market in markets}
    near = get_close_matches(name.casefold(), sorted(by_folded), n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(by_folded[match] for match in near)}?" if near else ""
    return f"found the market {name!r}, which is not in the market mapping{hint}"


def check_bands(of: str, bands: Iterable[LineBand], faults: FaultList) -> None:
    """Find what is wrong with the bands of one market and category: they must cover every number from 1 on, once."""
    expected: int | None = 1
    last_line = 0
    for line, lower, upper in sorted(bands, key=lambda band: (band[1], band[0])):
        if expected == 0 or (expected is not None and lower < expected):
            faults.add(line, f"the band of {of} from {lower} overlaps the band before it")
        elif expected == 1 and lower > 1:
            faults.add(line, f"the first band of {of} is from {lower}, expected from 1")
        elif expected is not None and lower > expected:
            faults.add(line, f"between the bands of {of} there is a gap from {expected} to {lower - 1}")
        if upper and upper < lower:
            faults.add(line, f"a band of {of} ends at {upper}, before its beginning at {lower}")
        if expected == 0 or upper == 0:
            expected = 0
        elif upper is None:
            expected = None
        else:
            expected = max(upper + 1, expected or 0)
        last_line = line
    if expected:
        faults.add(
            last_line,
            f"the last band of {of} ends at {expected - 1}, expected no limit: more messages would have no rate",
        )


def in_order(bands: Iterable[Band]) -> tuple[Band, ...]:
    """Return bands by ascending beginning."""
    return tuple(sorted(bands, key=lambda band: band.lower))
