"""A real Apache Kafka cluster of one or three brokers on loopback, for tests and for trying things out.

Owns the brokers' settings and data directory, and which of them run. Topics and clients are the caller's business.
`python -m tests.support.kafka_broker DIRECTORY` runs one broker in the foreground.
"""

from __future__ import annotations

import argparse
import atexit
import signal
import sys
import tempfile
import threading
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.kafka_jars import CLASS_ARCHIVE, KafkaMissing, jars, locked
from tests.support.kafka_process import START_TIMEOUT_SECONDS, Broker, KafkaFailed, free_ports

__all__ = ["KafkaCluster", "KafkaFailed", "KafkaMissing", "jars"]

_TEST_SETTINGS: Final[Mapping[str, str]] = {
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A killed broker is noticed by its missing heartbeats only, and cannot come back before that; the default of 9 s
    # would make each such test wait.
    "broker.heartbeat.interval.ms": "400",
    "broker.session.timeout.ms": "2000",
    "log.index.size.max.bytes": "1048576",
    "log.cleaner.backoff.ms": "1000",
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


@dataclass(slots=True)
class KafkaCluster:
    """Brokers that run until `stop`, until this process ends, or until one of them is killed on purpose.

    All methods block; in a coroutine that must not stall, call them through `asyncio.to_thread`. Brokers are
    numbered from 0, and the numbers are their node ids.
    """

    directory: Path
    _brokers: list[Broker]

    @classmethod
    def start(
        cls,
        directory: Path,
        brokers: int = 1,
        *,
        settings: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
    ) -> Self:
        """Start brokers on a directory, which is formatted if it is new, and return once all of them answer.

        `settings` are broker settings that replace those made for tests. `ports` are two per broker: its own and its
        controller's; without them free ones are taken. Raises KafkaMissing or KafkaFailed.
        """
        _ensure_archive()
        return cls._start(directory, brokers, settings or {}, ports)

    @classmethod
    def _start(
        cls,
        directory: Path,
        brokers: int,
        settings: Mapping[str, str],
        ports: Sequence[int] = (),
        options: Sequence[str] = (),
    ) -> Self:
        ports = ports or free_ports(2 * brokers)
        directory.mkdir(parents=True, exist_ok=True)
        cluster = cls(
            directory.resolve(),
            [Broker(i, ports[2 * i], ports[2 * i + 1], directory.resolve()) for i in range(brokers)],
        )
        cluster._format(settings)
        atexit.register(cluster.stop)
        try:
            for broker in cluster._brokers:
                broker.spawn(options)
            for broker in cluster._brokers:
                broker.await_answer({other.node for other in cluster._brokers})
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """Return the brokers' addresses, joined by commas."""
        return ",".join(broker.address for broker in self._brokers)

    def address(self, i: int) -> str:
        """Return the address of one broker."""
        return self._brokers[i].address

    def check(self) -> None:
        """Raise KafkaFailed if a broker has ended that nobody ended."""
        for broker in self._brokers:
            if broker.process is not None and not broker.running:
                raise KafkaFailed(f"broker {broker.node} has ended:\n{broker.log_tail()}")

    def kill(self, i: int) -> None:
        """End a broker at once, with no chance to say good-bye."""
        self._brokers[i].end(signal.SIGKILL)

    def suspend(self, i: int) -> None:
        """Stop a broker in its tracks: connections stay open, and nobody answers."""
        self._brokers[i].send_signal(signal.SIGSTOP)

    def resume(self, i: int) -> None:
        """Let a suspended broker go on."""
        self._brokers[i].send_signal(signal.SIGCONT)

    def restart(self, i: int) -> None:
        """Start a broker again on its data and ports, after an orderly end if it still runs."""
        broker = self._brokers[i]
        broker.end(signal.SIGTERM)
        broker.spawn()
        broker.await_answer({broker.node})

    def stop(self) -> None:
        """End all brokers; the data stay. May be called again."""
        atexit.unregister(self.stop)
        # Of three the last cannot end in order, for there is no quorum left to tell: it would take 5 s to give up.
        number = signal.SIGTERM if len(self._brokers) == 1 else signal.SIGKILL
        for broker in self._brokers:
            broker.end(number)

    def _format(self, settings: Mapping[str, str]) -> None:
        """Write the settings of each broker, and make the data directories that are not there yet."""
        voters = ",".join(f"{b.node}@127.0.0.1:{b.controller_port}" for b in self._brokers)
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        formatting = []
        for broker in self._brokers:
            values = {**_settings(broker, voters, len(self._brokers)), **settings}
            broker.configuration.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
            if not (broker.data / "meta.properties").exists():
                formatting.append((broker, broker.format(cluster_id)))
        for broker, process in formatting:
            if process.wait(START_TIMEOUT_SECONDS) != 0:
                raise KafkaFailed(f"the data directory could not be formatted:\n{broker.log_tail()}")


def _ensure_archive() -> None:
    """Have the JVM keep the classes of a broker's start, once per machine: later starts take half the time."""
    directory = jars()
    archive = directory / CLASS_ARCHIVE
    with locked(directory):
        if archive.exists():
            return
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
            fresh = Path(scratch) / CLASS_ARCHIVE
            cluster = KafkaCluster._start(Path(scratch), 1, {}, options=[f"-XX:ArchiveClassesAtExit={fresh}"])
            cluster.stop()
            # A JVM that cannot do it must not be asked again; it ignores an archive that is none.
            fresh.touch()
            fresh.rename(archive)


def _settings(broker: Broker, voters: str, brokers: int) -> dict[str, str]:
    replicas = str(min(3, brokers))
    in_sync = str(2 if brokers >= 3 else 1)
    return {
        **_TEST_SETTINGS,
        "process.roles": "broker,controller",
        "node.id": str(broker.node),
        "controller.quorum.voters": voters,
        "listeners": f"BROKER://{broker.address},CONTROLLER://127.0.0.1:{broker.controller_port}",
        "advertised.listeners": f"BROKER://{broker.address}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "BROKER",
        "log.dirs": str(broker.data),
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def main() -> int:
    """Run one broker in the foreground until it is interrupted or terminated."""
    parser = argparse.ArgumentParser(description="one Kafka broker on loopback, for trying things out")
    parser.add_argument("directory", type=Path, help="where its data lie; kept from one run to the next")
    parser.add_argument("--port", type=int, default=9092, help="its port; the next one is its controller's")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with KafkaCluster.start(arguments.directory, ports=[arguments.port, arguments.port + 1]) as cluster:
            _say(
                f"Kafka answers at {cluster.bootstrap}; Ctrl-C ends it. In another terminal set CONVOMETER_BROKER="
                f"kafka://{cluster.bootstrap} and CONVOMETER_CLICKHOUSE=http://USER:PASSWORD@HOST:8123/DATABASE, "
                "then run `.venv/bin/convometer doctor`."
            )
            while not stop.wait(0.5):
                cluster.check()
    except (KafkaMissing, KafkaFailed) as error:
        _say(str(error))
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
