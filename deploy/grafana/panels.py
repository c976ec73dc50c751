"""The pieces that Grafana's dashboards are made of, as plain dicts.

Owns the JSON's shape: panels, targets, variables, and where a panel stands. Does not own any SQL or PromQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

Json = dict[str, Any]

COLUMNS: Final = 24
"""Width of Grafana's grid."""
PLUGIN: Final = "grafana-clickhouse-datasource"
PLUGIN_VERSION: Final = "4.20.0"
TIME_SERIES, TABLE = 0, 1
"""What the plugin makes of an answer."""
_CLICKHOUSE: Final[Json] = {"type": PLUGIN, "uid": "${datasource}"}
_PROMETHEUS: Final[Json] = {"type": "prometheus", "uid": "${prometheus}"}


def dashboard(
    uid: str,
    title: str,
    description: str,
    panels: Iterable[Json],
    variables: Sequence[Json],
    *,
    span: tuple[str, str],
    **more: object,
) -> Json:
    """Return a dashboard; its panels are numbered and stand in the order given."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["convometer"],
        "schemaVersion": 39,
        "editable": False,
        # Days are those of the account's own zone, and have no clock time: shown in UTC they stay the same days.
        "timezone": "utc",
        "refresh": "5m",
        "time": {"from": span[0], "to": span[1]},
        "annotations": {"list": []},
        "templating": {"list": list(variables)},
        "links": [
            {
                "type": "dashboards",
                "tags": ["convometer"],
                "title": "convometer",
                "asDropdown": True,
                "includeVars": True,
                "keepTime": False,
            }
        ],
        **more,
        "panels": _laid_out(panels),
    }


def _laid_out(panels: Iterable[Json]) -> list[Json]:
    """Number panels, and place them from left to right as text is."""
    placed: list[Json] = []
    x = y = height = 0
    for number, panel in enumerate(panels, 1):
        width = panel["gridPos"]["w"]
        if x + width > COLUMNS:
            x, y, height = 0, y + height, 0
        place = {"h": panel["gridPos"]["h"], "w": width, "x": x, "y": y}
        placed.append({**panel, "id": number, "gridPos": place})
        x, height = x + width, max(height, place["h"])
    return placed


def row(title: str) -> Json:
    """Return a heading."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"h": 1, "w": COLUMNS},
        "panels": [],
    }


def sql(raw_sql: str, kind: int = TABLE) -> list[Json]:
    """Return the only target of a panel over ClickHouse."""
    return [
        {
            "refId": "A",
            "datasource": _CLICKHOUSE,
            "editorType": "sql",
            "format": kind,
            "queryType": "timeseries" if kind == TIME_SERIES else "table",
            "pluginVersion": PLUGIN_VERSION,
            "rawSql": raw_sql,
        }
    ]


def prometheus(*asked: tuple[str, str], instant: bool = False) -> list[Json]:
    """Return targets over Prometheus, each an expression and a legend."""
    return [
        {
            "refId": "ABCDEFGH"[place],
            "datasource": _PROMETHEUS,
            "expr": expression,
            "legendFormat": legend,
            **({"instant": True} if instant else {}),
        }
        for place, (expression, legend) in enumerate(asked)
    ]


def steps(base: str, *others: tuple[float, str]) -> Json:
    """Return thresholds: a colour, and others from a value on."""
    return {
        "mode": "absolute",
        "steps": [
            {"color": base, "value": None},
            *({"color": color, "value": value} for value, color in others),
        ],
    }


def override(field: str, **properties: object) -> Json:
    """Return what differs for one column."""
    return {
        "matcher": {"id": "byName", "options": field},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def _panel(
    kind: str,
    title: str,
    description: str,
    targets: list[Json],
    size: tuple[int, int],
    defaults: Json,
    options: Json,
    overrides: Sequence[Json] = (),
) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": targets[0]["datasource"],
        "gridPos": {"h": size[1], "w": size[0]},
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
    }


