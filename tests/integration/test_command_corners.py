"""The command line at its corners: odd names, pipes, full disks, wrong directories, letters that cannot come back."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest

from tests.support.commands import COMMAND, Running, convometer, environment, eventually, query

DAY = 86_400
START = 1_790_000_000


def incoming(message_id: str, occurred_at: int, account: str = "A", number: str = "1") -> bytes:
    """Return a line with one incoming message."""
    fields = {
        "account": account,
        "number": number,
        "kind": "incoming",
        "message_id": message_id,
        "occurred_at": occurred_at,
        "user_phone": "491700000001",
    }
    return orjson.dumps(fields) + b"\n"


def ingest(data: Path, *lines: bytes) -> None:
    """Feed lines."""
    convometer("ingest", "-", "--format", "canonical", "--wait", "--data", data, stdin=b"".join(lines))


def test_what_was_set_aside_as_late_is_not_replayed(tmp_path: Path) -> None:
    """A replay of late letters is refused with the reason, not reported as done; the letters stay as they are."""
    data = tmp_path / "data"
    # The cut moves when the first command ends.
    ingest(data, *(incoming(f"m{day}", START + day * DAY) for day in range(60)))
    ingest(data, incoming("late", START))
    letters = convometer("dlq", "list", "--data", data).stdout.splitlines()
    assert [orjson.loads(letter)["reason"] for letter in letters] == ["late"]
    number = str(orjson.loads(letters[0])["id"])
    for choice in (["--reason", "late"], [number]):
        refused = convometer("dlq", "replay", *choice, "--data", data, check=False)
        assert refused.returncode == 1
        assert b"nothing was replayed" in refused.stderr
    missing = convometer("dlq", "replay", "99999", "--data", data, check=False)
    assert missing.stderr == b"Error: there is no dead letter 99999; see `convometer dlq list`\n"
    assert convometer("dlq", "list", "--data", data).stdout.splitlines() == letters
    # Letters are no fault of the installation.
    assert b"there are some" in convometer("doctor", "--data", data).stdout


@pytest.mark.parametrize("verb", [["usage"], ["doctor"], ["dlq", "list"]])
def test_a_question_makes_no_installation(tmp_path: Path, verb: list[str]) -> None:
    """A mistyped directory is named, and not answered with "no traffic"."""
    data = tmp_path / "mistyped"
    refused = convometer(*verb, "--data", data, check=False)
    assert refused.returncode == 1
    assert f"there is no installation in {data}" in (refused.stdout + refused.stderr).decode()
    assert not data.exists()


def test_a_named_pipe_is_a_file_and_a_directory_is_not(tmp_path: Path) -> None:
    """``ingest`` reads whatever can be read once."""
    data, pipe = tmp_path / "data", tmp_path / "pipe"
    os.mkfifo(pipe)
    feeding = threading.Thread(target=pipe.write_bytes, args=(incoming("m", START),))
    feeding.start()
    convometer("ingest", pipe, "--format", "canonical", "--wait", "--data", data)
    feeding.join(10)
    assert [row["count"] for row in query("incoming", data)] == [1]
    refused = convometer("ingest", tmp_path, "--data", data, check=False)
    assert refused.returncode == 2
    assert b"a directory, not a file" in refused.stderr


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Brackets in an account's or a number's name are text in every format."""
    data = tmp_path / "data"
    ingest(data, incoming("m", START, account="[/x]", number="[red]N"))
    table = convometer("incoming", "--format", "table", "--data", data).stdout.decode()
    assert "[/x]" in table
    assert "[red]N" in table


def test_an_empty_answer_in_csv_has_its_header(tmp_path: Path) -> None:
    """Whoever loads it finds the columns, and they are those of an answer with rows."""
    data = tmp_path / "data"
    ingest(data, incoming("m", START))
    for verb in ("usage", "conversations", "incoming", "active-users"):
        rows = convometer(verb, "--format", "csv", "--data", data).stdout.splitlines()
        none = convometer(verb, "--format", "csv", "--data", data, "--account", "nobody").stdout.splitlines()
        assert none == rows[:1]
        if len(rows) > 1:
            assert rows[0].decode().split(",") == list(query(verb, data)[0])


