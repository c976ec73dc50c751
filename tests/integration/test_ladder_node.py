"""Health of the status ladder of a whole node: from webhooks to the metrics, ClickHouse and what the pages ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
from prometheus_client import CollectorRegistry

from cli.answering import node_answers
from cli.node import Node
from metering.ladder_health import LadderCounts
from runtime.clock import SystemClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce
from sinks.clickhouse.ladder_health import LadderHealth
from tests.support.clickhouse_http import ClickHouseHttp

WAIT_MINUTES = 5
SENT, DELIVERED, READ = "sent", "delivered", "read"
MESSAGES = {
    ("N", "a"): (SENT, DELIVERED, READ),
    ("N", "b"): (SENT,),
    ("N", "c"): (SENT, READ),
    ("M", "d"): (DELIVERED,),
    ("M", "e"): (SENT, "failed"),
}


class MovedClock(SystemClock):
    """The machine's clock, and a while later."""

    later_seconds = 0

    def now_ms(self) -> int:
        """Return the moved time in UTC milliseconds."""
        return super().now_ms() + self.later_seconds * 1000

    def now_seconds(self) -> int:
        """Return the moved time in UTC seconds."""
        return super().now_seconds() + self.later_seconds


def lines(now_seconds: int) -> list[bytes]:
    """Return the statuses of all messages, and one that is older than what is watched."""
    told = [
        (number, message, kind, now_seconds)
        for (number, message), kinds in MESSAGES.items()
        for kind in kinds
    ]
    told.append(("N", "old", SENT, now_seconds - 7200))
    return [
        orjson.dumps(
            {
                "kind": kind,
                "account": "A",
                "number": number,
                "message_id": message,
                "user_phone": "4915100000001",
                "occurred_at": at,
            }
        )
        for number, message, kind, at in told
    ]


def test_missing_steps_show_in_metrics_and_for_the_live_page(
    http_server: ClickHouseHttp, empty_name: str, tmp_path: Path
) -> None:
    """Each live message is looked at once, after the wait; repeated webhooks do not count again."""
    clock, registry = MovedClock(), CollectorRegistry()
    settings = Settings.model_validate(
        {
            "data": tmp_path / "data",
            "clickhouse": http_server.address(empty_name),
            "partitions": 2,
            "worker": {"ladder_wait_minutes": WAIT_MINUTES},
        }
    )
    settings.data.mkdir()
    in_force = SettingsInForce.of(settings)

    def total(number: str, gap: str) -> float | None:
        labels = {"account": "A", "number": number, "gap": gap}
        return registry.get_sample_value("convometer_ladder_messages_total", labels)

    async def live() -> list[LadderHealth]:
        node = await Node.start(in_force, Metrics(registry), clock)
        answers = node_answers(node, in_force)
        try:
            for _ in range(2):
                await node.ingest(lines(clock.now_seconds()), "canonical", 1)
                await node.wait_flushed(await node.positions())
            assert await answers.ladder_health("A") == []
            clock.later_seconds = (WAIT_MINUTES + 2) * 60
            async with asyncio.timeout(30):
                while not (found := await answers.ladder_health("A")):  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.1)
            assert await answers.ladder_health("B") == []
            return found
        finally:
            await node.close()

    nothing = LadderCounts()
    assert asyncio.run(live()) == [
        LadderHealth("M", LadderCounts(2, 0, 0, 1), nothing),
        LadderHealth("N", LadderCounts(3, 1, 1, 0), nothing),
    ]
    gaps = ("none", "silent", "read_without_delivered", "delivered_without_sent")
    assert [total("N", gap) for gap in gaps] == [1, 1, 1, 0]
    assert [total("M", gap) for gap in gaps] == [1, 0, 0, 1]
