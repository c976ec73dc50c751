"""Real partitions and a real flusher over HTTP, while the server is slow, full, restarted, locked or hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from sinks.clickhouse.client import ClickHouseAway, ClickHouseRefused, ClientPool, open_client
from sinks.clickhouse.writer import ClickHouseWriter
from streams.opening import Opener
from tests.integration.conftest import Database
from tests.support.clickhouse_http import ClickHouseHttp, Mode
from tests.support.flushing import NOW_SECONDS, Metering, some_events, totals_in

_CODES_THAT_PASS = (159, 201, 202, 241, 242, 243, 252, 319, 745)
"""Timeout, quota, too many queries, memory, replica read-only, disk, parts, unknown outcome, overload."""
_CODES_THAT_STAY = (53, 60, 164, 497)
"""Type mismatch, no such table, user is read-only, no grant."""


@pytest.fixture
def server(http_server: ClickHouseHttp, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickHouseHttp]:
    """Return the server, well again after the test; the flusher tries again at once."""
    monkeypatch.setattr("streams.flusher._RETRY_SECONDS_MAX", 0.02)
    yield http_server
    http_server.mode, http_server.good_inserts, http_server.delay_seconds = Mode.WELL, 0, 0.0


def _impatient(database: Database) -> ClientPool:
    """Return clients that wait for an answer for a second only."""
    return ClientPool(lambda: open_client(database.address, timeout_seconds=1))


async def _in_trouble(server: ClickHouseHttp, metering: Metering, random: Random) -> None:
    """Meter while the server behaves as it was told, long enough for some tries."""
    for number in range(6):
        metering.meter(some_events(random, 8, f"{server.mode}{server.error_code}{number}{random.random()}"))
        await asyncio.sleep(0.03)


async def _resumes(server: ClickHouseHttp, metering: Metering, database: Database) -> None:
    """The server is well again: everything arrives, once."""
    server.mode = Mode.WELL
    await metering.flushed()
    assert totals_in(database.client) == metering.totals()


_MODES = [Mode.FAILS, Mode.BUSY, Mode.CUTS_INSERT, Mode.CUTS_BODY, Mode.STORES_HALF, Mode.LOSES_ANSWER]


@pytest.mark.parametrize("mode", _MODES)
def test_it_resumes_after_trouble(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path, mode: Mode
) -> None:
    """Errors of a proxy, 503 with Retry-After, connections cut before, in and after an insert: nothing is lost."""

    async def scenario() -> None:
        random = Random(4)
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool), partitions=2)
        await metering.open()
        for good_inserts in (0, 1, 2):
            server.good_inserts, server.mode = good_inserts, mode
            await _in_trouble(server, metering, random)
            assert any(opened.dirty.owes for opened in metering.opened)
            await _resumes(server, metering, http_database)
        await metering.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_errors_that_pass_are_tried_again(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path
) -> None:
    """Full, overloaded, over its quota, read-only for want of its Keeper: it goes on once that is over."""

    async def scenario() -> None:
        random = Random(5)
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool))
        await metering.open()
        for code in _CODES_THAT_PASS:
            server.error_code, server.mode, server.good_inserts = code, Mode.ERROR, random.randrange(2)
            await _in_trouble(server, metering, random)
            assert metering.opened[0].dirty.owes
            await _resumes(server, metering, http_database)
        await metering.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


@pytest.mark.parametrize("code", [*_CODES_THAT_STAY, 516])
def test_errors_that_stay_end_the_process_and_the_next_start_owes_the_rest(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path, code: int
) -> None:
    """A fault that a person must mend is not tried for ever; once it is mended, a start brings what is missing."""

    async def scenario() -> None:
        random = Random(6)
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool))
        await metering.open()
        metering.meter(some_events(random, 20, "before"))
        await metering.flushed()
        server.error_code, server.mode = code, Mode.LOCKED if code == 516 else Mode.ERROR
        metering.meter(some_events(random, 20, "while"))
        with pytest.raises(ClickHouseRefused, match=str(code)):
            await metering.flushed()
        await metering.close()
        server.mode = Mode.WELL
        await metering.open()
        await metering.flushed()
        assert totals_in(http_database.client) == metering.totals()
        await metering.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_slow_answers_hold_nothing_up_but_themselves(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path
) -> None:
    """Answers slower than a flush is due, then slower than the client waits: metering goes on, then all arrives."""

    async def scenario() -> None:
        random = Random(7)
        pool = _impatient(http_database)
        metering = Metering(tmp_path, ClickHouseWriter(pool))
        await metering.open()
        for delay_seconds in (0.1, 1.5):
            server.delay_seconds, server.mode = delay_seconds, Mode.SLOW
            started = asyncio.get_running_loop().time()
            await _in_trouble(server, metering, random)
            assert asyncio.get_running_loop().time() - started < 1
            await asyncio.sleep(delay_seconds * 2)
            await _resumes(server, metering, http_database)
        await metering.close()
        pool.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_restart_on_the_same_port_goes_unnoticed(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path
) -> None:
    """The server goes and comes back, again and again, with the same clients in use."""

    async def scenario() -> None:
        random = Random(8)
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool))
        await metering.open()
        for _ in range(3):
            await asyncio.to_thread(server.stop)
            try:
                await _in_trouble(server, metering, random)
            finally:
                await asyncio.to_thread(server.start)
            await _resumes(server, metering, http_database)
        await metering.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_partition_taken_up_without_clickhouse_waits_for_it(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rebalance, say: what ClickHouse lacks cannot be known yet, so nothing is metered until it answers."""
    monkeypatch.setattr("streams.opening._RETRY_SECONDS", 0.05)

    async def scenario() -> None:
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool))
        await metering.open()
        metering.meter(some_events(Random(11), 20, "owed"))
        owed = len(metering.opened[0].dirty)
        await metering.close()
        server.mode = Mode.FAILS
        opener = Opener(metering.log, metering.writer, metering.options, lambda: NOW_SECONDS * 1000)
        opening = asyncio.create_task(opener.open(0))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.3)
        assert not opening.done()
        await asyncio.to_thread(server.start)
        server.mode = Mode.WELL
        opened = await opening
        assert len(opened.dirty) == owed > 0
        opened.store.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_trouble_and_restarts_in_any_order_change_no_number(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path
) -> None:
    """Random trouble, ends of the process in the middle of it, and late starts: the totals reach the truth."""

    async def scenario() -> None:
        random = Random(9)
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool), partitions=3)
        await metering.open()
        for _ in range(12):
            server.mode = random.choice([*_MODES, Mode.ERROR, Mode.WELL])
            server.error_code = random.choice(_CODES_THAT_PASS)
            server.good_inserts = random.randrange(4)
            await _in_trouble(server, metering, random)
            if random.random() < 0.4:
                assert await metering.close() is None
                server.mode = Mode.WELL
                await metering.open()
        await _resumes(server, metering, http_database)
        await metering.close()

    asyncio.run(asyncio.wait_for(scenario(), 90))


