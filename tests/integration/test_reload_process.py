"""Processes whose settings change while they run: SIGHUP reads them again, and ends nothing."""

from __future__ import annotations

import hashlib
import hmac
import re
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.test_commands import WEBHOOK
from tests.support.commands import COMMAND, SECRET, Running, convometer, environment, eventually, query
from tests.support.kafka_broker import KafkaCluster

OWN, NEXT = "a-secret-of-waba-2", "the-next-one-of-waba-2"
HANGUP_BIT = 1 << (signal.SIGHUP - 1)


def account(zone: str, *secrets: str) -> str:
    """Return the table of the account that the webhook is for."""
    return f"[accounts.waba-2]\ntime_zone = '{zone}'\napp_secrets = {list(secrets)}\n"


class GatewayProcess:
    """``convometer gateway`` in the background, until the end of the ``with`` block."""

    def __init__(self, config: Path, errors: Path) -> None:
        """Start it on a free port and wait until it serves."""
        with errors.open("wb") as errors_file:
            self._process = subprocess.Popen(
                [*COMMAND, "gateway", "--config", str(config), "--port", "0"],
                stdout=subprocess.PIPE,
                stderr=errors_file,
                env=environment(),
            )
        assert self._process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", self._process.stdout.readline().decode())
        assert found is not None, errors.read_text()[-4000:]
        self.address = found.group()

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)

    def get(self, path: str) -> httpx.Response:
        """Get a page."""
        return httpx.get(self.address + path)

    def hang_up(self) -> None:
        """Send SIGHUP."""
        self._process.send_signal(signal.SIGHUP)


Served = Running | GatewayProcess


def send(running: Served, secret: str) -> httpx.Response:
    """Send the webhook, signed."""
    signature = "sha256=" + hmac.new(secret.encode(), WEBHOOK, hashlib.sha256).hexdigest()
    url = running.address + "/webhooks/meta"
    return httpx.post(url, content=WEBHOOK, headers={"X-Hub-Signature-256": signature})


def post(running: Served, secret: str) -> int:
    """Send the webhook and return the status."""
    return send(running, secret).status_code


def taken(running: Served, secret: str) -> int:
    """Send the webhook, which must be authentic, and return how many events were accepted."""
    answer = send(running, secret)
    assert answer.status_code == 200
    return int(answer.json()["accepted"])


def reloads(running: Served, outcome: str) -> float:
    """Return how often settings were read again with that outcome."""
    name = f'convometer_settings_reloads_total{{outcome="{outcome}"}} '
    lines = running.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(name)).removeprefix(name))


def hang_up(running: Served, outcome: str) -> None:
    """Send SIGHUP and wait until the settings were read again with that outcome."""
    before = reloads(running, outcome)
    running.hang_up()
    eventually(f"the settings are {outcome}", lambda: reloads(running, outcome) == before + 1)


def test_settings_change_while_it_runs(tmp_path: Path) -> None:
    """A new account is let in and counted in its own zone at once; its zone stays, as a restart also demands."""
    data, config = tmp_path / "data", tmp_path / "convometer.toml"
    config.write_text("log_format = 'json'\n")
    with Running(data, "--config", config) as running:
        hang_up(running, "unchanged")
        assert post(running, OWN) == 401
        # A day ahead of UTC at the time of the webhook.
        config.write_text("log_format = 'json'\n" + account("Pacific/Kiritimati", OWN))
        hang_up(running, "applied")
        assert post(running, OWN) == 200
        eventually("the webhook is counted", lambda: query("usage", data))
        assert [row["day"] for row in query("usage", data)] == ["2026-09-22"]
        config.write_text("partitions = 8\n" + account("Pacific/Kiritimati", OWN, NEXT))
        eventually("a change is seen without a signal", lambda: post(running, NEXT) == 200)
        assert "convometer_settings_restart_pending 2.0" in running.get("/metrics").text
        config.write_text(account("UTC", "yet-another-secret"))
        hang_up(running, "refused")
        assert [post(running, secret) for secret in (SECRET, OWN, NEXT)] == [200, 200, 200]
        code, errors = running.stop()
    assert code == 0
    assert '"settings":"accounts.waba-2.time_zone"' in errors
    assert '"settings":"log_format, partitions"' in errors or '"settings":"partitions, log_format"' in errors
    assert not [secret for secret in (OWN, NEXT, "yet-another-secret") if secret in errors]
    refused = convometer("run", "--data", data, "--port", "0", "--config", config, check=False)
    assert refused.returncode == 1
    assert b"account waba-2: days were counted in Pacific/Kiritimati" in refused.stderr


@pytest.mark.parametrize("verb", ["run", "gateway", "worker"])
def test_a_hangup_never_ends_a_role(verb: str, tmp_path: Path) -> None:
    """From the first moment to the last, no SIGHUP ends a process: not while it imports, opens, serves or closes."""
    # Nothing listens on port 1, so that the two roles on Kafka open for a while, and close.
    addresses = {"CONVOMETER_BROKER": "kafka://127.0.0.1:1", "CONVOMETER_CLICKHOUSE": "http://127.0.0.1:1/c"}
    out, errors = tmp_path / "out", tmp_path / "errors"
    with out.open("wb") as out_file, errors.open("wb") as errors_file:
        process = subprocess.Popen(
            [*COMMAND, verb, "--data", str(tmp_path / "data"), "--port", "0"],
            stdout=out_file,
            stderr=errors_file,
            env=environment(**({} if verb == "run" else addresses)),
        )
    try:
        eventually("it catches SIGHUP", lambda: _catches_hangup(process.pid))
        deadline, is_stopping = time.monotonic() + 60, False
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.005)
            if not is_stopping and b"convometer is running" in out.read_bytes():
                process.send_signal(signal.SIGTERM)
                is_stopping = True
    finally:
        process.kill()
        process.wait()
    expected = (0, True) if verb == "run" else (1, False)
    assert (process.returncode, is_stopping) == expected, errors.read_text()[-2000:]
    assert verb == "run" or "no Kafka broker answers" in errors.read_text()


def test_a_gateway_on_kafka_lets_a_new_account_in(kafka: KafkaCluster, tmp_path: Path) -> None:
    """SIGHUP brings a secret and an account in; one with a zone of its own waits, as workers may not know it yet."""
    config, errors = tmp_path / "convometer.toml", tmp_path / "errors"
    start = (
        f"broker = 'kafka://{kafka.bootstrap}'\npartitions = 1\nunknown_accounts = 'refuse'\n"
        f"[gateway]\napp_secrets = ['{SECRET}']\n[kafka]\nprefix = 'reload.'\nreplication_factor = 1\n"
        "min_insync_replicas = 1\n"
    )
    config.write_text(start)
    with GatewayProcess(config, errors) as gateway:
        assert taken(gateway, SECRET) == 0
        config.write_text(start + account("Pacific/Kiritimati", OWN))
        hang_up(gateway, "unchanged")
        assert "convometer_settings_restart_pending 1.0" in gateway.get("/metrics").text
        assert post(gateway, OWN) == 401
        config.write_text(start.replace(SECRET, "the-next-secret") + account("UTC", OWN))
        hang_up(gateway, "applied")
        assert post(gateway, SECRET) == 401
        assert taken(gateway, "the-next-secret") == taken(gateway, OWN) == 1
    assert "changed settings wait for a restart" in errors.read_text()
    assert "settings=accounts.waba-2\n" in errors.read_text()


def _catches_hangup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & HANGUP_BIT)
