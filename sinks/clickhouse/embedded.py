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
        self._left_over: list[Path] = []
        self._tempdir_before: str | None = None

    @classmethod
    def of(cls, path: str) -> EmbeddedEngine:
        """Return the engine of a directory, the same one for every spelling of its path."""
        directory = Path(path).resolve()
        with cls._guard:
            return cls._by_directory.setdefault(directory, cls(directory))

    def acquire(self) -> Path:
        """Count one more client, and return the configuration file to open it with. The first prepares the directory.

        Raises:
            ClickHouseRefused: an engine was opened before this process was forked.
        """
        config = self.directory / "convometer.xml"
        with self._guard:
            for engine in self._by_directory.values():
                if engine._clients:
                    engine.refuse_after_fork()
            if not self._clients:
                self._process_id = os.getpid()
                self._prepare(config)
            self._clients += 1
        return config

    def opened(self) -> None:
        """Note that a client is open, so the directory is ours: what a killed process left behind can go.

        Not earlier: a process that was started by mistake must not take the files of the one that owns the directory.
        """
        with self._guard:
            left_over, self._left_over = self._left_over, []
        for path in left_over:
            path.unlink(missing_ok=True)

    def release(self) -> None:
        """Count one client less."""
        with self._guard:
            self._clients -= 1
            if not self._clients:
                tempfile.tempdir = self._tempdir_before

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
        self._left_over = [path for path in temporary.iterdir() if path.suffix in {".native", ".raw"}]
        backups = self.directory.with_name(self.directory.name + "-backups")
        text = _CONFIG.format(backups=_escaped(str(backups)))
        if not config.exists() or config.read_text() != text:
            config.write_text(text)
        # The client library writes each insert to a temporary file of Python's default directory, which is often in
        # memory, often small, and shared with strangers; it takes no other directory.
        self._tempdir_before = tempfile.tempdir
        tempfile.tempdir = str(temporary)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
