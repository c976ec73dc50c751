"""The process of exports: its queue, its limits, and what happens when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sinks.exports import pool as pool_module
from sinks.exports.pool import ExportCrashed, ExportPool, ExportsBusy, ExportsClosed, ExportTooLong

LONG_SECONDS = 120.0


def wait_for_file(path: str) -> str:
    """Return once a file is there: a job whose end the test decides."""
    Path(path + ".begun").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return "done"


def crash_once(path: str) -> int:
    """End the process the first time."""
    if Path(path).exists():
        return os.getpid()
    Path(path).touch()
    os._exit(3)


def crash() -> None:
    """End the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def append_and_return(path: str, result: bytes) -> bytes:
    """Leave a trace of each run."""
    with Path(path).open("a") as file:
        file.write("x")
    return result


def fail() -> None:
    """Fail as a job does."""
    raise ValueError("no such chart")


def interrupt_itself() -> str:
    """Get what Ctrl-C sends to every process of a terminal."""
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def is_alive(process_id: int) -> bool:
    """Tell whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def touch(path: str) -> None:
    """Make a file."""
    Path(path).touch()


def text_of(path: str) -> str:
    """Return what a file holds."""
    return Path(path).read_text()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come true."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.01)


@asynccontextmanager
async def pool_of(
    queue_max: int = 4, timeout_seconds: float = LONG_SECONDS, **more: int
) -> AsyncIterator[ExportPool]:
    """Give a pool that is closed in the end."""
    pool = ExportPool(queue_max, timeout_seconds, **more)
    try:
        yield pool
    finally:
        await pool.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test in a loop of its own."""

    async def whole() -> None:
        await test()

    asyncio.run(whole())


