"""ClickHouse for the tests of this directory: one embedded engine per test process, a fresh database per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from sinks.clickhouse.client import ClickHouse, ClientPool, open_client
from sinks.clickhouse.migrations import migrate
from tests.support.clickhouse_http import ClickHouseHttp

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database of one test: where it is, and a pool of clients for it."""

    name: str
    address: str
    pool: ClientPool

    @property
    def client(self) -> ClickHouse:
        """Return this thread's client."""
        return self.pool.get()


@pytest.fixture(scope="session")
def embedded_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep an engine open for the whole run: opening is slow, and one process can have one directory only."""
    directory = (tmp_path_factory.mktemp("clickhouse") / "data").resolve()
    client = open_client(f"chdb://{directory}")
    yield directory
    client.close()


@pytest.fixture(scope="session")
def http_server(embedded_directory: Path) -> Iterator[ClickHouseHttp]:
    """Serve the same engine over HTTP."""
    options = urlencode({"config-file": str(embedded_directory / "convometer.xml")})
    with ClickHouseHttp(f"{embedded_directory}?{options}") as server:
        yield server


@pytest.fixture
def empty_name() -> str:
    """Return the name of a database that does not exist yet."""
    return f"test_{next(_numbers)}"


@pytest.fixture(params=["chdb", "http"])
def address(request: pytest.FixtureRequest) -> str:
    """Return the address of ClickHouse without a database: embedded, then over HTTP."""
    if request.param == "chdb":
        return f"chdb://{request.getfixturevalue('embedded_directory')}"
    server: ClickHouseHttp = request.getfixturevalue("http_server")
    return server.address("")


@pytest.fixture
def database(address: str, empty_name: str) -> Iterator[Database]:
    """Return a fresh, migrated database."""
    pool = ClientPool(lambda: open_client(address, database=empty_name))
    migrate(pool.get())
    yield Database(empty_name, address, pool)
    pool.close()


@pytest.fixture
def http_database(http_server: ClickHouseHttp, empty_name: str) -> Iterator[Database]:
    """Return a fresh, migrated database behind the HTTP server."""
    address = http_server.address(empty_name)
    pool = ClientPool(lambda: open_client(address, timeout_seconds=10))
    migrate(pool.get())
    yield Database(empty_name, address, pool)
    pool.close()
