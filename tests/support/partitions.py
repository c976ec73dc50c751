"""Partitions without a log: processors over real stores, commits applied at once, crashes by throwing them away.

Owns the stand-in for log and ClickHouse. What is under test (processor, sweep, store) is the real thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from metering.calendar import ZoneRules
from metering.household import PHONES
from metering.rules import shipped_regimes
from schemas.codec import encode_batch, partition_of
from schemas.events import Event, Refusal
from schemas.rows import CounterKey
from streams.processor import Processor
from streams.step import ProcessorConfig, SourceRecord, Step
from streams.store import PartitionStore, Table
from streams.sweep import Sweep

REGIMES = shipped_regimes()


def no_json(value: bytes, _time_ms: int) -> tuple[list[Event], list[Refusal]]:
    """Read nothing: these tests write batch records only."""
    raise AssertionError(f"unexpected record {value[:20]!r}")


class Partition:
    """One partition with its log, store and the rows that ClickHouse would hold."""

    def __init__(self, directory: Path, number: int, count: int, zone_of: Callable[[str], str]) -> None:
        """Start empty in a directory."""
        self.directory = directory
        self.log: list[bytes] = []
        self.rows: dict[CounterKey, tuple[int, ...]] = {}
        self.refusals: list[Refusal] = []
        self.deliver: Callable[[int, list[bytes]], None] = lambda _owner, records: self.log.extend(records)
        """Appends records to the log of a partition, in the commit that sends them."""
        self.on_step: Callable[[Step], None] = lambda _step: None
        """Told of every commit."""
        self._zone_of = zone_of
        self._number, self._count = number, count
        self.store = PartitionStore(directory)
        self.processor = self._new_processor()
        self.sweep = Sweep(self.processor)

    def _new_processor(self) -> Processor:
        def zones(account: str) -> ZoneRules:
            return (("", self._zone_of(account)),)

        config = ProcessorConfig(
            self._number, self._count, "installation", REGIMES, zones, no_json, cached_items_max=40
        )
        return Processor(self.store, config, now_seconds=2_000_000_000)

    def crash(self) -> None:
        """Lose everything that is only in memory."""
        self.store.close()
        self.reopen()

    def reopen(self) -> None:
        """Open the store, which was closed, and work on it anew."""
        self.store = PartitionStore(self.directory)
        self.processor = self._new_processor()
        self.sweep = Sweep(self.processor)

    def commit(self, step: Step) -> None:
        """Make a step durable."""
        self.store.apply(step.writes, {})
        self.processor.after_commit()
        self.on_step(step)
        self.rows.update(step.rows)
        self.refusals += step.refusals
        for owner, records in step.forwards.items():
            self.deliver(owner, records)

    def work(self, random: Random, *, sweep_share: float = 0.0, crash_share: float = 0.0) -> None:
        """Process everything in the log, in random cuts, with sweeps and crashes in between."""
        while (offset := self.processor.record.source_offset) < len(self.log):
            records: Sequence[SourceRecord] = [
                (position, self.log[position], 0)
                for position in range(offset, min(len(self.log), offset + random.choice((1, 2, 5, 50))))
            ]
            step = self.processor.process(records, 2_000_000_000)
            if random.random() < crash_share:
                self.crash()  # before the commit: the step never was
                continue
            self.commit(step)
            if random.random() < crash_share:
                self.crash()
            if random.random() < sweep_share:
                self.run_sweep(random, crash_share)

    @property
    def is_caught_up(self) -> bool:
        """Tell whether everything in the log is processed."""
        return self.processor.record.source_offset == len(self.log)

    def run_sweep(self, random: Random, crash_share: float = 0.0) -> None:
        """Sweep until nothing is left to forget, or a crash."""
        while self.run_sweep_step(random, crash_share):
            pass

    def run_sweep_step(self, random: Random, crash_share: float = 0.0, unflushed: int = 0) -> bool:
        """Do the next bit of a sweep, with ClickHouse some commits behind; return whether there may be more."""
        step = self.sweep.next_step(2_000_000_000, max(0, self.processor.record.sequence - unflushed))
        if step is None:
            return self.sweep.under_way
        if random.random() < crash_share:
            self.crash()
            return False
        self.commit(step)
        return True

    def state_records(self) -> int:
        """Return the number of records in the users table, marks of dropped items aside."""
        return sum(1 for key, _ in self.store.scan(Table.USERS) if key.split(b"\0", 2)[2][:1] != b"x")


class Partitions:
    """All partitions of a small installation."""

    def __init__(self, directory: Path, count: int, zone_of: Callable[[str], str]) -> None:
        """Start empty."""
        self.partitions = [Partition(directory / str(n), n, count, zone_of) for n in range(count)]
        for partition in self.partitions:
            partition.deliver = self._deliver

    def _deliver(self, owner: int, records: list[bytes]) -> None:
        self.partitions[owner].log.extend(records)

    def work(self, random: Random, *, sweep_share: float = 0.0, crash_share: float = 0.0) -> None:
        """Process all logs until nothing is left in any: what one partition does may give another work."""
        while busy := [partition for partition in self.partitions if not partition.is_caught_up]:
            random.choice(busy).work(random, sweep_share=sweep_share, crash_share=crash_share)

    def append(self, events: Sequence[Event]) -> None:
        """Append events as batch records to the partitions that own them."""
        by_partition: dict[int, list[Event]] = {}
        for event in events:
            owner = partition_of(event.account, event.user_key, len(self.partitions))
            by_partition.setdefault(owner, []).append(event)
        for owner, own in by_partition.items():
            self.partitions[owner].log.append(encode_batch(own))

    def totals(self) -> dict[CounterKey, tuple[int, ...]]:
        """Return the sums over partitions, rows that are all zero left out; no cell may be negative."""
        result: dict[CounterKey, tuple[int, ...]] = {}
        for partition in self.partitions:
            for key, values in partition.rows.items():
                known = result.get(key, (0,) * len(values))
                result[key] = tuple(one + other for one, other in zip(known, values, strict=True))
        for key, values in result.items():
            assert min(values) >= 0 or key[-1] == PHONES, f"negative cell {key}: {values}"
        return {key: values for key, values in result.items() if any(values)}

    def close(self) -> None:
        """Close the stores."""
        for partition in self.partitions:
            partition.store.close()
