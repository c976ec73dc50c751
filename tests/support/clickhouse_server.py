"""The stand-in for a ClickHouse server as a process of its own.

``python -m tests.support.clickhouse_server DIRECTORY`` prints the address of its database ``convometer`` and serves
until its standard input ends, so that it never outlives whoever started it. A line on standard input sets how it
behaves (a ``Mode``'s value).
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlencode

from sinks.clickhouse.client import open_client
from tests.support.clickhouse_http import ClickHouseHttp, Mode

DATABASE = "convometer"


def main(directory: Path) -> None:
    """Serve until standard input ends."""
    client = open_client(f"chdb://{directory}")
    client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    options = urlencode({"config-file": str(directory / "convometer.xml")})
    with ClickHouseHttp(f"{directory}?{options}") as server:
        sys.stdout.write(server.address(DATABASE) + "\n")
        sys.stdout.flush()
        for line in sys.stdin:
            server.mode = Mode(line.strip())
    client.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
