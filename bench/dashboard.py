"""How long the overview page takes when there is much to look at: 1,000 accounts, 400 days.

From the repository's root::

    python -m bench.dashboard --accounts 1000 --days 400

Fills an embedded ClickHouse, serves the dashboard as ``run`` does, and asks for pages of accounts in turn over one
connection, each account for the first time, so that no answer is kept from before. Months before the current one are
one part each; the current one is several (``bench.newer_parts``). Prints one JSON object: wall milliseconds of a page,
from request to last byte.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import orjson
from prometheus_client import CollectorRegistry

from bench.newer_parts import write_newer
from cli.answers import Answer, Answers
from cli.dashboard import open_dashboard
from cli.engine import DeadLetterRow
from cli.prices import Prices
from cli.serving import address_of, listen, serving
from dashboard.access.permissions import Permission
from dashboard.access.users import User, Users, new_token
from metering.calendar import last_day_of
from runtime.clock import SystemClock
from runtime.memory import settle
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from schemas.user_windows import UserWindows, WindowsAsked
from sinks.clickhouse.client import ClickHouse, ClientPool, open_client
from sinks.clickhouse.migrations import migrate

_COUNTRIES = "['BR', 'IN', 'DE']"
_CATEGORIES = "['marketing', 'utility', 'service']"
_NUMBER = f"day, account, number, {_COUNTRIES}[1 + n % 3] AS country"
_MESSAGE = f"{_NUMBER}, arrayJoin({_CATEGORIES}) AS category, category != 'service'"
_DELIVERY_COLUMNS = (
    "day, account, number, country, category, template, pricing_type, billable, service_window,"
    " free_entry_point, delivered"
)
_KEYS = "partition, generation, version"
_INSERTS = {
    "messages": (
        f"day, account, number, country, category, template, total, sent, delivered, read, not_delivered, {_KEYS}",
        f"{_MESSAGE}, 90, 90, 85, 60, 2, partition, 0, 1",
    ),
    "deliveries": (
        f"{_DELIVERY_COLUMNS}, {_KEYS}",
        f"{_MESSAGE}, 'regular', 1, 0, 0, 85, partition, 0, 1",
    ),
    "conversations": (
        f"day, account, number, country, type, category, total, free, charged, {_KEYS}",
        f"{_NUMBER}, arrayJoin({_CATEGORIES}) AS type, type, 50, 10, 40, partition, 0, 1",
    ),
    "incoming": (f"day, account, number, country, count, {_KEYS}", f"{_NUMBER}, 40, partition, 0, 1"),
}


def fill(client: ClickHouse, accounts: int, days: int, last: date) -> dict[str, int]:
    """Insert rows of every account and day, in two partitions and two numbers; return how many by table.

    Args:
        client: of an empty database.
        accounts: how many.
        days: how many, up to the last one.
        last: the last day.
    """
    first = last - timedelta(days=days - 1)
    rows = {}
    for table, (columns, values) in _INSERTS.items():
        # A month at a time, as an insert may touch a bounded number of the table's partitions.
        for begin in range(0, days, 30):
            length = min(30, days - begin)
            client.command(
                f"INSERT INTO {table} ({columns}) WITH toDate('{first}') + {begin} AS first SELECT {values} FROM"
                f" (SELECT first + intDiv(n, {accounts * 4}) AS day, toString(100000 + intDiv(n, 4) % {accounts})"
                " AS account, toString(5550000 + n % 2) AS number, intDiv(n, 2) % 2 AS partition, n"
                f" FROM (SELECT number AS n FROM numbers({length * accounts * 4})))"
            )
        # What the tables' settings make happen within minutes: old months are one part each.
        client.command(f"OPTIMIZE TABLE {table} FINAL")
        rows[table] = int(client.query(f"SELECT count() FROM {table}")[0][0])
    return rows


async def measure(directory: Path, accounts: int, days: int, pages: int) -> dict[str, object]:
    """Return the figures."""
    settings = Settings(data=directory, clickhouse=f"chdb://{directory}/clickhouse")
    in_force, clock = SettingsInForce(settings), SystemClock()
    pool = ClientPool(lambda: open_client(settings.clickhouse))
    executor = ThreadPoolExecutor(2)

    async def in_thread(ask: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(executor, ask)

    async def no_letters(_limit: int) -> list[DeadLetterRow]:
        return []

    async def no_windows(_asked: WindowsAsked) -> UserWindows:
        raise NotImplementedError

    def prepare() -> dict[str, dict[str, int]]:
        migrate(pool.get())
        # Up to the end of the month, as its newer versions come on top of all its rows.
        today = datetime.now(UTC).date()
        rows = fill(pool.get(), accounts, days, last_day_of(today.replace(day=1)))
        return {"rows": rows, "parts of this month": write_newer(pool.get(), rows, today)}

    found = await in_thread(prepare)
    prices = Prices(in_force, pool, clock)
    answers = Answers(
        in_force, prices, pool, clock, in_thread, newest_dead_letters=no_letters, ask_windows=no_windows
    )
    figures: dict[str, object] = {**found}
    async with _client(answers, in_force, clock) as client:
        for duration in ("last-7-days", "last-30-days", "last-90-days"):
            order = random.Random(7).sample(range(accounts), min(pages, accounts))
            times = []
            for account in order:
                begun = time.perf_counter()
                response = await client.get(f"/overview?account={100000 + account}&duration={duration}")
                times.append((time.perf_counter() - begun) * 1000)
                assert response.status_code == 200, response.text[:500]
            cuts = statistics.quantiles(times, n=20)
            figures[duration] = {"p50_ms": round(statistics.median(times), 1), "p95_ms": round(cuts[18], 1)}
    pool.close()
    return figures


@contextlib.asynccontextmanager
async def _client(
    answers: Answers, in_force: SettingsInForce, clock: SystemClock
) -> AsyncIterator[httpx.AsyncClient]:
    users = Users(in_force.settings.users_file)
    entry, token = new_token("bench", tuple(Permission), None, datetime.now(UTC), None)
    users.add(User("bench", "admin", tokens=(entry,)))
    listener: socket.socket = listen("127.0.0.1", 0)
    async with (
        open_dashboard(answers, in_force, clock, CollectorRegistry()) as opened,
        serving(opened.app, listener),
        httpx.AsyncClient(
            base_url=address_of(listener), headers={"Authorization": f"Bearer {token}"}, timeout=60
        ) as client,
    ):
        await client.get("/overview?account=1")
        settle()  # as `run` and `dashboard` do once they serve
        yield client


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--pages", type=int, default=200, help="pages for each duration")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-dashboard-"))
    try:
        figures = asyncio.run(measure(directory, options.accounts, options.days, options.pages))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(orjson.dumps(figures, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
