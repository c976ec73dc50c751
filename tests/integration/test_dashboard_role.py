"""The role ``dashboard`` by itself, over a ClickHouse server: started, asked, and refused where it cannot work."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from sinks.clickhouse.client import ClickHouseRefused
from tests.integration.conftest import Database
from tests.integration.test_directory import LAST, insert, message
from tests.support.commands import COMMAND, convometer, environment


def test_it_serves_pages_and_api_over_a_server(http_database: Database, tmp_path: Path) -> None:
    """A user with a token sees the totals; without Kafka the live page says that refused events cannot be read."""
    insert(http_database, "messages", message("A", LAST, "1", "BR", 5))
    settings = {"CONVOMETER_CLICKHOUSE": http_database.address, "CONVOMETER_DASHBOARD__IS_ENABLED": "true"}
    convometer("user", "add", "ann", "--role", "admin", "--no-password", "--data", tmp_path)
    token = convometer(
        "user",
        "token",
        "add",
        "ann",
        "t",
        "--permission",
        "usage",
        "--permission",
        "windows",
        "--data",
        tmp_path,
    ).stdout.decode()
    process = subprocess.Popen(
        [*COMMAND, "dashboard", "--port", "0", "--metrics-port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        env=environment(**settings),
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline().decode()
        found = re.findall(r"http://[\d.]+:\d+", said)
        assert len(found) == 2, said
        assert "/link/" not in said, "there are users already"
        with httpx.Client(
            base_url=found[0], headers={"Authorization": f"Bearer {token.strip()}"}, timeout=30
        ) as client:
            assert client.get("/readyz").status_code == 200
            rows = client.get(f"/api/v1/usage?account=A&from={LAST}&to={LAST}").json()["data"]
            assert [row["total"] for row in rows] == [5]
            live = client.get("/api/v1/live?account=A").json()
            assert live["refused"] is None
            windows = client.get("/api/v1/windows?account=A&user=4915112345678")
            assert windows.status_code == 503
            assert "dashboard.workers" in windows.json()["detail"]
            assert client.get("/overview?account=A").status_code == 200
            assert client.get("/metrics").status_code == 404, "they are the operator's"
        with httpx.Client(base_url=found[1]) as operator:
            shown = operator.get("/metrics").text
            assert operator.get("/overview").status_code == 404
        assert 'convometer_dashboard_requests_total{route="/api",status="503"} 1.0' in shown
        assert 'convometer_dashboard_requests_total{route="/overview",status="200"} 1.0' in shown
        assert "convometer_settings_restart_pending 0.0" in shown
    finally:
        process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_it_says_what_it_needs(http_database: Database, tmp_path: Path) -> None:
    """Without the schema, or with embedded addresses, it does not start, and names the way out."""
    parts = urlsplit(http_database.address)
    empty = parts._replace(path=f"{parts.path}_without_a_schema").geturl()
    done = convometer(
        *("dashboard", "--port", "0", "--metrics-port", "0", "--data", tmp_path),
        check=False,
        CONVOMETER_CLICKHOUSE=empty,
    )
    assert done.returncode == 1
    assert b"convometer migrate" in done.stderr
    done = convometer("dashboard", "--port", "0", "--metrics-port", "0", "--data", tmp_path, check=False)
    assert done.returncode == 1
    assert b"convometer run" in done.stderr
    assert ClickHouseRefused.__name__.encode() not in done.stderr
