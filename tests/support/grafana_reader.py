"""The ClickHouse user that Grafana reads with, as ``deploy/clickhouse`` sets it up, on the embedded engine.

The engine knows no log-in: every statement is run by the user ``default``. Numbers are read by a client with the
reader's settings (``open_as_reader``). For its grants a process of its own opens seeded data with both given to that
name. Two things stay untried: the password, and the exception for ``max_execution_time``, which this engine cannot
switch on. Run as ``python -m tests.support.grafana_reader DIRECTORY``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import chdb

from sinks.clickhouse.client import ClickHouse, open_client
from sinks.clickhouse.migrations import migrate
from tests.support.grafana_rows import seed

USERS = Path(__file__).parents[2] / "deploy" / "clickhouse" / "users.d" / "grafana_reader.xml"
FORBIDDEN = (
    "INSERT INTO messages (account) VALUES ('1')",
    "ALTER TABLE messages DELETE WHERE 1",
    "DROP TABLE messages",
    "CREATE TABLE mine (x Int8) ENGINE = Memory",
    "TRUNCATE TABLE messages",
    "CREATE USER other",
    "SET readonly = 0",
    "SET max_memory_usage = 0",
    "SELECT * FROM apart.secret",
    "SELECT * FROM url('http://127.0.0.1:1/', CSV, 'x String')",
    "SELECT * FROM file('/etc/passwd', LineAsString)",
)
"""What the reader may not do."""


def reader_settings() -> dict[str, str]:
    """Return the settings of the reader's profile by name; constraints are none."""
    (profile,) = ElementTree.parse(USERS).findall("profiles/grafana_reader")
    return {each.tag: each.text for each in profile if each.tag != "constraints" and each.text}


def open_as_reader(address: str, database: str | None = None) -> ClickHouse:
    """Open a client of the embedded engine under the settings that Grafana reads with: it can change nothing."""
    client = open_client(address, database=database)
    # `readonly` comes last, as nothing can be set after it.
    for name, value in sorted(reader_settings().items()):
        client._client.set_client_setting(name, value)
    return client


class Found(NamedTuple):
    """What became of the statements."""

    statements: list[str]
    """The fault of each; empty = it ran."""
    refused: list[str]
    """Those of ``FORBIDDEN`` that were refused."""


def as_reader(directory: Path, statements: list[str]) -> Found:
    """Seed a database, and run statements on it as the reader."""
    (directory / "statements.json").write_text(json.dumps(statements))
    for step in ("seed", "read"):
        command = [sys.executable, "-m", "tests.support.grafana_reader", str(directory), step]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
    return Found(*json.loads(done.stdout))


def _seed(directory: Path) -> None:
    client = open_client(f"chdb://{directory}/data", database="convometer")
    migrate(client)
    seed(client)
    client.command("CREATE DATABASE apart")
    client.command("CREATE TABLE apart.secret (x Int8) ENGINE = MergeTree ORDER BY x")
    client.close()


def _read(directory: Path) -> Found:
    users = USERS.read_text(encoding="utf-8")
    for found, put in (
        ("<grafana_reader>", "<default>"),
        ("</grafana_reader>", "</default>"),
        ("<profile>grafana_reader</profile>", "<profile>default</profile>"),
        ('<password from_env="GRAFANA_READER_PASSWORD"/>', "<password/>"),
        ("<changeable_in_readonly/>", ""),
        ("</users>", "</users><quotas><default/></quotas>"),
    ):
        assert found in users, found
        users = users.replace(found, put)
    (directory / "users.xml").write_text(users, encoding="utf-8")
    (directory / "config.xml").write_text("<clickhouse/>", encoding="utf-8")
    connect: Any = chdb.connect
    connection = connect(
        f"{directory}/data?config-file={directory}/config.xml&users_config={directory}/users.xml"
    )
    assert _fault(connection, "USE convometer") == ""
    statements = json.loads((directory / "statements.json").read_text())
    faults = [_fault(connection, statement) for statement in statements]
    return Found(faults, [statement for statement in FORBIDDEN if _is_refusal(_fault(connection, statement))])


def _fault(connection: Any, statement: str) -> str:
    try:
        connection.query(statement)
    except RuntimeError as error:
        return str(error)
    return ""


def _is_refusal(fault: str) -> bool:
    return "ACCESS_DENIED" in fault or "READONLY" in fault


def main() -> None:
    """Do one step."""
    directory = Path(sys.argv[1])
    if sys.argv[2] == "seed":
        _seed(directory)
    else:
        print(json.dumps(_read(directory)))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
