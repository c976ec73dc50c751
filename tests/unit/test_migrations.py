"""The migration files and how they are cut into statements, without a database."""

from __future__ import annotations

import pytest

from sinks.clickhouse.migrations import load_migrations, statements


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT ';'; SELECT 2;", ["SELECT ';'", "SELECT 2"]),
        (r"SELECT 'it\'s; one'; SELECT 'it''s; two'", [r"SELECT 'it\'s; one'", "SELECT 'it''s; two'"]),
        ('SELECT `a;b`, "c;d" FROM t; SELECT 2', ['SELECT `a;b`, "c;d" FROM t', "SELECT 2"]),
        ("-- a; comment's end\nSELECT 1; -- tail; more", ["SELECT 1"]),
        ("SELECT /* one; two' */ 1; SELECT 2", ["SELECT   1", "SELECT 2"]),
        ("SELECT '-- no comment; here'", ["SELECT '-- no comment; here'"]),
        (" ;\n; -- nothing\n", []),
    ],
)
def test_statements_are_split_outside_quotes_and_comments(script: str, expected: list[str]) -> None:
    """A semicolon ends a statement only where SQL says so."""
    assert list(statements(script)) == expected


def test_migrations_are_numbered_without_gaps() -> None:
    """The released files count up from 1, so that a missing file is noticed."""
    assert [migration.number for migration in load_migrations()] == list(range(1, len(load_migrations()) + 1))


def test_every_statement_can_be_repeated() -> None:
    """A migration that was cut short is run again, so every statement says what to do if it was done already."""
    for migration in load_migrations():
        for statement in statements(migration.sql):
            repeatable = (
                "IF NOT EXISTS",
                "INSERT INTO generations",
                "MODIFY SETTING",
                "MODIFY COLUMN",
                "OR REPLACE",
            )
            assert any(words in statement for words in repeatable), statement
