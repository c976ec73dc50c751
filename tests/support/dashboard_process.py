"""A ``run`` with a dashboard over generated traffic, and a mail server that it can send to.

Owns both processes' lives. Does not own any browser.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from argon2 import PasswordHasher

from dashboard.access.users import User, Users
from tests.support.commands import COMMAND, environment
from tests.support.ladder_rows import add_ladder_rows

PASSWORD = "a password of the tests"
APP_SECRET = "the secret of the app"
ACCOUNT = "900100200300402"
"""Of the generator's accounts the third; it has three business numbers, so that several of them are not all."""
NUMBERS = ("700800900100220", "700800900100221", "700800900100222")
FED_ACCOUNT = "900100200300400"
"""The first of the generator's accounts, to which tests send webhooks: the figures of ``ACCOUNT`` stay as they are."""
FED_NUMBERS = ("700800900100200", "700800900100201")
LIVE_ACCOUNT = "900100200300401"
"""The second, to which one test alone sends: on the live page what another sent might come in a moment later."""
LIVE_NUMBER = "700800900100210"
REFUSED = "nobody@example.com"
_GREETING = re.compile(r"the dashboard is at (http://127\.0\.0\.1:\d+)")
_GATEWAY = re.compile(r"webhooks go to (http://127\.0\.0\.1:\d+)")
TRAFFIC = "traffic.ndjson"
_ACCOUNTS = 3
_DAYS = 80
"""The last of them is yesterday, in UTC."""
_START_SECONDS = 90


@dataclass(slots=True)
class MailBox:
    """What the mail server was given."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str, ...]] = field(default_factory=list)


class _Handler:
    def __init__(self) -> None:
        self.box = MailBox(0)

    async def handle_RCPT(  # noqa: N802 - the library's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address == REFUSED:
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        self.box.mails.append(message_from_bytes(content, _class=EmailMessage, policy=policy.SMTP))
        self.box.envelopes.append(tuple(envelope.rcpt_tos))
        return "250 taken"


@contextmanager
def mail_box() -> Iterator[MailBox]:
    """Give a mail server on a free port."""
    handler = _Handler()
    with socket.create_server(("127.0.0.1", 0)) as free:
        handler.box.port = free.getsockname()[1]
    controller = Controller(handler, hostname="127.0.0.1", port=handler.box.port)
    controller.start()
    try:
        yield handler.box
    finally:
        controller.stop()


@dataclass(frozen=True, slots=True)
class RunningDashboard:
    """A dashboard that serves."""

    url: str
    gateway: str
    data: Path
    config: Path
    _rows: dict[tuple[str, ...], list[dict[str, Any]]] = field(default_factory=dict)

    def rows(self, verb: str, *options: str) -> list[dict[str, Any]]:
        """Return what a verb says of ``ACCOUNT``; asked once, as nothing is fed to it meanwhile."""
        key = (verb, *options)
        if key not in self._rows:
            said = self._said(verb, *options, "--account", ACCOUNT, "--format", "ndjson")
            self._rows[key] = [json.loads(line) for line in said.splitlines()]
        return self._rows[key]

    def report(self, month: str, number: str = "") -> dict[str, Any]:
        """Return the final report of a month as the verb ``report`` makes it, by default of the whole account."""
        options = ("--month", month, "--account", ACCOUNT, "--number", number, "--format", "json")
        report: dict[str, Any] = json.loads(self._said("report", *options))
        return report

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters of all accounts, the oldest first, as ``dlq list`` has them now."""
        return [json.loads(line) for line in self._said("dlq", "list").splitlines()]

    def _said(self, *arguments: str) -> str:
        whose = ("--data", str(self.data), "--config", str(self.config))
        done = subprocess.run(
            [*COMMAND, *arguments, *whose],
            capture_output=True,
            check=True,
            text=True,
            env=environment(),
        )
        return done.stdout

    def whole_month(self) -> str:
        """Return the newest month (YYYY-MM) that has traffic to its end."""
        return f"{self.today().replace(day=1) - timedelta(days=1):%Y-%m}"

    def today(self) -> date:
        """Return the local day of ``ACCOUNT``."""
        return datetime.now(self.zone(ACCOUNT)).date()

    def zone(self, account: str) -> ZoneInfo:
        """Return the time zone of an account, as the settings have it."""
        settings = tomllib.loads(self.config.read_text("utf-8"))
        return ZoneInfo(settings["accounts"][account]["time_zone"])

    def seeded_user(self) -> str:
        """Return the phone of whoever wrote to ``ACCOUNT`` last in the generated traffic."""
        lines = (self.data.parent / TRAFFIC).read_text("utf-8").splitlines()
        senders = [re.search(r'"from":"(\d+)"', line) for line in reversed(lines) if f'"{ACCOUNT}"' in line]
        return next(found[1] for found in senders if found)


