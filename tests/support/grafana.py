"""Grafana as far as it touches our SQL: what it makes of macros and variables before ClickHouse sees them.

Owns the order of expansion of the ClickHouse plugin: ``$__conditionalAll`` from the last one to the first, then
variables, then the other macros. Only what our dashboards use is here; anything else is an error. Does not draw.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import yaml

DIRECTORY = Path(__file__).parents[2] / "deploy" / "grafana"
ALL = "$__all"
CLICKHOUSE = "grafana-clickhouse-datasource"
Value = str | Sequence[str]

_CONDITIONAL = "$__conditionalAll("
_VARIABLE = re.compile(r"\$\{(\w+):singlequote\}|\$(\w+)|\$\{")
_MACRO = re.compile(r"\$__(\w+)(?:\(([^()]*)\))?")


class NotExpanded(ValueError):
    """The SQL holds something that this expander, and maybe Grafana, does not know."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What stands above a dashboard: the picker's days, both included, and the variables; the others are at All."""

    first: date
    last: date
    variables: Mapping[str, Value] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        """Return what a variable stands at."""
        return self.variables.get(name, ALL)

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Return the picker's two moments, as ``now-29d/d`` to ``now/d`` give them."""
        end = time(23, 59, 59, 999000, tzinfo=UTC)
        return datetime.combine(self.first, time(tzinfo=UTC)), datetime.combine(self.last, end)


def expanded(sql: str, choice: Choice) -> str:
    """Return the SQL as ClickHouse gets it.

    Raises:
        NotExpanded: a macro or a form of a variable that is not known here.
    """
    return _with_macros(_with_variables(_with_conditions(sql, choice), choice), choice)


def _with_conditions(sql: str, choice: Choice) -> str:
    while (begin := sql.rfind(_CONDITIONAL)) >= 0:
        arguments, end = _arguments(sql, begin + len(_CONDITIONAL))
        match = re.fullmatch(r"\s*\$\{?(\w+)\}?\s*", arguments[-1])
        if len(arguments) != 2 or match is None:
            raise NotExpanded(f"expected a condition and a variable: {arguments}")
        is_all = choice.value(match[1]) in (ALL, "", (ALL,))
        sql = sql[:begin] + ("1=1" if is_all else arguments[0]) + sql[end:]
    return sql


def _arguments(sql: str, begin: int) -> tuple[list[str], int]:
    """Return what stands between commas up to the closing parenthesis, and where that ends."""
    depth, start, found = 0, begin, []
    for place in range(begin, len(sql)):
        if sql[place] == "(":
            depth += 1
        elif sql[place] == ")" and depth:
            depth -= 1
        elif not depth and sql[place] in ",)":
            found.append(sql[start:place])
            start = place + 1
            if sql[place] == ")":
                return found, place + 1
    raise NotExpanded("a parenthesis is not closed")


def _with_variables(sql: str, choice: Choice) -> str:
    def value_of(match: re.Match[str]) -> str:
        if match[1] is None:
            if match[2] is not None and match[2].startswith("__"):
                return match[0]
            raise NotExpanded(f"a variable without a format: {sql[match.start() : match.start() + 30]}")
        value = choice.value(match[1])
        values = [value] if isinstance(value, str) else value
        return ",".join("'" + each.replace("'", "\\'") + "'" for each in values)

    return _VARIABLE.sub(value_of, sql)


def _with_macros(sql: str, choice: Choice) -> str:
    begin, end = choice.span
    first, last = (f"toDate('{moment:%Y-%m-%d}')" for moment in (begin, end))
    from_time, to_time = (f"toDateTime({int(moment.timestamp())})" for moment in (begin, end))
    macros: dict[str, Callable[[str], str]] = {
        "dateFilter": lambda column: f"{column} >= {first} AND {column} <= {last}",
        "timeFilter": lambda column: f"{column} >= {from_time} AND {column} <= {to_time}",
        "fromTime": lambda _none: from_time,
        "toTime": lambda _none: to_time,
    }

    def text_of(match: re.Match[str]) -> str:
        if match[1] not in macros:
            raise NotExpanded(f"there is no macro $__{match[1]}")
        return macros[match[1]](match[2])

    return _MACRO.sub(text_of, sql)


@dataclass(frozen=True, slots=True)
class Asked:
    """One statement of a dashboard."""

    dashboard: str
    title: str
    sql: str
    is_time_series: bool = False


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the checked-in dashboards by the name of their file."""
    paths = sorted((DIRECTORY / "dashboards").glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def panel_queries() -> Iterator[Asked]:
    """Yield the SQL of every panel."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                if "rawSql" in target:
                    yield Asked(name, panel["title"], target["rawSql"], target["format"] == 0)


def variable_queries() -> Iterator[Asked]:
    """Yield the SQL of every variable."""
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield Asked(name, variable["name"], variable["query"]["rawSql"])


def alert_rules() -> list[dict[str, Any]]:
    """Return the provisioned alert rules."""
    text = (DIRECTORY / "provisioning" / "alerting" / "convometer.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def alert_queries() -> Iterator[Asked]:
    """Yield the SQL of every alert rule."""
    for rule in alert_rules():
        for query in rule["data"]:
            if query["datasourceUid"] == "clickhouse":
                yield Asked("alerts", rule["uid"], query["model"]["rawSql"])
