"""The embedded ClickHouse and the process around it: who may open a directory, and what is found in it.

chDB holds one directory per process for good, so each test starts processes of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PRELUDE = """
import os, sys, tempfile
from sinks.clickhouse.client import BrokenParts, ClickHouseRefused, ClientPool, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
address = "chdb://" + sys.argv[1]
"""
_FLUSH = """
pool = ClientPool(lambda: open_client(address))
migrate(pool.get())
row = CounterRow((5, 20700, "account", "number", "DE"), (3,), 1)
ClickHouseWriter(pool).flush(0, [row], Progress(1, 10))
pool.close()
"""


def _start(code: str, directory: Path, working_directory: Path | None = None) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + code, str(directory)],
        cwd=working_directory or root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _run(code: str, directory: Path, working_directory: Path | None = None) -> str:
    """Run a script to its end and return what it printed."""
    process = _start(code, directory, working_directory)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory that no process has open."""
    return tmp_path / "clickhouse"


def test_broken_parts_refuse_the_start(directory: Path) -> None:
    """Damaged data is named and refused instead of served as smaller totals."""
    _run(_FLUSH, directory)
    [part] = directory.glob("store/*/*/202609_*/data.bin")
    part.write_bytes(part.read_bytes()[:10])

    opening = """
try:
    open_client(address)
except BrokenParts as error:
    print(len(error.names), error)
"""
    printed = _run(opening, directory)

    assert printed.startswith("1 embedded ClickHouse in ")
    assert f"convometer.incoming broken-on-start_{part.parent.name}" in printed
    assert "Restore the directory from a backup" in printed
    assert _run(opening, directory) == printed, "the next start must not get used to it"


def test_second_process_is_refused_and_harms_nothing(directory: Path) -> None:
    """A directory has one owner; a process started by mistake leaves the owner's insert under way alone."""
    owner = _start("client = open_client(address)\nprint('open', flush=True)\nsys.stdin.read()", directory)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "open\n"
    under_way = directory / "insert-files" / "tmp1234.native"
    under_way.write_bytes(b"rows")

    printed = _run(
        "try:\n    open_client(address)\nexcept ClickHouseRefused as error:\n    print(error)", directory
    )

    assert "another process has the directory open" in printed
    assert under_way.exists()
    owner.communicate(timeout=60)
    assert owner.returncode == 0


def test_files_of_killed_inserts_are_removed(directory: Path) -> None:
    """What a killed process left of an insert is removed at the next start; nothing else is."""
    left_over = directory / "insert-files" / "tmp1234.native"
    foreign = directory / "insert-files" / "notes.txt"
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"rows")
    foreign.write_text("kept")

    _run(_FLUSH, directory)

    assert not left_over.exists()
    assert foreign.exists()


def test_temporary_files_stay_in_the_directory_while_open(directory: Path) -> None:
    """Inserts go through files beside the data, and the process gets its own temporary directory back at the end."""
    code = """
before = tempfile.gettempdir()
first, second = open_client(address), open_client(address)
print(tempfile.gettempdir())
first.close()
print(tempfile.gettempdir())
second.close()
print(tempfile.gettempdir() == before)
"""
    inside = str(directory / "insert-files")
    assert _run(code, directory).split() == [inside, inside, "True"]


@pytest.mark.parametrize("call", ["client.query('SELECT 1')", "open_client(address)"])
def test_use_after_fork_is_refused(directory: Path, call: str) -> None:
    """A forked process hears that it cannot use the engine, where chDB itself would hang for ever."""
    code = f"""
import signal
client = open_client(address)
child = os.fork()
if not child:
    signal.alarm(20)
    try:
        {call}
    except ClickHouseRefused as error:
        os.write(1, str(error).encode())
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
client.close()
"""
    assert "start helper processes with the `spawn` method" in _run(code, directory)


def test_configuration_in_the_working_directory_is_ignored(directory: Path, tmp_path: Path) -> None:
    """The engine obeys our configuration, never a config.xml that happens to lie where the process was started."""
    (tmp_path / "config.xml").write_text(
        "<clickhouse><max_server_memory_usage_to_ram_ratio>0.25</max_server_memory_usage_to_ram_ratio></clickhouse>"
    )
    code = """
client = open_client(address)
[(ratio,)] = client.query(
    "SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage_to_ram_ratio'"
)
print(ratio)
client.close()
"""
    assert _run(code, directory, tmp_path) == "0.5\n"
