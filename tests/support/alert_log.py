"""The alert log of an installation over Kafka, as it stands in its topics and in ClickHouse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cli.options import connection_of
from runtime.settings import Settings
from schemas.alert_codec import decode_count, decode_notice
from schemas.alerts import MonthCount, Notice
from schemas.topics import MAU_ALERTS, MAU_COUNTS
from sinks.clickhouse.client import open_client
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog

_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class AlertLog:
    """What was counted, what was told of it, and what the table of notices says."""

    counts: list[list[MonthCount]]
    """By partition of ``mau.counts``, in order."""
    notices: list[Notice]
    table: list[str]
    """Ids, sorted."""


async def alert_log_of(settings: Settings, is_complete: Callable[[AlertLog], bool]) -> AlertLog:
    """Return the log once it is complete, or as it is after a minute."""
    connection = connection_of(settings)
    installation = await ensure_installation(connection, settings.partitions)
    log = await KafkaWorkerLog.open(connection, installation.id)
    try:
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        while True:
            found = await _read(log, settings)
            if is_complete(found) or asyncio.get_running_loop().time() > deadline:
                return found
            await asyncio.sleep(0.5)
    finally:
        await log.close()


async def _read(log: KafkaWorkerLog, settings: Settings) -> AlertLog:
    counts = [
        [decode_count(value) for value in await values_of(log, MAU_COUNTS, partition)]
        for partition in range(settings.partitions)
    ]
    notices = [decode_notice(value) for value in await values_of(log, MAU_ALERTS, 0)]
    return AlertLog(counts, notices, await asyncio.to_thread(_table, settings.clickhouse))


async def values_of(log: KafkaWorkerLog, topic: str, partition: int) -> list[bytes]:
    """Return the committed records of a partition."""
    end = (await log.bounds(topic, partition)).end
    chunks = log.read(topic, partition, 0, end)
    return [record.value async for chunk in chunks for _, record in chunk if record.value is not None]


def _table(address: str) -> list[str]:
    client = open_client(address)
    try:
        return [str(id_) for (id_,) in client.query("SELECT id FROM alerts FINAL ORDER BY id")]
    finally:
        client.close()