def test_a_full_queue_is_told_at_once(tmp_path: Path) -> None:
    """One more than may wait or run is refused, and has a place again when one is done."""

    async def test() -> None:
        gate = str(tmp_path / "gate")
        async with pool_of(queue_max=2) as pool:
            running = [asyncio.create_task(pool.run(wait_for_file, gate)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(ExportsBusy) as busy:
                await pool.run(os.getpid)
            assert busy.value.retry_after_seconds >= 1
            touch(gate)
            assert await asyncio.gather(*running) == ["done", "done"]
            assert await pool.run(os.getpid) == pool.process_id

    run(test)


def test_a_job_that_takes_too_long_is_ended_and_the_next_one_runs(tmp_path: Path) -> None:
    """Its process is killed, and another one takes over."""

    async def test() -> None:
        async with pool_of(timeout_seconds=1.0) as pool:
            first = await pool.run(os.getpid)
            with pytest.raises(ExportTooLong, match="1 seconds"):
                await pool.run(wait_for_file, str(tmp_path / "never"))
            assert not is_alive(first)
            assert await pool.run(os.getpid) not in (first, os.getpid())

    run(test)


def test_a_crash_is_tried_again_once(tmp_path: Path) -> None:
    """A job whose process ended runs again in another one; if it ends that too, it is told, and others still run."""

    async def test() -> None:
        async with pool_of() as pool:
            before = await pool.run(os.getpid)
            assert await pool.run(crash_once, str(tmp_path / "crashed")) != before
            with pytest.raises(ExportCrashed):
                await pool.run(crash)
            assert await pool.run(os.getpid) == pool.process_id

    run(test)


def test_what_a_job_raises_is_raised() -> None:
    """A job's own fault reaches the caller and costs no process."""

    async def test() -> None:
        async with pool_of() as pool:
            before = await pool.run(os.getpid)
            with pytest.raises(ValueError, match="no such chart"):
                await pool.run(fail)
            assert await pool.run(os.getpid) == before

    run(test)


def test_who_is_cancelled_frees_the_place(tmp_path: Path) -> None:
    """Both who waits and who runs give way to another request at once; the job before is done first."""

    async def test() -> None:
        gate = str(tmp_path / "gate")
        async with pool_of(queue_max=2) as pool:
            tasks = [asyncio.create_task(pool.run(wait_for_file, gate)) for _ in range(2)]
            await until(Path(gate + ".begun").exists)
            for task in reversed(tasks):
                task.cancel()
            assert [type(each) for each in await asyncio.gather(*tasks, return_exceptions=True)] == [
                asyncio.CancelledError
            ] * 2
            others = [asyncio.create_task(pool.run(os.getpid)) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert not any(other.done() for other in others), "one job runs at a time"
            touch(gate)
            assert set(await asyncio.gather(*others)) == {pool.process_id}

    run(test)


def test_equal_requests_share_one_run_and_its_result(tmp_path: Path) -> None:
    """Requests for the same key at the same time, and later ones, cost one run and one place."""

    async def test() -> None:
        trace = str(tmp_path / "trace")
        async with pool_of(queue_max=1) as pool:
            answers = [pool.cached(("png", 1), append_and_return, trace, b"picture") for _ in range(5)]
            assert set(await asyncio.gather(*answers)) == {b"picture"}
            assert await pool.cached(("png", 1), append_and_return, trace, b"other") == b"picture"
            assert await pool.cached(("png", 2), append_and_return, trace, b"other") == b"other"
        assert text_of(trace) == "xx"

    run(test)


def test_one_of_several_may_leave(tmp_path: Path) -> None:
    """Cancelling one of those who wait for the same result does not take it from the others."""

    async def test() -> None:
        trace = str(tmp_path / "trace")
        async with pool_of() as pool:
            leaving = asyncio.create_task(pool.cached("key", append_and_return, trace, b"picture"))
            staying = asyncio.create_task(pool.cached("key", append_and_return, trace, b"picture"))
            await asyncio.sleep(0)
            leaving.cancel()
            assert await staying == b"picture"
        assert text_of(trace) == "x"

    run(test)


def test_kept_results_are_bounded_and_faults_are_not_kept(tmp_path: Path) -> None:
    """What was used longest ago goes first, what never fits is not kept, and a fault is tried again."""

    async def test() -> None:
        trace = tmp_path / "trace"
        async with pool_of(cache_bytes_max=10) as pool:

            async def runs(key: str, result: bytes) -> int:
                before = len(trace.read_text()) if trace.exists() else 0
                assert await pool.cached(key, append_and_return, str(trace), result) == result
                return len(trace.read_text()) - before

            sizes = {"a": b"1234", "b": b"12345"}
            assert [await runs(key, sizes[key]) for key in "abab"] == [1, 1, 0, 0]
            assert [await runs("a", sizes["a"]), await runs("c", b"123456")] == [0, 1]
            assert [await runs("a", sizes["a"]), await runs("b", sizes["b"])] == [0, 1]
            assert [await runs("huge", b"0" * 11) for _ in range(2)] == [1, 1]
            for _ in range(2):
                with pytest.raises(ValueError, match="no such chart"):
                    await pool.cached("fault", fail)  # type: ignore[arg-type]

    run(test)


def test_closing_ends_the_process_and_whoever_waits(tmp_path: Path) -> None:
    """Nothing is left running, those who wait are told, and nothing begins any more."""

    async def test() -> None:
        gate = str(tmp_path / "gate")
        pool = ExportPool(4, LONG_SECONDS)
        process = await pool.run(os.getpid)
        tasks = [asyncio.create_task(pool.run(wait_for_file, gate)) for _ in range(2)]
        await until(Path(gate + ".begun").exists)
        await pool.close()
        assert not is_alive(process)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ExportsClosed, ExportsClosed]
        with pytest.raises(ExportsClosed):
            await pool.run(os.getpid)

    run(test)


def test_a_process_is_ended_once_when_its_job_breaks_while_the_pool_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job sees its process die before the pool is done with it, and leaves it alone."""
    ended: list[object] = []
    end = pool_module._Worker.end

    async def end_slowly(worker: pool_module._Worker) -> None:
        ended.append(worker)
        assert worker.process_id is not None
        os.kill(worker.process_id, signal.SIGKILL)
        await asyncio.sleep(0.3)
        await end(worker)

    async def test() -> None:
        gate = str(tmp_path / "gate")
        pool = ExportPool(4, LONG_SECONDS)
        job = asyncio.create_task(pool.run(wait_for_file, gate))
        await until(Path(gate + ".begun").exists)
        monkeypatch.setattr(pool_module._Worker, "end", end_slowly)
        await pool.close()
        with pytest.raises(ExportsClosed):
            await job
        assert len(ended) == 1

    run(test)


def test_ctrl_c_does_not_reach_the_process() -> None:
    """An interrupt of the terminal leaves a job alone; the parent decides."""

    async def test() -> None:
        async with pool_of() as pool:
            assert await pool.run(interrupt_itself) == "still here"

    run(test)


PARENT = """
import asyncio, os, sys, time
from sinks.exports.pool import ExportPool
async def main():
    pool = ExportPool(1, 100.0)
    print(await pool.run(os.getpid), flush=True)
    await asyncio.sleep(100)
if __name__ == "__main__":
    asyncio.run(main())
"""


def test_without_its_parent_the_process_ends(tmp_path: Path) -> None:
    """A parent that is killed leaves no process behind."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        process = int(parent.stdout.readline())
        assert is_alive(process)
        parent.kill()
    asyncio.run(until(lambda: not is_alive(process)))
