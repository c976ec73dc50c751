"""Prometheus's and Alertmanager's own programs, from the system; a loud word where there are none.

Owns where they are. Does not own what is asked of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

import pytest

REQUIRE_PROMETHEUS: Final = "CONVOMETER_TEST_REQUIRE_PROMETHEUS"
_HOW: Final = "Debian: apt-get install prometheus prometheus-alertmanager"


def tool(*names: str) -> str:
    """Return where a program is, by any of its names; skip without it, or fail if this machine is meant to have it."""
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        message = f"tests of the alerts were NOT run: there is no {names[0]} ({_HOW})"
        if os.environ.get(REQUIRE_PROMETHEUS) == "1":
            pytest.fail(f"{REQUIRE_PROMETHEUS}=1, but {message}", pytrace=False)
        pytest.skip(message)
    return path


def run_tool(*command: str) -> str:
    """Return what a program says; it must find no fault."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def knows_url_file(amtool: str) -> bool:
    """Tell whether this Alertmanager can read a receiver's address from a file: from 0.26 on."""
    version = re.search(r"version (\d+)\.(\d+)\.", run_tool(amtool, "--version"))
    assert version is not None
    return (int(version[1]), int(version[2])) >= (0, 26)
