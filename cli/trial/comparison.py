"""What was counted against what is true. Owns the arithmetic of lost, double and wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MEASURES: Mapping[str, tuple[str, ...]] = {
    "usage": ("total", "sent", "delivered", "read", "not_delivered"),
    "conversations": ("total", "free", "charged"),
    "incoming": ("count",),
    "active-users": ("mau", "mau_both", "mau_phones"),
}
"""The measures of each query; everything else in a row says what it is about."""

Cell = tuple[str, tuple[tuple[str, object], ...], str]
"""Query, dimensions, measure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a comparison."""

    cells: int
    """Compared: measures of rows."""
    lost: int
    """By how much cells fall short of the truth, added up."""
    double: int
    """By how much cells exceed the truth, added up."""
    wrong: int
    """Cells that differ."""
    examples: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Tell whether every cell is as it has to be."""
        return self.wrong == 0


def cells_of(query: str, rows: Iterable[Mapping[str, object]]) -> dict[Cell, int]:
    """Return the measures of a query's rows."""
    measures = MEASURES[query]
    cells: dict[Cell, int] = {}
    for row in rows:
        place = tuple(sorted((name, value) for name, value in row.items() if name not in measures))
        for measure in measures:
            value = row[measure]
            assert isinstance(value, int)
            cells[query, place, measure] = value
    return cells


def compare(truth: Mapping[Cell, int], counted: Mapping[Cell, int]) -> Verdict:
    """Compare cell by cell; a cell that is missing on one side is zero there."""
    lost = double = wrong = 0
    examples: list[str] = []
    places = truth.keys() | counted.keys()
    for cell in places:
        expected, found = truth.get(cell, 0), counted.get(cell, 0)
        if expected == found:
            continue
        wrong += 1
        lost += max(0, expected - found)
        double += max(0, found - expected)
        if len(examples) < 5:
            query, place, measure = cell
            where = ", ".join(f"{name}={value}" for name, value in place)
            examples.append(f"{query} {where}: {measure} is {found}, has to be {expected}")
    return Verdict(len(places), lost, double, wrong, tuple(examples))
