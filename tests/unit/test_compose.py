"""The production shape is one piece: Compose, its variables, Prometheus, Grafana, the image and the runbook agree."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.support.alerting import ALERT_CHECKS
from tests.support.deployment import (
    CHECKS,
    EXAMPLES,
    Check,
    Deployment,
    dashboard_expressions,
    known_metrics,
    settings_of,
)
from tests.support.deployment_grafana import GRAFANA_CHECKS
from tests.support.image import Image, build_wheel, check_image, package_files
from tests.support.prometheus_tools import knows_url_file, run_tool, tool
from tests.unit.compose_faults import FAULTS

ROOT = Path(__file__).parents[2]
DEPLOYMENT = Deployment.of(ROOT)
IMAGE = Image.of(ROOT)
DEPLOY = ROOT / "deploy"


@pytest.fixture(autouse=True)
def _own_hangup() -> Iterator[None]:
    """The verbs that serve take over SIGHUP when they are looked up."""
    handler = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, handler)


@pytest.mark.parametrize("check", [*CHECKS, *ALERT_CHECKS, *GRAFANA_CHECKS])
def test_the_files_agree(check: Check) -> None:
    """What the check says holds for the files as they are."""
    assert check(DEPLOYMENT) == []


@pytest.mark.parametrize(("check", "file", "good", "bad", "fault"), FAULTS)
def test_a_planted_fault_is_found(check: Check, file: str, good: str, bad: str, fault: str) -> None:
    """Each check turns red on what it is there for."""
    text = getattr(DEPLOYMENT, file)
    assert good in text
    changed = {file: text.replace(good, bad)}
    assert any(fault in found for found in check(replace(DEPLOYMENT, **changed)))


def test_what_is_left_empty_is_found() -> None:
    """Compose refuses to start without each value that only an operator can give."""
    for name in EXAMPLES:
        assert f"${{{name}:?" in DEPLOYMENT.compose_text
        assert DEPLOYMENT.example[name] == ""


@pytest.mark.parametrize(
    ("service", "port"), [("gateway", 8080), ("worker-1", 8081), ("worker-2", 8081), ("dashboard", 8082)]
)
@pytest.mark.parametrize(("status", "exit_code"), [(200, 0), (503, 1)])
def test_a_health_check_says_what_readyz_says(service: str, port: int, status: int, exit_code: int) -> None:
    """The code in Compose's health checks works, and takes anything but 200 for not healthy."""

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kind, command, option, code = DEPLOYMENT.services[service]["healthcheck"]["test"]
        assert (kind, command, option) == ("CMD", "python", "-c")
        code = code.replace(f'"127.0.0.1", {port}', f'"127.0.0.1", {server.server_port}')
        done = subprocess.run([sys.executable, "-c", code], timeout=20, check=False)
        server.shutdown()
    assert done.returncode == exit_code


def test_workers_keep_their_state_in_a_volume() -> None:
    """The data directory of each worker is where its own volume is mounted; without it every start is a restore."""
    (directory,) = re.findall(r"CONVOMETER_DATA=(\S+)", IMAGE.dockerfile_text)
    for name in ("worker-1", "worker-2"):
        assert f"{name}-data:{directory}" in DEPLOYMENT.services[name]["volumes"]


def test_the_changelog_counts_the_alerts() -> None:
    """Whoever reads it is told of as many as there are."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"Prometheus with (\d+) alerts", text) == [str(len(DEPLOYMENT.alerts))]


def test_three_brokers_are_a_matter_of_variables() -> None:
    """What the runbook puts into .env for three brokers gives settings that hold."""
    wanted = dict(re.findall(r"^(CONVOMETER_\w+)=(.+)$", DEPLOYMENT.runbook_text, re.MULTILINE))
    assert wanted.keys() < DEPLOYMENT.example.keys()
    example = "\n".join(f"{name}={value}" for name, value in (DEPLOYMENT.example | wanted).items())
    settings = settings_of(replace(DEPLOYMENT, example_text=example), "worker-1")
    assert len(settings.kafka_servers) == 3
    assert (settings.kafka.replication_factor, settings.kafka.min_insync_replicas) == (3, 2)


def test_half_of_the_retention_is_an_alarm() -> None:
    """Whoever is told when a partition has used half of the log's retention has the other half to act."""
    expression = DEPLOYMENT.alerts["ConvometerRetentionHalfUsed"]
    assert "max by (partition) (convometer_retention_used_ratio)" in expression
    assert expression.endswith("> 0.5")
    assert "convometer_retention_used_ratio" in known_metrics()


