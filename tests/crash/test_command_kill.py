"""kill -9 of the real commands at random moments: what was acknowledged is never sent again, and nothing is missing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from tests.integration.test_commands import truth_of
from tests.support.commands import COMMAND, Running, convometer, environment, query

KILLS = int(os.environ.get("CONVOMETER_TEST_KILLS", "50"))
PIECES = 12
SECONDS_MAX = 5.0
"""A life that does nothing is killed by then: a start takes about two seconds."""


class Lives:
    """Commands over one data directory, started and killed one after the other."""

    def __init__(self, data: Path, random: Random) -> None:
        """Take the directory and what decides when somebody dies."""
        self.kills: Counter[str] = Counter()
        """By what the killed process was doing."""
        self._data = data
        self._random = random

    @property
    def killed(self) -> int:
        """Return how many living processes were ended by SIGKILL."""
        return sum(self.kills.values())

    def feed_alone(self, piece: Path, *, spare: bool) -> bool:
        """Let ``ingest`` own the directory and feed a piece; tell whether it acknowledged it before it died."""
        waits = self._random.random() < 0.3
        process = self._start("ingest", str(piece), *(["--wait"] if waits else []))
        self._end(process, "feeding alone, waiting at the end" if waits else "feeding alone", spare=spare)
        return process.returncode == 0

    def feed_an_owner(self, piece: Path) -> bool:
        """Start ``run`` and feed it; kill the owner or who feeds it. Tell whether the piece was acknowledged."""
        owner = self._start("run", "--port", "0")
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline(), "it did not start"
            feeder = self._start("ingest", str(piece))
            victim, other = (owner, feeder) if self._random.random() < 0.7 else (feeder, owner)
            self._end(
                victim, "owner while it is fed" if victim is owner else "who feeds an owner", spare=False
            )
            if other is feeder:
                # Who fed sees the owner gone, or had been done before.
                feeder.wait(60)
            return feeder.returncode == 0
        finally:
            self._end(owner, "owner that was fed", spare=False)

    def start_only(self) -> None:
        """Start an owner and kill it on its way: while it restores, catches up or serves."""
        self._end(self._start("run", "--port", "0"), "starting", spare=False)

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*COMMAND, *arguments, "--data", str(self._data)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if arguments[0] == "run" else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _end(self, process: subprocess.Popen[bytes], doing: str, *, spare: bool) -> None:
        """Kill a process at a random moment, unless it ends by itself before; ``spare`` lets it."""
        try:
            process.wait(120 if spare else self._random.uniform(0.1, SECONDS_MAX))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode == -signal.SIGKILL:
            self.kills[doing] += 1
        if process.stdout is not None:
            process.stdout.close()


def pieces_of(traffic: bytes, directory: Path) -> list[Path]:
    """Cut traffic into files of whole lines."""
    lines = traffic.splitlines(keepends=True)
    size = -(-len(lines) // PIECES)
    found: list[Path] = []
    for start in range(0, len(lines), size):
        found.append(directory / f"piece-{start:06d}.ndjson")
        found[-1].write_bytes(b"".join(lines[start : start + size]))
    return found


def feed_and_kill(lives: Lives, pieces: Sequence[Path], random: Random) -> None:
    """Feed every piece until it is acknowledged, and never again; go on killing until there were enough."""
    waiting = list(pieces)
    while waiting or lives.killed < KILLS:
        if not waiting or random.random() < 0.3:
            lives.start_only()
        elif random.random() < 0.4:
            if lives.feed_an_owner(waiting[0]):
                waiting.pop(0)
        # The last ones must come to an end, too.
        elif lives.feed_alone(waiting[0], spare=lives.killed >= KILLS):
            waiting.pop(0)


@pytest.mark.timeout(300 + 12 * KILLS)
def test_what_was_acknowledged_survives_kills_at_random_moments(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Owners and feeders die while they start, feed, are fed and wait; only what had no answer is sent again."""
    seed = int(os.environ.get("CONVOMETER_TEST_SEED", str(Random().randrange(1 << 30))))
    report(f"repeat with CONVOMETER_TEST_SEED={seed}")
    random = Random(seed)
    truth, data = tmp_path / "truth.ndjson", tmp_path / "data"
    options = ("--users", "1500", "--days", "6", "--seed", str(seed % 1000))
    traffic = convometer("generate", *options, "--truth", truth).stdout
    lives = Lives(data, random)
    began = time.monotonic()
    feed_and_kill(lives, pieces_of(traffic, tmp_path), random)
    report(f"{lives.killed} kills in {time.monotonic() - began:.0f} s: {dict(sorted(lives.kills.items()))}")
    assert lives.killed >= KILLS
    for name, expected in truth_of(truth).items():
        assert query(name, data) == expected
    assert convometer("dlq", "list", "--data", data).stdout == b""


def test_a_killed_owner_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """After kill -9 of ``run`` its socket and locks are stale: verbs open the directory, a new owner starts."""
    data, truth = tmp_path / "data", tmp_path / "truth.ndjson"
    traffic = convometer("generate", "--users", "200", "--days", "3", "--truth", truth).stdout
    with Running(data) as running:
        convometer("ingest", "-", "--data", data, stdin=traffic)
        running.stop(signal.SIGKILL)
    assert (data / "owner.sock").exists(), "the killed owner had no time to remove it"
    for name, expected in truth_of(truth).items():
        assert query(name, data) == expected
    with Running(data) as running:
        assert running.get("/healthz").status_code == 200
        assert query("usage", data) == truth_of(truth)["usage"]
