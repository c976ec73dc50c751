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

from tests.support.alerting import (
    ALERT_CHECKS,
    check_alerts,
    check_routes,
    check_runbook_links,
)
from tests.support.deployment import (
    CHECKS,
    EXAMPLES,
    Check,
    Deployment,
    check_commands,
    check_files,
    check_images,
    check_lives,
    check_metrics,
    check_order,
    check_runbook,
    check_settings,
    check_targets,
    check_variables,
    dashboard_expressions,
    known_metrics,
    settings_of,
)
from tests.support.deployment_grafana import check_grafana
from tests.support.image import Image, build_wheel, check_image, package_files
from tests.support.prometheus_tools import knows_url_file, run_tool, tool

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


@pytest.mark.parametrize("check", [*CHECKS, *ALERT_CHECKS, check_grafana])
def test_the_files_agree(check: Check) -> None:
    """What the check says holds for the files as they are."""
    assert check(DEPLOYMENT) == []


FAULTS: tuple[tuple[Check, str, str, str, str], ...] = (
    (check_variables, "compose_text", "${GATEWAY_PORT:-8080}", "${GATE_PORT:-8080}", "GATE_PORT is used"),
    (check_variables, "example_text", "GRAFANA_PORT=3000", "GRAFANA_PORT=3001", "'3001' in .env.example"),
    (
        check_variables,
        "compose_text",
        "${GRAFANA_ADMIN_PASSWORD:?of",
        "${GRAFANA_ADMIN_PASSWORD:-of",
        "of the",
    ),
    (check_files, "compose_text", "./deploy/alertmanager", "./deploy/alerts", "no ./deploy/alerts"),
    (check_files, "compose_text", "worker-2-data:/var", "worker-1-data:/var", "two users"),
    (check_images, "compose_text", "apache/kafka:4.3.1", "apache/kafka:latest", "kafka:latest is not pinned"),
    (check_images, "compose_text", "grafana/grafana:13.2.3", "grafana/grafana:13.2", "is not pinned"),
    (check_lives, "compose_text", "mem_limit: 2g", "cpus: 2", "kafka has no mem_limit"),
    (check_lives, "compose_text", 'restart: "no"', "restart: always", "migrate has no healthcheck"),
    (check_order, "compose_text", "service_healthy", "service_well", "service_well, which never comes"),
    (
        check_order,
        "compose_text",
        "    migrate:\n      condition",
        "    moved:\n      condition",
        "for moved",
    ),
    (check_settings, "compose_text", "CONVOMETER_GATEWAY__HOST", "CONVOMETER_GATEWAY__HOSTS", "unknown key"),
    (check_settings, "compose_text", 'WORKER__PORT: "8081"', 'WORKER__PORT: "8082"', "asked at ['8081']"),
    (check_settings, "compose_text", "GATEWAY__HOST: 0.0.0.0", "GATEWAY__HOST: 127.0.0.1", "listens on 127"),
    (check_settings, "example_text", "kafka://kafka:9092", "embedded://log", "expected kafka://HOST:PORT"),
    (check_settings, "compose_text", "INSTANCE_ID: worker-2", "INSTANCE_ID: worker-1", "one instance id"),
    (check_settings, "example_text", "CONVOMETER_PARTITIONS=12", "CONVOMETER_PARTITIONS=many", "PARTITIONS"),
    (check_commands, "compose_text", "command: [gateway]", "command: [gate]", "No such command"),
    (check_commands, "compose_text", "command: [worker]", "command: [worker, --now]", "No such option"),
    (check_targets, "prometheus_text", '"worker-2:8081"', '"worker-3:8081"', "nobody scrapes worker-2:8081"),
    (check_targets, "prometheus_text", "gateway:8080", "gateway:8081", "gateway:8081, which there is not"),
    (
        check_metrics,
        "rules_text",
        "convometer_lag_seconds",
        "convometer_lag_minutes",
        "rules: there is no metric",
    ),
    (
        check_metrics,
        "dashboard_text",
        "convometer_commits_total",
        "convometer_commits",
        "dashboard: there is",
    ),
    (
        check_metrics,
        "rules_test_text",
        "convometer_late_total",
        "convometer_late",
        "tests of the rules: there",
    ),
    (
        check_alerts,
        "rules_text",
        "alert: ConvometerLag\n",
        "alert: ConvometerSlow\n",
        "ConvometerSlow has no",
    ),
    (check_alerts, "rules_test_text", "ConvometerNoWebhooks", "", "ConvometerNoWebhooks is not tried"),
    (check_runbook_links, "rules_text", "#convometerlag\n", "#convometerslow\n", "its runbook_url is"),
    (check_runbook_links, "runbook_text", "### ConvometerLag\n", "### Lag\n", "the runbook has no"),
    (check_routes, "alertmanager_text", '"ConvometerLag"', '"ConvometerSlow"', "is called ConvometerSlow"),
    (check_routes, "alertmanager_text", "ConvometerPackage.+", "ConvometerPack", "is called ConvometerPack"),
    (
        check_metrics,
        "rules_text",
        "account:convometer_account_events:increase1h > 0",
        "account:convometer_account_events:increase2h > 0",
        "increase2h",
    ),
    (check_runbook, "runbook_text", "dlq list", "dlq look", "No such command"),
    (
        check_grafana,
        "source_text",
        "username: grafana_reader",
        "username: default",
        "Grafana reads as default",
    ),
    (check_grafana, "source_text", "Database: convometer", "Database: other", "convometer is written"),
    (check_grafana, "source_text", "host: clickhouse", "host: localhost", "no service localhost"),
    (check_grafana, "reader_text", "GRANT SELECT ON convometer.*", "GRANT ALL ON *.*", "the reader may"),
    (check_grafana, "reader_text", "<readonly>1<", "<readonly>0<", "is not read-only"),
    (check_grafana, "reader_text", "from_env=", "from_file=", "does not know the reader's password"),
    (check_grafana, "compose_text", "datasource@4.20.0", "datasource", "is not one version"),
    (
        check_grafana,
        "compose_text",
        "users.d/grafana_reader.xml:/etc",
        "users.d:/etc",
        "not told of the reader",
    ),
)


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


@pytest.mark.parametrize(("service", "port"), [("gateway", 8080), ("worker-1", 8081), ("worker-2", 8081)])
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
    assert len(tests) == len(named) == 4
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
