"""A dashboard over the tables of a real ClickHouse, with rows in all that it reads, and a day on which they are new.

Owns those rows, beside the totals of ``tests.support.grafana_rows``. Users' windows and dead letters are in no table:
of them there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry

from cli.answers import Answer, Answers
from cli.dashboard import open_dashboard
from cli.engine import DeadLetterRow
from cli.prices import Prices
from cli.serving import App
from dashboard.access.permissions import Permission
from dashboard.access.users import User, Users, new_token
from dashboard.assets import keep_chart_script
from metering.ladder_health import LadderCounts, LadderMinute
from runtime.clock import ManualClock, SystemClock
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from schemas.user_windows import UserWindows, WindowsAsked
from sinks.clickhouse.client import ClickHouse, ClientPool, open_client
from sinks.clickhouse.ladder_health import JudgedMinute, write_ladder_minutes
from sinks.notify.table import COLUMNS
from tests.support.dashboard_limits import notice
from tests.support.dashboards import FAST_HASHER
from tests.support.grafana_rows import NUMBERS, USD, seed

NOW = datetime(2026, 10, 6, 12, tzinfo=UTC)
"""On the last day of the seeded totals."""
MONTH = f"{NOW:%Y-%m}"
PLANS = f"""
[[plans]]
account = "{USD}"
activated = 2025-01-01
licence = "none"
currency = "USD"
mau_package = 25
amau_price = "0.5"
conversation_budget = 60
"""


def fill(client: ClickHouse) -> None:
    """Fill an empty, migrated database: totals, marks, notices, and what became of messages."""
    seed(client)
    # By the machine's clock, since rows of more than a month ago are removed; those after the dashboard's now are read.
    minute_at = max(SystemClock().now_seconds(), int(NOW.timestamp())) // 60 * 60
    accounts = [account for account, numbers in NUMBERS.items() if numbers]
    write_ladder_minutes(
        client,
        [
            JudgedMinute(0, LadderMinute(account, NUMBERS[account][0], minute_at, LadderCounts(90, 9, 3, 1)))
            for account in accounts
        ],
        "test",
    )
    notices = [
        msgspec.structs.asdict(notice(account, "80%", n, minutes=n, month=MONTH))
        | {"month": date(NOW.year, NOW.month, 1)}
        for account in accounts
        for n in (1, 2, 3)
    ]
    client.insert("alerts", COLUMNS, [[row[column] for row in notices] for column in COLUMNS])


@dataclass(slots=True)
class OverTables:
    """A dashboard that asks ClickHouse, and nothing else."""

    address: str
    database: str
    directory: Path
    _executor: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[App, str]]:
        """Give the application, and a token that may do everything."""
        plans = self.directory / "plans.toml"
        plans.write_text(PLANS, encoding="utf-8")
        in_force = SettingsInForce(Settings(data=self.directory, plans=plans))
        entry, token = new_token("test", tuple(Permission), None, NOW, None)
        keep_chart_script(self.directory / "dashboard", b"/* the chart library */")
        Users(in_force.settings.users_file, FAST_HASHER).add(User("root", "admin", tokens=(entry,)))
        clock = ManualClock(int(NOW.timestamp() * 1000))
        clients = ClientPool(lambda: open_client(self.address, database=self.database))
        try:
            answers = self._answers(in_force, clients, clock)
            async with open_dashboard(answers, in_force, clock, CollectorRegistry()) as opened:
                yield opened.app, token
        finally:
            self._executor.shutdown()
            clients.close()

    def _answers(self, in_force: SettingsInForce, clients: ClientPool, clock: ManualClock) -> Answers:
        return Answers(
            in_force,
            Prices(in_force, clients, clock),
            clients,
            clock,
            self._in_thread,
            newest_dead_letters=_no_letters,
            ask_windows=_no_windows,
        )

    async def _in_thread(self, ask: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, ask)


async def _no_letters(_limit: int) -> list[DeadLetterRow]:
    return []


async def _no_windows(asked: WindowsAsked) -> UserWindows:
    return UserWindows(asked.account, asked.user, (), False, (), (), None)
