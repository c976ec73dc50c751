"""The page that says what holds when something breaks names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:unit|property|integration|crash)/[\w./]*(?:::\w+)?)`", PAGE)))


def test_every_promise_names_a_test() -> None:
    """Each row has a test, or says that there is none."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for row in rows:
        shown = row.rstrip(" |").rpartition("|")[0]
        assert "`" in row.split("|")[4] or "not tested" in row, shown


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_is_there(name: str) -> None:
    """The file exists and has the function."""
    path, _, function = name.partition("::")
    place = ROOT / "tests" / path
    assert place.exists()
    assert not function or f"def {function}(" in place.read_text(encoding="utf-8")
