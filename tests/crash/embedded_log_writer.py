"""The process that ``test_embedded_log_kill`` kills: writes without end and prints what was acknowledged.

One JSON array per acknowledged request on stdout: ``["transaction", partition, batch, last offset]`` or
``["append", partition, number, offset]``. ``batch`` and ``number`` count up from what the log already has.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from schemas.topics import TopicSpec
from streams.embedded.log import Append, EmbeddedLog, LogSettings, MaintenanceSettings, Record

PARTITIONS = 3
GROUP = "crash"
TOPICS = (
    TopicSpec("events", PARTITIONS),  # the batches, record_count(batch) records each
    TopicSpec("markers", PARTITIONS, "compact"),  # one record per batch, each with a key of its own
    TopicSpec("counters", PARTITIONS, "compact"),  # the last batch under one key, over and over
    TopicSpec("plain", PARTITIONS),  # lone appends
)


def record_count(batch: int) -> int:
    """Return how many records a batch has."""
    return batch % 4 + 1


def number_of(record: Record) -> int:
    """Return the number that a record was written with."""
    assert record.value is not None
    return int(record.value.split(b".")[0])


def next_number(log: EmbeddedLog, topic: str, partition: int) -> int:
    """Return the number that follows the last one in the log."""
    end_offset = log.end_offset(topic, partition)
    if end_offset == 0:
        return 0
    return number_of(log.read(topic, partition, end_offset - 1)[0].record) + 1


def acknowledge(*fields: object) -> None:
    """Tell the test, in one write, so that a kill leaves a whole line or an incomplete last one."""
    os.write(sys.stdout.fileno(), (json.dumps(fields) + "\n").encode())


async def write_transactions(log: EmbeddedLog, partition: int) -> None:
    """Write batches: events, marker, counter and the group's offset together."""
    batch = next_number(log, "events", partition)
    while True:
        number = str(batch).encode()
        first_offset = log.end_offset("events", partition)
        records = [Record(None, b"%d.%d" % (batch, index), 0) for index in range(record_count(batch))]
        last_offsets = await log.transaction(
            [
                Append("events", partition, records),
                Append("markers", partition, [Record(number, number, 0)]),
                Append("counters", partition, [Record(b"last", number, 0)]),
            ],
            {(GROUP, "events", partition): first_offset},
        )
        acknowledge("transaction", partition, batch, last_offsets["events", partition])
        batch += 1


async def write_appends(log: EmbeddedLog, partition: int) -> None:
    """Append single records of several pages."""
    number = next_number(log, "plain", partition)
    while True:
        offset = await log.append("plain", partition, [Record(None, b"%d." % number + b"x" * 9_000, 0)])
        acknowledge("append", partition, number, offset)
        number += 1


async def maintain(log: EmbeddedLog) -> None:
    """Compact all the time."""
    while True:
        await log.maintenance(0)
        await asyncio.sleep(0.005)


async def main(directory: Path) -> None:
    """Write until killed."""
    settings = LogSettings(
        linger_seconds=0.001, maintenance=MaintenanceSettings(compaction_records_min=20, free_bytes_max=0)
    )
    log = EmbeddedLog.open(directory, settings=settings)
    log.declare(TOPICS)
    partitions = range(PARTITIONS)
    await asyncio.gather(
        *(write_transactions(log, partition) for partition in partitions),
        *(write_appends(log, partition) for partition in partitions),
        maintain(log),
    )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
