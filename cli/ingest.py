"""``ingest``: feed files through the same path as the gateway's webhooks.

Owns reading, progress and the report; ``cli.archives`` unpacks. While it runs, the cuts of the accounts it sees are
held, so that a backfill in any order is exact (metering.md §6).
"""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from codecs import BOM_UTF8
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, closing, suppress
from pathlib import Path
from types import TracebackType

import click

from cli.archives import ByteStream, open_input
from cli.context import UnreadableInput, common_options, engine_of, run_async, settings_of
from cli.engine import Engine, InputFormat, Intake
from schemas.refusing import Refused, UnparseableBody, key_text, load_json

_CHUNK_BYTES = 1 << 20
_CHUNK_LINES = 5_000
_PIECES_AHEAD = 2
"""Read before the ones in work are done."""
_RENEW_SECONDS = 3_600


@click.command("ingest")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True, path_type=Path))
@click.option(
    "--format",
    "input_format",
    type=click.Choice(["meta", "canonical"]),
    default="meta",
    show_default=True,
    help="What a line holds: a webhook body of Meta, or a canonical event.",
)
@click.option("--wait", is_flag=True, help="Return once everything is in ClickHouse.")
@click.option(
    "--hold/--no-hold",
    default=True,
    show_default=True,
    help="Keep state of the files' accounts until the end, so that any order and age is exact.",
)
@common_options
@run_async
async def ingest(
    files: tuple[Path, ...],
    input_format: InputFormat,
    wait: bool,
    hold: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Feed FILES of newline-delimited JSON (- = standard input; .gz and .zst are unpacked).

    Give all files of a backfill to one command: when it ends, state older than the accounts' horizon (16 days before
    their newest event) may be dropped, and older events are then set aside as late.

    Lines that cannot be counted are kept in the dead letter with their reason; see `convometer dlq list`.
    """
    settings = settings_of(config, data)
    named = [path for path in files if str(path) != "-"]
    if missing := [str(path) for path in named if not path.exists()]:
        raise click.UsageError(f"no such file: {', '.join(missing)}")
    if directories := [str(path) for path in named if path.is_dir()]:
        raise click.UsageError(f"a directory, not a file: {', '.join(directories)}")
    async with engine_of(settings, create=True) as engine:
        if hold:
            async with _Holds(engine) as holds:
                total = await _ingest_files(engine, files, input_format, holds)
        else:
            total = await _ingest_files(engine, files, input_format, None)
        if wait:
            await engine.wait_flushed(await engine.positions())
    _report(total)


class _Holds:
    """Holds the cut of every account that the lines name, from before its first line to the end of the block.

    A hold ends by itself a day after it was last heard of, so the holds are renewed every hour, however rarely lines
    come. A renewal that fails ends the block with its error: what comes later could be set aside as late. So does an
    error inside the block, and then the holds run out by themselves: the file may be fed again before.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._id = uuid.uuid4().hex
        self._accounts: set[str] = set()
        self._ended = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> _Holds:
        await self._group.__aenter__()
        self._group.create_task(self._renew(), name="renew-holds")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            # One thing failed; what else did was only cancelled for it.
            raise group.exceptions[0] from None
        # A renewal under way has come to its end: none can follow the release.
        if error is None and self._accounts:
            await self._engine.hold(sorted(self._accounts), self._id, release=True)

    async def _renew(self) -> None:
        while not await self._ended_within(_RENEW_SECONDS):
            if self._accounts:
                await self._engine.hold(sorted(self._accounts), self._id, release=False)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._ended.wait(), seconds)
        except TimeoutError:
            return False
        return True

    async def see(self, lines: list[bytes], input_format: InputFormat) -> None:
        """Hold the accounts that are new in these lines."""
        new = {account for line in lines for account in _accounts(line, input_format)} - self._accounts
        if new:
            await self._engine.hold(sorted(new), self._id, release=False)
            self._accounts |= new


