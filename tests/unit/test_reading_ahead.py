"""Input is read ahead by a thread of its own, which goes with whoever reads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing

import pytest

from cli.context import UnreadableInput
from cli.ingest import _chunks


class Pipe:
    """A stream that gives a line whenever it is let, and counts."""

    def __init__(self, lines_let: int) -> None:
        """Let so many lines through."""
        self.let = threading.Semaphore(lines_let)
        self.given = 0
        self.reader: threading.Thread | None = None

    def read1(self, size: int, /) -> bytes:
        """Return the next line."""
        assert size > 10
        self.reader = threading.current_thread()
        self.let.acquire()
        self.given += 1
        return b"%d\n" % self.given

    def close(self) -> None:
        """Have nothing to let go of."""


async def first_of(pipe: Pipe) -> list[bytes]:
    """Return the first chunk, and want no more."""
    async with aclosing(_chunks(pipe)) as chunks:
        return await anext(chunks)


def test_a_reader_whose_verb_has_failed_ends_quietly(recwarn: pytest.WarningsRecorder) -> None:
    """What comes in behind the last call, while the loop is being closed or later, is dropped without a word."""
    pipe = Pipe(1)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(first_of(pipe)) == [b"1"]
    pipe.let.release(10)
    assert pipe.reader is not None
    pipe.reader.join(10)
    assert not pipe.reader.is_alive()
    loop.close()
    assert not recwarn.list


def test_a_fast_input_is_not_read_into_memory_as_a_whole() -> None:
    """As long as nobody takes the chunks, only a few pieces are read."""

    async def scenario() -> None:
        pipe = Pipe(1_000)
        async with aclosing(_chunks(pipe)) as chunks:
            assert await anext(chunks) == [b"1"]
            await asyncio.sleep(0.3)
            assert pipe.given < 10
            assert [await anext(chunks) for _ in range(100)] == [[b"%d" % number] for number in range(2, 102)]

    asyncio.run(scenario())


def test_a_stream_that_breaks_off_gives_what_came_before() -> None:
    """The error comes behind the last whole line, and as what the verbs report."""

    class Broken(Pipe):
        def read1(self, size: int, /) -> bytes:
            if self.given == 3:
                raise OSError("the disk is gone")
            return super().read1(size)

    found: list[bytes] = []

    async def scenario() -> None:
        async for lines in _chunks(Broken(3)):
            found.extend(lines)

    with pytest.raises(UnreadableInput, match="the disk is gone"):
        asyncio.run(scenario())
    assert found == [b"1", b"2", b"3"]
