"""Rows of what became of messages, for a data directory that nobody has open: ``python -m tests.support.ladder_rows``.

A process of its own, since one process can have one embedded ClickHouse only. Real rows would take minutes of waiting.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from metering.ladder_health import LadderCounts, LadderMinute
from runtime.clock import SystemClock
from sinks.clickhouse.client import open_client
from sinks.clickhouse.ladder_health import JudgedMinute, write_ladder_minutes
from tests.support.commands import environment

RECENT: Final = LadderCounts(1200, 300, 48, 0)
USUAL: Final = LadderCounts(100_000, 1_000, 2_000, 0)
_RECENT_AGO_SECONDS: Final = 1800
_USUAL_AGO_SECONDS: Final = 86_400


def add_ladder_rows(data: Path, account: str, numbers: tuple[str, ...]) -> None:
    """Add the same rows for each number, of half an hour ago and of the day before."""
    subprocess.run(
        [sys.executable, "-m", __name__, str(data), account, *numbers],
        check=True,
        capture_output=True,
        env=environment(),
        timeout=120,
    )


def main(data: Path, account: str, numbers: list[str]) -> None:
    """Write the rows."""
    now = SystemClock().now_seconds()
    client = open_client(f"chdb://{data / 'clickhouse'}")
    try:
        write_ladder_minutes(
            client,
            [
                JudgedMinute(0, LadderMinute(account, number, now - ago, counts))
                for number in numbers
                for ago, counts in ((_RECENT_AGO_SECONDS, RECENT), (_USUAL_AGO_SECONDS, USUAL))
            ],
            "test",
        )
    finally:
        client.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
