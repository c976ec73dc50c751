"""``ingest``: feed files through the same path as the gateway's webhooks.

Owns reading, decompression, progress and the report. While it runs, the cuts of the accounts it sees are held, so
that a backfill in any order is exact (metering.md §6).
"""

from __future__ import annotations

import asyncio
import gzip
import io
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO

import click
import zstandard

from cli.context import UnreadableInput, common_options, engine_of, run_async, settings_of
from cli.engine import Engine, InputFormat, Intake
from runtime.clock import SystemClock
from schemas.refusing import UnparseableBody, load_json

_CHUNK_BYTES = 1 << 20
_CHUNK_LINES = 5_000
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
    missing = [str(path) for path in files if str(path) != "-" and not path.is_file()]
    if missing:
        raise click.UsageError(f"no such file: {', '.join(missing)}")
    async with engine_of(settings) as engine:
        holds = _Holds(engine) if hold else None
        total = Intake()
        for path in files:
            total.add(await _ingest_file(engine, path, input_format, holds))
        if holds is not None:
            await holds.release()
        if wait:
            await engine.wait_flushed(await engine.positions())
    _report(total)


class _Holds:
    """Holds the cut of every account that the lines name, from before its first line, and renews the holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._id = uuid.uuid4().hex
        self._accounts: set[str] = set()
        self._clock = SystemClock()
        self._renewed_at = self._clock.monotonic_seconds()

    async def see(self, lines: list[bytes], input_format: InputFormat) -> None:
        new = {account for line in lines for account in _accounts(line, input_format)} - self._accounts
        self._accounts |= new
        now = self._clock.monotonic_seconds()
        if now - self._renewed_at > _RENEW_SECONDS:
            new, self._renewed_at = self._accounts, now
        if new:
            await self._engine.hold(sorted(new), self._id, release=False)

    async def release(self) -> None:
        if self._accounts:
            await self._engine.hold(sorted(self._accounts), self._id, release=True)


def _accounts(line: bytes, input_format: InputFormat) -> Iterator[str]:
    """Yield the accounts that a line names, as far as it can be read; the parser judges it later."""
    try:
        body = load_json(line)
    except UnparseableBody:
        return
    if not isinstance(body, dict):
        body = {"entry": body} if isinstance(body, list) else {}
    if input_format == "canonical":
        found = [
            body.get("account"),
            *(e.get("account") for e in body.get("entry", []) if isinstance(e, dict)),
        ]
    else:
        entries = body.get("entry")
        found = [e.get("id") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    for account in found:
        if isinstance(account, str | int) and account and "\0" not in str(account):
            yield str(account)


async def _ingest_file(engine: Engine, path: Path, input_format: InputFormat, holds: _Holds | None) -> Intake:
    total = Intake()
    with _open(path) as stream, _Progress(str(path)) as progress:
        async for lines in _chunks(stream):
            if holds is not None:
                await holds.see(lines, input_format)
            total.add(await engine.ingest(lines, input_format, total.lines + 1))
            progress.show(total)
    return total


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    if str(path) == "-":
        return click.get_binary_stream("stdin")
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        reader = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), read_across_frames=True, closefd=True
        )
        return io.BufferedReader(reader)
    return path.open("rb")


async def _chunks(stream: IO[bytes] | gzip.GzipFile) -> AsyncIterator[list[bytes]]:
    """Yield lists of whole lines as they come: a slow pipe is not waited for, a fast file comes in large pieces.

    The stream is read in a thread of its own, so that waiting for input holds up nothing else; the thread does not
    keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes | Exception] = asyncio.Queue(2)

    def read() -> None:
        try:
            while piece := stream.read1(_CHUNK_BYTES):  # type: ignore[union-attr]
                asyncio.run_coroutine_threadsafe(pieces.put(piece), loop).result()
            end: bytes | Exception = b""
        except Exception as error:  # a broken archive, a disk that fails: told to whoever waits
            end = error
        asyncio.run_coroutine_threadsafe(pieces.put(end), loop)

    threading.Thread(target=read, name="input", daemon=True).start()
    rest = b""
    while piece := await pieces.get():
        if isinstance(piece, Exception):
            raise UnreadableInput(str(piece)) from piece
        *lines, rest = (rest + piece).split(b"\n")
        for position in range(0, len(lines), _CHUNK_LINES):
            yield lines[position : position + _CHUNK_LINES]
    if rest:
        yield [rest]


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
