"""A ClickHouse server that is gone, fails or hangs up: what the caller hears, and that no total suffers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.rows import Family
from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused, ClientPool, open_client
from sinks.clickhouse.errors import explained
from sinks.clickhouse.reader import Filters, run_query
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from tests.integration.conftest import Database
from tests.support.clickhouse_http import ClickHouseHttp, Mode

_ROWS = [CounterRow((Family.INCOMING, 20_700, f"A{index}", "1", "DE"), (index,), 4) for index in range(1, 10)]
_PROGRESS = Progress(4, 40)


@pytest.fixture
def server(http_server: ClickHouseHttp) -> Iterator[ClickHouseHttp]:
    """Return the server, well again after the test."""
    yield http_server
    http_server.mode, http_server.good_inserts = Mode.WELL, 0


def _counts(database: Database) -> list[object]:
    return [row["count"] for row in run_query(database.client, "incoming", Filters())]


@pytest.mark.parametrize("good_inserts", [0, 1, 3])
@pytest.mark.parametrize("mode", [Mode.CUTS_INSERT, Mode.STORES_HALF, Mode.LOSES_ANSWER])
def test_a_flush_cut_anywhere_is_repeated_without_a_trace(
    http_database: Database, server: ClickHouseHttp, mode: Mode, good_inserts: int
) -> None:
    """Whichever insert loses its connection, before or after it was stored, the next flush ends in the right totals."""
    writer = ClickHouseWriter(http_database.pool)
    server.mode, server.good_inserts = mode, good_inserts
    with pytest.raises(ClickHouseAway):
        writer.flush(0, _ROWS, _PROGRESS, chunk_rows=3)
    server.mode = Mode.WELL
    halves = (1 if good_inserts < 3 else 0) if mode is Mode.STORES_HALF else 0
    if mode is not Mode.LOSES_ANSWER:
        assert len(_counts(http_database)) == good_inserts * 3 + halves
    told = writer.read_progress(0)
    assert told == (_PROGRESS if mode is Mode.LOSES_ANSWER and good_inserts == 3 else None)
    writer.flush(0, _ROWS, _PROGRESS, chunk_rows=4)
    assert _counts(http_database) == list(range(1, 10))
    assert writer.read_progress(0) == _PROGRESS


def test_a_failing_server_is_away(http_database: Database, server: ClickHouseHttp) -> None:
    """A 500 that does not come from ClickHouse itself is a reason to try again, for every kind of call."""
    writer = ClickHouseWriter(http_database.pool)
    server.mode = Mode.FAILS
    with pytest.raises(ClickHouseAway, match="500"):
        writer.flush(0, _ROWS, _PROGRESS)
    with pytest.raises(ClickHouseAway):
        writer.read_progress(0)
    with pytest.raises(ClickHouseAway):
        open_client(http_database.address)
    server.mode = Mode.WELL
    writer.flush(0, _ROWS, _PROGRESS)
    assert _counts(http_database) == list(range(1, 10))


def test_a_stopped_server_is_away_until_it_is_back(http_database: Database, server: ClickHouseHttp) -> None:
    """The same client works again once the server does; nobody has to reconnect."""
    writer = ClickHouseWriter(http_database.pool)
    server.stop()
    try:
        with pytest.raises(ClickHouseAway):
            writer.flush(0, _ROWS, _PROGRESS)
        with pytest.raises(ClickHouseAway):
            open_client(http_database.address)
    finally:
        server.start()
    writer.flush(0, _ROWS, _PROGRESS)
    assert _counts(http_database) == list(range(1, 10))


def test_a_wrong_password_is_refused_without_showing_it(server: ClickHouseHttp) -> None:
    """A login fault stops the process with what to check, and the password appears nowhere."""
    with pytest.raises(ClickHouseRefused, match="check user, password and grants") as refused:
        open_client(server.address("x", "s3cret%21"))
    assert "s3cret" not in str(refused.value)


def test_a_database_without_migrations_is_refused(address: str, empty_name: str) -> None:
    """Whoever forgot to migrate hears it."""
    pool = ClientPool(lambda: open_client(address, database=empty_name))
    with pytest.raises(ClickHouseRefused, match="run `convometer migrate`"):
        ClickHouseWriter(pool).flush(0, _ROWS, _PROGRESS)
    pool.close()


@pytest.mark.parametrize(
    "address",
    [
        "clickhouse://h",
        "chdb://relative/path",
        "http://user:hunter2@/db",
        "http://user:hunter2@host:port/db",
        "http://[bad:hunter2@h/db",
    ],
)
def test_a_wrong_address_is_refused_without_showing_a_password(address: str) -> None:
    """The message shows how an address looks, not what was typed."""
    with pytest.raises(ClickHouseRefused, match=r"http\(s\)://USER:PASSWORD@HOST:PORT/DATABASE") as refused:
        open_client(address)
    assert "hunter2" not in str(refused.value)


class _Coded(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"Code: {code}. with hunter2")
        self.code = code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (159, ClickHouseAway),  # timeout
        (202, ClickHouseAway),  # too many queries
        (241, ClickHouseAway),  # memory limit
        (243, ClickHouseAway),  # disk full
        (252, ClickHouseAway),  # too many parts
        (53, ClickHouseRefused),  # type mismatch
        (60, ClickHouseRefused),  # no such table
        (62, ClickHouseRefused),  # syntax
        (497, ClickHouseRefused),  # access denied
        (516, ClickHouseRefused),  # authentication
    ],
)
def test_what_passes_by_itself_is_away_and_the_rest_refused(code: int, expected: type[Exception]) -> None:
    """Overload and lack of space pass; faults of schema, SQL and login do not. The password is cut out."""
    error = explained(_Coded(code), "hunter2")
    assert type(error) is expected
    assert "hunter2" not in str(error)


def test_clients_are_one_per_thread_and_end_with_the_pool(embedded_directory: Path) -> None:
    """A thread gets the same client each time; a closed pool opens no more."""
    pool = ClientPool(lambda: open_client(f"chdb://{embedded_directory}"))
    assert pool.get() is pool.get()
    pool.close()
    with pytest.raises(ClickHouseRefused, match="closed already"):
        pool.get()
