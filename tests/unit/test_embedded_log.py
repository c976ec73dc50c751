"""What the embedded log promises to its callers (retention and compaction: ``test_embedded_maintenance``)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from schemas.topics import TopicSpec
from streams.embedded.log import (
    Append,
    EmbeddedLog,
    LogFailed,
    LogOwned,
    LogSettings,
    OffsetOutOfRange,
    Record,
)

EVENTS = TopicSpec("events", 4)
STATES = TopicSpec("states", 4, "compact")
QUICK = LogSettings(linger_seconds=0)


def record(text: str, key: str | None = None) -> Record:
    return Record(key.encode() if key is not None else None, text.encode(), 1_000)


def values(log: EmbeddedLog, topic: str, partition: int, offset: int = 0) -> list[str]:
    """Read a whole partition as text."""
    found: list[str] = []
    while stored := log.read(topic, partition, offset):
        found += [(item.record.value or b"").decode() for item in stored]
        offset = stored[-1].offset + 1
    return found


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EmbeddedLog]:
    opened = EmbeddedLog.open(tmp_path / "log", settings=QUICK)
    opened.declare([EVENTS, STATES])
    yield opened
    opened.close_blocking()


def test_append_returns_the_last_offset_and_reads_back(log: EmbeddedLog) -> None:
    """Offsets are dense from 0 per partition, and a read returns key, value, time and headers unchanged."""
    full = Record(b"k", b"v", 123, b"\x00h")
    assert asyncio.run(log.append("events", 1, [record("a"), full])) == 1
    assert log.append_blocking("events", 1, [Record(None, None, 5)]) == 2
    assert log.append_blocking("events", 2, [record("other partition")]) == 0
    stored = log.read("events", 1, 1)
    assert [(item.offset, item.record) for item in stored] == [(1, full), (2, Record(None, None, 5))]
    assert (log.start_offset("events", 1), log.end_offset("events", 1)) == (0, 3)


def test_transaction_spans_partitions_and_offsets(log: EmbeddedLog) -> None:
    """A transaction appends to several partitions, commits offsets and says where the records went."""
    log.append_blocking("events", 0, [record("source")])
    last_offsets = log.transaction_blocking(
        [
            Append("states", 0, [record("s", "k"), record("t", "l")]),
            Append("events", 3, [record("e")]),
            Append("states", 0, [record("u", "m")]),
            Append("states", 1, []),
        ],
        {("group", "events", 0): 1},
    )
    assert last_offsets == {("states", 0): 2, ("events", 3): 0}
    assert values(log, "states", 0) == ["s", "t", "u"]
    assert log.committed("group", "events", 0) == 1
    assert log.committed("group", "events", 1) is None
    assert log.committed("another", "events", 0) is None


def test_everything_survives_reopening(tmp_path: Path) -> None:
    """Records, end offsets, committed offsets, topics, meta values and the installation id outlive the process."""
    log = EmbeddedLog.open(tmp_path, settings=QUICK)
    log.declare([EVENTS])
    log.transaction_blocking([Append("events", 0, [record("a"), record("b")])], {})
    log.transaction_blocking([], {("group", "events", 0): 2})
    log.meta_set("fingerprint", "one")
    log.meta_set("fingerprint", "two")
    installation_id = log.installation_id
    log.close_blocking()

    log = EmbeddedLog.open(tmp_path, create=False, settings=QUICK)
    assert values(log, "events", 0) == ["a", "b"]
    assert log.append_blocking("events", 0, [record("c")]) == 2
    assert log.committed("group", "events", 0) == 2
    assert log.topics() == {"events": EVENTS}
    assert log.meta_get("fingerprint") == "two"
    assert log.meta_get("unknown") is None
    assert log.installation_id == installation_id
    assert len(installation_id) == 32
    log.close_blocking()


def test_open_without_create_needs_a_log(tmp_path: Path) -> None:
    """A verb that only looks must not make an empty log where there is none."""
    with pytest.raises(FileNotFoundError):
        EmbeddedLog.open(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    """A log that another version laid out is not touched, and the directory is free again."""
    log = EmbeddedLog.open(tmp_path, settings=QUICK)
    log.meta_set("schema_version", "99")
    log.close_blocking()
    for _ in range(2):
        with pytest.raises(ValueError, match="layout 99"):
            EmbeddedLog.open(tmp_path)


def test_second_process_is_refused(log: EmbeddedLog) -> None:
    """Another process that opens the directory gets LogOwned, which names the owner's process id."""
    script = (
        "import sys; from pathlib import Path; from streams.embedded.log import EmbeddedLog, LogOwned\n"
        "try: EmbeddedLog.open(Path(sys.argv[1]))\n"
        "except LogOwned as error: print(error); sys.exit(7)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(log.directory)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 7, result.stderr
    assert f"process {os.getpid()}" in result.stdout


def test_second_open_in_the_same_process_is_refused(log: EmbeddedLog) -> None:
    """Two logs over one directory would give out the same offsets twice, so the second open fails."""
    with pytest.raises(LogOwned):
        EmbeddedLog.open(log.directory)
    log.close_blocking()
    EmbeddedLog.open(log.directory).close_blocking()


def test_declare_is_idempotent_and_keeps_the_partition_count(log: EmbeddedLog) -> None:
    """Declaring again changes limits only; another partition count is refused and names both counts."""
    log.declare([EVENTS, TopicSpec("states", 4, "compact", retention_seconds=5)])
    assert log.topics()["states"].retention_seconds == 5
    with pytest.raises(ValueError, match="has 4 partitions in this log, not 8"):
        log.declare([TopicSpec("new", 1), TopicSpec("events", 8)])
    assert "new" not in log.topics()
    with pytest.raises(ValueError, match="'compact', not as 'delete'"):
        log.declare([TopicSpec("states", 4)])
    with pytest.raises(ValueError, match="twice"):
        log.declare([TopicSpec("new", 1), TopicSpec("new", 1)])
    assert log.partition_count("events") == 4
    with pytest.raises(KeyError, match="not declared"):
        log.partition_count("new")


@pytest.mark.parametrize(
    ("append", "offsets", "error"),
    [
        (Append("unknown", 0, [record("x")]), {}, KeyError),
        (Append("events", 4, [record("x")]), {}, KeyError),
        (Append("events", -1, [record("x")]), {}, KeyError),
        (Append("states", 0, [record("no key")]), {}, ValueError),
        (Append("events", 0, [Record(None, "text", 1)]), {}, TypeError),  # type: ignore[arg-type]
        (Append("events", 0, [record("x")]), {("g", "events", 0): 1}, ValueError),
        (Append("events", 0, [record("x")]), {("g", "events", 9): 0}, KeyError),
    ],
)
def test_bad_requests_are_refused_alone(
    log: EmbeddedLog, append: Append, offsets: dict[tuple[str, str, int], int], error: type[Exception]
) -> None:
    """A request that the log cannot keep raises at once, writes nothing and leaves the log working."""
    with pytest.raises(error):
        log.transaction_blocking([append], offsets)
    with pytest.raises(ValueError, match="nothing to append"):
        log.append_blocking("events", 0, [])
    assert log.append_blocking("events", 0, [record("good")]) == 0


def test_concurrent_appends_get_dense_offsets_in_the_order_of_submission(tmp_path: Path) -> None:
    """Requests that share a group commit each get offsets of their own, in the order they were queued."""
    log = EmbeddedLog.open(tmp_path, settings=LogSettings(linger_seconds=0.01))
    log.declare([EVENTS])

    async def write() -> list[int]:
        return await asyncio.gather(
            *(log.append("events", 0, [record(f"{number}")]) for number in range(300))
        )

    with ThreadPoolExecutor(4) as threads:
        blocking = [threads.submit(log.append_blocking, "events", 1, [record("t")]) for _ in range(40)]
        assert asyncio.run(write()) == list(range(300))
        assert sorted(future.result() for future in blocking) == list(range(40))
    assert values(log, "events", 0) == [str(number) for number in range(300)]
    log.close_blocking()


def test_writers_wait_for_room_and_lose_nothing(log: EmbeddedLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more queued than the limit allows, appends wait their turn and all become durable."""
    monkeypatch.setattr("streams.embedded.log.PENDING_BYTES_MAX", 1_000)

    async def write() -> list[int]:
        return await asyncio.gather(*(log.append("events", 0, [record("x" * 600)]) for _ in range(50)))

    assert sorted(asyncio.run(write())) == list(range(50))


def test_reads_are_limited_but_always_advance(log: EmbeddedLog) -> None:
    """A read stops at either limit, and returns one record even if that alone is over the byte limit."""
    log.append_blocking("events", 0, [record("x" * 100) for _ in range(10)])
    assert len(log.read("events", 0, 0, max_records=3)) == 3
    assert len(log.read("events", 0, 0, max_bytes=300)) == 2
    assert len(log.read("events", 0, 0, max_bytes=1)) == 1
    assert log.read("events", 0, 10) == []


def test_memory_and_disk_give_the_same_records(tmp_path: Path) -> None:
    """Whatever part of a partition is still in memory, every read equals the read of a reopened log."""
    log = EmbeddedLog.open(tmp_path, settings=LogSettings(linger_seconds=0, tail_bytes_max=4_000))
    log.declare([EVENTS])
    for number in range(60):
        records = [record(f"{number}.{index}", f"key{index}") for index in range(number % 5 + 1)]
        log.append_blocking("events", number % 4, records)
    places = [(partition, offset) for partition in range(4) for offset in range(0, 30, 3)]
    kept_in_memory = [log.in_memory("events", *place) for place in places]
    before = [log.read("events", *place, max_records=7, max_bytes=500) for place in places]
    log.close_blocking()

    log = EmbeddedLog.open(tmp_path, settings=QUICK)
    assert [log.read("events", *place, max_records=7, max_bytes=500) for place in places] == before
    assert any(kept_in_memory)
    assert not all(kept_in_memory)
    log.close_blocking()


def test_reading_beyond_the_end_names_the_missing_range(log: EmbeddedLog) -> None:
    """A position after the end means that log and state do not belong together: it is never an empty read."""
    log.append_blocking("events", 0, [record("a")])
    with pytest.raises(OffsetOutOfRange) as caught:
        log.read("events", 0, 5)
    assert (caught.value.missing_from, caught.value.missing_to) == (1, 5)


def test_wait_beyond_returns_when_the_offset_can_be_read(log: EmbeddedLog) -> None:
    """A waiting consumer is woken by an append from another thread, and only once its offset is there."""

    async def wait() -> list[str]:
        waiting = asyncio.create_task(log.wait_beyond("events", 0, 1))
        await asyncio.to_thread(log.append_blocking, "events", 1, [record("elsewhere")])
        await asyncio.to_thread(log.append_blocking, "events", 0, [record("first")])
        await asyncio.sleep(0.02)
        assert not waiting.done()
        await asyncio.to_thread(log.append_blocking, "events", 0, [record("second")])
        await asyncio.wait_for(waiting, 5)
        return values(log, "events", 0, 1)

    assert asyncio.run(wait()) == ["second"]


def test_listeners_hear_of_every_partition_that_grew(log: EmbeddedLog) -> None:
    """A listener gets the partitions of each commit after they can be read, until it is removed."""
    heard: list[tuple[str, int]] = []
    log.add_listener(heard.extend)
    log.transaction_blocking([Append("events", 0, [record("a")]), Append("events", 2, [record("b")])], {})
    log.append_blocking("states", 1, [record("c", "k")])
    log.remove_listener(heard.extend)
    log.remove_listener(heard.extend)
    log.append_blocking("events", 3, [record("d")])
    assert heard[:2] == [("events", 0), ("events", 2)]
    assert ("events", 3) not in heard


def fill_the_disk(log: EmbeddedLog) -> int:
    """Append until the log fails; return how many records were acknowledged."""
    acknowledged = 0
    while True:
        try:
            log.append_blocking("events", 0, [record(f"{acknowledged:08d}" * 2_000)])
        except LogFailed:
            return acknowledged
        acknowledged += 1
        assert acknowledged < 1_000, "the size limit was not reached"


def test_a_full_disk_fails_the_log_for_good(tmp_path: Path) -> None:
    """After a write that could not be made durable every write, read and wait raises LogFailed."""
    log = EmbeddedLog.open(tmp_path, settings=LogSettings(linger_seconds=0, size_max_bytes=1 << 20))
    log.declare([EVENTS])
    acknowledged = fill_the_disk(log)
    assert acknowledged > 10

    async def use_it() -> None:
        with pytest.raises(LogFailed):
            await log.append("events", 1, [record("small")])
        with pytest.raises(LogFailed):
            await log.wait_beyond("events", 1, 0)

    asyncio.run(use_it())
    for call in (
        lambda: log.append_blocking("events", 1, [record("small")]),
        lambda: log.read("events", 0, 0),
        lambda: log.meta_set("key", "value"),
        lambda: log.maintenance_blocking(0),
        log.check,
    ):
        with pytest.raises(LogFailed, match="disk"):
            call()
    log.close_blocking()

    log = EmbeddedLog.open(tmp_path, settings=QUICK)
    assert log.end_offset("events", 0) == acknowledged
    assert len(values(log, "events", 0)) == acknowledged
    log.close_blocking()


def test_a_failed_commit_fails_its_whole_group(tmp_path: Path) -> None:
    """Requests that share a group commit with one that does not fit are all refused and all absent."""
    log = EmbeddedLog.open(tmp_path, settings=LogSettings(linger_seconds=0.05, size_max_bytes=1 << 20))
    log.declare([EVENTS])
    log.append_blocking("events", 1, [record("kept")])

    async def write() -> list[int | BaseException | None]:
        outcomes = await asyncio.gather(
            log.append("events", 1, [record("small")]),
            log.append("events", 0, [record("x" * (2 << 20))]),
            log.wait_beyond("events", 1, 1),
            log.append("events", 2, [record("small too")]),
            return_exceptions=True,
        )
        return list(outcomes)

    assert [type(outcome) for outcome in asyncio.run(write())] == [LogFailed] * 4
    log.close_blocking()
    log = EmbeddedLog.open(tmp_path, settings=QUICK)
    assert [log.end_offset("events", partition) for partition in range(3)] == [0, 1, 0]
    log.close_blocking()


def test_close_finishes_what_is_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    """Closing commits requests that were queued before it; later ones raise LogFailed."""
    log = EmbeddedLog.open(tmp_path, settings=LogSettings(linger_seconds=1))
    log.declare([EVENTS])

    async def close_at_once() -> int:
        appended = asyncio.create_task(log.append("events", 0, [record("last words")]))
        await asyncio.sleep(0)
        await log.close()
        await log.close()
        return await appended

    assert asyncio.run(close_at_once()) == 0
    with pytest.raises(LogFailed, match="closed"):
        log.append_blocking("events", 0, [record("too late")])
    with EmbeddedLogOpened(tmp_path) as reopened:
        assert values(reopened, "events", 0) == ["last words"]


class EmbeddedLogOpened:
    """A log that is open for the length of a ``with`` block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> EmbeddedLog:
        self._log = EmbeddedLog.open(self._directory, settings=QUICK)
        return self._log

    def __exit__(self, *_: object) -> None:
        self._log.close_blocking()


def test_a_cancelled_caller_does_not_disturb_the_others(tmp_path: Path) -> None:
    """An append whose caller gave up is still written, and those in the same group are acknowledged."""
    log = EmbeddedLog.open(tmp_path, settings=LogSettings(linger_seconds=0.02))
    log.declare([EVENTS])

    async def write() -> int:
        given_up = asyncio.create_task(log.append("events", 0, [record("given up")]))
        await asyncio.sleep(0)
        kept = asyncio.create_task(log.append("events", 0, [record("kept")]))
        await asyncio.sleep(0)
        given_up.cancel()
        return await kept

    assert asyncio.run(write()) == 1
    assert values(log, "events", 0) == ["given up", "kept"]
    log.close_blocking()
