"""What has to hold between the alerts, their tests, Alertmanager and the runbook.

Owns these checks. Does not own the files (``tests.support.deployment``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from tests.support.deployment import Check, Deployment

RUNBOOK = "docs/guides/operations.md"


def check_alerts(deployment: Deployment) -> list[str]:
    """Every alert fires in a test of the rules, and has its section in the runbook; so has nothing else."""
    sections = set(re.findall(r"^### (Convometer\w+)$", deployment.runbook_text, re.MULTILINE))
    faults = [f"{name} has no section in the runbook" for name in deployment.alerts.keys() - sections]
    faults += [f"the runbook speaks of {name}" for name in sections - deployment.alerts.keys()]
    tried = set(fired_alerts(deployment))
    return faults + [f"{name} fires in no test" for name in deployment.alerts.keys() - tried]


def fired_alerts(deployment: Deployment) -> Iterator[str]:
    """Yield the names of the alerts that a test expects to fire; to expect that one does not fire tries nothing."""
    for file in yaml.safe_load_all(deployment.rules_test_text):
        for test in file["tests"]:
            for each in test.get("alert_rule_test", ()):
                if each["exp_alerts"]:
                    yield each["alertname"]
            for each in test.get("promql_expr_test", ()):
                if 'alertstate="firing"' in each["expr"]:
                    yield from re.findall(r'alertname="(\w+)"', str(each["exp_samples"]))


def check_runbook_links(deployment: Deployment) -> list[str]:
    """Every alert says where its section of the runbook is, and there is a heading with that anchor."""
    anchors = {
        anchor_of(heading) for heading in re.findall(r"^#+ (.+)$", deployment.runbook_text, re.MULTILINE)
    }
    faults = []
    for rule in deployment.rules:
        if "alert" in rule:
            name, url = rule["alert"], rule["annotations"].get("runbook_url", "")
            if url != f"{RUNBOOK}#{anchor_of(name)}":
                faults.append(f"{name}: its runbook_url is {url!r}")
            elif anchor_of(name) not in anchors:
                faults.append(f"{name}: the runbook has no {url}")
    return faults


def anchor_of(heading: str) -> str:
    """Return the anchor that Markdown's readers make of a heading."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def check_routes(deployment: Deployment) -> list[str]:
    """What Alertmanager tells apart by name are alerts that there are."""
    names = deployment.alerts.keys()
    faults = []
    for operator, pattern in re.findall(r'alertname(=~|=)"([^"]+)"', deployment.alertmanager_text):
        wanted = pattern.split("|") if operator == "=~" else [pattern]
        faults += [
            f"no alert is called {word}"
            for word in wanted
            if not any(re.fullmatch(word, name) for name in names)
        ]
    return faults


ALERT_CHECKS: tuple[Check, ...] = (check_alerts, check_runbook_links, check_routes)
