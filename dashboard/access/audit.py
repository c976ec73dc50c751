"""The audit log: who signed in, looked at personal data, exported or sent something.

Owns one NDJSON file, and the older ones beside it. Nothing is ever removed; passwords, tokens and message texts never
get in.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from runtime.dashboard_metrics import DashboardMetrics

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
        if os.fstat(self._descriptor).st_size + len(line) > self._bytes_max:
            self._begin_new(at)
        # What a full disk cut off ends here, or it would take the next entry with it.
        line = b"\n" + line if self._ends_within_a_line() else line
        # One call, so that lines of two processes never mix.
        written = os.write(self._descriptor, line)
        if written < len(line):
            raise OSError(
                errno.ENOSPC, f"{written} of {len(line)} bytes of an entry were written", str(self._path)
            )

    def _ends_within_a_line(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"

    def _begin_new(self, at: datetime) -> None:
        os.close(self._descriptor)
        older = self._path.with_name(f"{self._path.stem}-{at:%Y%m%dT%H%M%S%f}{self._path.suffix}")
        self._path.rename(older)
        self._descriptor = self._open()

    def tail(
        self, limit: int, is_wanted: Callable[[AuditEntry], bool] = lambda _entry: True
    ) -> list[AuditEntry]:
        """Return the newest entries, newest first, of this file and the older ones. A damaged line is left out.

        Args:
            limit: how many at most.
            is_wanted: which of them.
        """
        found: list[AuditEntry] = []
        for path in self._newest_first():
            for line in reversed(path.read_bytes().splitlines()):
                try:
                    entry = msgspec.json.decode(line, type=AuditEntry)
                except msgspec.MsgspecError:
                    continue
                if is_wanted(entry):
                    found.append(entry)
                if len(found) == limit:
                    return found
        return found

    def _newest_first(self) -> Iterator[Path]:
        yield self._path
        yield from sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
