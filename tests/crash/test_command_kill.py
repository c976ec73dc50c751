"""kill -9 of the real command at random moments: what it said it took is never sent again, and nothing is missing."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from random import Random

import pytest

from tests.integration.test_commands import truth_of
from tests.support.command_life import Life, Moment, Phase, Verb
from tests.support.commands import Running, convometer, query

KILLS = int(os.environ.get("CONVOMETER_TEST_KILLS", "50"))
AIMS = ("any",) * 5 + ("feeding",) * 2 + ("waiting",)
"""Any moment after the start of the process, most of them in its start; those while it feeds, and behind that."""
_FEEDING_LIVES_SHARE = 0.4
"""Of the kills: about so many lives come to feed, and the traffic is spread over them."""


@dataclass(slots=True)
class Trial:
    """Lives over one data directory, each of which is offered only what none before it has acknowledged."""

    data: Path
    lines: list[bytes]
    random: Random
    acknowledged: int = 0
    """Lines, from the first one on. They are never sent again."""
    taken_by_killed: int = 0
    """Those of them whose owner was killed afterwards: an end in order made nothing of them durable."""
    lives: int = 0
    kills: Counter[tuple[Verb, Phase]] = field(default_factory=Counter)
    aims: list[str] = field(default_factory=list)
    """Of the next lives."""

    def live_on(self) -> None:
        """Live once more, and try to kill it."""
        left = self.lines[self.acknowledged :]
        share = ceil(len(left) / max(1.0, (KILLS - self.kills.total()) * _FEEDING_LIVES_SHARE))
        offered = left[:share]
        verb: Verb = self.random.choice(("run", "ingest"))
        self.lives += 1
        with Life(verb, self.data, offered) as life:
            if life.until(self._moment()):
                phase, taken = life.phase, life.taken
                if life.kill_owner():
                    self.kills[verb, phase] += 1
                    self.taken_by_killed += taken
            else:
                life.end()
            self.acknowledged += life.taken

    def _moment(self) -> Moment:
        """Return when to kill. Most of the long start has to be met by the clock, the rest by what was taken."""
        if not self.aims:
            self.aims = self.random.sample(AIMS, len(AIMS))
        # In the end the lives are as long as the rest of the traffic takes.
        aim = self.aims.pop() if self.kills.total() < KILLS else "waiting"
        if aim == "any":
            return Moment("spawn", self.random.uniform(0.2, 3.0))
        if aim == "feeding":
            return Moment("taken", self.random.uniform(0.0, 0.05), self.random.uniform(0.0, 0.9))
        return Moment("taken", self.random.uniform(0.0, 0.8), 1.0)

    def report(self) -> str:
        """Return who was killed in which phase, and what that put at stake."""
        kills = ", ".join(f"{verb} {phase} {count}" for (verb, phase), count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills in {self.lives} lives ({kills}); {len(self.lines)} lines, "
            f"{self.taken_by_killed} of them acknowledged by an owner that was then killed"
        )


def differences(truth: Path, data: Path) -> list[str]:
    """Return the rows of the four queries that are not the generator's, "-" missing and "+" surplus."""
    found: list[str] = []
    for name, expected in truth_of(truth).items():
        assert expected, f"the generated world has rows for {name}"
        rows, right = Counter(map(json.dumps, query(name, data))), Counter(map(json.dumps, expected))
        found += [f"-{name} {row}" for row in (right - rows).elements()]
        found += [f"+{name} {row}" for row in (rows - right).elements()]
    return found


@pytest.mark.timeout(180 + 12 * KILLS)
def test_commands_killed_at_random_moments_end_in_the_truth(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    """``generate | ingest - --wait``, its owner killed again and again, ends with the generator's numbers."""
    seed = int(os.environ.get("CONVOMETER_TEST_SEED", str(Random().randrange(1 << 30))))
    report(f"repeat with CONVOMETER_TEST_SEED={seed}")
    truth = tmp_path / "truth.ndjson"
    options = ("--users", "3000", "--days", "6", "--seed", str(seed % 1000))
    traffic = convometer("generate", *options, "--truth", truth).stdout
    trial = Trial(tmp_path / "data", traffic.splitlines(keepends=True), Random(seed))
    started_at = time.monotonic()
    while trial.kills.total() < KILLS or trial.acknowledged < len(trial.lines):
        trial.live_on()
    report(f"{trial.report()}; {time.monotonic() - started_at:.0f} s")
    assert trial.kills.total() >= KILLS
    if KILLS >= 50:  # a few might by chance all meet the same
        assert {phase for _, phase in trial.kills} == {"starting", "feeding", "waiting"}
        assert trial.taken_by_killed > len(trial.lines) // 2, "too little was at stake"

    # Nothing is fed any more: what is missing now was lost.
    with Running(trial.data) as running:
        done = convometer("ingest", "-", "--wait", "--data", trial.data)
        assert b"0 lines: 0 accepted, 0 ignored, 0 refused" in done.stderr
        wrong = differences(truth, trial.data)
        report(f"{len(wrong)} differences to the truth")
        assert wrong == []
        assert convometer("dlq", "list", "--data", trial.data).stdout == b""
        code, errors = running.stop()
        assert (code, errors.count("Traceback")) == (0, 0), errors


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
