"""The owner of a data directory is killed under a verb that talks to it: the verb says so, and what to do."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.remote import OwnerFailed, RemoteEngine
from sinks.clickhouse.reader import Filters
from tests.integration.test_commands import ROW, line
from tests.support.commands import COMMAND, Running, convometer, environment, eventually, query

GONE = "the process that owns the data directory went away"
CALLS: tuple[Callable[[RemoteEngine], Awaitable[object]], ...] = (
    lambda engine: engine.ingest([line()], "canonical", 1),
    lambda engine: engine.hold(["waba-1"], "hold-1", release=False),
    lambda engine: engine.positions(),
    lambda engine: engine.wait_flushed({0: 0}),
    lambda engine: engine.query("usage", Filters()),
    lambda engine: engine.dead_letters(0, 1),
    lambda engine: engine.replay([1]),
    lambda engine: engine.accept("", -1),
)


def test_every_call_after_the_owner_was_killed_says_that_it_went_away(tmp_path: Path) -> None:
    """Whatever is asked between whose calls the owner died fails as ``OwnerFailed``; connecting finds nobody."""

    async def scenario(running: Running) -> None:
        engine = await RemoteEngine.connect(tmp_path)
        assert engine is not None
        await engine.positions()
        running.stop(signal.SIGKILL)
        assert (tmp_path / "owner.sock").exists(), "the killed owner had no time to remove it"
        for call in CALLS:
            with pytest.raises(OwnerFailed, match=f"{GONE}.*run the command again"):
                await call(engine)
        await engine.close()
        assert await RemoteEngine.connect(tmp_path) is None

    with Running(tmp_path) as running:
        asyncio.run(scenario(running))


def test_a_feeder_whose_owner_is_killed_between_two_calls_ends_with_one_line(tmp_path: Path) -> None:
    """``ingest`` ends with exit 1 and what to do; fed again, everything is counted once."""
    with Running(tmp_path) as running:
        process = subprocess.Popen(
            [*COMMAND, "ingest", "-", "--format", "canonical", "--data", str(tmp_path)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdin is not None
        process.stdin.write(line())
        process.stdin.flush()
        eventually("the first call is done", lambda: query("usage", tmp_path) == [ROW])
        running.stop(signal.SIGKILL)
        # The pipe's next line is what makes it call again.
        _, errors = process.communicate(line(message_id="message-2"), timeout=60)
    assert process.returncode == 1
    assert errors.decode().startswith(f"Error: {GONE} ")
    assert errors.count(b"\n") == 1, errors
    lines = line() + line(message_id="message-2")
    convometer("ingest", "-", "--format", "canonical", "--wait", "--data", tmp_path, stdin=lines)
    assert query("usage", tmp_path) == [ROW | {"total": 2, "sent": 2, "delivered": 2}]


def test_an_owner_that_dies_while_it_is_asked_is_no_owner(tmp_path: Path) -> None:
    """Who hangs up on the first question leaves the directory to whoever asked, as a stale socket does."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_unix_server(hang_up, tmp_path / "owner.sock")
        async with server:
            assert await RemoteEngine.connect(tmp_path) is None

    asyncio.run(scenario())
