"""The ``generate`` command: its files, its refusals, its pace and its manners towards pipes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from cli.generate import generate
from runtime.settings import load_settings
from schemas.meta import parse
from simulation.accounts import make_accounts, varied_zones


def test_written_config_is_a_settings_file(tmp_path: Path) -> None:
    """The file that ``--write-config`` leaves gives the product's own settings the zones of the truth."""
    path = tmp_path / "zones.toml"
    result = CliRunner().invoke(generate, ["--users", "1", "--accounts", "4", "--write-config", str(path)])
    assert result.exit_code == 0
    wanted = varied_zones(make_accounts(4))
    assert load_settings(path).zone_rules() == {account: (("", zone),) for account, zone in wanted.items()}


def test_command_writes_bodies_truth_and_config(tmp_path: Path) -> None:
    """Data goes to standard output, the truth and the zones to files; the written file gives the same truth."""
    run = CliRunner().invoke
    common = ["--users", "50", "--days", "3", "--truth"]
    first = run(generate, [*common, str(tmp_path / "a"), "--write-config", str(tmp_path / "c.toml")])
    second = run(generate, [*common, str(tmp_path / "b"), "--config", str(tmp_path / "c.toml")])
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout_bytes == second.stdout_bytes
    assert all(orjson.loads(line)["entry"] for line in first.stdout_bytes.splitlines())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    queries = [orjson.loads(line)["query"] for line in (tmp_path / "a").read_bytes().splitlines()]
    assert list(dict.fromkeys(queries)) == ["active-users", "conversations", "incoming", "usage"]
    assert "users" in first.stderr


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--start", "2026-11-02", "--days", "800"], "future"),
        (["--start", "2020-01-01"], "too early"),
        (["--live", "--truth", "t"], "--live"),
        (["--rate", "-1"], "rate"),
        (["--rate", "nan"], "finite"),
        (["--messages-per-user-day", "nan"], "finite"),
        (["--config", __file__], "TOML"),
    ],
)
def test_command_refuses_what_makes_no_sense(arguments: list[str], word: str) -> None:
    """Usage errors exit with 2, say why, and write nothing to standard output."""
    result = CliRunner().invoke(generate, arguments)
    assert (result.exit_code, result.stdout_bytes) == (2, b"")
    assert word in result.stderr


def test_command_reports_a_truth_it_cannot_write(tmp_path: Path) -> None:
    """A file that cannot be written is a failure (1), not a usage error."""
    result = CliRunner().invoke(generate, ["--users", "1", "--truth", str(tmp_path / "none" / "t")])
    assert result.exit_code == 1
    assert "cannot write" in result.stderr


def test_command_paces_its_output() -> None:
    """With a rate, updates come out no faster than that."""
    started = time.monotonic()
    result = CliRunner().invoke(generate, ["--users", "60", "--days", "1", "--rate", "150"])
    elapsed = time.monotonic() - started
    assert result.exit_code == 0
    updates = [parse(line, 1_795_000_000_000).update_count for line in result.stdout_bytes.splitlines()]
    assert sum(updates) > 15
    assert elapsed >= sum(updates[:-1]) / 150


def test_command_ends_quietly_when_its_reader_does() -> None:
    """A pipe that is closed early, as by ``head``, is no failure and leaves no traceback."""
    command = [sys.executable, "-c", "from cli.generate import generate; generate()", "--users", "500"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode == 0
    assert b"Traceback" not in errors
