"""Real Prometheus and real Alertmanager with our own files, on loopback, from a metrics endpoint to a webhook.

Owns how our files are adapted: addresses, and times of seconds where production waits for minutes. Does not own where
the programs are (``tests.support.prometheus_tools``).
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from tests.support.deployment import BETWEEN_FILES, Deployment
from tests.support.kafka_process import free_ports
from tests.support.prometheus_tools import tool

JOB = "convometer-worker"
_HOST = "127.0.0.1"


@dataclass
class Receiver:
    """What Alertmanager has posted."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    port: int = 0

    def told(self, alert: str, status: str) -> list[dict[str, Any]]:
        """Return what was told of an alert: "firing" or "resolved"."""
        return [
            told
            for message in list(self.messages)
            for told in message["alerts"]
            if told["labels"]["alertname"] == alert and told["status"] == status
        ]

    def names(self) -> set[str]:
        """Return all alerts that anything was told of."""
        return {told["labels"]["alertname"] for message in list(self.messages) for told in message["alerts"]}


@dataclass(frozen=True)
class Watching:
    """A Prometheus that scrapes the registry, and an Alertmanager that posts to the receiver."""

    prometheus: str
    """Its address."""
    target: str
    """Of the metrics, as it stands in the label ``instance``."""
    receiver: Receiver

    def asked(self, expression: str) -> list[dict[str, Any]]:
        """Return what Prometheus answers."""
        answer = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression}, timeout=10)
        result: list[dict[str, Any]] = answer.raise_for_status().json()["data"]["result"]
        return result


@contextmanager
def watching(registry: CollectorRegistry, deployment: Deployment, directory: Path) -> Iterator[Watching]:
    """Run both for as long as the block lasts; their files and what they write stay in the directory."""
    programs = tool("prometheus"), tool("prometheus-alertmanager", "alertmanager")
    prometheus_port, alertmanager_port = free_ports(2)
    with ExitStack() as stack:
        server, thread = start_http_server(0, addr=_HOST, registry=registry)
        for end in (thread.join, server.server_close, server.shutdown):
            stack.callback(end)
        receiver = stack.enter_context(_receiving())
        target = f"{_HOST}:{server.server_port}"
        _write_prometheus(deployment, directory, target, f"{_HOST}:{alertmanager_port}")
        _write_alertmanager(deployment, directory, receiver.port)
        started = (
            _prometheus(programs[0], directory, prometheus_port),
            _alertmanager(programs[1], directory, alertmanager_port),
        )
        for name, command, port in started:
            stack.enter_context(_process(command, directory / f"{name}.log", f"http://{_HOST}:{port}"))
        yield Watching(f"http://{_HOST}:{prometheus_port}", target, receiver)


def _prometheus(program: str, directory: Path, port: int) -> tuple[str, list[str], int]:
    return (
        "prometheus",
        [
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address={_HOST}:{port}",
        ],
        port,
    )


def _alertmanager(program: str, directory: Path, port: int) -> tuple[str, list[str], int]:
    return (
        "alertmanager",
        [
            program,
            f"--config.file={directory / 'alertmanager.yml'}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={_HOST}:{port}",
            # As in Compose: one Alertmanager, no cluster port.
            "--cluster.listen-address=",
        ],
        port,
    )


def _write_prometheus(deployment: Deployment, directory: Path, target: str, alertmanager: str) -> None:
    """Write rules and configuration: everything within seconds, and only what there is to scrape."""
    rules = re.sub(r"^( +(?:for|interval):) \w+$", r"\1 1s", deployment.rules_text, flags=re.MULTILINE)
    assert rules.count("for: 1s") > 20
    for number, text in enumerate(rules.split(BETWEEN_FILES)):
        (directory / f"rules-{number}.yml").write_text(text, encoding="utf-8")
    settings = yaml.safe_load(deployment.prometheus_text)
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(directory / "rules-*.yml")]
    settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    settings["scrape_configs"] = [job for job in settings["scrape_configs"] if job["job_name"] == JOB]
    settings["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    (directory / "prometheus.yml").write_text(json.dumps(settings), encoding="utf-8")


def _write_alertmanager(deployment: Deployment, directory: Path, port: int) -> None:
    """Write the configuration: our routes, our inhibitions, and the receiver's address as an old version reads it."""
    text = re.sub(r"group_(wait|interval): \w+", r"group_\1: 1s", deployment.alertmanager_text)
    url = "url_file: /run/alert-webhook-url"
    assert url in text
    text = text.replace(url, f"url: http://{_HOST}:{port}/")
    (directory / "alertmanager.yml").write_text(text, encoding="utf-8")


@contextmanager
def _process(command: list[str], log: Path, address: str) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_ready(process, log, address)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _wait_ready(process: subprocess.Popen[bytes], log: Path, address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        assert time.monotonic() < deadline, (
            f"not ready within a minute: {log.read_text(errors='replace')[-4000:]}"
        )
        try:
            if httpx.get(f"{address}/-/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)


@contextmanager
def _receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.messages.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with ThreadingHTTPServer((_HOST, 0), Webhook) as server:
        receiver.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join(10)
