"""Alert rules over ClickHouse: packages of active users that run out, and whether ClickHouse can be asked at all.

Owns the rules' SQL and their provisioning. Does not own who is told: contact points and notification policies are the
operator's. No ``$`` may stand in the file, as Grafana would put variables of its environment there.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.mau_sql import MAY_HAVE_PACKAGE, use_of_packages
from deploy.grafana.panels import TABLE, Json
from deploy.grafana.sql import LIVE, indented

_TODAY: Final = "toDate(now(), 'UTC')"
_GUIDE: Final = "docs/guides/grafana.md#alerts"
_THIS_MONTH: Final = f"toStartOfMonth({_TODAY})", f"toLastDayOfMonth({_TODAY})"
_BEYOND: Final = f"""\
SELECT
    account,
    if(number = '', 'whole account', number) AS scope,
    if(mau * 100 >= package * <percent>, used_percent, 0) AS used_percent_beyond
FROM
(
{indented(use_of_packages(*_THIS_MONTH, MAY_HAVE_PACKAGE, with_idle=True))}
)
WHERE package > 0
ORDER BY account, scope"""
_HEARTBEAT: Final = f"""\
SELECT greatest(0, dateDiff('minute', max(v.flushed_at), now64(3, 'UTC'))) / 60 AS hours_without_rows
FROM flush_progress AS v FINAL
WHERE {LIVE}
HAVING count() > 0"""
QUIET_HOURS_MAX: Final = 24
"""For how long ClickHouse may get no row before the heartbeat speaks: longer than a quiet night."""


def _rule(
    uid: str, title: str, raw_sql: str, above: float, severity: str, texts: tuple[str, str], **states: str
) -> Json:
    """Return a rule: asked as A, reduced as B, and firing where C finds B above a number."""
    clickhouse = {
        "refId": "A",
        "datasourceUid": "clickhouse",
        "relativeTimeRange": {"from": 600, "to": 0},
        "model": {
            "refId": "A",
            "editorType": "sql",
            "format": TABLE,
            "queryType": "table",
            "rawSql": raw_sql,
        },
    }
    reduced = {"refId": "B", "type": "reduce", "expression": "A", "reducer": "last"}
    condition = {
        "refId": "C",
        "type": "threshold",
        "expression": "B",
        "conditions": [{"evaluator": {"type": "gt", "params": [above]}}],
    }
    expressions = [
        {"refId": model["refId"], "datasourceUid": "__expr__", "model": model}
        for model in (reduced, condition)
    ]
    return {
        "uid": uid,
        "title": title,
        "condition": "C",
        "for": "5m",
        **states,
        "labels": {"severity": severity, "source": "convometer"},
        "annotations": {"summary": texts[0], "description": texts[1], "runbook": _GUIDE},
        "data": [clickhouse, *expressions],
    }


def _packages() -> list[Json]:
    # While ClickHouse cannot be asked the heartbeat speaks, and these stay as they were.
    states = {"noDataState": "OK", "execErrState": "KeepLast"}
    place = "{{ .Labels.account }} ({{ .Labels.scope }})"
    return [
        _rule(
            f"convometer-mau-{percent}",
            f"MAU package {percent} % used",
            _BEYOND.replace("<percent>", str(percent)),
            0,
            severity,
            (f"{place} has used {percent} % of its package of active users, or more", text),
            **states,
        )
        for percent, severity, text in (
            (
                80,
                "info",
                "The package may not last until the end of the month: see its growth on the dashboard.",
            ),
            (
                100,
                "warning",
                "Each further user of the month is beyond the package (AMAU), at the price agreed for it.",
            ),
        )
    ]


def alert_rules() -> Json:
    """Return the file that Grafana is provisioned with."""
    heartbeat = _rule(
        "convometer-heartbeat",
        "MAU alerts cannot see",
        _HEARTBEAT,
        QUIET_HOURS_MAX,
        "warning",
        (
            f"ClickHouse cannot be asked, is empty, or got no row for {QUIET_HOURS_MAX} hours",
            "Until this ends no alert on packages can be trusted. Look at the dashboard of the pipeline's health.",
        ),
        noDataState="Alerting",
        execErrState="Alerting",
    )
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": "convometer",
                "folder": "convometer",
                "interval": "5m",
                "rules": [*_packages(), heartbeat],
            }
        ],
    }
