"""Packed input: every frame is read, and an archive that was cut is never taken for a whole one."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from random import Random

import pytest
import zstandard

from cli.context import UnreadableInput
from cli.ingest import _chunks, _open

DICE = Random(7)
LINES = [DICE.randbytes(20).hex().encode() for _ in range(60_000)]
BODY = b"\n".join(LINES) + b"\n"
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def lines_of(path: Path) -> list[bytes]:
    """Return the lines of an input, read as ``ingest`` does."""

    async def read() -> list[bytes]:
        stream = _open(path)
        try:
            return [line for chunk in [lines async for lines in _chunks(stream)] for line in chunk]
        finally:
            stream.close()

    return asyncio.run(read())


def packed(content: bytes, suffix: str) -> bytes:
    """Return an archive of one frame or member."""
    return zstandard.compress(content) if suffix == ".zst" else gzip.compress(content)


@pytest.mark.parametrize("suffix", [".zst", ".gz"])
def test_several_frames_in_one_file_are_one_input(tmp_path: Path, suffix: str) -> None:
    """Archives that were put one behind the other are read to the end of the last one."""
    path = tmp_path / f"all{suffix}"
    half = len(BODY) // 2 + 11
    path.write_bytes(b"".join(packed(part, suffix) for part in (BODY[:half], b"", BODY[half:])))
    assert lines_of(path) == LINES


def test_skippable_frames_are_passed_over(tmp_path: Path) -> None:
    """What other tools put between frames of zstandard is no content, and no fault."""
    path = tmp_path / "all.zst"
    path.write_bytes(SKIPPABLE + packed(BODY, ".zst") + SKIPPABLE)
    assert lines_of(path) == LINES


@pytest.mark.parametrize("suffix", [".zst", ".gz"])
@pytest.mark.parametrize("share", [0.0, 0.000001, 0.3, 0.5, 0.9, 0.999999])
def test_an_archive_that_was_cut_is_unreadable(tmp_path: Path, suffix: str, share: float) -> None:
    """Wherever it was cut, before its first byte or in its last, reading ends with an error and not as at the end."""
    whole = packed(BODY, suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * share) + (share > 0)][: len(whole) - 1])
    with pytest.raises(UnreadableInput):
        lines_of(path)


def test_a_cut_second_frame_is_unreadable(tmp_path: Path) -> None:
    """A whole frame does not hide that the next one is not."""
    path = tmp_path / "cut.zst"
    path.write_bytes(packed(BODY, ".zst") + packed(BODY, ".zst")[:1000])
    with pytest.raises(UnreadableInput, match="cut"):
        lines_of(path)


def test_rubbish_behind_a_frame_is_unreadable(tmp_path: Path) -> None:
    """Bytes that begin no frame are an error."""
    path = tmp_path / "broken.zst"
    path.write_bytes(packed(BODY, ".zst") + b"rubbish")
    with pytest.raises(UnreadableInput):
        lines_of(path)


def test_a_plain_file_may_be_empty(tmp_path: Path) -> None:
    """A file without lines is no fault: it has no header that could be missing."""
    path = tmp_path / "empty.ndjson"
    path.touch()
    assert lines_of(path) == []
