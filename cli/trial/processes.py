"""Convometer processes that are killed, suspended and started again. Owns their lives and their log files."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_STOP_SECONDS = 30.0


class Child:
    """One ``convometer`` process that a supervisor (this one) starts again whenever it ends."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        """Take the verb with its options; nothing is started yet."""
        self.name = name
        self.starts = 0
        self._command = [sys.executable, "-m", "cli.main", *arguments]
        self._environment = {**os.environ, **environment}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._supervised: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start it, and again whenever it ends, until ``stop``."""
        self._launch()
        self._supervised = asyncio.create_task(self._supervise(), name=f"supervise-{self.name}")

    def _launch(self) -> None:
        self.starts += 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                self._command, stdout=log, stderr=log, env=self._environment, stdin=subprocess.DEVNULL
            )

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if self._process is not None and self._process.poll() is not None:
                await asyncio.sleep(0.2)
                self._launch()

    @property
    def is_running(self) -> bool:
        """Tell whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> bool:
        """Kill it like a power cut; return whether it was alive."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.send_signal(signal.SIGKILL)
        return True

    def suspend(self) -> None:
        """Stop it in the middle of whatever it does (SIGSTOP)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)

    async def stop(self) -> int | None:
        """Ask it to end, and return its exit code; what does not end is killed."""
        if self._supervised is not None:
            self._supervised.cancel()
            await asyncio.gather(self._supervised, return_exceptions=True)
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(self._process.wait, _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return await asyncio.to_thread(self._process.wait)

    def partitions_opened(self) -> int:
        """Return how often it has taken up a partition, over all its lives."""
        return self._words().count(" restored: ")

    async def worked(self, partitions_before: int = 0) -> None:
        """Return once it has taken up partitions more often than before."""
        while self.partitions_opened() <= partitions_before:  # noqa: ASYNC110 - only its log tells
            await asyncio.sleep(0.1)

    def last_words(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self._words().splitlines()[-lines:])

    def _words(self) -> str:
        try:
            return self._log.read_text(errors="replace")
        except FileNotFoundError:
            return ""
