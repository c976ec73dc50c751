"""Runs the ``convometer`` command as a user would: in processes of its own, over real directories."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

SECRET = "a-secret-for-tests"
COMMAND = [sys.executable, "-m", "cli.main"]


def environment(**settings: str) -> dict[str, str]:
    """Return an environment without settings of whoever runs the tests, plus the given ones."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CONVOMETER_")}
    # Its port is a fixed one, and tests run side by side.
    return clean | {"CONVOMETER_DASHBOARD__IS_ENABLED": "false"} | settings


def convometer(
    *arguments: str | Path, stdin: bytes = b"", check: bool = True, **settings: str
) -> subprocess.CompletedProcess[bytes]:
    """Run one verb to its end; with ``check``, a failure shows what it wrote."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=environment(**settings),
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr.decode()[-4000:]
    return done


def query(name: str, data: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    done = convometer(name, "--data", data, "--format", "ndjson", *arguments)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Running:
    """``convometer run`` in the background, until the end of the ``with`` block."""

    def __init__(self, data: Path, *arguments: str | Path, **settings: str) -> None:
        """Start it on a free port and wait until it serves."""
        # A file: a pipe that nobody reads is full some time, and then whoever writes to it stands still.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the block
        self._process = subprocess.Popen(
            [*COMMAND, "run", "--data", str(data), "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(CONVOMETER_GATEWAY__APP_SECRETS=SECRET, **settings),
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline().decode()
        found = re.search(r"http://[\d.]+:\d+", said)
        if found is None:
            self._process.communicate(timeout=30)
            raise AssertionError(f"it did not start: {said}{self._written()[-4000:]}")
        self.address = found.group()

    def __enter__(self) -> Running:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever happened."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _written(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode()

    def get(self, path: str) -> httpx.Response:
        """Get a page."""
        return httpx.get(self.address + path)

    def hang_up(self) -> None:
        """Send SIGHUP, which makes it read its settings again."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self, signal_number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return the exit code and what was written to stderr."""
        self._process.send_signal(signal_number)
        self._process.communicate(timeout=60)
        return self._process.returncode, self._written()


def eventually(what: str, happened: Any, seconds: float = 20.0) -> None:
    """Wait until ``happened()`` is true."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"did not happen in {seconds} s: {what}"
        time.sleep(0.05)
