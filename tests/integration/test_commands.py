"""The command line over real directories: log, worker and ClickHouse as they run for a user."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import zstandard

from schemas.topics import INPUT_TOPICS, TopicSpec
from streams.embedded.log import EmbeddedLog, Record
from tests.support.commands import COMMAND, SECRET, Running, convometer, environment, eventually, query

QUERIES = ("usage", "conversations", "incoming", "active-users")
EVENT = {
    "account": "waba-1",
    "number": "number-1",
    "kind": "delivered",
    "message_id": "message-1",
    "occurred_at": 1_790_000_000,
    "user_phone": "4917012345678",
    "category": "marketing",
}
ROW = {
    "day": "2026-09-21",
    "account": "waba-1",
    "number": "number-1",
    "country": "DE",
    "category": "marketing",
    "template": True,
    "total": 1,
    "sent": 1,
    "delivered": 1,
    "read": 0,
    "not_delivered": 0,
}
WEBHOOK = (
    b'{"object":"whatsapp_business_account","entry":[{"id":"waba-2","changes":[{"field":"messages","value":'
    b'{"messaging_product":"whatsapp","metadata":{"display_phone_number":"1","phone_number_id":"number-2"},'
    b'"statuses":[{"id":"wamid.1","status":"delivered","timestamp":"1790000000","recipient_id":"5511900000001"}]}}]}]}'
)


def line(**fields: Any) -> bytes:
    """Return one canonical event as a line."""
    return json.dumps(EVENT | fields).encode() + b"\n"


def truth_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the generator's truth by query."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in QUERIES}
    for text in path.read_text().splitlines():
        row = json.loads(text)
        rows[row.pop("query")].append(row)
    return rows


def test_generated_traffic_in_zones_equals_its_truth(tmp_path: Path) -> None:
    """generate | ingest - --wait, then the four queries: every row equal, keys in their order."""
    truth, config = tmp_path / "truth.ndjson", tmp_path / "accounts.toml"
    traffic = convometer(
        "generate", "--users", "400", "--days", "20", "--start", "2026-09-15", "--seed", "11",
        "--truth", truth, "--write-config", config,
    ).stdout  # fmt: skip
    data = tmp_path / "data"
    done = convometer("ingest", "-", "--wait", "--data", data, "--config", config, stdin=traffic)
    assert b" 0 refused" in done.stderr
    for name, expected in truth_of(truth).items():
        rows = query(name, data, "--config", config)
        assert rows == expected
        assert [list(row) for row in rows[:1]] == [list(row) for row in expected[:1]]
        assert expected, f"the generated world has rows for {name}"


def test_the_same_traffic_twice_and_packed_changes_no_number(tmp_path: Path) -> None:
    """Repeating a file, as gzip and as zstandard, counts nothing twice."""
    truth = tmp_path / "truth.ndjson"
    traffic = convometer("generate", "--users", "100", "--days", "3", "--truth", truth).stdout
    packed, squeezed = tmp_path / "traffic.gz", tmp_path / "traffic.zst"
    packed.write_bytes(gzip.compress(traffic))
    squeezed.write_bytes(zstandard.compress(traffic))
    data = tmp_path / "data"
    convometer("ingest", packed, squeezed, "--data", data)
    convometer("ingest", squeezed, "--wait", "--data", data)
    for name, expected in truth_of(truth).items():
        assert query(name, data) == expected


def test_a_signed_webhook_is_counted_while_it_runs_and_after_a_restart(tmp_path: Path) -> None:
    """The front door of ``run``: signed is counted once, unsigned refused; other verbs reach the owner."""
    data = tmp_path / "data"
    signature = "sha256=" + hmac.new(SECRET.encode(), WEBHOOK, hashlib.sha256).hexdigest()
    with Running(data) as running:
        url = running.address + "/webhooks/meta"
        assert httpx.post(url, content=WEBHOOK).status_code == 401
        for _ in range(2):
            answer = httpx.post(url, content=WEBHOOK, headers={"X-Hub-Signature-256": signature})
            assert answer.status_code == 200
            assert answer.json()["accepted"] == 1
        eventually("the webhook is counted", lambda: query("usage", data))
        assert [row["total"] for row in query("usage", data)] == [1]
        convometer("ingest", "-", "--format", "canonical", "--wait", "--data", data, stdin=line())
        assert query("usage", data, "--account", "waba-1") == [ROW]
        assert running.get("/readyz").status_code == 200
        metrics = running.get("/metrics").text
        assert 'convometer_events_total{kind="delivered",outcome="duplicate"} 1.0' in metrics
        eventually(
            "lag is zero", lambda: 'convometer_lag_records{partition="0"} 0.0' in running.get("/metrics").text
        )
        second = convometer("run", "--data", data, "--port", "0", check=False)
        assert second.returncode == 1
        assert b"own" in second.stderr
        port = running.address.rpartition(":")[2]
        taken = convometer("run", "--data", tmp_path / "other", "--port", port, check=False)
        assert (taken.returncode, b"--port" in taken.stderr, b"Traceback" in taken.stderr) == (1, True, False)
        code, errors = running.stop(signal.SIGTERM)
        assert (code, errors.count("Traceback")) == (0, 0), errors
    assert sum(row["total"] for row in query("usage", data)) == 2
    with Running(data) as running:
        assert sum(row["total"] for row in query("usage", data)) == 2


def test_bodies_in_the_input_topics_are_counted(tmp_path: Path) -> None:
    """Records of platform teams, webhook bodies and canonical events, are moved into events; rubbish is kept."""
    data = tmp_path / "data"
    log = EmbeddedLog.open(data / "log")
    log.declare([TopicSpec(topic, 1) for topic in INPUT_TOPICS])
    log.append_blocking("webhooks", 0, [Record(None, WEBHOOK, 1), Record(None, b"rubbish", 1)])
    log.append_blocking("delivered", 0, [Record(None, line(), 1), Record(None, b"[" + line() + b"]", 1)])
    log.close_blocking()
    assert [row["account"] for row in query("usage", data)] == ["waba-1", "waba-2"]
    letters = convometer("dlq", "list", "--data", data).stdout.splitlines()
    assert [json.loads(letter)["reason"] for letter in letters] == ["malformed"]


def test_refused_updates_are_kept_shown_and_replayed(tmp_path: Path) -> None:
    """A line that cannot be counted is reported, stays in the dead letter, and counts once after a replay."""
    data = tmp_path / "data"
    done = convometer(
        *("ingest", "-", "--format", "canonical", "--wait", "--data", data),
        stdin=line() + b"{\n",
        CONVOMETER_UNKNOWN_ACCOUNTS="refuse",
    )
    assert b"0 accepted, 0 ignored, 2 refused" in done.stderr
    letters = [json.loads(text) for text in convometer("dlq", "list", "--data", data).stdout.splitlines()]
    assert [letter["reason"] for letter in letters] == ["unknown_account", "malformed"]
    unknown = next(letter["id"] for letter in letters if letter["reason"] == "unknown_account")
    shown = json.loads(convometer("dlq", "show", str(unknown), "--data", data).stdout)
    assert shown["payload"]["message_id"] == "message-1"
    for _ in range(2):
        convometer("dlq", "replay", "--reason", "unknown_account", "--data", data)
    assert query("usage", data) == [ROW]
    assert convometer("dlq", "show", "999", "--data", data, check=False).returncode == 1


def test_a_zone_that_changes_for_the_past_is_refused_and_for_the_future_taken(tmp_path: Path) -> None:
    """Days that are counted stay on their day; a zone from a later month on is accepted."""
    data = tmp_path / "data"
    convometer("ingest", "-", "--format", "canonical", "--wait", "--data", data, stdin=line())
    changed, later = tmp_path / "changed.toml", tmp_path / "later.toml"
    changed.write_text('[accounts.waba-1]\ntime_zone = "Asia/Tokyo"\n')
    later.write_text('[[accounts.waba-1.time_zone]]\nfrom = "2026-12"\nzone = "Asia/Tokyo"\n')
    refused = convometer("usage", "--data", data, "--config", changed, check=False)
    assert refused.returncode == 1
    assert b"waba-1" in refused.stderr
    assert b"from a later month" in refused.stderr
    assert query("usage", data, "--config", later) == [ROW]
    december = line(message_id="message-2", occurred_at=1_790_000_000)
    convometer(
        "ingest", "-", "--format", "canonical", "--wait", "--data", data, "--config", later, stdin=december
    )
    assert [row["total"] for row in query("usage", data, "--config", later)] == [2]


def test_another_partition_count_is_refused(tmp_path: Path) -> None:
    """The number of partitions is fixed at the first start; another one is refused with the way out."""
    data = tmp_path / "data"
    convometer("ingest", "-", "--format", "canonical", "--data", data, stdin=line())
    for verb in ("usage", "doctor"):
        refused = convometer(verb, "--data", data, check=False, CONVOMETER_PARTITIONS="8")
        said = (refused.stdout + refused.stderr).decode()
        assert refused.returncode == 1
        assert "has 4 partitions in this log, not 8" in said
        assert "set it back to 4" in said
        assert "Traceback" not in said


def test_exit_codes_and_formats(tmp_path: Path) -> None:
    """2 for usage errors, csv with a header, help on every verb."""
    data = tmp_path / "data"
    convometer("ingest", "-", "--format", "canonical", "--data", data, stdin=line())
    assert convometer("usage", "--from", "2026-13-01", check=False).returncode == 2
    assert convometer("usage", "--from", "2026-02-02", "--to", "2026-02-01", check=False).returncode == 2
    assert convometer("ingest", tmp_path / "missing.ndjson", "--data", data, check=False).returncode == 2
    text = convometer("usage", "--data", data, "--format", "csv").stdout.decode().splitlines()
    assert text == [",".join(ROW), "2026-09-21,waba-1,number-1,DE,marketing,true,1,1,1,0,0"]
    assert query("usage", data, "--to", "2026-09-20") == []
    assert query("usage", data, "--from", "2026-09-21", "--to", "2026-09-21", "--country", "DE") == [ROW]
    for verb in ("run", "ingest", "usage", "dlq", "doctor", "migrate", "generate"):
        assert b"Usage:" in convometer(verb, "--help").stdout
    healthy = convometer("doctor", "--data", data)
    assert "✓ settings".encode() in healthy.stdout
    assert b"nothing to apply" in convometer("migrate", "--data", data).stdout


def test_a_pipe_that_stays_open_is_counted_as_it_comes(tmp_path: Path) -> None:
    """Live traffic through a pipe does not wait for the pipe's end, and the end is clean."""
    data = tmp_path / "data"
    with Running(data):
        process = subprocess.Popen(
            [*COMMAND, "ingest", "-", "--format", "canonical", "--data", str(data)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        assert process.stdin is not None
        process.stdin.write(line())
        process.stdin.flush()
        eventually("the owner has begun", (data / "owner.sock").exists)
        eventually("the line is counted while the pipe is open", lambda: query("usage", data) == [ROW])
        _, errors = process.communicate(line(message_id="message-2").rstrip())
        assert (process.returncode, b"2 accepted" in errors) == (0, True), errors
        eventually("the last line counts without its newline", lambda: query("usage", data)[0]["total"] == 2)


def test_a_broken_archive_is_reported_and_what_was_read_stays(tmp_path: Path) -> None:
    """A gzip file cut in the middle ends with exit 1 and a reason; feeding the whole file later is exact."""
    data, whole, cut = tmp_path / "data", tmp_path / "whole.gz", tmp_path / "cut.gz"
    lines = b"".join(line(message_id=f"message-{number}") for number in range(20_000))
    whole.write_bytes(gzip.compress(lines))
    cut.write_bytes(whole.read_bytes()[:-2000])
    failed = convometer("ingest", cut, "--format", "canonical", "--data", data, check=False)
    assert (failed.returncode, b"Traceback" in failed.stderr) == (1, False), failed.stderr
    convometer("ingest", whole, "--format", "canonical", "--wait", "--data", data)
    assert [row["total"] for row in query("usage", data)] == [20_000]


def test_verbs_work_while_another_verb_owns_the_directory(tmp_path: Path) -> None:
    """A long ingest owns the directory without ``run``; queries and a second ingest are answered by it."""
    data = tmp_path / "data"
    process = subprocess.Popen(
        [*COMMAND, "ingest", "-", "--format", "canonical", "--data", str(data)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    process.stdin.write(line())
    process.stdin.flush()
    # Before it has begun there is nothing to ask.
    eventually("the owner has begun", (data / "owner.sock").exists)
    eventually("the owner answers", lambda: query("usage", data) == [ROW])
    convometer(
        "ingest", "-", "--format", "canonical", "--wait", "--data", data, stdin=line(message_id="message-2")
    )
    assert query("usage", data)[0]["total"] == 2
    assert process.poll() is None, "the owner is still waiting for its input"
    _, errors = process.communicate()
    assert (process.returncode, b"1 accepted" in errors) == (0, True), errors
