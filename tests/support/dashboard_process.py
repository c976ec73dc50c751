"""A ``run`` with a dashboard over generated traffic, and a mail server that it can send to.

Owns both processes' lives. Does not own any browser.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from zoneinfo import ZoneInfo

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from argon2 import PasswordHasher

from dashboard.access.users import User, Users
from tests.support.commands import COMMAND, environment
from tests.support.ladder_rows import add_ladder_rows

PASSWORD = "a password of the tests"
APP_SECRET = "the secret of the app"
ACCOUNT = "900100200300400"
"""Of the generator's accounts the first; it has two business numbers."""
NUMBERS = ("700800900100200", "700800900100201")
REFUSED = "nobody@example.com"
_GREETING = re.compile(r"the dashboard is at (http://127\.0\.0\.1:\d+)")
_GATEWAY = re.compile(r"webhooks go to (http://127\.0\.0\.1:\d+)")
_DAYS = 80
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
    _rows: dict[tuple[str, ...], list[dict[str, object]]] = field(default_factory=dict)

    def rows(self, verb: str, *options: str) -> list[dict[str, object]]:
        """Return what a verb says of the same data; asked once, as nothing is fed meanwhile."""
        key = (verb, *options)
        if key not in self._rows:
            self._rows[key] = self._asked(verb, *options)
        return self._rows[key]

    def _asked(self, verb: str, *options: str) -> list[dict[str, object]]:
        done = subprocess.run(
            [
                *COMMAND,
                verb,
                *options,
                "--account",
                ACCOUNT,
                "--format",
                "ndjson",
                "--data",
                str(self.data),
                "--config",
                str(self.config),
            ],
            capture_output=True,
            check=True,
            text=True,
            env=environment(),
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    def whole_month(self) -> str:
        """Return the newest month (YYYY-MM) that has traffic to its end."""
        return f"{self.today().replace(day=1) - timedelta(days=1):%Y-%m}"

    def today(self) -> date:
        """Return the account's local day."""
        zone = re.search(rf'"{ACCOUNT}"\]\ntime_zone = "([^"]+)"', self.config.read_text("utf-8"))
        assert zone is not None
        return datetime.now(ZoneInfo(zone[1])).date()


@contextmanager
def running_dashboard(directory: Path, mail_port: int) -> Iterator[RunningDashboard]:
    """Give a dashboard with traffic of the last weeks, two users, and a mail server."""
    data, config, lines = directory / "data", directory / "convometer.toml", directory / "traffic.ndjson"
    first = datetime.now(UTC).date() - timedelta(days=_DAYS + 1)
    options = [
        "--users",
        "150",
        "--days",
        str(_DAYS),
        "--accounts",
        "2",
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
    """Return plans whose thresholds a month of the traffic crosses: of the account, and of its first number."""
    return f"""
[[plans]]
account = "{ACCOUNT}"
activated = {first.replace(day=1)}
licence = "none"
currency = "USD"
mau_package = 40
amau_price = "0.05"
conversation_budget = 60

[[plans]]
account = "{ACCOUNT}"
number = "{NUMBERS[0]}"
activated = {first.replace(day=1)}
licence = "none"
currency = "USD"
mau_package = 5000
alert_thresholds = ["10%", 12]
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
