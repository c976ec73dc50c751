"""Which records the embedded log deletes, which it never deletes, and that its directory stays bounded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from metering.rules import shipped_regimes
from schemas.topics import CONSUMER_GROUP, DEAD_LETTER, EVENTS, INPUT_TOPICS, MAU_ALERTS, TopicSpec
from streams.embedded.log import (
    Append,
    EmbeddedLog,
    LogSettings,
    MaintenanceSettings,
    OffsetOutOfRange,
    Record,
)
from streams.embedded.storage import WAL_BYTES_KEPT
from streams.opening import WorkerOptions
from streams.topic_specs import topic_specs

HOUR_MS = 3_600_000
NOW_MS = 1_000 * HOUR_MS
TRAFFIC = TopicSpec("traffic", 2, retention_seconds=3_600, retention_bytes=1 << 20)
STATES = TopicSpec("states", 2, "compact")
SETTINGS = LogSettings(
    linger_seconds=0, maintenance=MaintenanceSettings(compaction_records_min=10, free_bytes_max=1 << 20)
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog.open(tmp_path / "log", settings=SETTINGS)
    opened.declare([TRAFFIC, STATES])
    yield opened
    opened.close_blocking()


def append(log: EmbeddedLog, count: int, *, age_ms: int, partition: int = 0, size_bytes: int = 10) -> None:
    records = [Record(None, b"x" * size_bytes, NOW_MS - age_ms)] * count
    log.append_blocking("traffic", partition, records)


def commit(log: EmbeddedLog, group: str, offset: int, partition: int = 0) -> None:
    log.transaction_blocking([], {(group, "traffic", partition): offset})


def put(log: EmbeddedLog, *pairs: tuple[str, str | None], age_ms: int = 0) -> None:
    """Append key-value pairs to ``states[0]``."""
    log.append_blocking(
        "states",
        0,
        [Record(key.encode(), value.encode() if value else None, NOW_MS - age_ms) for key, value in pairs],
    )


def states(log: EmbeddedLog) -> list[tuple[int, str, str | None]]:
    """Return offset, key and value of everything in ``states[0]``."""
    found: list[tuple[int, str, str | None]] = []
    offset = 0
    while stored := log.read("states", 0, offset):
        for position, item in stored:
            assert item.key is not None
            found.append((position, item.key.decode(), item.value.decode() if item.value else None))
        offset = stored[-1].offset + 1
    return found


def test_old_records_go_once_every_group_has_them(log: EmbeddedLog) -> None:
    """Records older than the retention go only below the lowest committed offset of all groups."""
    append(log, 10, age_ms=2 * HOUR_MS)
    commit(log, "worker", 8)
    commit(log, "audit", 5)
    assert log.maintenance_blocking(NOW_MS).expired_records == 5
    assert log.start_offset("traffic", 0) == 5
    commit(log, "audit", 10)
    assert log.maintenance_blocking(NOW_MS).expired_records == 3
    assert [stored.offset for stored in log.read("traffic", 0, 8)] == [8, 9]


def test_young_records_stay(log: EmbeddedLog) -> None:
    """Only the prefix that is older than the retention goes, however much is committed."""
    append(log, 3, age_ms=2 * HOUR_MS)
    append(log, 3, age_ms=HOUR_MS // 2)
    append(log, 3, age_ms=2 * HOUR_MS)
    commit(log, "worker", 9)
    log.maintenance_blocking(NOW_MS)
    assert log.start_offset("traffic", 0) == 3


def test_a_partition_that_is_too_large_loses_its_oldest_committed_records(log: EmbeddedLog) -> None:
    """Above the size limit young records go too, down to the limit, but never one that is not committed."""
    append(log, 100, age_ms=0, size_bytes=50_000)
    commit(log, "worker", 60)
    log.maintenance_blocking(NOW_MS)
    assert log.start_offset("traffic", 0) == 60
    commit(log, "worker", 100)
    log.maintenance_blocking(NOW_MS)
    assert (1 << 20) - 50_100 < log.stored_bytes("traffic", 0) <= 1 << 20
    assert len(log.read("traffic", 0, log.start_offset("traffic", 0), max_records=100)) == 20


def test_a_group_that_never_committed_a_partition_needs_all_of_it(log: EmbeddedLog) -> None:
    """A group known from another partition of the topic keeps everything in a partition it has not begun."""
    append(log, 5, age_ms=2 * HOUR_MS)
    append(log, 5, age_ms=2 * HOUR_MS, partition=1)
    commit(log, "worker", 5)
    log.maintenance_blocking(NOW_MS)
    assert (log.start_offset("traffic", 0), log.start_offset("traffic", 1)) == (5, 0)


@pytest.mark.parametrize("topic", [EVENTS, *INPUT_TOPICS])
def test_what_nobody_has_read_yet_stays(log: EmbeddedLog, topic: str) -> None:
    """A topic that the worker reads keeps everything until its first commit, whatever its age and size."""
    log.declare([TopicSpec(topic, 1, retention_seconds=3_600, retention_bytes=100)])
    log.append_blocking(topic, 0, [Record(None, b"x" * 100, NOW_MS - 48 * HOUR_MS)] * 5)
    assert log.maintenance_blocking(NOW_MS).expired_records == 0
    log.transaction_blocking([], {("audit", topic, 0): 5})
    assert log.maintenance_blocking(NOW_MS).expired_records == 0
    assert len(log.read(topic, 0, 0)) == 5
    log.transaction_blocking([], {(CONSUMER_GROUP, topic, 0): 3})
    assert log.maintenance_blocking(NOW_MS).expired_records == 3


def test_the_dead_letter_is_read_by_no_group(log: EmbeddedLog) -> None:
    """Dead letters go by age although no group ever commits there."""
    log.declare([TopicSpec(DEAD_LETTER, 1, retention_seconds=3_600)])
    log.append_blocking(DEAD_LETTER, 0, [Record(None, b"x", NOW_MS - 48 * HOUR_MS)])
    assert log.maintenance_blocking(NOW_MS).expired_records == 1


def test_a_topic_without_groups_keeps_to_age_and_size(log: EmbeddedLog) -> None:
    """Nobody consumes the dead letter, so its retention alone decides."""
    append(log, 4, age_ms=2 * HOUR_MS)
    append(log, 2, age_ms=0)
    log.maintenance_blocking(NOW_MS)
    assert log.start_offset("traffic", 0) == 4


def test_offsets_go_on_after_everything_was_deleted(tmp_path: Path) -> None:
    """The end offset survives the deletion of all records and a restart; deleted offsets are never reused."""
    log = EmbeddedLog.open(tmp_path, settings=SETTINGS)
    log.declare([TRAFFIC])
    append(log, 7, age_ms=2 * HOUR_MS)
    log.maintenance_blocking(NOW_MS)
    log.close_blocking()

    log = EmbeddedLog.open(tmp_path, settings=SETTINGS)
    assert (log.start_offset("traffic", 0), log.end_offset("traffic", 0)) == (7, 7)
    assert log.stored_bytes("traffic", 0) == 0
    assert log.read("traffic", 0, 7) == []
    assert log.append_blocking("traffic", 0, [Record(None, b"next", NOW_MS)]) == 7
    log.close_blocking()


def test_reading_deleted_records_names_the_missing_range(log: EmbeddedLog) -> None:
    """A read below the start raises with the range that is gone, also while copies are still in memory."""
    append(log, 6, age_ms=2 * HOUR_MS)
    log.maintenance_blocking(NOW_MS)
    append(log, 1, age_ms=0)
    with pytest.raises(OffsetOutOfRange, match="offsets 2 to 5") as caught:
        log.read("traffic", 0, 2)
    assert (caught.value.missing_from, caught.value.missing_to) == (2, 6)


def test_compaction_keeps_the_newest_record_of_every_key(log: EmbeddedLog) -> None:
    """Older records of a key go, offsets of the others do not change, a read skips the holes."""
    put(log, *((f"k{number % 3}", f"v{number}") for number in range(12)))
    assert log.maintenance_blocking(NOW_MS).compacted_records == 9
    assert states(log) == [(9, "k0", "v9"), (10, "k1", "v10"), (11, "k2", "v11")]
    assert [stored.offset for stored in log.read("states", 0, 4, max_records=1)] == [9]
    assert log.start_offset("states", 0) == 0


def test_compaction_waits_until_it_pays(log: EmbeddedLog) -> None:
    """A partition is compacted again only after more appends than the minimum and than its live records."""
    put(log, *((f"k{number}", "v") for number in range(30)))
    put(log, ("k0", "w"))
    assert log.maintenance_blocking(NOW_MS).compacted_records == 1
    put(log, *((f"k{number}", "x") for number in range(25)))
    assert log.maintenance_blocking(NOW_MS).compacted_records == 0
    put(log, *((f"k{number}", "y") for number in range(6)))
    assert log.maintenance_blocking(NOW_MS).compacted_records == 31


def test_tombstones_go_after_their_grace(log: EmbeddedLog) -> None:
    """A tombstone removes older records at once, stays for the grace, and then goes itself."""
    put(log, *((f"k{number}", "v") for number in range(10)), ("k0", None), ("k9", "last"))
    log.maintenance_blocking(NOW_MS)
    assert (10, "k0", None) in states(log)
    assert (0, "k0", "v") not in states(log)
    put(log, *((f"k{number}", "w") for number in range(1, 13)))
    log.maintenance_blocking(NOW_MS + HOUR_MS + 1)
    assert "k0" not in {key for _, key, _ in states(log)}


def test_old_tombstones_stay_while_the_log_is_young_or_held(log: EmbeddedLog) -> None:
    """However old a tombstone is, one who restores after a start, or holds tombstones, still sees it."""
    put(
        log,
        ("gone", "v"),
        ("gone", None),
        *((f"k{number}", "v") for number in range(10)),
        age_ms=99 * HOUR_MS,
    )
    log.maintenance_blocking(NOW_MS)
    assert (1, "gone", None) in states(log)
    log.hold_tombstones("states", 0, 1)
    put(log, *((f"k{number}", "w") for number in range(13)))
    log.maintenance_blocking(NOW_MS + 2 * HOUR_MS)
    assert (1, "gone", None) in states(log)
    log.release_tombstones("states", 0)
    put(log, *((f"k{number}", "x") for number in range(15)))
    log.maintenance_blocking(NOW_MS + 2 * HOUR_MS)
    assert "gone" not in {key for _, key, _ in states(log)}


def test_the_last_record_is_never_compacted_away(log: EmbeddedLog) -> None:
    """Even an old tombstone stays while it is the last record: recovery reads up to the one before the end."""
    log.maintenance_blocking(NOW_MS)
    put(log, *((f"k{number}", None) for number in range(12)), age_ms=99 * HOUR_MS)
    log.maintenance_blocking(NOW_MS + 2 * HOUR_MS)
    assert states(log) == [(11, "k11", None)]
    assert log.end_offset("states", 0) == 12


def test_compaction_agrees_with_a_dictionary(log: EmbeddedLog) -> None:
    """After any writes and passes, reading the topic from the start rebuilds exactly the newest values."""
    choose = random.Random(7)
    expected: dict[str, str] = {}
    for step in range(40):
        pairs: list[tuple[str, str | None]] = []
        for index in range(choose.randrange(1, 30)):
            key = f"k{choose.randrange(25)}"
            value = None if choose.random() < 0.3 else f"{step}.{index}"
            pairs.append((key, value))
            expected.pop(key, None)
            if value is not None:
                expected[key] = value
        put(log, *pairs)
        log.maintenance_blocking(NOW_MS + step * HOUR_MS)
        rebuilt: dict[str, str | None] = {key: value for _, key, value in states(log)}
        assert {key: value for key, value in rebuilt.items() if value is not None} == expected


def test_appends_go_on_while_maintenance_runs(log: EmbeddedLog) -> None:
    """Maintenance in its thread neither blocks nor loses what is appended meanwhile."""
    put(log, *((f"k{number % 50}", "v") for number in range(20_000)))

    async def both() -> int:
        running = asyncio.create_task(log.maintenance(NOW_MS))
        appended = 0
        while not running.done():
            await log.append("traffic", 0, [Record(None, b"x", NOW_MS)])
            appended += 1
        assert (await running).compacted_records == 19_950
        return appended

    appended = asyncio.run(both())
    assert appended > 1
    assert log.end_offset("traffic", 0) == appended


def test_the_directory_stays_bounded(log: EmbeddedLog) -> None:
    """Appending, committing and maintaining for many rounds does not let the directory grow without end."""
    value = b"x" * 20_000
    sizes_bytes = []
    for step in range(60):
        end_offset = log.end_offset("traffic", 0)
        log.transaction_blocking(
            [
                Append("traffic", 0, [Record(None, value, NOW_MS)] * 50),
                Append("states", 0, [Record(f"k{n % 20}".encode(), value, NOW_MS) for n in range(50)]),
            ],
            {("worker", "traffic", 0): end_offset},
        )
        log.maintenance_blocking(NOW_MS + step)
        sizes_bytes.append(sum(path.stat().st_size for path in log.directory.iterdir()))
    live_bytes = (1 << 20) + 100 * 20_000 + 20 * 20_000  # the size limit, what came since, the live states
    free_bytes = 1 << 20
    assert max(sizes_bytes) < 2 * (live_bytes + free_bytes) + WAL_BYTES_KEPT
    assert sum(sizes_bytes[-20:]) <= 1.1 * sum(sizes_bytes[-40:-20])


def test_free_space_is_given_back(log: EmbeddedLog) -> None:
    """After most records have gone the file shrinks, in steps, to little more than what is left."""
    append(log, 200, age_ms=2 * HOUR_MS, size_bytes=100_000)
    database = next(log.directory.glob("*.sqlite3"))
    report = log.maintenance_blocking(NOW_MS)
    log.close_blocking()
    assert report.vacuumed_bytes > 15_000_000
    assert database.stat().st_size < 5_000_000


def test_notices_are_kept_until_they_are_old(log: EmbeddedLog, tmp_path: Path) -> None:
    """However large: the specification of the real topic says no size, and that is no size of nothing."""
    options = WorkerOptions(tmp_path, 1, shipped_regimes(), lambda _account: (("", "UTC"),))
    [spec] = [each for each in topic_specs(options) if each.name == MAU_ALERTS]
    assert spec.retention_bytes < 0
    log.declare([spec])
    log.append_blocking(MAU_ALERTS, 0, [Record(b"id", b"x" * 100, NOW_MS)] * 5)
    log.transaction_blocking([], {(CONSUMER_GROUP, MAU_ALERTS, 0): 5})
    assert log.maintenance_blocking(NOW_MS).expired_records == 0
    later_ms = NOW_MS + spec.retention_seconds * 1000
    assert log.maintenance_blocking(later_ms).expired_records == 0
    assert log.maintenance_blocking(later_ms + 1).expired_records == 5
