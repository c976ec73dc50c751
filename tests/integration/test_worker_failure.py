"""Verbs whose own worker fails meanwhile, or whose holds cannot be renewed: exit 1 and one readable line, never a 0."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.commands import convometer, environment, query

LINE = b'{"account":"A","number":"1","kind":"incoming","message_id":"m","occurred_at":%d,"user_phone":"491700000001"}\n'
AT = 1_790_000_000
REFUSING = """
import sys
from pathlib import Path
import cli.ingest, cli.main
from sinks.clickhouse.client import ClickHouseRefused
from sinks.clickhouse.writer import ClickHouseWriter

def flush(*_, **__):
    Path("MARK").touch()
    raise FAULT
ClickHouseWriter.flush = flush
cli.main.main(sys.argv[1:])
"""
SILENT = """
import sys
import cli.ingest, cli.main
from cli.node import Node

cli.ingest._RENEW_SECONDS = 0.3
hold, calls = Node.hold, []
async def failing(self, *arguments, **named):
    calls.append(arguments)
    if len(calls) == 3:
        raise LookupError("the log is full")
    await hold(self, *arguments, **named)
Node.hold = failing
cli.main.main(sys.argv[1:])
"""


def start(program: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start a verb in a process in which something is broken."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )


@pytest.mark.parametrize(
    ("fault", "said", "wait"),
    [
        (
            "ClickHouseRefused('the disk of ClickHouse is full')",
            b"worker failed: the disk of ClickHouse is full",
            False,
        ),
        ("ValueError('a fault of ours')", b"worker failed: ValueError: a fault of ours", True),
    ],
)
def test_a_worker_that_fails_while_a_verb_runs_fails_the_verb(
    tmp_path: Path, fault: str, said: bytes, wait: bool
) -> None:
    """``ingest`` says what ended its worker and exits with 1, whether it waits; what it took is counted later."""
    data, waiting = tmp_path / "data", ["--wait"] if wait else []
    mark = tmp_path / "refused"
    program = REFUSING.replace("FAULT", fault).replace("MARK", str(mark))
    verb = start(program, "ingest", "-", "--format", "canonical", "--data", data, *waiting)
    assert verb.stdin is not None
    verb.stdin.write(LINE % AT)
    verb.stdin.flush()
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(subprocess.TimeoutExpired):
        verb.wait(1)  # long enough for the failure to be noticed, while the pipe stays open
    _, errors = verb.communicate(timeout=60)
    assert (verb.returncode, b"Traceback" in errors) == (1, False), errors
    assert errors.splitlines()[-1].startswith(b"Error: the " + said), errors
    assert [row["count"] for row in query("incoming", data)] == [1]


def test_a_renewal_that_fails_ends_an_ingest_that_waits_for_its_pipe(tmp_path: Path) -> None:
    """The pipe is silent and stays open; the process ends all the same, with the reason."""
    data = tmp_path / "data"
    verb = start(SILENT, "ingest", "-", "--format", "canonical", "--data", data)
    assert verb.stdin is not None
    verb.stdin.write(LINE % AT)
    verb.stdin.flush()
    assert verb.wait(60) == 1
    assert verb.stderr is not None
    errors = verb.stderr.read()
    assert b"the log is full" in errors.splitlines()[-1]
    assert b"Traceback" not in errors, errors
    verb.communicate()


def test_an_event_of_1970_stops_nothing(tmp_path: Path) -> None:
    """Local day -1 can be no row: the event is refused at the door, and what comes after it is counted."""
    config, data = tmp_path / "settings.toml", tmp_path / "data"
    config.write_text('[accounts.A]\ntime_zone = "America/Sao_Paulo"\n')
    arguments = ("ingest", "-", "--format", "canonical", "--wait", "--config", config, "--data", data)
    refused = convometer(*arguments, stdin=LINE % 3600)
    assert b"1 refused" in refused.stderr
    assert b"invalid_field: occurred_at" in refused.stderr
    convometer(*arguments, stdin=LINE % AT)
    assert [row["count"] for row in query("incoming", data, "--config", config)] == [1]
