"""How long a worker takes to be ready with the state of many users: from its local state, and from the changelog alone.

One message per user is metered, then the worker is started again twice. From the repository's root::

    python -m bench.recovery --users 1000000            # the embedded log
    python -m bench.recovery --users 1000000 --kafka    # a broker of its own (needs Java and Maven)

Prints one JSON object; seconds are wall time from an open log to all partitions ready, ClickHouse included.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from metering.rules import shipped_regimes
from schemas.codec import Control, encode_batch, encode_control, partition_of
from schemas.events import Event
from schemas.topics import EVENTS
from sinks.clickhouse.client import ClientPool, open_client
from sinks.clickhouse.migrations import migrate
from sinks.clickhouse.writer import ClickHouseWriter
from streams.embedded.log import EmbeddedLog
from streams.embedded.port import EmbeddedWorkerLog
from streams.embedded.transport import register_log, unregister_log
from streams.kafka.appender import KafkaAppender
from streams.kafka.connection import KafkaConnection
from streams.kafka.installation import ensure_installation
from streams.kafka.log import KafkaWorkerLog
from streams.log import WorkerLog
from streams.opening import WorkerOptions
from streams.records import Append, Record
from streams.topic_specs import topic_specs
from streams.worker import Worker
from tests.support.kafka_broker import KafkaCluster

PARTITIONS = 4
BATCH_EVENTS = 500
RECORDS_AT_ONCE = 20
START = 1_790_000_000


def now_ms() -> int:
    """Return the time, UTC milliseconds."""
    return time.time_ns() // 1_000_000


def batches(users: int) -> Iterator[Append]:
    """Yield one message for each user, as the gateway would pack them."""
    waiting: list[list[Event]] = [[] for _ in range(PARTITIONS)]
    for number in range(users):
        phone = f"49{15_000_000_000 + number}"
        event = Event(
            provider="canonical",
            account="A",
            number="1",
            kind="incoming",
            message_id=f"m{number}",
            occurred_at=START + number % 86_400,
            received_at=(START + 86_400) * 1000,
            country="DE",
            user_phone=phone,
        )
        partition = partition_of("A", event.user_key, PARTITIONS)
        waiting[partition].append(event)
        if len(waiting[partition]) == BATCH_EVENTS * RECORDS_AT_ONCE:
            yield _append(partition, waiting[partition])
            waiting[partition] = []
    for partition, events in enumerate(waiting):
        if events:
            yield _append(partition, events)


def _append(partition: int, events: list[Event]) -> Append:
    pieces = [events[start : start + BATCH_EVENTS] for start in range(0, len(events), BATCH_EVENTS)]
    return Append(EVENTS, partition, [Record(None, encode_batch(piece), now_ms()) for piece in pieces])


@asynccontextmanager
async def embedded_log(directory: Path) -> AsyncIterator[WorkerLog]:
    """Give the embedded log."""
    log = EmbeddedLog.open(directory / "log")
    register_log(log.directory, log)
    try:
        yield EmbeddedWorkerLog(log)
    finally:
        unregister_log(log.directory)
        await log.close()


@asynccontextmanager
async def kafka_log(servers: str) -> AsyncIterator[WorkerLog]:
    """Give the log on Kafka."""
    connection = KafkaConnection(tuple(servers.split(",")))
    installation = await ensure_installation(connection, PARTITIONS)
    log = await KafkaWorkerLog.open(connection, installation.id)
    try:
        yield log
    finally:
        await log.close()


class Bench:
    """One installation, started again and again."""

    def __init__(self, directory: Path, servers: str) -> None:
        """Take an empty directory, and the addresses of Kafka or nothing."""
        self.directory = directory
        self._servers = servers
        self._clients = ClientPool(lambda: open_client(f"chdb://{directory / 'clickhouse'}"))
        migrate(self._clients.get())
        self._options = WorkerOptions(
            directory / "state", PARTITIONS, shipped_regimes(), lambda _account: (("", "UTC"),)
        )

    def _log(self) -> object:
        return kafka_log(self._servers) if self._servers else embedded_log(self.directory)

    async def fill(self, users: int) -> None:
        """Meter one message of each user."""
        async with self._log() as log:  # type: ignore[attr-defined]
            await log.declare(topic_specs(self._options))
            hold = encode_control(Control("hold", "A", "bench", now_ms() // 1000 + 86_400))
            holds = [Append(EVENTS, p, [Record(None, hold, now_ms())]) for p in range(PARTITIONS)]
            worker = self._worker(log)
            await worker.start()
            await self._feed(log, holds, users)
            ends = {p: (await log.bounds(EVENTS, p)).end for p in range(PARTITIONS)}
            await worker.wait_flushed(ends)
            await worker.stop()

    async def _feed(self, log: WorkerLog, first: list[Append], users: int) -> None:
        if isinstance(log, KafkaWorkerLog):
            appender = await KafkaAppender.open(log.connection)
            await appender.append(first)
            for append in batches(users):
                await appender.append([append])
            await appender.close()
            return
        assert isinstance(log, EmbeddedWorkerLog)
        await log.embedded.transaction(first, {})
        for append in batches(users):
            await log.embedded.transaction([append], {})

    def _worker(self, log: WorkerLog) -> Worker:
        return Worker(log, ClickHouseWriter(self._clients), self._options, now_ms)

    async def seconds_until_ready(self) -> float:
        """Start the worker on what is there and return how long it took."""
        async with self._log() as log:  # type: ignore[attr-defined]
            worker = self._worker(log)
            started = time.perf_counter()
            await worker.start()
            while len(worker.partitions) < PARTITIONS:
                await asyncio.sleep(0.01)
                assert worker.failure is None, worker.failure
            seconds = time.perf_counter() - started
            await worker.stop()
            return seconds

    def close(self) -> None:
        """Close ClickHouse."""
        self._clients.close()


async def measure(users: int, directory: Path, servers: str) -> dict[str, object]:
    """Fill, and start again both ways."""
    bench = Bench(directory, servers)
    await bench.fill(users)
    state = directory / "state"
    size = sum(file.stat().st_size for file in state.rglob("*") if file.is_file())
    local = [await bench.seconds_until_ready() for _ in range(3)]
    shutil.rmtree(state)
    changelog = await bench.seconds_until_ready()
    bench.close()
    return {
        "users": users,
        "log": "kafka" if servers else "embedded",
        "state_bytes": size,
        "from_local_state_seconds": [round(seconds, 2) for seconds in local],
        "from_changelog_seconds": round(changelog, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--kafka", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-recovery-") as name:
        directory = Path(name)
        if arguments.kafka:
            with KafkaCluster.start(directory / "kafka") as cluster:
                result = asyncio.run(measure(arguments.users, directory, cluster.bootstrap))
        else:
            result = asyncio.run(measure(arguments.users, directory, ""))
    print(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
