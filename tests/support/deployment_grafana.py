"""What has to hold between Grafana's provisioning, the ClickHouse user it reads with, and Compose.

Owns the check; it joins those of ``tests.support.deployment``. Each fault is one sentence.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import yaml

from tests.support.deployment import Deployment

CLICKHOUSE = "grafana-clickhouse-datasource"
PASSWORD = "GRAFANA_READER_PASSWORD"


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
    mounted = [mount.split(":")[0] for mount in clickhouse["volumes"]]
    if "./deploy/clickhouse/users.d/grafana_reader.xml" not in mounted:
        faults.append("ClickHouse is not told of the reader")
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
