"""kill -9 of the real command at random moments: sent again from the start, the numbers are the truth."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.integration.test_commands import truth_of
from tests.support.commands import COMMAND, Running, convometer, environment, query

KILLS = max(3, int(os.environ.get("CONVOMETER_TEST_KILLS", "50")) // 10)


@pytest.mark.timeout(120 + 15 * KILLS)
def test_ingest_killed_at_random_moments_ends_in_the_truth(
    tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Each life feeds the same file from its start and dies somewhere; the last one finishes."""
    seed = int(os.environ.get("CONVOMETER_TEST_SEED", str(Random().randrange(1 << 30))))
    report(f"repeat with CONVOMETER_TEST_SEED={seed}")
    random = Random(seed)
    truth, data, traffic = tmp_path / "truth.ndjson", tmp_path / "data", tmp_path / "traffic.ndjson"
    options = ("--users", "3000", "--days", "6", "--seed", str(seed % 1000))
    traffic.write_bytes(convometer("generate", *options, "--truth", truth).stdout)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*COMMAND, "ingest", str(traffic), "--data", str(data)],
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(random.uniform(1.5, 6.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    convometer("ingest", traffic, "--wait", "--data", data)
    report(f"{killed} of {KILLS} lives were killed")
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
