"""Who is signed in: sessions and one-time links, over a restart too.

Owns one SQLite file. Of session ids and links only hashes are kept: the file lets nobody in. The time is an argument.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

LINK_SECONDS: Final = 15 * 60
_TOUCH_SECONDS: Final = 60
"""How stale the time of the last request may be: not every request is worth a write."""
_RETRY_SECONDS: Final = 60
"""After a write that failed and that reading can do without: neither the log nor a locked file is to slow requests."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, fingerprint TEXT NOT NULL, csrf_token TEXT NOT NULL,
    began_at INTEGER NOT NULL, seen_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS links (id TEXT PRIMARY KEY, made_at INTEGER NOT NULL) WITHOUT ROWID;
"""


class SessionsUnwritable(Exception):
    """The sessions file cannot be written: nobody can sign in or out, and who is signed in stays so."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's sign-in in one browser."""

    name: str
    fingerprint: str
    """Of the user's entry at sign-in (``User.fingerprint``)."""
    csrf_token: str


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long sessions last, in seconds."""

    whole_seconds: float
    idle_seconds: float


class Sessions:
    """Sessions and links. For one thread."""

    def __init__(self, path: Path, lifetimes: Lifetimes) -> None:
        """Open the file, made where it is missing and readable by this user only."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._lifetimes = lifetimes
        self._unwritten: dict[str, int] = {}
        """When sessions were seen, by hash of the id, as far as the file does not have it."""
        self._failed_at: int | None = None
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.executescript(_SCHEMA)

    def begin(self, name: str, fingerprint: str, now_seconds: int) -> str:
        """Begin a session; return its id, which is nowhere else.

        Raises:
            SessionsUnwritable: as on a full disk.
        """
        session_id = secrets.token_urlsafe(32)
        with _writing():
            # Or sessions that are in use would be taken for ended ones.
            self._write_seen()
            self._forget_ended(now_seconds)
            self._database.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?)",
                (_hash(session_id), name, fingerprint, secrets.token_urlsafe(32), now_seconds, now_seconds),
            )
        return session_id

    def find(self, session_id: str, now_seconds: int) -> Session | None:
        """Return a session that has not ended, and note that it is in use."""
        key = _hash(session_id)
        row = self._database.execute(
            "SELECT name, fingerprint, csrf_token, began_at, seen_at FROM sessions WHERE id = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        name, fingerprint, csrf_token, began_at, written_at = row
        seen_at = max(written_at, self._unwritten.get(key, 0))
        if (
            now_seconds >= began_at + self._lifetimes.whole_seconds
            or now_seconds >= seen_at + self._lifetimes.idle_seconds
        ):
            self.forget(session_id, now_seconds)
            return None
        if now_seconds - seen_at >= min(_TOUCH_SECONDS, self._lifetimes.idle_seconds / 4):
            self._unwritten[key] = now_seconds
        if self._unwritten:
            self._try(self._write_seen, now_seconds)
        return Session(name, fingerprint, csrf_token)

    def end(self, session_id: str) -> None:
        """End a session, if there is one.

        Raises:
            SessionsUnwritable: as on a full disk.
        """
        key = _hash(session_id)
        with _writing():
            self._database.execute("DELETE FROM sessions WHERE id = ?", (key,))
        self._unwritten.pop(key, None)

    def forget(self, session_id: str, now_seconds: int) -> None:
        """End a session that is refused anyway, even where the file cannot be written at the moment."""
        self._try(lambda: self.end(session_id), now_seconds)

    def _write_seen(self) -> None:
        self._database.executemany(
            "UPDATE sessions SET seen_at = ? WHERE id = ?",
            [(seen_at, key) for key, seen_at in self._unwritten.items()],
        )
        self._unwritten.clear()

    def _try(self, write: Callable[[], None], now_seconds: int) -> None:
        """Write what can wait: on a full disk those who are signed in stay so."""
        # The clock may have been turned back since.
        if self._failed_at is not None and abs(now_seconds - self._failed_at) < _RETRY_SECONDS:
            return
        try:
            with _writing():
                write()
        except SessionsUnwritable as fault:
            self._failed_at = now_seconds
            _log.warning("%s; who is signed in stays so", fault)
        else:
            self._failed_at = None

    def make_link(self, now_seconds: int) -> str:
        """Return the secret part of a new one-time link; earlier ones are void."""
        self._database.execute("DELETE FROM links")
        secret = secrets.token_urlsafe(32)
        self._database.execute("INSERT INTO links VALUES (?, ?)", (_hash(secret), now_seconds))
        return secret

    def knows_link(self, secret: str, now_seconds: int) -> bool:
        """Tell whether a link is still good, without using it up: programs look at links before people do."""
        row = self._database.execute("SELECT made_at FROM links WHERE id = ?", (_hash(secret),)).fetchone()
        return row is not None and 0 <= now_seconds - row[0] < LINK_SECONDS

    def use_link(self, secret: str, now_seconds: int) -> bool:
        """Use a link up; tell whether it was good.

        Raises:
            SessionsUnwritable: as on a full disk.
        """
        is_good = self.knows_link(secret, now_seconds)
        with _writing():
            used = self._database.execute("DELETE FROM links WHERE id = ?", (_hash(secret),)).rowcount
        return is_good and used == 1

    def _forget_ended(self, now_seconds: int) -> None:
        self._database.execute(
            "DELETE FROM sessions WHERE began_at <= ? OR seen_at <= ?",
            (now_seconds - self._lifetimes.whole_seconds, now_seconds - self._lifetimes.idle_seconds),
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as fault:
        raise SessionsUnwritable(f"the sessions file cannot be written: {fault}") from fault


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
