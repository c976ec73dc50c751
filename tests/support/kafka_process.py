"""One Kafka node as a process: started, signalled, asked whether it is ready, and never left behind.

Owns the process, its files' names and its ports. What stands in its settings is the cluster's business.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaClient

from tests.support.kafka_jars import jars, java

HEAP_MEBIBYTES: Final = 384
START_TIMEOUT_SECONDS: Final = 60.0
STOP_TIMEOUT_SECONDS: Final = 20.0
FIRST_PORT: Final = 20_000
LAST_PORT: Final = 31_999
"""Below the kernel's range for outgoing connections: a client that keeps connecting to a dead broker there could be
given the broker's own port, and then talk to itself and keep the broker from coming back."""


class KafkaFailed(Exception):
    """A broker ended or gave no answer while it started; the message carries the end of its log."""


@dataclass(slots=True)
class Broker:
    """One node: controller and broker in one process."""

    node: int
    port: int
    controller_port: int
    directory: Path
    process: subprocess.Popen[bytes] | None = None
    watch: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Return where clients find it."""
        return f"127.0.0.1:{self.port}"

    @property
    def configuration(self) -> Path:
        """Return the file with its settings."""
        return self.directory / f"broker-{self.node}.properties"

    @property
    def data(self) -> Path:
        """Return the directory with its records."""
        return self.directory / f"broker-{self.node}"

    @property
    def log(self) -> Path:
        """Return the file with what it says."""
        return self.directory / f"broker-{self.node}.log"

    @property
    def running(self) -> bool:
        """Tell whether its process is there, suspended or not."""
        return self.process is not None and self.process.poll() is None

    def log_tail(self) -> str:
        """Return the end of what it says."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def format(self, cluster_id: str) -> subprocess.Popen[bytes]:
        """Begin to make its data directory."""
        # The id may begin with a dash, hence one argument.
        arguments = ["format", f"--cluster-id={cluster_id}", "--config", str(self.configuration)]
        return self._run(java(jars(), "kafka.tools.StorageTool", arguments))

    def spawn(self, options: Sequence[str] = ()) -> None:
        """Start its process, in a group of its own that ends with this process at the latest."""
        for port in (self.port, self.controller_port):
            # Otherwise the stranger there would be asked whether our broker is ready.
            if not is_free(port):
                raise KafkaFailed(f"port {port} of 127.0.0.1 is taken")
        options = [f"-Xmx{HEAP_MEBIBYTES}m", *options]
        self.process = self._run(java(jars(), "kafka.Kafka", [str(self.configuration)], options))
        # If this process is killed, nobody closes the pipe but the kernel: then the broker must go too.
        self.watch = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; kill -s KILL -- "-$1"', "sh", str(self.process.pid)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to its process, if that is there."""
        if self.process is not None and self.running:
            os.killpg(self.process.pid, number)

    def end(self, number: signal.Signals) -> None:
        """End its process, by force if it does not go in time; if it has ended already, that is no fault."""
        if self.process is None:
            return
        self.send_signal(number)
        self.send_signal(signal.SIGCONT)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.send_signal(signal.SIGKILL)
            self.process.wait()
        if self.watch is not None:
            self.watch.kill()
            self.watch.communicate()
        self.process = self.watch = None

    def await_answer(self, nodes: set[int]) -> None:
        """Return once its own metadata name all the nodes as alive."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not nodes <= _known_nodes(self.port):
            if not self.running:
                raise KafkaFailed(f"broker {self.node} ended while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise KafkaFailed(f"broker {self.node} is not ready:\n{self.log_tail()}")
            time.sleep(0.05)

    def _run(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randint(FIRST_PORT, LAST_PORT)
        if port not in ports and is_free(port):
            ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _known_nodes(port: int) -> set[int]:
    """Return the nodes that a broker names when it is asked for metadata, none if it gives no answer."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return set()
    found: set[int] = set()
    # A thread, because the caller may be inside a running event loop.
    thread = threading.Thread(target=lambda: found.update(asyncio.run(_ask_nodes(port))))
    thread.start()
    thread.join()
    return found


async def _ask_nodes(port: int) -> set[int]:
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=5000)
    try:
        await client.bootstrap()
        return {broker.nodeId for broker in client.cluster.brokers()}
    except Exception:
        # What it was does not matter: the caller asks again, and looks at the process.
        return set()
    finally:
        await client.close()
