"""Every topic of the product and how it is kept. Owns how long; names are ``schemas.topics``."""

from __future__ import annotations

from schemas.topics import (
    ACCEPTS,
    ALERTS_CHANGELOG,
    CHANGELOGS,
    DEAD_LETTER,
    DELIVERIES_CHANGELOG,
    EVENTS,
    INPUT_TOPICS,
    MAU_ALERTS,
    MAU_COUNTS,
    TopicSpec,
)
from streams.alert_options import NOTICES_SECONDS
from streams.opening import WorkerOptions

INPUT_RETENTION_SECONDS = 86_400


def topic_specs(options: WorkerOptions) -> list[TopicSpec]:
    """Return every topic that the product needs."""
    return [
        TopicSpec(EVENTS, options.partitions, retention_seconds=options.events_seconds),
        *(TopicSpec(name, options.partitions, "compact") for name in CHANGELOGS),
        *(TopicSpec(name, 1, retention_seconds=INPUT_RETENTION_SECONDS) for name in INPUT_TOPICS),
        TopicSpec(
            DEAD_LETTER,
            1,
            retention_seconds=options.dead_letter_seconds,
            retention_bytes=options.dead_letter_bytes,
        ),
        TopicSpec(ACCEPTS, 1),
        TopicSpec(MAU_COUNTS, options.partitions, "compact"),
        TopicSpec(ALERTS_CHANGELOG, options.partitions, "compact"),
        TopicSpec(MAU_ALERTS, 1, retention_seconds=NOTICES_SECONDS, retention_bytes=-1),
        TopicSpec(DELIVERIES_CHANGELOG, 1, "compact"),
    ]
