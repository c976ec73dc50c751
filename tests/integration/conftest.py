"""ClickHouse for the tests of this directory: one embedded engine per test process, an empty database per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
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


@pytest.fixture(scope="session", params=["chdb", "http"])
def address(request: pytest.FixtureRequest) -> str:
    """Return the address of ClickHouse without a database: embedded, then over HTTP."""
    if request.param == "chdb":
        return f"chdb://{request.getfixturevalue('embedded_directory')}"
    server: ClickHouseHttp = request.getfixturevalue("http_server")
    return server.address("")


@pytest.fixture(scope="session")
def migrated_name(embedded_directory: Path) -> str:
    """Return the name of the database that the tests share, one after the other: migrating takes half a second."""
    client = open_client(f"chdb://{embedded_directory}", database="shared")
    migrate(client)
    client.close()
    return "shared"


@pytest.fixture
def database(address: str, migrated_name: str) -> Iterator[Database]:
    """Return a migrated, empty database."""
    with closing(ClientPool(lambda: open_client(address, database=migrated_name))) as pool:
        _empty(pool.get())
        yield Database(migrated_name, address, pool)


@pytest.fixture(scope="module")
def shared_database(address: str) -> Iterator[Database]:
    """Return a migrated database for the tests of one module that only read: nobody empties it between them."""
    name = f"test_{next(_numbers)}"
    with closing(ClientPool(lambda: open_client(address, database=name))) as pool:
        migrate(pool.get())
        yield Database(name, address, pool)
        pool.get().command(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def http_database(http_server: ClickHouseHttp, migrated_name: str) -> Iterator[Database]:
    """Return a migrated, empty database behind the HTTP server."""
    address = http_server.address(migrated_name)
    with closing(ClientPool(lambda: open_client(address, timeout_seconds=10))) as pool:
        _empty(pool.get())
        yield Database(migrated_name, address, pool)


@pytest.fixture
def own_database(address: str, empty_name: str) -> Iterator[Database]:
    """Return a migrated database that the test may change the schema of."""
    with closing(ClientPool(lambda: open_client(address, database=empty_name))) as pool:
        migrate(pool.get())
        yield Database(empty_name, address, pool)
        pool.get().command(f"DROP DATABASE {empty_name} SYNC")


def _empty(client: ClickHouse) -> None:
    """Bring a database back to how the migrations left it."""
    tables = client.query(
        "SELECT name FROM system.tables WHERE database = {database:String} AND total_rows > 0"
        " AND name != 'schema_migrations'",
        {"database": client.database},
    )
    for (table,) in tables:
        client.command(f"TRUNCATE TABLE {table} SYNC")
    client.insert("generations", ("generation", "live", "version"), [[0], [1], [0]])
