"""The ``embedded:///absolute/path`` transport: Faust over the embedded log, one worker, no broker.

Owns topic creation, partitioning and access to the shared log. ``consumer`` and ``producer`` do the rest. Faust's
conductor, fetcher, tables and recovery run unchanged above it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

from aiokafka.partitioner import DefaultPartitioner
from faust.exceptions import ImproperlyConfigured
from faust.transport import base
from faust.types.enums import ProcessingGuarantee
from mode.utils.times import Seconds, want_seconds

from schemas.topics import TopicSpec
from streams.embedded.consumer import Consumer
from streams.embedded.log import EmbeddedLog
from streams.embedded.producer import Producer
from streams.embedded.registry import acquire_log, register_log, release_log, unregister_log

__all__ = ["Transport", "register_log", "unregister_log"]


class Transport(base.Transport):
    """What ``faust.App(broker="embedded:///...")`` gets."""

    Consumer = Consumer
    Producer = Producer
    driver_version = f"sqlite={sqlite3.sqlite_version}"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Faust's arguments; nothing is opened before the first ``attach``."""
        super().__init__(*args, **kwargs)
        self._log: EmbeddedLog | None = None
        self._users = 0
        self._partitioner = DefaultPartitioner()
        self._keyless = count()

    @property
    def path(self) -> Path:
        """Return the log's directory.

        Raises:
            ImproperlyConfigured: the URL names no absolute path.
        """
        url = self.url[0]
        if url.host or not url.path.startswith("/"):
            raise ImproperlyConfigured(f"{url} names no absolute path; write embedded:///path/to/directory")
        return Path(url.path)

    def attach(self) -> EmbeddedLog:
        """Return the log, opened if need be. Every call is undone by one ``detach``."""
        guarantee: object = self.app.conf.processing_guarantee
        if guarantee is ProcessingGuarantee.EXACTLY_ONCE:
            raise ImproperlyConfigured(
                "processing_guarantee='exactly_once' does not work on embedded://; leave it at"
                " 'at_least_once' and commit with EmbeddedLog.transaction"
            )
        if self._log is None:
            self._log = acquire_log(self.path)
        self._users += 1
        return self._log

    async def detach(self) -> None:
        """Let go of the log; the last one closes it if it was opened by a transport."""
        self._users -= 1
        if self._users == 0:
            self._log = None
            await release_log(self.path)

    @property
    def log(self) -> EmbeddedLog:
        """Return the log between ``attach`` and ``detach``."""
        assert self._log is not None, "the consumer or producer was not started"
        return self._log

    async def ensure_topic(self, topic: str) -> None:
        """Create a topic that nobody declared with ``topic_partitions`` partitions, as a Kafka broker would."""
        if topic not in self.log.topics():
            await self.create_topic(topic, self.app.conf.topic_partitions)

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        *,
        retention: Seconds | None = None,
        compacting: bool | None = None,
    ) -> None:
        """Declare a topic unless it exists; an existing one is left as it is.

        Raises:
            ImproperlyConfigured: the settings forbid to create topics.
        """
        if topic in self.log.topics():
            return
        if not self.app.conf.topic_allow_declare:
            raise ImproperlyConfigured(f"topic {topic} is not declared and topic_allow_declare is off")
        spec = TopicSpec(topic, partitions, "compact" if compacting else "delete")
        if retention:
            spec = TopicSpec(topic, partitions, spec.policy, retention_seconds=int(want_seconds(retention)))
        await asyncio.to_thread(self.log.declare, [spec])

    def partition_for(self, topic: str, key: bytes | None, partition: int | None = None) -> int:
        """Return where a record goes: as asked, else by Kafka's hash of the key, else in turn."""
        partition_count = self.log.partition_count(topic)
        if partition is not None:
            return partition
        if key is None:
            return next(self._keyless) % partition_count
        partitions = range(partition_count)
        placed: int = self._partitioner(key, partitions, partitions)
        return placed
