"""How long it takes from the webhook that crosses a threshold to the notice, under load.

``python -m bench.alerts [--accounts 400] [--events-per-second 2000] [--kafka]`` feeds traffic of many accounts at a
steady rate, and takes the time from when the crossing event was given until the notice was durable, and until a webhook
on loopback had it. By default a node in this process works over the embedded log. With ``--kafka`` gateway and worker
are a process of their own over a Kafka broker, which is given HTTP requests; ClickHouse is chDB, served over HTTP by
this process.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import click
import httpx
import orjson
from prometheus_client import CollectorRegistry

from cli.node import Node
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from sinks.clickhouse.client import open_client
from sinks.clickhouse.migrations import migrate
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.commands import Running
from tests.support.kafka_broker import KafkaCluster

PACKAGE = 10
TICK_SECONDS = 0.025
TOKEN = "a-token-of-the-benchmark"
Give = Callable[[list[bytes]], Awaitable[None]]
SECRET = "whsec_YSBzZWNyZXQgb2YgdGhlIGJlbmNobWFyaw=="


class Receiver:
    """A webhook's receiver on loopback, in this event loop."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        """By account."""
        self.noticed: dict[str, float] = {}
        self.server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen and return the port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self.server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        notice = orjson.loads(await reader.readexactly(length))["data"]
        self.arrived[notice["account"]] = time.time()
        self.noticed[notice["account"]] = notice["noticed_at_ms"] / 1000
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


def settings_in(directory: Path, accounts: Sequence[str], port: int) -> Settings:
    """Return settings in which each account has a package."""
    plans = "".join(
        f'[[plans]]\naccount = "{account}"\nactivated = 2026-01-01\nlicence = "none"\ncurrency = "EUR"\n'
        f'mau_package = {PACKAGE}\nalert_thresholds = ["100%"]\n'
        for account in accounts
    )
    (directory / "plans.toml").write_text(plans)
    webhook = {"url": f"http://127.0.0.1:{port}/", "secrets": [SECRET]}
    return Settings.model_validate(
        {
            "data": directory / "data",
            "plans": directory / "plans.toml",
            "alerts": {"webhooks": [webhook], "allowed_networks": ["127.0.0.1"]},
        }
    )


def message(account: str, user: int, number: int) -> bytes:
    """Return one incoming message."""
    return orjson.dumps(
        {
            "kind": "incoming",
            "account": account,
            "number": f"n{number % 3}",
            "message_id": f"{account}-{user}-{number}",
            "user_phone": f"4915{user:08d}",
            "occurred_at": int(time.time()),
        }
    )


async def feed(give: Give, accounts: Sequence[str], rate: int) -> dict[str, float]:
    """Give events until every account has crossed; return when each was given the event that did it."""
    given: dict[str, float] = {}
    users, random = dict.fromkeys(accounts, 0), Random(1)
    sent, begun = 0, time.time()
    while len(given) < len(accounts):
        lines, crossing = [], []
        for _ in range(max(1, round(rate * TICK_SECONDS))):
            account = random.choice(accounts)
            user = random.randint(1, users[account]) if users[account] else 0
            # One in twenty is a new user; the rest are messages of those who are known.
            if not user or (random.random() < 0.05 and users[account] < PACKAGE):
                user = users[account] = users[account] + 1
                if user == PACKAGE:
                    crossing.append(account)
            lines.append(message(account, user, sent))
            sent += 1
        given |= dict.fromkeys(crossing, time.time())
        await give(lines)
        await asyncio.sleep(max(0.0, begun + sent / rate - time.time()))
    took_seconds = time.time() - begun
    click.echo(f"{sent} events in {took_seconds:.1f} s: {sent / took_seconds:.0f} a second")
    return given


@asynccontextmanager
async def embedded(settings: Settings) -> AsyncIterator[Give]:
    """Give a node in this process."""
    node = await Node.start(settings, Metrics(CollectorRegistry()), SystemClock())

    async def give(lines: list[bytes]) -> None:
        await node.ingest(lines, "canonical", 1)

    try:
        yield give
    finally:
        await node.close()


@asynccontextmanager
async def over_kafka(settings: Settings, directory: Path) -> AsyncIterator[Give]:
    """Give gateway and worker in a process of their own, over a broker."""
    [webhook] = settings.alerts.webhooks
    configuration = directory / "convometer.toml"
    configuration.write_text(
        f'plans = "{settings.plans}"\n[gateway]\nevents_tokens = ["{TOKEN}"]\n'
        '[alerts]\nallowed_networks = ["127.0.0.1"]\n'
        f'[[alerts.webhooks]]\nurl = "{webhook.url.get_secret_value()}"\nsecrets = ["{SECRET}"]\n'
    )
    engine = open_client(f"chdb://{directory / 'clickhouse'}")
    options = urlencode({"config-file": str(directory / "clickhouse" / "convometer.xml")})
    with (
        KafkaCluster.start(directory / "kafka") as kafka,
        ClickHouseHttp(f"{directory / 'clickhouse'}?{options}") as clickhouse,
    ):
        address = clickhouse.address("bench")
        migrate(open_client(address))
        addresses = {
            "CONVOMETER_BROKER": f"kafka://{kafka.bootstrap}",
            "CONVOMETER_CLICKHOUSE": address,
            "CONVOMETER_KAFKA__REPLICATION_FACTOR": "1",
            "CONVOMETER_KAFKA__MIN_INSYNC_REPLICAS": "1",
        }
        with Running(settings.data, "--config", configuration, **addresses) as running:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(base_url=running.address, headers=headers, timeout=30) as client:

                async def give(lines: list[bytes]) -> None:
                    response = await client.post("/events", content=b"[" + b",".join(lines) + b"]")
                    response.raise_for_status()

                yield give
    engine.close()


async def measure(directory: Path, account_count: int, rate: int, *, kafka: bool) -> Receiver:
    """Feed until every account has crossed, and print what it took."""
    accounts = [f"account-{number:04d}" for number in range(account_count)]
    receiver = Receiver()
    settings = settings_in(directory, accounts, await receiver.start())
    async with over_kafka(settings, directory) if kafka else embedded(settings) as give:
        # Partitions are assigned and restored before anything counts.
        await give([message("warm-up", 1, 0)])
        await asyncio.sleep(5 if kafka else 0)
        given = await feed(give, accounts, rate)
        async with asyncio.timeout(30):
            while len(receiver.arrived) < account_count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)
    for title, moments in (("notice durable", receiver.noticed), ("webhook taken", receiver.arrived)):
        waits = sorted(moments[account] - given[account] for account in accounts)
        at = [waits[min(len(waits) - 1, int(share * len(waits)))] for share in (0.5, 0.95, 0.99)]
        click.echo(
            f"{title}: p50 {at[0] * 1000:.0f} ms, p95 {at[1] * 1000:.0f} ms, p99 {at[2] * 1000:.0f} ms,"
            f" longest {waits[-1] * 1000:.0f} ms, {len(waits)} notices"
        )
    return receiver


@click.command()
@click.option("--accounts", default=400, show_default=True)
@click.option("--events-per-second", default=2000, show_default=True)
@click.option("--kafka", is_flag=True, help="Over a Kafka broker and HTTP instead of the embedded log.")
def main(accounts: int, events_per_second: int, kafka: bool) -> None:
    """Measure from crossing to notice."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory), accounts, events_per_second, kafka=kafka))


if __name__ == "__main__":
    main()
