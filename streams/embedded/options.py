"""The numbers by which one log is run. Owns defaults, not behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MaintenanceSettings:
    """When maintenance acts."""

    compaction_records_min: int = 50_000
    """A partition is compacted once more records than this, and than it has live, were appended to it."""
    tombstone_grace_seconds: int = 3_600
    """A tombstone stays at least so long, and all of them for so long after the log was opened: whoever
    restores a copy from the topic must still see it."""
    free_bytes_max: int = 64 << 20
    """Free space inside the file that is left for reuse; beyond it (and a quarter of the file) it is vacuumed."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How one log is run.

    A longer ``linger_seconds`` gathers more writes in one fsync and leaves the interpreter lock to the callers;
    it is also the least latency of a lone append.
    """

    linger_seconds: float = 0.002
    tail_bytes_max: int = 64 << 20
    size_max_bytes: int | None = None
    """Bound of the database file; a write beyond it fails the log as a full disk does."""
    maintenance: MaintenanceSettings = field(default_factory=MaintenanceSettings)
