"""The addresses that each user sent reports to, so that they can be chosen the next time.

Owns one small SQLite file. Nobody sees another user's addresses.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

OFFERED_MAX: Final = 10
_KEPT_MAX: Final = 100
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS recipients (user TEXT NOT NULL, address TEXT NOT NULL, used_at INTEGER NOT NULL,"
    " PRIMARY KEY (user, address)) WITHOUT ROWID"
)


class Recipients:
    """Addresses by user. For one thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, made where it is missing and readable by this user only."""
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute(_SCHEMA)

    def used(self, user: str, addresses: Iterable[str], at_seconds: int) -> None:
        """Note that mail went to addresses."""
        self._database.executemany(
            "INSERT INTO recipients VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET used_at = excluded.used_at",
            [(user, address, at_seconds) for address in addresses],
        )
        self._database.execute(
            "DELETE FROM recipients WHERE user = ?1 AND address NOT IN (SELECT address FROM recipients"
            " WHERE user = ?1 ORDER BY used_at DESC, address LIMIT ?2)",
            (user, _KEPT_MAX),
        )

    def offered(self, user: str) -> list[str]:
        """Return the addresses used last, the newest first."""
        rows = self._database.execute(
            "SELECT address FROM recipients WHERE user = ? ORDER BY used_at DESC, address LIMIT ?",
            (user, OFFERED_MAX),
        )
        return [address for (address,) in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
