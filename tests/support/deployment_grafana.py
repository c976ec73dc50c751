"""What has to hold between Grafana's provisioning, the ClickHouse user it reads with, and Compose.

Owns the checks; they join those of ``tests.support.deployment``. Each fault is one sentence.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import yaml

from tests.support.deployment import Check, Deployment, Service

CLICKHOUSE = "grafana-clickhouse-datasource"
PASSWORD = "GRAFANA_READER_PASSWORD"
_SERVER = "/etc/clickhouse-server"
"""Where ClickHouse's image reads settings (``config.d``) and users (``users.d``)."""
_PROVISIONING = "/etc/grafana/provisioning"
"""Where Grafana's image reads data sources, dashboards' providers and alert rules."""


def sources(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Return the provisioned data sources by uid."""
    directory = deployment.root / "deploy" / "grafana" / "provisioning" / "datasources"
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.yml"))}
    texts["clickhouse.yml"] = deployment.source_text
    return {each["uid"]: each for text in texts.values() for each in yaml.safe_load(text)["datasources"]}


def check_grafana(deployment: Deployment) -> list[str]:
    """Grafana reads as the user that ClickHouse has, from the database that is written, with a plugin that is there."""
    grafana, clickhouse = deployment.services["grafana"], deployment.services["clickhouse"]
    source = sources(deployment)["clickhouse"]
    reader = ElementTree.fromstring(deployment.reader_text)
    names = [user.tag for user in reader.findall("users/*")]
    user = source["jsonData"]["username"]
    faults = [] if names == [user] else [f"Grafana reads as {user}, ClickHouse has {names}"]
    if source["jsonData"]["host"] not in deployment.services:
        faults.append(f"there is no service {source['jsonData']['host']}")
    faults += _faults_of_grants(deployment, reader, source["jsonData"]["defaultDatabase"])
    password = reader.find("users/*/password")
    asked = {
        source["secureJsonData"]["password"].lstrip("$"),
        password is not None and password.get("from_env"),
    }
    for name, service in (("grafana", grafana), ("clickhouse", clickhouse)):
        if asked != {PASSWORD} or PASSWORD not in service["environment"]:
            faults.append(f"{name} does not know the reader's password")
    plugin = grafana["environment"]["GF_PLUGINS_PREINSTALL_SYNC"]
    if not re.fullmatch(rf"{CLICKHOUSE}@\d+\.\d+\.\d+", plugin) or source["type"] != CLICKHOUSE:
        faults.append(f"{plugin} is not one version of {source['type']}")
    return faults


def _faults_of_grants(deployment: Deployment, reader: ElementTree.Element, database: str) -> list[str]:
    address = deployment.services["migrate"]["environment"]["CONVOMETER_CLICKHOUSE"]
    written = urlsplit(address).path.strip("/")
    faults = [] if database == written else [f"Grafana reads {database}, {written} is written"]
    granted = [query.text for query in reader.findall("users/*/grants/query")]
    if granted != [f"GRANT SELECT ON {written}.*"]:
        faults.append(f"the reader may {granted}")
    if reader.findtext("profiles/*/readonly") != "1":
        faults.append("the reader is not read-only")
    return faults


def check_grafana_limits(deployment: Deployment) -> list[str]:
    """The plugin may send the time limit that it sends with every query, and ClickHouse knows of such exceptions."""
    reader = ElementTree.fromstring(deployment.reader_text)
    limits = "profiles/*/constraints/max_execution_time"
    faults = []
    if reader.find(f"{limits}/changeable_in_readonly") is None or not reader.findtext(f"{limits}/max"):
        faults.append("the plugin's own time limit would be refused, or has no bound")
    server = ElementTree.fromstring(deployment.clickhouse_text)
    if server.findtext("access_control_improvements/settings_constraints_replace_previous") != "true":
        faults.append("ClickHouse does not know changeable_in_readonly")
    return faults


def check_grafana_mounts(deployment: Deployment) -> list[str]:
    """ClickHouse is told of the reader, and Grafana finds its provisioning and the dashboards that it names."""
    grafana, clickhouse = deployment.services["grafana"], deployment.services["clickhouse"]
    faults = [
        f"ClickHouse is not told of {file}"
        for file in ("users.d/grafana_reader.xml", "config.d/convometer.xml")
        if _mounts(clickhouse).get(f"{_SERVER}/{file}") != f"./deploy/clickhouse/{file}"
    ]
    if _mounts(grafana).get(_PROVISIONING) != "./deploy/grafana/provisioning":
        faults.append("Grafana is not told of its data sources, dashboards and rules")
    for provider in yaml.safe_load(deployment.provider_text)["providers"]:
        path = provider["options"]["path"]
        if _mounts(grafana).get(path) != "./deploy/grafana/dashboards":
            faults.append(f"the dashboards are not where Grafana looks for them, in {path}")
        home = PurePosixPath(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        if str(home.parent) != path:
            faults.append(f"Grafana's first page is {home}, the dashboards are in {path}")
    return faults


def _mounts(service: Service) -> dict[str, str]:
    """Return what is mounted at each path of a container."""
    mounts = (mount.split(":") for mount in service["volumes"])
    return {target: source for source, target, *_options in mounts}


GRAFANA_CHECKS: tuple[Check, ...] = (check_grafana, check_grafana_limits, check_grafana_mounts)