def test_the_image_has_every_package() -> None:
    """Everything that the packages consist of is copied, and let through."""
    assert check_image(IMAGE) == []


@pytest.mark.parametrize(
    ("file", "good", "bad", "fault"),
    [
        ("dockerfile_text", "COPY sinks ./sinks\n", "", "sinks/__init__.py is not copied"),
        ("dockerfile_text", "COPY sinks", "COPY sink", "there is no sink to copy"),
        ("dockerfile_text", "python:3.11.15-slim", "python:3.11-slim", "is not pinned"),
        ("ignore_text", "!schemas\n", "", ".dockerignore keeps schemas/__init__.py out"),
        ("ignore_text", "**/__pycache__", "**/sql", ".dockerignore keeps schemas/sql/"),
    ],
)
def test_a_fault_planted_in_the_image_is_found(file: str, good: str, bad: str, fault: str) -> None:
    """A package that is left out, and one that does not get through, are both told."""
    text = getattr(IMAGE, file)
    assert good in text
    changed = {file: text.replace(good, bad)}
    assert any(fault in found for found in check_image(replace(IMAGE, **changed)))


def test_secrets_and_data_stay_out_of_the_image() -> None:
    """What an operator keeps beside the code is not sent to the builder."""
    for path in (".env", "data/log/x", ".git/config", "deploy/settings/convometer.toml", "tests/conftest.py"):
        assert not IMAGE.lets_through(path)


def test_the_wheel_holds_everything_that_lies_in_the_packages(tmp_path: Path) -> None:
    """Code, migrations, queries and data: what the installed command reads is installed."""
    names = build_wheel(IMAGE, tmp_path)
    files = set(package_files(ROOT))
    assert any(name.endswith(".sql") for name in files)
    assert sorted(files - names) == []


def test_prometheus_takes_its_files() -> None:
    """Prometheus's own tool finds no fault in configuration and rules, and each alert fires as its test says."""
    promtool = tool("promtool")
    rules = DEPLOY / "prometheus" / "rules"
    run_tool(promtool, "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    files = sorted(path.name for path in rules.glob("*.yml"))
    tests = [str(rules / name) for name in files if name.endswith("_test.yml")]
    named = [f"rules/{name}" for name in files if not name.endswith("_test.yml")]
    assert sorted(yaml.safe_load(DEPLOYMENT.prometheus_text)["rule_files"]) == named
    run_tool(promtool, "check", "rules", *(str(rules.parent / name) for name in named))
    assert len(tests) == len(named) == 5
    run_tool(promtool, "test", "rules", *tests)


def test_prometheus_takes_what_the_dashboard_asks(tmp_path: Path) -> None:
    """Each panel's question is PromQL."""
    asked = [
        text.replace("$__rate_interval", "5m") for text in dashboard_expressions(DEPLOYMENT.dashboard_text)
    ]
    assert len(asked) > 20
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    run_tool(tool("promtool"), "check", "rules", str(file))


def configured(tmp_path: Path, amtool: str) -> str:
    """Return the configuration of Alertmanager; for an old one, with the receiver's address in it."""
    text = DEPLOYMENT.alertmanager_text
    if not knows_url_file(amtool):
        assert "url_file: /run/alert-webhook-url" in text
        text = text.replace("url_file: /run/alert-webhook-url", "url: http://127.0.0.1:9/")
    file = tmp_path / "alertmanager.yml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def test_alertmanager_takes_its_file(tmp_path: Path) -> None:
    """Alertmanager's own tool finds no fault in its configuration."""
    amtool = tool("amtool")
    said = run_tool(amtool, "check-config", configured(tmp_path, amtool))
    assert "4 inhibit rules" in said


@pytest.mark.parametrize(
    ("alert", "severity", "route"),
    [
        ("ConvometerPackageWarning", "warning", '{alertname=~"ConvometerPackage.+"}'),
        ("ConvometerPackageForecast", "warning", '{alertname=~"ConvometerPackage.+"}'),
        ("ConvometerDown", "critical", '{severity="critical"}'),
        ("ConvometerAccountSilent", "warning", "default-route"),
        ("ConvometerAccountsLeftOut", "warning", "default-route"),
    ],
)
def test_alerts_take_their_routes(tmp_path: Path, alert: str, severity: str, route: str) -> None:
    """All reach the operators: limits by account and once a day, what is critical sooner, and the rest."""
    amtool = tool("amtool")
    file = f"--config.file={configured(tmp_path, amtool)}"
    labels = [f"alertname={alert}", f"severity={severity}", "account=9001"]
    said = run_tool(amtool, "config", "routes", "test", "--tree", file, *labels)
    assert f"{route}  receiver: operators" in said
