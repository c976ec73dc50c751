"""Topic names and what is kept in each. Owns no client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EVENTS = "events"
DEAD_LETTER = "dead-letter"
INPUT_TOPICS: tuple[str, ...] = ("sent", "delivered", "read", "incoming", "webhooks")
"""Topics that platform teams may write to; the normaliser moves them into ``events``."""

USERS_CHANGELOG = "convometer-users-changelog"
COUNTERS_CHANGELOG = "convometer-counters-changelog"
ACCOUNTS_CHANGELOG = "convometer-accounts-changelog"
ALERTS_CHANGELOG = "convometer-alerts-changelog"
DELIVERIES_CHANGELOG = "convometer-deliveries-changelog"
CHANGELOGS: tuple[str, ...] = (USERS_CHANGELOG, COUNTERS_CHANGELOG, ACCOUNTS_CHANGELOG)

INSTALLATION = "convometer-installation"
"""On Kafka: what the installation is. Its first record counts; the topic is never cleaned."""

ACCEPTS = "convometer-accepts"
"""Where an operator says that a stopped partition may go on."""

MAU_COUNTS = "mau.counts"
"""What each partition has counted of each month towards its limits; partition = that of account and number."""
MAU_ALERTS = "mau.alerts"
"""Notices: a limit's threshold was crossed, or its use fell back below it."""
COMPACTED: frozenset[str] = frozenset({*CHANGELOGS, MAU_COUNTS, ALERTS_CHANGELOG, DELIVERIES_CHANGELOG})
"""Topics that keep the newest record of each key: what lies before it can be gone without a loss."""

CONSUMER_GROUP = "convometer"
CONSUMED_TOPICS: frozenset[str] = frozenset({EVENTS, *INPUT_TOPICS, MAU_COUNTS, MAU_ALERTS})
"""What the group reads: before its first commit it still needs everything there."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is kept.

    ``compact`` topics keep the newest record of every key (a record without value removes the key); ``delete``
    topics drop their oldest records once they are older than ``retention_seconds`` or the partition is larger
    than ``retention_bytes``. The embedded log never drops a record that a consumer group of ours has not committed;
    Kafka does, so there the worker refuses to go on behind a hole.
    """

    name: str
    partitions: int
    policy: Literal["delete", "compact"] = "delete"
    retention_seconds: int = 7 * 86_400
    """-1 = for ever."""
    retention_bytes: int = 2 << 30
    """-1 = any size."""
