"""The audit log's files: nothing that was noted is lost, and nothing that could not be is done or goes elsewhere."""

from __future__ import annotations

import os
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from socket import socketpair
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from dashboard.access.audit import Audit, AuditUnwritable
from runtime.dashboard_metrics import DashboardMetrics


def test_the_audit_log_keeps_everything(tmp_path: Path) -> None:
    """Over new files and restarts every entry is there, in order, and no text breaks a line."""
    path, metrics = tmp_path / "audit.ndjson", DashboardMetrics(CollectorRegistry())
    hostile = 'x\n{"at":"1970-01-01T00:00:00Z","event":"forged"}\r\u2028'
    for number in range(50):
        if number % 10 == 0:
            audit = Audit(path, 700, metrics)
        audit.write(
            "export", who=hostile, role="", account="1", what=str(number), address="", at=datetime.now(UTC)
        )
        if number % 10 == 9:
            audit.close()
    audit = Audit(path, 700, metrics)
    assert [entry.what for entry in audit.tail(100)] == [str(number) for number in reversed(range(50))]
    assert {entry.event for entry in audit.tail(100)} == {"export"}
    assert [entry.what for entry in audit.tail(3)] == ["49", "48", "47"]
    assert len(list(tmp_path.iterdir())) > 10
    assert all(each.stat().st_mode & 0o077 == 0 for each in tmp_path.iterdir())
    audit.close()


def test_a_full_disk_takes_no_other_entry_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could be written in part only is told of; the next entry, also after a restart, stands whole."""
    entry = partial(
        Audit.write, event="export", who="ann", role="", account="1", address="", at=datetime.now(UTC)
    )
    path, whole, registry = tmp_path / "audit.ndjson", os.write, CollectorRegistry()
    metrics = DashboardMetrics(registry)
    for number in range(2):
        audit = Audit(path, 100_000, metrics)
        entry(audit, what=f"before{number}")
        with monkeypatch.context() as full:
            full.setattr("os.write", lambda descriptor, line: whole(descriptor, line[: len(line) // 2]))
            with pytest.raises(AuditUnwritable, match=r"bytes of an entry were written"):
                entry(audit, what=f"cut{number}")
        if number:
            audit.close()
            audit = Audit(path, 100_000, metrics)
        entry(audit, what=f"after{number}")
        audit.close()
    assert [each.what for each in audit.tail(100)] == ["after1", "before1", "after0", "before0"]
    counted = {"event": "export"}
    assert registry.get_sample_value("convometer_dashboard_audited_total", counted) == 4
    assert registry.get_sample_value("convometer_dashboard_audit_errors_total") == 2


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_an_audit_log_that_is_taken_away_begins_anew(tmp_path: Path, how: str) -> None:
    """Somebody moves or removes the file: the next entry is where the log is looked for, whatever its size."""
    path, metrics = tmp_path / "audit.ndjson", DashboardMetrics(CollectorRegistry())
    audit = Audit(path, 1000, metrics)
    write = partial(audit.write, "export", who="ann", role="", account="1", address="", at=datetime.now(UTC))
    for number in range(20):
        write(what=f"before {number}")
    if how == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere")
    if how == "replaced":
        path.write_text("")
    for number in range(20):
        write(what=f"after {number}")
    assert [entry.what for entry in audit.tail(20)] == [f"after {number}" for number in reversed(range(20))]
    audit.close()


def test_what_cannot_be_noted_never_goes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file cannot be begun: entries are refused one by one, and none goes to what was opened meanwhile."""
    audit = Audit(tmp_path / "audit.ndjson", 200, DashboardMetrics(CollectorRegistry()))
    write = partial(audit.write, "export", who="ann", role="", account="1", address="", at=datetime.now(UTC))
    write(what="first")
    write(what="second")
    for fault in ("rename", "open"):
        with monkeypatch.context() as full, ExitStack() as stack:
            message = f"{fault}: no space left"
            full.setattr(Path if fault == "rename" else os, fault, Mock(side_effect=OSError(message)))
            for _ in range(3):
                with pytest.raises(AuditUnwritable, match=message):
                    write(what="refused")
                left, right = socketpair()
                stack.enter_context(left)
                stack.enter_context(right)
                right.setblocking(False)
                with pytest.raises(BlockingIOError):
                    right.recv(1)
    write(what="last")
    assert [entry.what for entry in audit.tail(10)] == ["last", "second", "first"]
    audit.close()