def stat(
    title: str,
    description: str,
    targets: list[Json],
    *,
    width: int = 4,
    unit: str = "short",
    thresholds: Json | None = None,
    overrides: Sequence[Json] = (),
    **defaults: object,
) -> Json:
    """Return one or a few large numbers."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background",
        "graphMode": "none",
        "textMode": "auto",
    }
    shown = {
        "unit": unit,
        "thresholds": thresholds or steps("blue"),
        "color": {"mode": "thresholds"},
        **defaults,
    }
    return _panel("stat", title, description, targets, (width, 5), shown, options, overrides)


def lines(
    title: str,
    description: str,
    targets: list[Json],
    *,
    width: int = 8,
    unit: str = "short",
    is_stacked: bool = False,
    alarm: float | None = None,
    draw: str = "line",
    **defaults: object,
) -> Json:
    """Return values over time."""
    custom: Json = {"drawStyle": draw, "lineWidth": 1, "fillOpacity": 60 if draw == "bars" else 10}
    custom["showPoints"] = "never"
    if is_stacked:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    shown: Json = {"unit": unit, "min": 0, "custom": custom}
    if alarm is not None:
        custom["thresholdsStyle"] = {"mode": "line"}
        shown |= {"thresholds": steps("green", (alarm, "red")), "color": {"mode": "palette-classic"}}
    options = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, description, targets, (width, 8), shown | defaults, options)


def by_day(
    title: str, description: str, raw_sql: str, *, width: int = 12, label: str = "", **more: Any
) -> Json:
    """Return a bar for each day; ``label`` names the column that series are told apart by."""
    if label:
        more["displayName"] = f"${{__field.labels.{label}}}"
    return lines(title, description, sql(raw_sql, TIME_SERIES), width=width, draw="bars", **more)


def table(
    title: str,
    description: str,
    raw_sql: str,
    *,
    size: tuple[int, int] = (12, 10),
    overrides: Sequence[Json] = (),
    sorted_by: str = "",
) -> Json:
    """Return a table."""
    defaults = {"unit": "short", "custom": {"align": "auto", "filterable": True}}
    options: Json = {"showHeader": True, "footer": {"show": False}}
    if sorted_by:
        options["sortBy"] = [{"displayName": sorted_by, "desc": True}]
    return _panel("table", title, description, sql(raw_sql), size, defaults, options, overrides)


def gauge_bars(title: str, description: str, raw_sql: str, *, size: tuple[int, int] = (12, 8)) -> Json:
    """Return a bar for each column of a one-row answer."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "orientation": "horizontal",
        "displayMode": "basic",
        "valueMode": "text",
        "showUnfilled": True,
    }
    defaults = {"unit": "short", "min": 0, "thresholds": steps("blue"), "color": {"mode": "thresholds"}}
    return _panel("bargauge", title, description, sql(raw_sql), size, defaults, options)


def source_variable(name: str, label: str, kind: str, default: tuple[str, str]) -> Json:
    """Return the choice of a data source; the default is the one that is provisioned here: its name and uid."""
    return {
        "type": "datasource",
        "name": name,
        "label": label,
        "query": kind,
        "current": {"text": default[0], "value": default[1]},
        "multi": False,
        "includeAll": False,
        "refresh": 1,
        "regex": "",
        "hide": 0,
    }


CLICKHOUSE_VARIABLE: Final = source_variable("datasource", "ClickHouse", PLUGIN, ("ClickHouse", "clickhouse"))
PROMETHEUS_VARIABLE: Final = source_variable(
    "prometheus", "Prometheus", "prometheus", ("Prometheus", "prometheus")
)


def query_variable(name: str, label: str, raw_sql: str, *, multi: bool, follows_time: bool) -> Json:
    """Return a choice whose values are asked in SQL; at first it stands at All."""
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": _CLICKHOUSE,
        "query": {"editorType": "sql", "rawSql": raw_sql},
        "definition": raw_sql,
        "includeAll": True,
        "multi": multi,
        # The plugin drops a condition where the value is exactly this.
        "current": {"text": "All", "value": "$__all"},
        "options": [],
        "refresh": 2 if follows_time else 1,
        "regex": "",
        "sort": 0,
        "hide": 0,
    }