@contextmanager
def running_dashboard(directory: Path, mail_port: int) -> Iterator[RunningDashboard]:
    """Give a dashboard with traffic of the last weeks up to yesterday, two users, and a mail server."""
    data, config, lines = directory / "data", directory / "convometer.toml", directory / TRAFFIC
    first = datetime.now(UTC).date() - timedelta(days=_DAYS)
    options = [
        "--users",
        "240",
        "--days",
        str(_DAYS),
        "--accounts",
        str(_ACCOUNTS),
        "--start",
        str(first),
        "--seed",
        "6",
    ]
    with lines.open("wb") as file:
        subprocess.run(
            [*COMMAND, "generate", *options, "--write-config", str(config)],
            stdout=file,
            check=True,
            env=environment(),
        )
    plans = directory / "plans.toml"
    plans.write_text(_plans(first), encoding="utf-8")
    # Keys of no table come first.
    config.write_text(
        f'plans = "{plans}"\n{config.read_text("utf-8")}{_more_settings(mail_port)}', encoding="utf-8"
    )
    subprocess.run(
        [*COMMAND, "ingest", str(lines), "--data", str(data), "--config", str(config), "--wait"],
        check=True,
        capture_output=True,
        env=environment(),
    )
    add_ladder_rows(data, ACCOUNT, NUMBERS)
    users = Users(data / "users.json", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    password = users.hashed(PASSWORD)
    users.add(User("root", "admin", None, password))
    users.add(User("ann", "viewer", (ACCOUNT,), password))
    with _served(data, config, directory / "log.txt") as running:
        yield running


def _plans(first: date) -> str:
    """Return plans whose thresholds a month of the traffic crosses: of the account, and of its first number.

    Some conversations have prices and some have none, so that a report shows both.
    """
    return f"""
[[plans]]
account = "{ACCOUNT}"
activated = {first.replace(day=1)}
licence = "monthly"
price = "120.00"
vat_percent = "19"
currency = "USD"
mau_package = 40
amau_price = "0.055"
conversation_budget = 60

[plans.conversation_prices]
marketing = "0.085"
service = "0.0125"

[plans.conversation_market_prices.India]
marketing = "0.0225"

[[plans]]
account = "{ACCOUNT}"
number = "{NUMBERS[0]}"
activated = {first.replace(day=1)}
licence = "annual"
price = "1500.00"
currency = "USD"
mau_package = 5000
alert_thresholds = ["10%", 12]

[plans.conversation_prices]
marketing = "0.10"
"""


def _more_settings(mail_port: int) -> str:
    return f"""
[gateway]
app_secrets = ["{APP_SECRET}"]

[dashboard]
port = 0

[dashboard.mail]
host = "127.0.0.1"
port = {mail_port}
security = "none"
sender = "billing@example.com"
"""


@contextmanager
def _served(data: Path, config: Path, log: Path) -> Iterator[RunningDashboard]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, "run", "--port", "0", "--data", str(data), "--config", str(config)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(CONVOMETER_DASHBOARD__IS_ENABLED="true"),
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            said = log.read_text("utf-8")
            dashboard, gateway = _GREETING.search(said), _GATEWAY.search(said)
            if dashboard and gateway:
                break
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        yield RunningDashboard(dashboard[1], gateway[1], data, config)
    finally:
        process.terminate()
        process.wait(30)