def test_a_long_absence_costs_no_memory_beyond_the_counters(
    http_database: Database, server: ClickHouseHttp, tmp_path: Path
) -> None:
    """However many commits change the same counters while ClickHouse is away, each is owed once."""

    async def scenario() -> None:
        random = Random(10)
        metering = Metering(tmp_path, ClickHouseWriter(http_database.pool))
        await metering.open()
        metering.meter(some_events(random, 400, "first"))
        await metering.flushed()
        server.mode = Mode.FAILS
        dirty, most = metering.opened[0].dirty, 0
        for number in range(300):
            metering.meter(some_events(random, 10, f"away{number}"))
            most = max(most, len(dirty))
            if number % 20 == 0:
                await asyncio.sleep(0.02)
        assert most <= len(metering.truth)
        assert dirty.held <= 2 * len(metering.truth)
        await _resumes(server, metering, http_database)
        await metering.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_whoever_starts_without_clickhouse_is_told_where_it_should_be(
    http_database: Database, server: ClickHouseHttp
) -> None:
    """The message names address, setting and cause, and neither the password nor the layers of a library."""
    server.stop()
    try:
        with pytest.raises(ClickHouseAway) as away:
            open_client(http_database.address)
        known = ClickHouseWriter(http_database.pool)
        with pytest.raises(ClickHouseAway) as later:
            known.read_installation()
    finally:
        server.start()
    for message in (str(away.value), str(later.value)):
        assert message.startswith(
            f"ClickHouse does not answer at http://127.0.0.1:{server.port} (setting `clickhouse`): "
        )
        assert "refused" in message or "closed" in message
        assert "p@ss" not in message
        assert len(message) < 200
