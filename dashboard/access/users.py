"""The users file: who may sign in, with which role, for which accounts, and their API tokens.

Owns the file's shape, reading and writing. Passwords and tokens are kept as hashes only. A file that is damaged lets
nobody in: to go on with what it said before could let in somebody who was taken out.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dashboard.access.permissions import ROLES, Permission, Principal

_log = logging.getLogger(__name__)

PASSWORD_LENGTH_MIN: Final = 12
PASSWORD_LENGTH_MAX: Final = 1024
"""Longer ones would let anybody keep the processor busy."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN: Final = re.compile(r"cvm_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


class UsersFault(ValueError):
    """The users file cannot be used, or not changed in that way; says what to do."""


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API token."""

    id: str
    name: str
    sha256: str
    """Of its secret, hexadecimal."""
    permissions: tuple[Permission, ...]
    accounts: tuple[str, ...] | None
    """None = those of its user."""
    created_at: datetime
    expires_at: datetime | None = None


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who may sign in."""

    name: str
    role: str
    accounts: tuple[str, ...] | None = None
    """None = every account."""
    password: str | None = None
    """Argon2 hash; None = signs in through a proxy only, or by tokens."""
    is_disabled: bool = False
    tokens: tuple[Token, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return a text that changes with password and role: sessions end when it does."""
        content = f"{self.name}\0{self.role}\0{self.password}"
        return hashlib.sha256(content.encode()).hexdigest()

    def principal(self, kind: str, csrf_token: str = "") -> Principal:
        """Return what this user may do, having come as a "session" or by a "header"."""
        assert kind in ("session", "header")
        return Principal(
            name=self.name,
            permissions=ROLES[self.role],
            accounts=None if self.accounts is None else frozenset(self.accounts),
            kind="session" if kind == "session" else "header",
            csrf_token=csrf_token,
            role=self.role,
        )


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    users: tuple[User, ...]
    version: int = 1


_Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the file said when it was last read. One object, so that no thread sees half of a change."""

    stamp: _Stamp
    users: dict[str, User]
    tokens: dict[str, tuple[User, Token]]


class Users:
    """The users of an installation, as their file says at the moment. For several threads and processes."""

    def __init__(self, path: Path, hasher: PasswordHasher | None = None) -> None:
        """Take the file, which may not be there yet, and what hashes passwords."""
        self.path = path
        self._hasher = hasher or PasswordHasher()
        self._known: _Known | None = None
        self._fault = ""
        # Somebody who does not exist costs as much time as a wrong password.
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))

    def all(self) -> list[User]:
        """Return all users, sorted by name.

        Raises:
            UsersFault: the file is damaged.
        """
        users = self._renewed().users
        return [users[name] for name in sorted(users)]

    def find(self, name: str) -> User | None:
        """Return a user who may sign in; nobody while the file is damaged."""
        try:
            return self.look_up(name)
        except UsersFault:
            return None

    def look_up(self, name: str) -> User | None:
        """Return a user who may sign in.

        Raises:
            UsersFault: the file is damaged, and does not tell whether there is one.
        """
        known = self._readable()
        if known is None:
            raise UsersFault(f"the users file {self.path} cannot be used")
        user = known.users.get(name)
        return None if user is None or user.is_disabled else user

    def knows(self, name: str) -> bool:
        """Tell whether there is a user of that name, disabled or not."""
        known = self._readable()
        return known is not None and name in known.users

    def _readable(self) -> _Known | None:
        """Return what the file says, None where it is damaged; a fault is said once."""
        try:
            known = self._renewed()
        except UsersFault as fault:
            if str(fault) != self._fault:
                _log.error("nobody can sign in: %s", fault)
            self._fault = str(fault)
            return None
        self._fault = ""
        return known

    def _renewed(self) -> _Known:
        """Read the file if it has changed. What was not read well is read again at the next question."""
        stamp, known = self._stamp_now(), self._known
        if known is None or known.stamp != stamp:
            users = self._read()
            tokens = {token.id: (user, token) for user in users for token in user.tokens}
            self._known = known = _Known(stamp, {user.name: user for user in users}, tokens)
        return known

    def _stamp_now(self) -> _Stamp:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return (0, 0, 0)
        except OSError as error:
            raise UsersFault(f"the users file {self.path} cannot be read: {error.strerror}") from error
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _read(self) -> tuple[User, ...]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UsersFault(f"the users file {self.path} cannot be read: {error.strerror}") from error
        try:
            users = msgspec.json.decode(content, type=_File).users
        except msgspec.MsgspecError as error:
            raise UsersFault(
                f"the users file {self.path} is damaged ({error}); take it back from a backup, or remove it and "
                "add the users again"
            ) from error
        for user in users:
            _check(user)
        if len({user.name for user in users}) < len(users):
            raise UsersFault(f"the users file {self.path} has a name twice")
        return users

    def verify(self, name: str, password: str) -> User | None:
        """Return the user whose password this is, else None. Slow on purpose: call it in a thread."""
        user = self.find(name)
        known = user.password if user is not None else None
        try:
            self._hasher.verify(known or self._nobody, password[:PASSWORD_LENGTH_MAX])
        except (VerificationError, InvalidHashError):
            return None
        is_whole = len(password) <= PASSWORD_LENGTH_MAX
        return user if is_whole and known is not None else None

    def principal_of_token(self, text: str, now: datetime) -> Principal | None:
        """Return what a token allows: what it was made for, as far as its user still may."""
        match = _TOKEN.fullmatch(text)
        if match is None:
            return None
        known = self._readable()
        entry = None if known is None else known.tokens.get(match[1])
        digest = hashlib.sha256(match[2].encode()).hexdigest()
        if entry is None or not hmac.compare_digest(digest, entry[1].sha256):
            return None
        user, token = entry
        if user.is_disabled or (token.expires_at is not None and token.expires_at <= now):
            return None
        return Principal(
            name=f"{user.name}/{token.name}",
            permissions=ROLES[user.role] & frozenset(token.permissions),
            accounts=_both(user.accounts, token.accounts),
            kind="token",
            role=user.role,
        )

    def add(self, user: User) -> None:
        """Add a user.

        Raises:
            UsersFault: there is one of that name, or the entry is not sound.
        """

        def change(users: dict[str, User]) -> None:
            if user.name in users:
                raise UsersFault(f"there is a user {user.name} already")
            users[user.name] = user

        self._change(change)

    def change(self, name: str, change: Callable[[User], User]) -> None:
        """Replace a user's entry by a changed one.

        Raises:
            UsersFault: there is no such user, or the entry would not be sound.
        """

        def replace(users: dict[str, User]) -> None:
            users[name] = change(_known(users, name))

        self._change(replace)

    def remove(self, name: str) -> None:
        """Remove a user with all tokens; sessions end with the next request.

        Raises:
            UsersFault: there is no such user.
        """

        def take_out(users: dict[str, User]) -> None:
            del users[_known(users, name).name]

        self._change(take_out)

    def hashed(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            UsersFault: it is too short or too long.
        """
        if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
            raise UsersFault(f"a password has {PASSWORD_LENGTH_MIN} to {PASSWORD_LENGTH_MAX} characters")
        return self._hasher.hash(password)

    def _change(self, change: Callable[[dict[str, User]], None]) -> None:
        """Change the file under its lock, so that two commands at once lose nothing."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.with_name(f"{self.path.name}.lock")):
            users = {user.name: user for user in self._read()}
            change(users)
            for user in users.values():
                _check(user)
            content = msgspec.json.encode(_File(tuple(users[name] for name in sorted(users))))
            _write(self.path, msgspec.json.format(content, indent=2) + b"\n")


def new_token(
    name: str,
    permissions: tuple[Permission, ...],
    accounts: tuple[str, ...] | None,
    created_at: datetime,
    expires_at: datetime | None,
) -> tuple[Token, str]:
    """Return a token's entry and its text, which is nowhere else."""
    token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    entry = Token(token_id, name, digest, permissions, accounts, created_at, expires_at)
    return entry, f"cvm_{token_id}_{secret}"


def _both(first: tuple[str, ...] | None, second: tuple[str, ...] | None) -> frozenset[str] | None:
    if first is None or second is None:
        chosen = second if first is None else first
        return None if chosen is None else frozenset(chosen)
    return frozenset(first) & frozenset(second)


def _known(users: dict[str, User], name: str) -> User:
    if name not in users:
        raise UsersFault(f"there is no user {name}; `convometer user list` shows those that are there")
    return users[name]


def _check(user: User) -> None:
    if not _NAME.fullmatch(user.name):
        raise UsersFault(
            f"user {user.name!r}: a name has up to 64 lower-case letters, digits and . _ @ + -, and begins with "
            "a letter or digit"
        )
    if user.role not in ROLES:
        raise UsersFault(f"user {user.name}: role {user.role!r}, expected one of {', '.join(ROLES)}")
    names = [token.name for token in user.tokens]
    if len(set(names)) < len(names):
        raise UsersFault(f"user {user.name}: two tokens have one name")
    for name in names:
        if not _TOKEN_NAME.fullmatch(name):
            raise UsersFault(f"token {name!r}: a name has up to 64 letters, digits and . _ -")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    """Replace a file whole: whoever reads it, after a crash too, finds the old one or the new one."""
    unfinished = path.with_name(f"{path.name}.part")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
