"""The embedded engine's directory: its configuration, its temporary files, and the process that may use it.

Owns what must be right *before* chDB opens a directory. The engine itself is opened by ``sinks.clickhouse.client``.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path
from typing import ClassVar, Final

from sinks.clickhouse.errors import ClickHouseRefused

_CONFIG: Final = """<clickhouse>
    <!-- Written at every start. Without a file of our own, chDB would load a config.xml from the working directory. -->
    <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
    <background_pool_size>4</background_pool_size>
    <backups>
        <allowed_path>{backups}</allowed_path>
    </backups>
</clickhouse>
"""


class EmbeddedEngine:
    """One data directory of this process, and how many clients have it open."""

    _by_directory: ClassVar[dict[Path, EmbeddedEngine]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, directory: Path) -> None:
        """Take the directory, resolved: chDB compares paths literally."""
        self.directory = directory
        self._clients = 0
        self._process_id = os.getpid()

    @classmethod
    def of(cls, path: str) -> EmbeddedEngine:
        """Return the engine of a directory, the same one for every spelling of its path."""
        directory = Path(path).resolve()
        with cls._guard:
            return cls._by_directory.setdefault(directory, cls(directory))

    def acquire(self) -> Path:
        """Count one more client, and return the configuration file to open it with.

        The first client prepares the directory: a client that was killed in an insert left its temporary file behind,
        and nobody else uses them now.

        Raises:
            ClickHouseRefused: the engine was opened before this process was forked.
        """
        config = self.directory / "convometer.xml"
        with self._guard:
            if not self._clients:
                self._process_id = os.getpid()
                self._prepare(config)
            self.refuse_after_fork()
            self._clients += 1
        return config

    def release(self) -> None:
        """Count one client less."""
        with self._guard:
            self._clients -= 1

    def refuse_after_fork(self) -> None:
        """Refuse to touch an engine that was inherited through a fork: the call would hang for ever.

        Raises:
            ClickHouseRefused: this is not the process that opened the engine.
        """
        if os.getpid() != self._process_id:
            raise ClickHouseRefused(
                "the embedded ClickHouse was opened before this process was forked, and cannot be used here; "
                "start helper processes with the `spawn` method"
            )

    def _prepare(self, config: Path) -> None:
        temporary = self.directory / "insert-files"
        temporary.mkdir(parents=True, exist_ok=True)
        for left_over in temporary.glob("*"):
            if left_over.suffix in {".native", ".raw"}:
                left_over.unlink(missing_ok=True)
        backups = self.directory.with_name(self.directory.name + "-backups")
        config.write_text(_CONFIG.format(backups=_escaped(str(backups))))
        # The client library writes each insert to a temporary file of Python's default directory, which is often in
        # memory, often small, and shared with strangers; it takes no other directory.
        tempfile.tempdir = str(temporary)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
