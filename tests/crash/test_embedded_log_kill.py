"""The embedded log against kill -9 at random moments."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from streams.embedded.log import EmbeddedLog, StoredRecord
from tests.crash.embedded_log_writer import GROUP, PARTITIONS, number_of, record_count

KILLS = 16
SEED = 20261122


def write_until_killed(directory: Path, seconds: float) -> list[tuple[str, int, int, int]]:
    """Let the writer run for ``seconds`` after its first acknowledgement, kill it, return what it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.embedded_log_writer", str(directory)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert writer.stdout is not None
    first_line = writer.stdout.readline()
    time.sleep(seconds)
    writer.kill()
    lines = (first_line + writer.stdout.read()).splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()
    assert first_line, "the writer ended by itself"
    return [tuple(json.loads(line)) for line in lines if line.endswith(b"\n")]


def whole(log: EmbeddedLog, topic: str, partition: int) -> Iterator[StoredRecord]:
    """Return every record of a partition."""
    offset = log.start_offset(topic, partition)
    while stored := log.read(topic, partition, offset):
        yield from stored
        offset = stored[-1].offset + 1


def assert_transactions_are_whole(log: EmbeddedLog, partition: int) -> None:
    """Check that events, markers, counter and committed offset tell of exactly the same batches."""
    batches = Counter(number_of(stored.record) for stored in whole(log, "events", partition))
    assert batches == {batch: record_count(batch) for batch in range(len(batches))}
    markers = [number_of(stored.record) for stored in whole(log, "markers", partition)]
    assert markers == list(range(len(batches)))
    counters = [number_of(stored.record) for stored in whole(log, "counters", partition)]
    assert counters[-1:] == markers[-1:]
    if batches:
        last_batch_at = log.end_offset("events", partition) - record_count(len(batches) - 1)
        assert log.committed(GROUP, "events", partition) == last_batch_at


def assert_acknowledged_is_there(log: EmbeddedLog, acknowledged: list[tuple[str, int, int, int]]) -> None:
    """Check that every acknowledged record stands at the offset that was given for it."""
    topics = {"transaction": "events", "append": "plain"}
    held = {
        (kind, partition): {
            stored.offset: number_of(stored.record) for stored in whole(log, topic, partition)
        }
        for kind, topic in topics.items()
        for partition in range(PARTITIONS)
    }
    missing = [entry for entry in acknowledged if held[entry[0], entry[1]].get(entry[3], -1) != entry[2]]
    assert missing == []


def test_nothing_acknowledged_is_lost_and_no_transaction_is_torn(tmp_path: Path) -> None:
    """After each of many kills the log holds all that was acknowledged, and every transaction wholly or not."""
    choose = random.Random(SEED)
    acknowledged: list[tuple[str, int, int, int]] = []
    compacted = False
    for _ in range(KILLS):
        acknowledged += write_until_killed(tmp_path, choose.uniform(0, 0.3))
        log = EmbeddedLog.open(tmp_path)
        assert_acknowledged_is_there(log, acknowledged)
        for partition in range(PARTITIONS):
            assert_transactions_are_whole(log, partition)
            counters = len(list(whole(log, "counters", partition)))
            compacted |= counters < len(list(whole(log, "markers", partition)))
        log.close_blocking()
    assert len(acknowledged) > 10 * KILLS
    assert compacted, "the kills should have met compaction too"
