"""CPU time per event of the worker's own step in the ingest shape: records in, state and counters out; no log.

Generated traffic of many users with few events per user and commit, as ``bench.ingest`` has it, goes through the
processors of all partitions in turn, each over a real local store. From the repository's root::

    python -m bench.worker --users 40000 --days 15

Prints one JSON object: events, microseconds of CPU per event in the step and in the store, and a digest of the whole
state: two versions that count alike store alike, to the byte. With ``--profile``, the costliest functions too.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import orjson

from bench.ingest import CHUNK_LINES, generated
from metering.rules import shipped_regimes
from runtime.memory import settle
from schemas.codec import Control, encode_control
from schemas.events import Event
from streams.normalize import Reading, event_appends
from streams.processor import Processor
from streams.step import ProcessorConfig, SourceRecord
from streams.store import PartitionStore, Table

PARTITIONS = 4
COMMIT_RECORDS = 5
"""What the partition's task finds queued on average while ``ingest`` writes."""
NOW_MS = 1_800_000_000_000


def source_records(users: int, days: int) -> list[list[bytes]]:
    """Return the records of each partition as ``ingest`` writes them."""
    accounts = [f"9001002003004{number:02d}" for number in range(3)]
    holds = [encode_control(Control("hold", account, "bench", 1 << 40)) for account in accounts]
    result = [[*holds] for _ in range(PARTITIONS)]
    lines = generated(users, days)
    reading = Reading()
    for position in range(0, len(lines), CHUNK_LINES):
        events: list[Event] = []
        for line in lines[position : position + CHUNK_LINES]:
            events += reading.read(line, NOW_MS, "meta").events
        for append in event_appends(events, PARTITIONS, NOW_MS):
            result[append.partition] += [record.value for record in append.records if record.value]
    return result


class Bench:
    """The processors of all partitions, and what they spend in CPU seconds."""

    def __init__(self, directory: Path) -> None:
        """Start with empty stores."""
        self.process_seconds = self.store_seconds = 0.0
        self.event_count = 0
        self._processors: list[Processor] = []
        for partition in range(PARTITIONS):
            config = ProcessorConfig(
                partition,
                PARTITIONS,
                "bench",
                shipped_regimes(),
                lambda _account: (("", "Europe/Berlin"),),
                lambda _value, _time_ms: ([], []),
            )
            store = PartitionStore(directory / str(partition))
            self._processors.append(Processor(store, config, NOW_MS // 1000))

    def run(self, records: Sequence[Sequence[bytes]]) -> None:
        """Process all records, a commit of one partition after a commit of another."""
        settle()
        for position in range(0, max(map(len, records)), COMMIT_RECORDS):
            for processor, own in zip(self._processors, records, strict=True):
                taken = own[position : position + COMMIT_RECORDS]
                if taken:
                    self._commit(processor, [(position + n, value, NOW_MS) for n, value in enumerate(taken)])

    def _commit(self, processor: Processor, records: list[SourceRecord]) -> None:
        started = time.process_time()
        step = processor.process(records, NOW_MS // 1000)
        processed = time.process_time()
        processor.store.apply(step.writes, {})
        processor.after_commit()
        self.store_seconds += time.process_time() - processed
        self.process_seconds += processed - started
        self.event_count += step.event_count

    def digest(self) -> str:
        """Return a digest of everything in the stores, and close them."""
        digest = blake2b(digest_size=8)
        for processor in self._processors:
            for table in Table:
                for key, value in processor.store.scan(table):
                    digest.update(key + value)
            processor.store.close()
        return digest.hexdigest()

    def figures(self) -> dict[str, int | float | str]:
        """Return what was measured."""
        return {
            "events": self.event_count,
            "process_us_per_event": round(self.process_seconds / self.event_count * 1e6, 2),
            "store_us_per_event": round(self.store_seconds / self.event_count * 1e6, 2),
            "state": self.digest(),
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--users", type=int, default=40_000)
    parser.add_argument("--days", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="print the costliest functions")
    options = parser.parse_args()
    records = source_records(options.users, options.days)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(Path(directory))
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(bench.run, records)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        else:
            bench.run(records)
        print(orjson.dumps(bench.figures()).decode())


if __name__ == "__main__":
    main()
