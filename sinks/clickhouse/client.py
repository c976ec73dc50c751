"""Opens ClickHouse, embedded or a server, behind one small interface, and says what an error means for the caller.

Owns addresses, connections, one client per thread, and the mapping of errors to "retry" or "stop". Does not own any
table. Addresses: ``chdb:///absolute/path`` and ``http(s)://user:password@host:port/database``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from sinks.clickhouse.embedded import EmbeddedEngine
from sinks.clickhouse.errors import BrokenParts, ClickHouseAway, ClickHouseRefused, explained

__all__ = ["BrokenParts", "ClickHouse", "ClickHouseAway", "ClickHouseRefused", "ClientPool", "open_client"]

DEFAULT_DATABASE: Final = "convometer"
_INSERT_SETTINGS: Final = {"async_insert": 0}
"""Servers from 26.2 on gather small inserts for up to 200 ms by default; ours are batches already. Sent with inserts
only: a reader's account may be forbidden to change settings."""


_EMBEDDED_SETTINGS: Final = {"do_not_merge_across_partitions_select_final": 1}
"""The newest row of a key is looked for in its month alone: the day is part of every key. Makes short queries a fifth
quicker. Only where the engine is ours: a reader's account on a server may be forbidden to change settings."""


class ClickHouse:
    """One connection, for one thread at a time. Same interface for chDB and a server.

    All methods raise ``ClickHouseAway`` or ``ClickHouseRefused``. Parameters are bound by the server
    (``{name:Type}`` in the SQL).
    """

    def __init__(
        self,
        client: Any,
        database: str,
        *,
        engine: EmbeddedEngine | None = None,
        where: str = "",
        secret: str = "",
    ) -> None:
        """Wrap a clickhouse-connect client of the embedded ``engine``, or of the server ``where``."""
        self._client = client
        self._where = where
        self._secret = secret
        self._engine = engine
        self._column_types: dict[tuple[str, ...], Any] = {}
        self.database = database

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT."""
        return self.query_named(sql, parameters)[1]

    def query_named(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return the column names and the rows of a SELECT."""
        with self._mapped_errors():
            result = self._client.query(sql, parameters=dict(parameters or {}))
            return tuple(result.column_names), [tuple(row) for row in result.result_rows]

    def query_anywhere(
        self, sql: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a SELECT over system tables, even while our database does not exist yet."""
        with self._outside_database():
            return self.query(sql, parameters)

    def command(self, sql: str) -> None:
        """Run a statement without result, such as DDL."""
        with self._mapped_errors():
            self._client.command(sql)

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Sequence[object]]) -> None:
        """Insert rows given as columns (``values[i]`` are all values of ``columns[i]``); return once acknowledged."""
        known = (table, *columns)
        with self._mapped_errors():
            if known not in self._column_types:
                # The library would ask for the types before every insert.
                context = self._client.create_insert_context(table, column_names=columns)
                self._column_types[known] = context.column_types
            self._client.insert(
                table,
                values,
                column_names=columns,
                column_types=self._column_types[known],
                column_oriented=True,
                settings=_INSERT_SETTINGS,
            )

    def use_new_database(self) -> None:
        """Create the database where it is missing, and work in it from now on."""
        with self._outside_database():
            self.command(f"CREATE DATABASE IF NOT EXISTS {quoted_identifier(self.database)}")

    @contextmanager
    def _outside_database(self) -> Iterator[None]:
        """Work in the server's default database, which always exists, as ours may not."""
        self._client.database = None
        try:
            yield
        finally:
            self._client.database = self.database

    def close(self) -> None:
        """Let go of the connection; the embedded engine stops with its last one."""
        self._client.close()
        if self._engine:
            self._engine.release()
            self._engine = None

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        if self._engine:
            self._engine.refuse_after_fork()
        with _mapped_errors(self._secret, self._where):
            yield


class ClientPool:
    """One client per thread, opened when the thread first asks."""

    def __init__(self, open_one: Callable[[], ClickHouse]) -> None:
        """Take what opens a client, such as ``lambda: open_client(address)``."""
        self._open_one = open_one
        self._local = threading.local()
        self._lock = threading.Lock()
        self._opened: list[ClickHouse] = []
        self._closed = False

    def get(self) -> ClickHouse:
        """Return the client of the calling thread.

        Raises:
            ClickHouseAway, ClickHouseRefused, BrokenParts: it is the thread's first call, and opening failed.
        """
        client: ClickHouse | None = getattr(self._local, "client", None)
        if client is None:
            client = self._open_one()
            with self._lock:
                if self._closed:
                    client.close()
                    raise ClickHouseRefused("the ClickHouse clients of this process are closed already")
                self._opened.append(client)
            self._local.client = client
        return client

    def close(self) -> None:
        """Close the clients of all threads. Each waits for the call it is in; later calls fail."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, []
        self._local = threading.local()
        for client in opened:
            client.close()


def open_client(address: str, *, database: str | None = None, timeout_seconds: int = 60) -> ClickHouse:
    """Open one client.

    Args:
        address: ``chdb:///absolute/path`` or ``http(s)://user:password@host:port/database``.
        database: overrides the database of the address (default ``convometer``). It need not exist yet on a server:
            the migrations create it.
        timeout_seconds: how long a server may take for one call.

    Raises:
        ClickHouseAway: the server does not answer.
        ClickHouseRefused: the address is wrong, the server refuses us, or another process owns the directory.
        BrokenParts: embedded data was damaged.
    """
    scheme, _, rest = address.partition("://")
    if scheme == "chdb" and rest.startswith("/"):
        return _open_embedded(rest, database or DEFAULT_DATABASE)
    if scheme in {"http", "https"}:
        return _open_server(address, database, timeout_seconds)
    raise ClickHouseRefused(
        f"clickhouse address: found scheme `{scheme}`, expected chdb:///ABSOLUTE/PATH or "
        "http(s)://USER:PASSWORD@HOST:PORT/DATABASE"
    )


def _open_embedded(path: str, database: str) -> ClickHouse:
    engine = EmbeddedEngine.of(path)
    config = engine.acquire()
    opened = None
    try:
        with _mapped_errors():
            client = clickhouse_connect.get_client(
                interface="chdb",
                path=str(engine.directory),
                chdb_options={"config-file": str(config)},
                settings=_EMBEDDED_SETTINGS,
            )
        engine.opened()
        opened = ClickHouse(client, database, engine=engine)
        _refuse_broken_parts(opened, path)
        opened.use_new_database()
    except BaseException:
        if opened:
            opened.close()
        else:
            engine.release()
        raise
    return opened


def _refuse_broken_parts(client: ClickHouse, path: str) -> None:
    """Refuse damaged data: the engine sets broken parts aside at start in silence, and the totals shrink."""
    rows = client.query(
        "SELECT database || '.' || table || ' ' || name FROM system.detached_parts"
        " WHERE position(reason, 'broken') > 0 OR position(name, 'broken') > 0 ORDER BY 1"
    )
    if rows:
        raise BrokenParts(path, [str(name) for (name,) in rows])


def _open_server(address: str, database: str | None, timeout_seconds: int) -> ClickHouse:
    parts, port = _split(address)
    secret = unquote(parts.password or "")
    where = f"{parts.scheme}://{parts.hostname}:{port}"
    with _mapped_errors(secret, where):
        client = clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=port,
            username=unquote(parts.username or "default"),
            password=secret,
            connect_timeout=5,
            send_receive_timeout=timeout_seconds,
            query_retries=0,
            autogenerate_session_id=False,
        )
    name = database or unquote(parts.path.strip("/")) or DEFAULT_DATABASE
    client.database = name
    return ClickHouse(client, name, where=where, secret=secret)


def _split(address: str) -> tuple[SplitResult, int]:
    """Return the parts of a server's address and its port; the message of a fault never shows the address."""
    try:
        parts = urlsplit(address)
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
    except ValueError:
        parts, port = urlsplit(""), 0
    if not parts.hostname:
        raise ClickHouseRefused(
            "clickhouse address: expected http(s)://USER:PASSWORD@HOST:PORT/DATABASE, "
            "with special characters of user and password percent-encoded"
        )
    return parts, port


def quoted_identifier(name: str) -> str:
    """Return a name as a quoted SQL identifier, for the statements that cannot take it as a parameter."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@contextmanager
def _mapped_errors(secret: str = "", where: str = "") -> Iterator[None]:
    try:
        yield
    except ClickHouseError as error:
        raise explained(error, secret, where) from None
    except (HTTPError, OSError) as error:
        raise explained(error, secret, where) from error