def _accounts(line: bytes, input_format: InputFormat) -> Iterator[str]:
    """Yield the accounts that a line names, as far as it can be read; the parser judges it later."""
    try:
        body = load_json(line)
    except UnparseableBody:
        return
    name, updates = ("account", body) if input_format == "canonical" else ("id", _entries(body))
    for update in updates if isinstance(updates, list) else [updates]:
        try:
            # The parsers' own reading: an account that they take has a hold, under the same name.
            account = key_text(update.get(name), name) if isinstance(update, dict) else None
        except Refused:
            continue
        if account is not None:
            yield account


def _entries(body: object) -> object:
    return body.get("entry") if isinstance(body, dict) else None


async def _ingest_files(
    engine: Engine, files: Iterable[Path], input_format: InputFormat, holds: _Holds | None
) -> Intake:
    total = Intake()
    for path in files:
        total.add(await _ingest_file(engine, path, input_format, holds))
    return total


async def _ingest_file(engine: Engine, path: Path, input_format: InputFormat, holds: _Holds | None) -> Intake:
    total = Intake()
    with closing(_open(path)) as stream, _Progress(str(path)) as progress:
        try:
            async with aclosing(_chunks(stream)) as chunks:
                async for lines in chunks:
                    if not total.lines:
                        lines[0] = lines[0].removeprefix(BOM_UTF8)
                    if holds is not None:
                        await holds.see(lines, input_format)
                    total.add(await engine.ingest(lines, input_format, total.lines + 1))
                    progress.show(total)
        except UnreadableInput as error:
            raise UnreadableInput(f"{path}: {error}; {_taken(total)}") from error
        except asyncio.CancelledError:
            click.echo(f"\n{path}: stopped; {_taken(total)}", err=True)
            raise
    return total


def _taken(total: Intake) -> str:
    """Say what becomes of the lines of a file that did not come to its end."""
    return f"{total.lines} lines were taken and are kept; feeding the file again from its start counts nothing twice"


def _open(path: Path) -> ByteStream:
    try:
        return open_input(path)
    except (EOFError, OSError) as error:
        raise UnreadableInput(str(error)) from error


async def _chunks(stream: ByteStream) -> AsyncGenerator[list[bytes], None]:
    """Yield lists of whole lines as they come: a slow pipe is not waited for, a fast file comes in large pieces.

    The stream is read in a thread of its own, so that waiting for input holds up nothing else; the thread does not
    keep the process from ending, and reads no further once the generator is closed.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue()
    room, closed = threading.Semaphore(_PIECES_AHEAD), threading.Event()

    def read() -> None:
        for piece in _pieces(stream):
            room.acquire()
            if closed.is_set():
                return
            # A plain call: a coroutine could outlive the loop of a verb that fails, and Python would complain of it
            # behind the verb's own last line.
            with suppress(RuntimeError):  # the loop was closed in this instant
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

    threading.Thread(target=read, name="input", daemon=True).start()
    rest = b""
    try:
        while piece := await pieces.get():
            room.release()
            if isinstance(piece, Exception):
                raise UnreadableInput(str(piece)) from piece
            *lines, rest = (rest + piece).split(b"\n")
            for position in range(0, len(lines), _CHUNK_LINES):
                yield lines[position : position + _CHUNK_LINES]
        if rest:
            yield [rest]
    finally:
        closed.set()
        room.release()


def _pieces(stream: ByteStream) -> Iterator[bytes | Exception]:
    """Yield what a stream gives, and at last no bytes, or what it broke off with."""
    try:
        while piece := stream.read1(_CHUNK_BYTES):
            yield piece
    except Exception as error:  # a broken archive, a disk that fails: told to whoever waits
        yield error
    else:
        yield b""


class _Progress:
    """A counter on stderr, only where somebody watches."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def show(self, total: Intake) -> None:
        if self._shown:
            click.echo(
                f"\r{self._name}: {total.lines:,} lines, {total.accepted:,} events", err=True, nl=False
            )

    def __exit__(self, *_: object) -> None:
        if self._shown:
            click.echo(err=True)


def _report(total: Intake) -> None:
    click.echo(
        f"{total.lines} lines: {total.accepted} accepted, {total.ignored} ignored, {total.refused} refused",
        err=True,
    )
    for refusal in total.refusals[:20]:
        click.echo(f"  {refusal}", err=True)
    if total.refused:
        click.echo("refused updates are kept: `convometer dlq list`", err=True)
