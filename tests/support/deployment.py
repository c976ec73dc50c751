"""What surrounds the product in production, as text, and what has to hold between its files.

Owns the checks of ``docker-compose.yml``, ``.env.example`` and ``deploy/``. Each returns its faults, one sentence each,
and starts nothing. Does not own the tools of others (``promtool``, ``amtool``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import yaml
from prometheus_client import CollectorRegistry

from cli.main import main
from runtime.dashboard_metrics import DashboardMetrics
from runtime.metrics import Metrics
from runtime.settings import Role, Settings, SettingsError, check_roles, load_settings

Service = dict[str, Any]
OUR_IMAGE = "convometer:0.1.0"
BETWEEN_FILES = "\n---\n"
"""Stands between the texts of several files."""
SETTINGS_DIRECTORY = "/etc/convometer"
EXAMPLES = {
    "CONVOMETER_GATEWAY__APP_SECRETS": "a-first-secret,a-second-secret",
    "CONVOMETER_GATEWAY__VERIFY_TOKEN": "a-verify-token",
    "CLICKHOUSE_PASSWORD": "letters4nddigits",
    "GRAFANA_READER_PASSWORD": "another4password",
    "GRAFANA_ADMIN_PASSWORD": "a-password",
    "ALERT_WEBHOOK_URL": "https://alerts.example/hook",
}
"""What an operator fills in."""

_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
_PINNED = re.compile(r"[\w./-]+:v?\d+(\.\d+){2,3}(-[\w.-]+)?")
_METRIC = re.compile(r"\b(?:\w+:)?convometer_\w+(?::\w+)?")
_MEASURED = {
    "gateway": "CONVOMETER_GATEWAY__PORT",
    "worker": "CONVOMETER_WORKER__PORT",
    "dashboard": "CONVOMETER_DASHBOARD__METRICS_PORT",
}
"""Roles with metrics, and what sets the port of those."""
_ROLES: dict[str, Role] = {"gateway": "gateway", "worker": "worker", "dashboard": "dashboard"}


@dataclass(frozen=True, slots=True)
class Deployment:
    """The files as text, so that a test can plant a fault in any of them."""

    root: Path
    compose_text: str
    example_text: str
    prometheus_text: str
    rules_text: str
    """All files of rules, as YAML documents one after the other; so are their tests."""
    rules_test_text: str
    dashboard_text: str
    """The dashboard over Prometheus; those over ClickHouse are tried in tests/integration/test_grafana.py."""
    source_text: str
    provider_text: str
    reader_text: str
    clickhouse_text: str
    """The server's settings that the reader's need."""
    runbook_text: str
    alertmanager_text: str

    @classmethod
    def of(cls, root: Path) -> Deployment:
        """Read them."""
        paths = (
            "docker-compose.yml",
            ".env.example",
            "deploy/prometheus/prometheus.yml",
            "deploy/prometheus/rules/*[!t].yml",
            "deploy/prometheus/rules/*_test.yml",
            "deploy/grafana/dashboards/pipeline-health.json",
            "deploy/grafana/provisioning/datasources/clickhouse.yml",
            "deploy/grafana/provisioning/dashboards/convometer.yml",
            "deploy/clickhouse/users.d/grafana_reader.xml",
            "deploy/clickhouse/config.d/convometer.xml",
            "docs/guides/operations.md",
            "deploy/alertmanager/alertmanager.yml",
        )
        return cls(root, *(_text_of(sorted(root.glob(path))) for path in paths))

    @property
    def example(self) -> dict[str, str]:
        """Return the variables of ``.env.example``."""
        lines = [line for line in self.example_text.splitlines() if line and not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines)

    @property
    def compose(self) -> dict[str, Any]:
        """Return what Compose makes of the file, with the required variables filled in."""
        values = self.example | EXAMPLES

        def value_of(match: re.Match[str]) -> str:
            name, kind, default = match.groups()
            return values.get(name) or (default if kind == "-" else "")

        def filled_in(node: Any) -> Any:
            if isinstance(node, dict):
                return {key: filled_in(value) for key, value in node.items()}
            if isinstance(node, list):
                return [filled_in(value) for value in node]
            return _VARIABLE.sub(value_of, node) if isinstance(node, str) else node

        document: dict[str, Any] = filled_in(yaml.safe_load(self.compose_text))
        return document

    @property
    def services(self) -> dict[str, Service]:
        """Return all services by name."""
        services: dict[str, Service] = self.compose["services"]
        return services

    @property
    def ours(self) -> dict[str, Service]:
        """Return the services that run the ``convometer`` command."""
        return {name: service for name, service in self.services.items() if service["image"] == OUR_IMAGE}

    @property
    def rules(self) -> list[dict[str, Any]]:
        """Return all rules: those with an ``alert``, and those with a ``record``."""
        files = yaml.safe_load_all(self.rules_text)
        return [rule for file in files for group in file["groups"] for rule in group["rules"]]

    @property
    def alerts(self) -> dict[str, str]:
        """Return the expression of each alert by its name."""
        return {rule["alert"]: rule["expr"] for rule in self.rules if "alert" in rule}


def _text_of(files: list[Path]) -> str:
    return BETWEEN_FILES.join(file.read_text(encoding="utf-8") for file in files)


Check = Callable[[Deployment], list[str]]


def check_variables(deployment: Deployment) -> list[str]:
    """Compose and ``.env.example`` know the same variables, with the same defaults; what has none is required."""
    used = {name: (kind, default) for name, kind, default in _VARIABLE.findall(deployment.compose_text)}
    listed = deployment.example
    faults = [f"{name} is used, but not in .env.example" for name in used.keys() - listed.keys()]
    faults += [f"{name} is in .env.example, but not used" for name in listed.keys() - used.keys()]
    for name in used.keys() & listed.keys():
        kind, default = used[name]
        if kind == "?" and (listed[name] or not default):
            faults.append(f"{name} is required: it has a reason, and no value in .env.example")
        elif kind != "?" and (kind != "-" or listed[name] != default):
            faults.append(f"{name} is {listed[name]!r} in .env.example, {default!r} by default")
    return faults


def check_files(deployment: Deployment) -> list[str]:
    """What is mounted or built from exists; named volumes are declared, and each has one user."""
    compose, faults, mounted = deployment.compose, [], set()
    for name, service in deployment.services.items():
        sources = [mount.split(":")[0] for mount in service.get("volumes", ())]
        if "build" in service:
            sources.append("./" + service["build"]["dockerfile"])
        for source in sources:
            if source.startswith("."):
                if not (deployment.root / source).exists():
                    faults.append(f"{name}: there is no {source}")
            elif source not in compose["volumes"] or source in mounted:
                faults.append(f"{name}: volume {source} is not declared, or has two users")
            else:
                mounted.add(source)
        for config in service.get("configs", ()):
            if config["source"] not in compose["configs"]:
                faults.append(f"{name}: there is no config {config['source']}")
    return faults + [f"volume {name} has no user" for name in compose["volumes"].keys() - mounted]


def check_images(deployment: Deployment) -> list[str]:
    """Every image is one exact version."""
    images = {service["image"] for service in deployment.services.values()}
    return [f"{image} is not pinned to one version" for image in images if not _PINNED.fullmatch(image)]


def check_lives(deployment: Deployment) -> list[str]:
    """Whatever runs on is watched, started again and bounded; whatever ends is not started again."""
    faults = []
    for name, service in deployment.services.items():
        wanted = {"mem_limit", "logging", "restart"}
        if service.get("restart") != "no":
            wanted |= {"healthcheck"}
            if service.get("restart") != "unless-stopped":
                faults.append(f"{name} is not started again")
        faults += [f"{name} has no {key}" for key in sorted(wanted - service.keys())]
    return faults


def check_order(deployment: Deployment) -> list[str]:
    """What is waited for exists, and can come to be as it is waited for."""
    faults = []
    for name, service in deployment.services.items():
        for other, wanted in service.get("depends_on", {}).items():
            awaited = deployment.services.get(other, {})
            reachable = {
                "service_healthy": "healthcheck" in awaited,
                "service_completed_successfully": awaited.get("restart") == "no",
            }
            if not reachable.get(wanted["condition"], False):
                faults.append(f"{name} waits for {other} to be {wanted['condition']}, which never comes")
    return faults


def settings_of(deployment: Deployment, name: str) -> Settings:
    """Return the settings that a service of ours would run with.

    Raises:
        SettingsError: it would refuse to start.
    """
    service = deployment.services[name]
    environment = {key: str(value) for key, value in service["environment"].items()}
    mounts = dict(mount.split(":")[1::-1] for mount in service["volumes"])
    # In the container that is where the directory is mounted.
    file = Path(environment.pop("CONVOMETER_CONFIG"))
    config = deployment.root / mounts[str(file.parent)] / file.name
    with patch.dict(os.environ, environment, clear=True):
        settings = load_settings(config)
    role = _ROLES.get(service["command"][0])
    if role is not None:
        check_roles(settings, role)
    return settings


def check_settings(deployment: Deployment) -> list[str]:
    """Each process of ours takes its environment, can be reached where it is asked, and agrees with the others."""
    faults: list[str] = []
    agreed: dict[str, Any] = {}
    for name, service in deployment.ours.items():
        try:
            settings = settings_of(deployment, name)
        except SettingsError as error:
            faults.append(f"{name}: {error}")
            continue
        agreed[name] = (
            settings.broker,
            settings.partitions,
            settings.kafka.model_copy(update={"instance_id": ""}),
        )
        role = service["command"][0]
        if role not in _ROLES:
            continue
        tables = {
            "gateway": (settings.gateway.host, settings.gateway.port),
            "worker": (settings.worker.host, settings.worker.port),
            "dashboard": (settings.dashboard.host, settings.dashboard.port),
        }
        host, port = tables[role]
        asked = re.findall(r'"127\.0\.0\.1", (\d+)', service["healthcheck"]["test"][-1])
        if host != "0.0.0.0" or asked != [str(port)]:
            faults.append(f"{name} listens on {host}:{port}, its health is asked at {asked}")
        if role == "dashboard" and settings.dashboard.metrics_host != "0.0.0.0":
            faults.append(
                f"metrics of {name} are at {settings.dashboard.metrics_host}, where nobody reads them"
            )
    if any(settings != next(iter(agreed.values())) for settings in agreed.values()):
        faults.append("they differ in the broker, the partitions or the Kafka settings")
    names = [
        service["environment"].get("CONVOMETER_KAFKA__INSTANCE_ID")
        for service in deployment.ours.values()
        if service["command"][0] == "worker"
    ]
    if len(set(names)) < len(names):
        faults.append(f"two workers have one instance id: {names}")
    return faults


def check_commands(deployment: Deployment) -> list[str]:
    """Every command of ours is one that the command line takes."""
    faults = []
    for name, service in deployment.ours.items():
        try:
            parse_command([str(word) for word in service["command"]])
        except click.ClickException as error:
            faults.append(f"{name}: {error.format_message()}")
    return faults


def parse_command(words: list[str]) -> None:
    """Parse a command line without running it.

    Raises:
        click.ClickException: it would not be taken.
    """
    command: click.Command | None = main
    name: str | None = "convometer"
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(click.Context(command, info_name=name), words)
    assert command is not None, "click raises instead"
    command.make_context(name, list(words))


def check_targets(deployment: Deployment) -> list[str]:
    """Prometheus asks exactly the processes of ours that have metrics, and sends alerts to our Alertmanager."""
    scraped = yaml.safe_load(deployment.prometheus_text)
    found = {
        (job["job_name"], target)
        for job in scraped["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    }
    wanted = set()
    for name, service in deployment.ours.items():
        role = service["command"][0]
        if role in _MEASURED:
            port = service["environment"][_MEASURED[role]]
            wanted.add((f"convometer-{role}", f"{name}:{port}"))
    ours = {(job, target) for job, target in found if job.startswith("convometer-")}
    faults = [f"nobody scrapes {target} as {job}" for job, target in sorted(wanted - ours)]
    faults += [f"{job} scrapes {target}, which there is not" for job, target in sorted(ours - wanted)]
    managers = scraped["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    if managers != ["alertmanager:9093"] or "alertmanager" not in deployment.services:
        faults.append(f"alerts go to {managers}")
    return faults


def known_metrics() -> set[str]:
    """Return the names of all series that a process of ours can show."""
    registry = CollectorRegistry()
    Metrics(registry)
    DashboardMetrics(registry)
    endings = {
        "counter": ("_total", "_created"),
        "histogram": ("_bucket", "_sum", "_count", "_created"),
        "gauge": ("",),
    }
    return {family.name + end for family in registry.collect() for end in endings[family.type]}


def check_metrics(deployment: Deployment) -> list[str]:
    """Rules, their tests and dashboards name only metrics that there are."""
    recorded = [rule["record"] for rule in deployment.rules if "record" in rule]
    known = known_metrics() | set(recorded)
    texts = {
        "rules": "\n".join(rule["expr"] for rule in deployment.rules),
        "tests of the rules": "\n".join(re.findall(r"series: (.+)", deployment.rules_test_text)),
        "dashboard": "\n".join(dashboard_expressions(deployment.dashboard_text)),
    }
    return [
        f"{where}: there is no metric {name}"
        for where, text in texts.items()
        for name in sorted(set(_METRIC.findall(text)) - known)
    ]


def dashboard_expressions(dashboard_text: str) -> Iterator[str]:
    """Yield what each panel asks Prometheus, if it does."""
    dashboard = yaml.safe_load(dashboard_text)
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            if "expr" in target:
                yield target["expr"]


def check_runbook(deployment: Deployment) -> list[str]:
    """Every command of ours that the runbook gives is one that the command line takes, in a service that there is."""
    faults = []
    for verb, line in re.findall(r"docker compose (exec|run) ([^`\n]+)", deployment.runbook_text):
        service, *command = [word for word in line.split() if not re.fullmatch(r"--rm|--no-deps|-T", word)]
        if service not in deployment.services:
            faults.append(f"`{line}`: there is no service {service}")
        elif verb == "exec" and command[0] != "convometer":
            continue
        elif command:
            # `run` gives the image's entry point its arguments, `exec` needs its name.
            words = command[1:] if verb == "exec" else command
            try:
                parse_command(["1" if word.isupper() else word for word in words])
            except click.ClickException as error:
                faults.append(f"`{line}`: {error.format_message()}")
    return faults


CHECKS: tuple[Check, ...] = (
    check_variables,
    check_files,
    check_images,
    check_lives,
    check_order,
    check_settings,
    check_commands,
    check_targets,
    check_metrics,
    check_runbook,
)
