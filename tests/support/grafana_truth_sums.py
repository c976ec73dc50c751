"""Sums in plain Python over the seeded rows, as far as a choice above a dashboard leaves them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from schemas.rows import Family
from tests.support.grafana import ALL, Choice
from tests.support.grafana_rows import Row, Seed

Rows = list[tuple[Any, ...]]
Expected = Callable[[Seed, Choice], Rows]


def is_chosen(choice: Choice, variable: str, value: str) -> bool:
    """Tell whether a value is among what a variable stands at."""
    chosen = choice.value(variable)
    return chosen in (ALL, value) or (not isinstance(chosen, str) and value in chosen)


def chosen_rows(seed: Seed, family: Family, choice: Choice) -> Iterator[Row]:
    """Yield the rows of the chosen days and places."""
    for row in seed.rows(family):
        if (
            choice.first <= row["day"] <= choice.last
            and is_chosen(choice, "account", row["account"])
            and is_chosen(choice, "number", row["number"])
            and is_chosen(choice, "country", row["country"] or "none")
        ):
            yield row


def summed(rows: Iterable[Row], keys: Callable[[Row], tuple[Any, ...]], *measures: str) -> Rows:
    """Return sums by key, each key followed by its sums."""
    sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(measures))
    for row in rows:
        of_key = sums[keys(row)]
        for place, measure in enumerate(measures):
            of_key[place] += row.get(measure, 0)
    return [(*key, *values) for key, values in sums.items()]


def place_of(row: Row) -> tuple[Any, ...]:
    """Return account and number, as a key."""
    return row["account"], row["number"]
