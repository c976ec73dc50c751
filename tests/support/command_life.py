"""One life of a data directory's owner, as a user starts it: fed, watched from outside, and killed at a moment.

Owns the processes, what they say that they took, and the phase they are in. What they say is durable is all that may
be relied on: a line counts as acknowledged once ``ingest`` shows it in its progress. Does not own which lines a life
is offered, nor what the numbers must be.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Literal

from tests.support.commands import COMMAND, environment

Verb = Literal["run", "ingest"]
Phase = Literal["starting", "feeding", "waiting"]
"""Of the owner: until it serves or takes; while it is offered lines; while it has only to meter and to flush."""

PIECE_LINES = 50
_PIECE_SECONDS = 0.01
"""Between two pieces: the traffic comes as through a live pipe, so that feeding is a time and not an instant."""
_POLL_SECONDS = 0.002
_LIFE_SECONDS_MAX = 60
_TAKEN = re.compile(rb"-: ([\d,]+) lines,")


class Command:
    """A verb in a process of its own, before a terminal: only there does ``ingest`` show its progress."""

    def __init__(self, *arguments: str | Path, lines: Sequence[bytes] = ()) -> None:
        """Start it; the lines come through its standard input, piece by piece."""
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            env=environment(),
        )
        os.close(theirs)
        self._said = bytearray()
        self._threads = [Thread(target=self._listen), Thread(target=self._offer, args=(lines,))]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        # A terminal that nobody holds open any more ends with an error, after everything that was written to it.
        with suppress(OSError):
            while piece := os.read(self._terminal, 1 << 16):
                self._said += piece

    def _offer(self, lines: Sequence[bytes]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError), self.process.stdin as pipe:
            for start in range(0, len(lines), PIECE_LINES):
                pipe.write(b"".join(lines[start : start + PIECE_LINES]))
                pipe.flush()
                time.sleep(_PIECE_SECONDS)

    @property
    def said(self) -> bytes:
        """Return what it has written so far."""
        return bytes(self._said)

    @property
    def taken(self) -> int:
        """Return how many of its lines ``ingest`` says are taken; they are durable."""
        shown = _TAKEN.findall(self.said)
        return int(shown[-1].replace(b",", b"")) if shown else 0

    def kill(self) -> bool:
        """Send SIGKILL; return whether that is what ended it, and not that it had just come to its end."""
        self.process.kill()
        return self.end() == -signal.SIGKILL

    def end(self) -> int:
        """Return its exit code once it has ended and everything that it wrote is here."""
        try:
            code = self.process.wait(_LIFE_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it does not end: {self.said.decode()[-4000:]}") from None
        finally:
            for thread in self._threads:
                thread.join()
        with suppress(OSError):
            os.close(self._terminal)
        return code


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: some seconds after something has come to pass."""

    after: Literal["spawn", "taken"]
    seconds: float
    taken_share: float = 0.0
    """Of the offered lines, for ``taken``."""


class Life:
    """An owner of a data directory and whoever feeds it: ``ingest`` itself, or one that talks to ``run``."""

    def __init__(self, verb: Verb, data: Path, lines: Sequence[bytes]) -> None:
        """Start the owner."""
        self.verb = verb
        self._data = data
        self._lines = lines
        self._started_at = time.monotonic()
        self._feeder: Command | None = None
        if verb == "ingest":
            self.owner = self._feeder = self._feed()
        else:
            self.owner = Command("run", "--port", "0", "--data", data)

    def __enter__(self) -> Life:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no process behind, whatever happened."""
        for command in (self.owner, self._feeder):
            if command is not None and command.process.poll() is None:
                command.kill()

    def _feed(self) -> Command:
        return Command("ingest", "-", "--wait", "--data", self._data, lines=self._lines)

    @property
    def taken(self) -> int:
        """Return how many of the offered lines were acknowledged."""
        return 0 if self._feeder is None else self._feeder.taken

    @property
    def phase(self) -> Phase:
        """Return what the owner is doing."""
        taken = self.taken
        if not (taken or (self.verb == "run" and b"convometer is running" in self.owner.said)):
            return "starting"
        return "feeding" if 0 < taken < len(self._lines) else "waiting"

    def until(self, moment: Moment) -> bool:
        """Let it live until a moment; return False when the owner came to its end before, as it may: it is done."""
        reached_at = self._started_at if moment.after == "spawn" else None
        while reached_at is None or time.monotonic() < reached_at + moment.seconds:
            if self.owner.process.poll() is not None:
                return False
            if self._feeder is None and self.phase != "starting":
                self._feeder = self._feed()
            if reached_at is None and self._has_taken(moment.taken_share):
                reached_at = time.monotonic()
            assert time.monotonic() < self._started_at + _LIFE_SECONDS_MAX, self.owner.said.decode()[-4000:]
            time.sleep(_POLL_SECONDS)
        return True

    def _has_taken(self, share: float) -> bool:
        if not self._lines:  # nothing will ever be taken
            return self.phase != "starting" or self.verb == "ingest"
        return self.taken >= max(1, share * len(self._lines))

    def kill_owner(self) -> bool:
        """Send SIGKILL to the owner; return whether that is what ended it. Then see how the rest ends.

        Whoever fed it fails and says so, or becomes the owner itself and takes everything.
        """
        killed = self.owner.kill()
        if not killed:
            self.end()
        elif self._feeder is not None and self._feeder is not self.owner:
            self._end_feeder(self._feeder)
        return killed

    def end(self) -> None:
        """See the end of an owner that was left to itself: of ``ingest``, when everything is in ClickHouse."""
        code = self.owner.end()
        assert (self.verb, code) == ("ingest", 0), self.owner.said.decode()[-4000:]
        assert self.taken == len(self._lines), "it ended well without having taken everything"

    def _end_feeder(self, feeder: Command) -> None:
        code = feeder.end()
        said = feeder.said.decode()[-4000:]
        assert code in (0, 1), said
        assert b"Traceback" not in feeder.said, said
        assert code == 1 or self.taken == len(self._lines), said
