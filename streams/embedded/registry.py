"""Which embedded logs are open in this process, so that transport, gateway and command line share one per directory.

Owns the sharing only: a log that was registered is closed by whoever opened it, a log that was opened here is
closed when its last user lets go.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streams.embedded.log import EmbeddedLog


@dataclass(slots=True)
class _Shared:
    log: EmbeddedLog
    registered: bool
    users: int = 0


_shared: dict[Path, _Shared] = {}


def register_log(path: Path, log: EmbeddedLog) -> None:
    """Let every ``embedded://`` transport of this process that names the directory use this log.

    Raises:
        ValueError: another log is in use for the directory.
    """
    known = _shared.get(_normal(path))
    if known is not None and known.log is not log:
        raise ValueError(f"another log is in use for {path} in this process")
    _shared[_normal(path)] = _Shared(log, registered=True, users=known.users if known else 0)


def unregister_log(path: Path) -> None:
    """Undo ``register_log``, before the log is closed; nothing happens if it was not registered.

    Raises:
        RuntimeError: a transport still uses it.
    """
    known = _shared.get(_normal(path))
    if known is None or not known.registered:
        return
    if known.users:
        raise RuntimeError(f"{known.users} transports still use the log in {path}; stop the app first")
    del _shared[_normal(path)]


def acquire_log(path: Path) -> EmbeddedLog:
    """Return the log of the directory, opening it if nobody has; pair with ``release_log``.

    Raises:
        LogOwned: another process has the directory.
    """
    known = _shared.get(_normal(path))
    if known is None:
        known = _shared[_normal(path)] = _Shared(EmbeddedLog.open(path), registered=False)
    known.users += 1
    return known.log


async def release_log(path: Path) -> None:
    """Let go of a log that ``acquire_log`` returned."""
    known = _shared[_normal(path)]
    known.users -= 1
    if known.users == 0 and not known.registered:
        del _shared[_normal(path)]
        await known.log.close()


def _normal(path: Path) -> Path:
    return path.resolve()
