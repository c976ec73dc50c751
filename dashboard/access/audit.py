"""The audit log: who signed in, looked at personal data, exported or sent something.

Owns one NDJSON file, and the older ones beside it. Nothing is ever removed; passwords, tokens and message texts never
get in.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final

import msgspec

from dashboard.access.backwards import lines_backwards
from runtime.dashboard_metrics import DashboardMetrics
from runtime.setting_tables import MIB

LOOK_BACK_BYTES: Final = 64 * MIB
"""How far the newest entries are looked for: the log only grows, and somebody may be meant by few of them."""
_TEXT_MAX: Final = 2000


class AuditEntry(msgspec.Struct, frozen=True):
    """One thing that somebody did."""

    at: datetime
    """UTC."""
    event: str
    who: str
    role: str
    account: str
    what: str
    address: str
    """Of the client."""


class AuditUnwritable(Exception):
    """An entry could not be written; what it would have told of must not be done."""


class Audit:
    """The log. Each entry is written before what it tells of is answered."""

    def __init__(self, path: Path, bytes_max: int, metrics: DashboardMetrics) -> None:
        """Take the file, the size at which a new one begins, and where entries are counted."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._bytes_max = bytes_max
        self._metrics = metrics
        self._descriptor = self._open()

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def write(
        self, event: str, *, who: str, role: str, account: str, what: str, address: str, at: datetime
    ) -> None:
        """Append an entry.

        Raises:
            AuditUnwritable: as on a full disk; what it tells of must not be answered then.
        """
        entry = AuditEntry(at, event, who[:_TEXT_MAX], role, account[:_TEXT_MAX], what[:_TEXT_MAX], address)
        try:
            self._append(msgspec.json.encode(entry) + b"\n", at)
        except OSError as error:
            self._metrics.count_audit_error()
            raise AuditUnwritable(f"the audit log {self._path} cannot be written: {error}") from error
        self._metrics.count_audited(event)

    def _append(self, line: bytes, at: datetime) -> None:
        if self._was_taken_away():
            self._open_anew()
        elif os.fstat(self._descriptor).st_size + len(line) > self._bytes_max:
            self._path.rename(self._older_path(at))
            self._open_anew()
        # What a full disk cut off ends here, or it would take the next entry with it.
        line = b"\n" + line if self._ends_within_a_line() else line
        # One call, so that lines of two processes never mix.
        written = os.write(self._descriptor, line)
        if written < len(line):
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes of an entry were written")

    def _was_taken_away(self) -> bool:
        """Tell whether the file under this name is another one, or none: what is written would be seen by nobody."""
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _older_path(self, at: datetime) -> Path:
        """Return a name that no file has: a rename would replace it. By name they are in order of time."""
        names = (f"{self._path.stem}-{at:%Y%m%dT%H%M%S%f}-{n:03}{self._path.suffix}" for n in count())
        return next(path for path in map(self._path.with_name, names) if not path.exists())

    def _open_anew(self) -> None:
        # In this order: a number that is closed while it is still kept here is soon that of a visitor's connection.
        before, self._descriptor = self._descriptor, self._open()
        os.close(before)

    def _ends_within_a_line(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def tail(
        self,
        limit: int,
        is_wanted: Callable[[AuditEntry], bool] = lambda _entry: True,
        bytes_max: int = LOOK_BACK_BYTES,
    ) -> list[AuditEntry]:
        """Return the newest entries, newest first, of this file and the older ones. A damaged line is left out.

        For any thread: it may take a good part of a second.

        Args:
            limit: how many at most.
            is_wanted: which of them.
            bytes_max: how far to look back.
        """
        found: list[AuditEntry] = []
        decoder = msgspec.json.Decoder(AuditEntry)
        for line in self._lines_backwards(bytes_max):
            try:
                entry = decoder.decode(line)
            except msgspec.MsgspecError:
                continue
            if is_wanted(entry):
                found.append(entry)
            if len(found) == limit:
                break
        return found

    def _lines_backwards(self, bytes_max: int) -> Iterator[bytes]:
        read: set[int] = set()
        for path in self._newest_first():
            if bytes_max <= 0:
                return
            try:
                file = path.open("rb")
            except FileNotFoundError:
                # It has another name by now, and comes again under that.
                continue
            with file:
                status = os.fstat(file.fileno())
                if status.st_ino not in read:
                    read.add(status.st_ino)
                    yield from lines_backwards(file, bytes_max)
                    bytes_max -= status.st_size

    def size_bytes(self) -> int:
        """Return how long the log is, with its older files."""
        size = 0
        for path in self._newest_first():
            with suppress(FileNotFoundError):  # it is getting its later name
                size += path.stat().st_size
        return size

    def _newest_first(self) -> Iterator[Path]:
        yield self._path
        yield from sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