@pytest.mark.parametrize("output", ["ndjson", "csv", "table"])
def test_a_full_disk_is_an_error_with_a_name(tmp_path: Path, output: str) -> None:
    """An answer that cannot be written ends with exit 1 and one line."""
    data = tmp_path / "data"
    ingest(data, incoming("m", START))
    command = [sys.executable, "-m", "cli.main", "incoming", "--format", output, "--data", str(data)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(), check=False)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1] == "Error: [Errno 28] No space left on device"
    assert b"Traceback" not in done.stderr


def test_a_state_that_the_disk_does_not_give_is_an_error_with_a_name(tmp_path: Path) -> None:
    """``doctor`` says which directory it is, and that the state comes back from the log."""
    data = tmp_path / "data"
    ingest(data, incoming("m", START))
    store = data / "state" / "0"
    for file in store.iterdir():
        file.unlink()
    store.rmdir()
    store.write_bytes(b"not a directory")
    done = convometer("doctor", "--data", data, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stdout + done.stderr
    assert str(store).encode() in done.stdout + done.stderr


def test_a_byte_order_mark_costs_no_line(tmp_path: Path) -> None:
    """Some editors and exports begin a file with one."""
    data, traffic = tmp_path / "data", tmp_path / "traffic.ndjson"
    traffic.write_bytes(b"\xef\xbb\xbf" + incoming("m1", START) + incoming("m2", START))
    convometer("ingest", traffic, "--format", "canonical", "--wait", "--data", data)
    assert [row["count"] for row in query("incoming", data)] == [2]


def test_a_cut_archive_says_what_was_taken(tmp_path: Path) -> None:
    """The error names the file and the lines; the whole file, fed later, counts nothing twice."""
    data, traffic = tmp_path / "data", tmp_path / "traffic.ndjson.gz"
    lines = b"".join(incoming(f"m{n}-{os.urandom(8).hex()}", START + n) for n in range(20_000))
    whole = gzip.compress(lines)
    traffic.write_bytes(whole[: len(whole) // 2])
    cut = convometer("ingest", traffic, "--format", "canonical", "--data", data, check=False)
    assert cut.returncode == 1
    assert str(traffic).encode() in cut.stderr
    assert b"lines were taken and are kept" in cut.stderr
    traffic.write_bytes(whole)
    convometer("ingest", traffic, "--format", "canonical", "--wait", "--data", data)
    assert [row["count"] for row in query("incoming", data)] == [20_000]


def test_an_interrupted_ingest_says_what_was_taken(tmp_path: Path) -> None:
    """Ctrl-C ends it with the shells' exit code and a word on what is kept."""
    data = tmp_path / "data"
    process = subprocess.Popen(
        [*COMMAND, "ingest", "-", "--format", "canonical", "--data", str(data)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    process.stdin.write(incoming("m1", START) + incoming("m2", START))
    process.stdin.flush()
    eventually(
        "the lines are taken", lambda: query("incoming", data) if (data / "owner.sock").exists() else []
    )
    process.send_signal(signal.SIGINT)
    # The input stays open until then: at its end there would be nothing to interrupt.
    assert process.wait(60) == 130
    assert process.stderr is not None
    said = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert b"2 lines were taken and are kept" in said
    assert [row["count"] for row in query("incoming", data)] == [2]


def test_migrate_beside_an_owner_has_nothing_to_do(tmp_path: Path) -> None:
    """Whoever runs has brought the schema up to date at its start."""
    with Running(tmp_path / "data"):
        done = convometer("migrate", "--data", tmp_path / "data")
    assert done.stdout.startswith(b"nothing to apply")
