"""The guide of the plans says what the file takes."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.plan_entries import PlanEntry
from schemas.plan_files import read_plans

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "plans.md").read_text("utf-8")


def test_the_example_passes() -> None:
    """What a reader copies is a file without faults."""
    [example] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert len(read_plans(example, "guide", frozenset({"Spain"})).plans) == 2


def test_every_key_is_explained() -> None:
    """The table lists all keys, and none that does not exist."""
    assert set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE)) == set(PlanEntry.model_fields)
