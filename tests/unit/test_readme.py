"""The README says what the command can do."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cli.main import VERBS, main

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
ROWS = re.findall(r"^\| (`.+?) \|", README.partition("\n## Verbs\n")[2].partition("\n## ")[0], re.MULTILINE)
NAMED = [
    tuple(re.findall(r"[a-z][a-z-]*", re.split(r" [A-Z\[]", words)[0]))
    for row in ROWS
    for words in re.findall(r"`(.+?)`", row)
]
"""Verbs, and verbs with one of their own, as the first column of the table has them."""


def test_the_table_has_every_verb_and_no_other() -> None:
    """Whoever looks for a verb finds it in the README, and what is there can be called."""
    assert {words[0] for words in NAMED} == set(VERBS)


@pytest.mark.parametrize("words", [words for words in NAMED if len(words) > 1], ids=" ".join)
def test_what_a_verb_is_divided_into_is_there(words: tuple[str, ...]) -> None:
    """``user token add`` and the like lead to a command."""
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
