"""Brings a ClickHouse database to the schema of this release: numbered SQL files, each applied once.

Owns the order, the record of what was applied (``schema_migrations``) and its checks. The files themselves live in
``schemas/sql/migrations``; ClickHouse DDL is not transactional, so every statement in them can be repeated.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from sinks.clickhouse.client import ClickHouse
from sinks.clickhouse.errors import ClickHouseRefused

_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_TOKEN: Final = re.compile(
    r"--[^\n]*"  # comment to the end of the line
    r"|/\*.*?\*/"  # comment in the middle
    r"|'(?:[^'\\]|\\.|'')*'"  # string
    r"|`(?:[^`\\]|\\.)*`"  # identifiers
    r'|"(?:[^"\\]|\\.)*"'
    r"|;",
    re.DOTALL,
)
_RECORD_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY number
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""


class SchemaMismatch(ClickHouseRefused):
    """The database was not made by the migrations of this release, or of an earlier one."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered SQL file."""

    number: int
    name: str
    """File name without ``.sql``."""
    sql: str

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the text; it must never change once the migration was released."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations() -> list[Migration]:
    """Return the migrations of this release, in order.

    Raises:
        ValueError: a file is misnamed, or two share a number: a fault of the release.
    """
    found: dict[int, Migration] = {}
    for file in resources.files("schemas").joinpath("sql", "migrations").iterdir():
        matched = _FILE_NAME.fullmatch(file.name)
        if not matched or int(matched[1]) in found:
            raise ValueError(f"migration {file.name}: expected NNNN_words.sql with a number of its own")
        number = int(matched[1])
        found[number] = Migration(number, file.name.removesuffix(".sql"), file.read_text("utf-8"))
    return [found[number] for number in sorted(found)]


def pending(client: ClickHouse, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """Return the migrations that the database lacks, in order; all of them if it does not exist. Changes nothing.

    Args:
        client: of the database.
        migrations: what to compare with; default: those of this release.

    Raises:
        SchemaMismatch: an applied migration has another text here, or is not known here.
    """
    known = load_migrations() if migrations is None else list(migrations)
    applied = _applied(client)
    by_number = {migration.number: migration for migration in known}
    for number, (name, checksum) in sorted(applied.items()):
        migration = by_number.get(number)
        if migration is None:
            raise SchemaMismatch(
                f"database {client.database} has migration {name}, which this release does not know: it was made by a "
                "newer release; run that one or a later one"
            )
        if migration.checksum != checksum:
            raise SchemaMismatch(
                f"migration {name} was changed after it was applied to database {client.database}; put the released "
                "file back and make the change in a migration of its own"
            )
    return [migration for migration in known if migration.number not in applied]


def migrate(
    client: ClickHouse, *, dry_run: bool = False, migrations: Sequence[Migration] | None = None
) -> list[str]:
    """Apply what is pending, creating the database if it is missing; return the names, in order.

    Safe to repeat after any failure, and harmless if two processes do it at once.

    Args:
        client: of the database.
        dry_run: only return what would be applied.
        migrations: what to apply; default: those of this release.

    Raises:
        SchemaMismatch: see ``pending``; nothing was applied then.
        ClickHouseAway, ClickHouseRefused: a statement failed; the migrations before it are applied and recorded.
    """
    todo = pending(client, migrations)
    if dry_run or not todo:
        return [migration.name for migration in todo]
    client.use_new_database()
    client.command(_RECORD_TABLE)
    for migration in todo:
        for statement in statements(migration.sql):
            client.command(statement)
        row = [migration.number, migration.name, migration.checksum, datetime.now(UTC)]
        client.insert(
            "schema_migrations", ("number", "name", "checksum", "applied_at"), [[value] for value in row]
        )
    return [migration.name for migration in todo]


def _applied(client: ClickHouse) -> dict[int, tuple[str, str]]:
    """Return name and checksum of the applied migrations, by number."""
    recorded = client.query_anywhere(
        "SELECT 1 FROM system.tables WHERE database = {database:String} AND name = 'schema_migrations'",
        {"database": client.database},
    )
    if not recorded:
        return {}
    rows = client.query("SELECT number, name, checksum FROM schema_migrations FINAL")
    return {number: (name, checksum) for number, name, checksum in rows}


def statements(sql: str) -> Iterator[str]:
    """Split a script at its semicolons, except those in strings, quoted identifiers and comments.

    Comments are left out; so are statements with nothing in them.
    """
    current: list[str] = []
    position = 0
    for token in _TOKEN.finditer(sql):
        current.append(sql[position : token.start()])
        position = token.end()
        text = token[0]
        if text == ";":
            yield from _nonempty(current)
            current = []
        else:
            current.append(" " if text.startswith(("--", "/*")) else text)
    current.append(sql[position:])
    yield from _nonempty(current)


def _nonempty(pieces: list[str]) -> Iterator[str]:
    statement = "".join(pieces).strip()
    if statement:
        yield statement
