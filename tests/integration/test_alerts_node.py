"""Alerts of a whole node: a webhook within seconds, plans that change, a restart, and what the verbs and pages show."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry

from cli.answering import node_answers
from cli.node import Node
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from sinks.clickhouse.notices import NoticesAsked
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.commands import convometer
from tests.unit.test_webhook_channel import SECRET, Receiver

PLAN = """
[[plans]]
account = "A"
activated = 2026-01-01
licence = "none"
currency = "EUR"
mau_package = {package}
alert_thresholds = ["50%", "100%"]
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Give a webhook's receiver."""
    running = Receiver()
    yield running
    running.close()


def settings_in(directory: Path, clickhouse: str, receiver: Receiver) -> Settings:
    """Return settings of a node that tells the receiver."""
    webhook = {"url": f"http://127.0.0.1:{receiver.port}/hook", "secrets": [SECRET]}
    return Settings.model_validate(
        {
            "data": directory / "data",
            "clickhouse": clickhouse,
            "partitions": 2,
            "plans": directory / "plans.toml",
            "alerts": {"webhooks": [webhook], "allowed_networks": ["127.0.0.1"]},
        }
    )


def message(user: int) -> bytes:
    """Return an incoming message of a user, of now."""
    return orjson.dumps(
        {
            "kind": "incoming",
            "account": "A",
            "number": "N",
            "message_id": f"m{user}",
            "user_phone": f"4915{user:08d}",
            "occurred_at": int(time.time()),
        }
    )


async def until(happened: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something happened."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def told(receiver: Receiver) -> list[tuple[str, str, int]]:
    """Return what the receiver was told, each id once."""
    notices = {content["data"]["id"]: content["data"] for content in map(json.loads, bodies(receiver))}
    return [(each["kind"], each["threshold"], each["n"]) for each in notices.values()]


def bodies(receiver: Receiver) -> list[bytes]:
    """Return the bodies that came."""
    return [body for _, _, body in receiver.got]


def test_a_package_that_is_used_up_is_told_at_once(
    http_server: ClickHouseHttp, empty_name: str, tmp_path: Path, receiver: Receiver
) -> None:
    """From the user who caused it to the receiver within seconds; the plan changes; the next life goes on."""
    settings = settings_in(tmp_path, http_server.address(empty_name), receiver)
    settings.data.mkdir()
    (tmp_path / "plans.toml").write_text(PLAN.format(package=10))

    async def first_life() -> None:
        node = await Node.start(settings, Metrics(CollectorRegistry()), SystemClock())
        try:
            await node.ingest([message(user) for user in range(4)], "canonical", 1)
            await node.wait_flushed(await node.positions())
            assert not receiver.got
            await node.ingest([message(4)], "canonical", 5)
            await until(lambda: len(receiver.got) == 1, 3)
            await node.ingest([message(user) for user in range(10)], "canonical", 6)
            await until(lambda: len(told(receiver)) == 2, 3)
            (tmp_path / "plans.toml").write_text(PLAN.format(package=40))
            await until(lambda: len(told(receiver)) == 4)
        finally:
            await node.close()

    async def second_life() -> None:
        # While nobody looked, the package was made smaller again; and somebody is not there at first.
        (tmp_path / "plans.toml").write_text(PLAN.format(package=15))
        receiver.status = 500
        in_force = SettingsInForce.of(settings)
        node = await Node.start(in_force, Metrics(CollectorRegistry()), SystemClock())
        try:
            before = len(receiver.got)
            await until(lambda: len(receiver.got) > before)
            receiver.status = 200
            await until(lambda: not (node.worker.notify_task and node.worker.notify_task.pending))
            asked = NoticesAsked(accounts=("A",))
            rows = await node.notices(asked)
            assert await node_answers(node, in_force).notices(asked) == rows
            assert sorted((row.n, row.kind, row.threshold, row.cause) for row in rows) == [
                (1, "crossed", "100%", "count"),
                (1, "crossed", "50%", "count"),
                (2, "recovered", "100%", "plan"),
                (2, "recovered", "50%", "plan"),
                (3, "crossed", "50%", "plan"),
            ]
            assert {row.id for row in rows} == {json.loads(body)["data"]["id"] for body in bodies(receiver)}
            assert await node.notices(NoticesAsked(accounts=("B",))) == []
        finally:
            await node.close()

    asyncio.run(first_life())
    assert told(receiver) == [
        ("crossed", "50%", 1),
        ("crossed", "100%", 1),
        ("recovered", "100%", 2),
        ("recovered", "50%", 2),
    ]
    asyncio.run(second_life())
    assert told(receiver)[4:] == [("crossed", "50%", 3)]


def write_config(directory: Path, receiver: Receiver, **changes: object) -> Path:
    """Write a settings file and return its path."""
    config = directory / "convometer.toml"
    config.write_text(
        f'data = "{directory / "data"}"\nplans = "{directory / "plans.toml"}"\npartitions = 2\n'
        f'[alerts]\nallowed_networks = ["127.0.0.1"]\n[[alerts.webhooks]]\n'
        f'url = "http://127.0.0.1:{changes.get("port", receiver.port)}/hook"\nsecrets = ["{SECRET}"]\n'
    )
    return config


def test_the_verbs(tmp_path: Path, receiver: Receiver) -> None:
    """``alerts list`` shows what was told, ``alerts test`` whether something would arrive."""
    (tmp_path / "plans.toml").write_text(PLAN.format(package=3))
    config = write_config(tmp_path, receiver)
    lines = tmp_path / "lines.ndjson"
    lines.write_bytes(b"\n".join(message(user) for user in range(3)))
    convometer("ingest", lines, "--format", "canonical", "--wait", "--config", config)
    listed = convometer("alerts", "list", "--format", "ndjson", "--config", config)
    rows = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {(row["account"], row["threshold"], row["used"]) for row in rows} == {
        ("A", "50%", 2),
        ("A", "100%", 3),
    }
    tested = convometer("alerts", "test", "--config", config)
    assert tested.stdout.rstrip() == b"webhook to 127.0.0.1: taken"
    assert json.loads(receiver.got[-1][2])["data"]["month"] == "test"
    receiver.status = 503
    failed = convometer("alerts", "test", "--config", config, check=False)
    assert failed.returncode == 1
    assert b"HTTP 503" in failed.stderr
    # The receiver is for account A alone: asked for all it is tried, asked for B it is not.
    config.write_text(f'{config.read_text()}accounts = ["A"]\n')
    receiver.status = 200
    assert convometer("alerts", "test", "--config", config).stdout.rstrip().endswith(b": taken")
    assert convometer("alerts", "test", "--account", "A", "--config", config).returncode == 0
    other = convometer("alerts", "test", "--account", "B", "--config", config, check=False)
    assert other.returncode == 1
    assert b"about account B" in other.stderr
    config.write_text(f'data = "{tmp_path / "data"}"\n')
    nobody = convometer("alerts", "test", "--config", config, check=False)
    assert nobody.returncode == 1
    assert b"no webhook" in nobody.stderr
