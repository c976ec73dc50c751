"""Grafana's files are those that the code makes, and hold together as JSON; their SQL is tried elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from deploy.grafana.generate import DASHBOARDS, files
from deploy.grafana.panels import COLUMNS as GRID
from deploy.grafana.panels import dashboard, lines, prometheus, row
from tests.support.deployment import Deployment
from tests.support.deployment_grafana import sources
from tests.support.grafana import ALL, CLICKHOUSE, DIRECTORY, alert_rules, dashboards, panel_queries
from tests.support.grafana_truth import COLUMNS

ROOT = Path(__file__).parents[2]
FOUND = dashboards()
SOURCES = sources(Deployment.of(ROOT))
GUIDE = (ROOT / "docs" / "guides" / "grafana.md").read_text(encoding="utf-8")


def test_the_files_are_those_that_the_code_makes() -> None:
    """`make grafana` would change nothing, and leaves no dashboard over."""
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, path.name
    assert FOUND.keys() == DASHBOARDS.keys()


@pytest.mark.parametrize("name", FOUND)
def test_panels_have_numbers_and_places_of_their_own(name: str) -> None:
    """Ids are unique; no two panels share a cell of the grid; each panel says what it shows."""
    taken: set[tuple[int, int]] = set()
    panels = FOUND[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= GRID
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"], panel["title"]


def test_panels_stand_one_after_the_other() -> None:
    """What does not fit into a line begins the next one, below the tallest of it."""
    small, wide = (lines("a", "b", prometheus(("up", "")), width=width) for width in (8, 17))
    panels = dashboard("uid", "title", "text", [row("r"), small, wide, small], (), span=("now-1h", "now"))[
        "panels"
    ]
    assert [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels] == [
        (0, 0),
        (0, 1),
        (0, 9),
        (0, 17),
    ]


@pytest.mark.parametrize("name", FOUND)
def test_every_data_source_is_provisioned(name: str) -> None:
    """Panels and variables ask one that can be chosen above them, which stands at a provisioned one of its type."""
    variables = {each["name"]: each for each in FOUND[name]["templating"]["list"]}
    asked = [panel["datasource"] for panel in FOUND[name]["panels"] if "datasource" in panel]
    asked += [target["datasource"] for panel in FOUND[name]["panels"] for target in panel.get("targets", ())]
    asked += [each["datasource"] for each in variables.values() if each["type"] == "query"]
    for source in asked:
        chosen = variables[source["uid"].removeprefix("${").removesuffix("}")]
        assert chosen["type"] == "datasource"
        assert chosen["query"] == source["type"] == SOURCES[chosen["current"]["value"]]["type"]


@pytest.mark.parametrize("name", FOUND)
def test_variables_stand_at_all_and_are_all_there(name: str) -> None:
    """Every variable that SQL names is above the dashboard, after those it depends on, and stands at All at first."""
    variables = [each for each in FOUND[name]["templating"]["list"] if each["type"] == "query"]
    names = [each["name"] for each in variables]
    for place, each in enumerate(variables):
        assert each["current"] == {"text": "All", "value": ALL}
        assert each["includeAll"]
        assert each["definition"] == each["query"]["rawSql"]
        assert _named(each["definition"]) <= set(names[:place])
    for asked in panel_queries():
        if asked.dashboard == name:
            assert _named(asked.sql) <= set(names), asked.title


def _named(sql: str) -> set[str]:
    return {name for name in re.findall(r"\$\{?(\w+)", sql) if not name.startswith("__")}


@pytest.mark.parametrize("name", FOUND)
def test_legends_and_overrides_name_columns_that_there_are(name: str) -> None:
    """What is shown by its name exists under it."""
    for panel in FOUND[name]["panels"]:
        if "rawSql" not in panel.get("targets", [{}])[0]:
            continue
        columns = set(COLUMNS[name][panel["title"]].split())
        assert _columns_named(panel) <= columns, panel["title"]


def _columns_named(panel: dict[str, Any]) -> set[str]:
    config = panel["fieldConfig"]
    legend = config["defaults"].get("displayName", "")
    names = set(re.findall(r"\$\{__\w+\.\w+\.(\w+)\}", legend))
    shared = {"active_any", "active_both", "package"}
    names |= {each["matcher"]["options"] for each in config["overrides"]} - shared
    fields = panel["options"].get("reduceOptions", {}).get("fields", "")
    return names | set(re.findall(r"\^(\w+)\$", fields))


def test_dashboards_have_names_of_their_own() -> None:
    """Uids and titles are unique; Compose's first page is one of the files."""
    assert (
        len({each["uid"] for each in FOUND.values()}) == len({each["title"] for each in FOUND.values()}) == 4
    )
    home = Deployment.of(ROOT).services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DIRECTORY / "dashboards" / Path(home).name).exists()


def test_alert_rules_ask_what_is_provisioned_and_lead_to_the_guide() -> None:
    """Each rule asks ClickHouse, fires by its last expression, and has its section in the guide."""
    rules = alert_rules()
    assert {rule["uid"] for rule in rules} == {
        "convometer-mau-80",
        "convometer-mau-100",
        "convometer-heartbeat",
    }
    for rule in rules:
        asked, reduced, condition = rule["data"]
        assert SOURCES[asked["datasourceUid"]]["type"] == CLICKHOUSE
        assert reduced["model"]["expression"] == asked["refId"]
        assert condition["model"]["expression"] == reduced["refId"]
        assert rule["condition"] == condition["refId"]
        file, _, section = rule["annotations"]["runbook"].partition("#")
        assert file == "docs/guides/grafana.md"
        assert re.search(rf"^## {section}$", GUIDE, re.MULTILINE | re.IGNORECASE)
        assert f"### {rule['title']}" in GUIDE
    (heartbeat,) = (rule for rule in rules if rule["uid"] == "convometer-heartbeat")
    assert heartbeat["noDataState"] == heartbeat["execErrState"] == "Alerting"


def test_grafana_finds_no_variable_of_its_environment_in_the_rules() -> None:
    """A dollar sign in a provisioned rule would be replaced before anything is asked."""
    text = (DIRECTORY / "provisioning" / "alerting" / "convometer.yml").read_text(encoding="utf-8")
    assert "$" not in text
