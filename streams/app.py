"""The Faust app: an agent each on ``events``, the input topics, ``mau.counts`` and ``mau.alerts``.

Thin on purpose (design decision 8).

Agents take raw bytes with ``noack()`` and hand each record to the ordered task of its partition; Faust never
commits these partitions, decodes nothing and restarts nothing. Whatever fails ends the process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import faust

from schemas.topics import CONSUMER_GROUP, EVENTS, INPUT_TOPICS, MAU_ALERTS, MAU_COUNTS
from streams.log import WorkerLog

TakeRecord = Callable[[str, int, int, bytes, int], Awaitable[None]]
"""``take(topic, partition, offset, value, time in UTC milliseconds)``"""

_BUFFERED_RECORDS_MAX = 256


def create_app(log: WorkerLog, partitions: int, data_directory: Path, take: TakeRecord) -> faust.App:
    """Return the app over a log; nothing is connected yet.

    Args:
        log: names the broker and the settings that go with it.
        partitions: of the events topic.
        data_directory: where Faust makes its own folders, which stay empty: our tables are not there.
        take: called for each record, in the order of each partition.
    """
    app = faust.App(
        log.prefix + CONSUMER_GROUP,
        broker=log.address,
        autodiscover=False,
        datadir=data_directory,
        web_enabled=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_buffer_maxsize=_BUFFERED_RECORDS_MAX,
        stream_wait_empty=False,
        # We never acknowledge through Faust, so its watch for commits that do not move would only alarm.
        broker_commit_livelock_soft_timeout=10**9,
        logging_config={"version": 1, "disable_existing_loggers": False},
        **log.app_settings,
    )
    log.prepare(app)
    agents = (
        ("meter", (EVENTS,)),
        ("normalize", INPUT_TOPICS),
        ("alert", (MAU_COUNTS,)),
        ("notify", (MAU_ALERTS,)),
    )
    for name, topics in agents:
        _add_agent(app, name, {log.prefix + topic: topic for topic in topics}, partitions, take)
    return app


def _add_agent(
    app: faust.App, name: str, topics: Mapping[str, str], partitions: int, take: TakeRecord
) -> None:
    topic = app.topic(
        *topics,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        partitions=partitions,
    )

    async def hand_over(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            time_ms = int((message.timestamp or 0) * 1000)
            await take(
                topics[message.topic], message.partition, message.offset, message.value or b"", time_ms
            )

    app.agent(topic, name=name)(hand_over)
