"""Reading the settings again while the process runs: when the file has changed, or a hang-up asks for it.

Owns when a change counts as complete, what is logged and measured of it, and that a faulty file changes nothing. Does
not own what a setting is good for, nor which can change: that is ``runtime.settings_in_force``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.setting_faults import SettingsError
from runtime.settings import Settings
from runtime.settings_in_force import SettingsInForce

POLL_SECONDS: Final = 2.0
"""How often the file is looked at. A change counts once it was seen twice, so that a file half written does not."""
_NAMES_MAX = 20
_NO_FILE = "no file"
_NOT_REGULAR = "not a regular file"
_EMPTY = hashlib.sha256(b"").hexdigest()

_log = logging.getLogger(__name__)


class SettingsSource:
    """Where the settings of this process come from: the loader of the start, and the file that it reads."""

    def __init__(self, file: Path | None, load: Callable[[], Settings]) -> None:
        """Take the file, if there is one, and a loader that also reads the environment and the command line."""
        self.file = file
        self._load = load
        self.loaded = ""
        """Fingerprint of the file before it was last loaded."""

    def load(self) -> Settings:
        """Return the settings as they stand now.

        Raises:
            SettingsError: with all faults.
        """
        # Taken before: a change in between is then seen as one.
        self.loaded = self.fingerprint()
        return self._load()

    def fingerprint(self) -> str:
        """Return what tells one content of the file from another.

        By content, not by time or inode: a swapped symbolic link, a rename and a write in place are all one.
        """
        if self.file is None:
            return _NO_FILE
        try:
            # A pipe gives what it has only once; whoever looks at it takes that away.
            if not stat.S_ISREG(self.file.stat().st_mode):
                return _NOT_REGULAR
            return hashlib.sha256(self.file.read_bytes()).hexdigest()
        except OSError as error:
            return f"unreadable: {error.errno}"


class Reloader:
    """Keeps the settings in force up to date. Run ``watch`` in a task of its own."""

    def __init__(
        self,
        source: SettingsSource,
        in_force: SettingsInForce,
        metrics: Metrics,
        clock: Clock,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Take a source that the settings in force were loaded from."""
        self.in_force = in_force
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._tried = self._taken = source.loaded
        self._settling = ""
        self._waiting: tuple[str, ...] = ()
        metrics.settings_last_reload.set(clock.now_ms() / 1000)

    async def watch(self, asked: asyncio.Event) -> None:
        """Look at the file every few seconds, and at once when ``asked`` is set, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asked.wait(), self._poll_seconds)
            was_asked = asked.is_set()
            asked.clear()
            try:
                await self.look(asked=was_asked)
            except Exception:  # a fault of ours: the settings stay, and so does everything that goes by them
                _log.exception("the settings could not be read again, the old ones stay in force")
                self._metrics.count_settings_reload("failed")

    async def look(self, *, asked: bool = False) -> None:
        """Read the settings again if the file has changed and stands still; when ``asked``, in any case."""
        seen = await asyncio.to_thread(self._source.fingerprint)
        if not asked and seen in (self._tried, _NOT_REGULAR):
            self._settling = ""
        elif not asked and seen != self._settling:
            self._settling = seen
        else:
            await self._reload(seen)

    async def _reload(self, seen: str) -> None:
        self._tried, self._settling = seen, ""
        faults: Sequence[str] = _unfit(self._source.file, seen, self._taken)
        fresh: Settings | None = None
        if not faults:
            try:
                fresh = await asyncio.to_thread(self._source.load)
            except SettingsError as error:
                faults = error.faults
            if await asyncio.to_thread(self._source.fingerprint) != seen:
                # Somebody is writing: what was read may be half of it. The next looks find the rest.
                self._tried = ""
                return
        if fresh is not None:
            try:
                self._take(fresh, seen)
            except SettingsError as error:
                faults = error.faults
        if faults:
            self._refuse(faults)

    def _take(self, fresh: Settings, seen: str) -> None:
        taken = self.in_force.take(fresh)
        self._taken = seen
        self._metrics.count_settings_reload("applied" if taken.changed else "unchanged")
        self._metrics.settings_last_reload.set(self._clock.now_ms() / 1000)
        self._metrics.settings_faults.set(0)
        self._metrics.settings_restart_pending.set(len(taken.waiting))
        if taken.changed:
            _log.info("changed settings are in force", extra={"settings": _listed(taken.changed)})
        else:
            _log.info("the settings were read again: nothing that takes effect now has changed")
        if taken.waiting and taken.waiting != self._waiting:
            names = {"settings": _listed(taken.waiting)}
            _log.warning("changed settings wait for a restart, the old ones stay in force", extra=names)
        self._waiting = taken.waiting

    def _refuse(self, faults: Sequence[str]) -> None:
        self._metrics.count_settings_reload("refused")
        self._metrics.settings_faults.set(len(faults))
        for fault in faults:
            key, _, found = fault.partition(": ")
            # The key by itself: a message has its long numbers masked, and an account's id is one.
            _log.error("faulty settings, the old ones stay in force: %s", found, extra={"settings": key})


def _unfit(file: Path | None, seen: str, taken: str) -> list[str]:
    """Return why a file must not be read again, though at a start it might be."""
    if seen == _NOT_REGULAR:
        return [f"{file}: found a pipe or a device, expected a file that can be read again; or restart"]
    if seen == _EMPTY != taken:
        # A full disk or an editor that died leaves this; it would take every secret and account away.
        return [f"{file}: found an empty file, expected settings; to run without any, restart"]
    return []


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")
