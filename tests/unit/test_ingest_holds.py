"""What holds the cuts of a backfill's accounts: whom, how long, and what happens when that fails."""

from __future__ import annotations

import asyncio
import time

import orjson
import pytest

import cli.ingest
from cli.engine import Engine, InputFormat
from cli.ingest import _accounts, _Holds
from schemas import canonical, meta

LINE = b'{"account":"A"}'
NOW_MS = 1_790_000_060_000


class Recorder:
    """Takes holds, and fails from a given one on."""

    def __init__(self, fails_from: int = 1 << 30) -> None:
        self.calls: list[tuple[list[str], str, bool]] = []
        self._fails_from = fails_from

    async def hold(self, accounts: list[str], hold_id: str, release: bool) -> None:
        """Remember the call; it takes a moment, as a log does."""
        await asyncio.sleep(0.01)
        self.calls.append((accounts, hold_id, release))
        if len(self.calls) >= self._fails_from:
            raise ConnectionError("the owner went away")


def holds_on(recorder: Recorder) -> _Holds:
    """Return holds on a stand-in for the engine."""
    engine: Engine = recorder  # type: ignore[assignment]
    return _Holds(engine)


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.ingest, "_RENEW_SECONDS", 0.05)


def test_holds_are_renewed_while_no_line_comes() -> None:
    """A silent pipe keeps its holds; after the release, which comes last, nothing takes them again."""
    recorder = Recorder()

    async def run() -> None:
        async with holds_on(recorder) as holds:
            await holds.see([LINE, LINE], "canonical")
            await asyncio.sleep(0.4)
        await asyncio.sleep(0.15)

    asyncio.run(run())
    *taken, released = [(accounts, release) for accounts, _, release in recorder.calls]
    assert len(taken) >= 3
    assert taken == [(["A"], False)] * len(taken)
    assert released == (["A"], True)
    assert len({hold_id for _, hold_id, _ in recorder.calls}) == 1


def test_a_failed_renewal_ends_the_ingest_with_its_error() -> None:
    """What waits for the next line is woken by the failure, itself and not a group of errors."""
    recorder = Recorder(fails_from=2)

    async def run() -> None:
        async with holds_on(recorder) as holds:
            await holds.see([LINE], "canonical")
            await asyncio.sleep(60)

    started = time.monotonic()
    with pytest.raises(ConnectionError, match="went away"):
        asyncio.run(run())
    assert time.monotonic() - started < 10
    assert [release for _, _, release in recorder.calls] == [False, False]


def test_an_ingest_that_fails_keeps_its_holds_for_the_next_try() -> None:
    """An error of the input is raised as it is, and nothing is released: the file will be fed again."""
    recorder = Recorder()

    async def run() -> None:
        async with holds_on(recorder) as holds:
            await holds.see([LINE], "canonical")
            raise EOFError("cut")

    with pytest.raises(EOFError, match="cut"):
        asyncio.run(run())
    assert [release for _, _, release in recorder.calls] == [False]


VALUES: tuple[object, ...] = (
    "A", "0", 0, 7, -1, 1.5, True, False, None, "", " ", " A", "a\0", "x" * 512, "x" * 513, [], {}, ["A"], 1 << 63,
)  # fmt: skip


@pytest.mark.parametrize("input_format", ["canonical", "meta"])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:12])
def test_exactly_the_accounts_that_the_parser_takes_are_held(
    input_format: InputFormat, value: object
) -> None:
    """Whatever stands for an account: if events of it are counted it is held under that name, else it is not."""
    event: dict[str, object] = {
        "account": value, "number": "1", "kind": "incoming", "message_id": "m", "user_phone": "491700000001",
        "occurred_at": 1_790_000_000, "entry": 5,
    }  # fmt: skip
    message = {"from": "491700000001", "id": "m", "timestamp": 1_790_000_000, "type": "text"}
    messages = {"metadata": {"phone_number_id": "1"}, "messages": [message]}
    entry = {"id": value, "changes": [{"field": "messages", "value": messages}]}
    bodies: list[object] = (
        [event, [event, 5]] if input_format == "canonical" else [{"object": "o", "entry": [entry, 5]}]
    )
    parse = canonical.parse if input_format == "canonical" else meta.parse
    for body in bodies:
        line = orjson.dumps(body)
        taken = [found.account for found in parse(line, NOW_MS).events]
        assert list(_accounts(line, input_format)) == taken


@pytest.mark.parametrize("line", [b"", b"{", b"5", b"null", b'{"entry":5}', b'{"entry":[5,{}]}', b"[[]]"])
def test_lines_that_name_no_account_hold_none(line: bytes) -> None:
    """Rubbish is left to the parser."""
    assert list(_accounts(line, "canonical")) == list(_accounts(line, "meta")) == []
