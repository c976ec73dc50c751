"""What all tests share: lines that a test wants to be seen, whether it passes or fails."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from hypothesis import settings

pytest_plugins = ["tests.support.judges", "tests.support.kafka_fixtures", "tests.support.settings"]

REPORT = "report"

# A shell's background job is started with Ctrl-C ignored, and so would be every program that a test starts and
# interrupts: what is handled here is theirs again.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline measures the machine, which others use too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run tests marked ``anyio`` on asyncio, a module's in one event loop."""
    return "asyncio"


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function whose lines stand in the summary at the end of the run."""
    return lambda line: record_property(REPORT, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the lines that tests reported."""
    lines = [
        f"{outcome.nodeid.rpartition('::')[2]}: {text}"
        for key in ("passed", "failed")
        for outcome in terminalreporter.stats.get(key, [])
        for name, text in getattr(outcome, "user_properties", [])
        if name == REPORT
    ]
    if lines:
        terminalreporter.section("reported by tests")
        for line in lines:
            terminalreporter.write_line(line)
