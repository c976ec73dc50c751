"""The dashboard of whoever runs convometer: is everything taken, metered and in ClickHouse, and how late.

Over Prometheus, so that it shows the most when something is broken. Only one panel asks ClickHouse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from deploy.grafana.panels import (
    CLICKHOUSE_VARIABLE,
    PROMETHEUS_VARIABLE,
    Json,
    dashboard,
    lines,
    prometheus,
    row,
    stat,
    steps,
    table,
)
from runtime.dashboard_metrics import PREFIX as METRICS_PREFIX
from runtime.dashboard_metrics import REFUSED_EVENTS

_READY: Final = "and on (instance, partition) convometer_partition_ready == 1"
_MARKS: Final = """\
SELECT
    v.partition AS partition,
    max(v.sequence) AS commit,
    max(v.flushed_at) AS flushed_at,
    max(v.received_until) AS received_until
FROM flush_progress AS v FINAL
WHERE v.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)
GROUP BY v.partition
ORDER BY v.partition"""


def _newest(metric: str) -> str:
    """Return the greatest value of a gauge for each partition, of the worker that meters it where there is one."""
    return f"max by (partition) ({metric} {_READY}) or max by (partition) ({metric})"


def _rate(metric: str, by: str = "", matching: str = "") -> str:
    return f"sum{by and f' by ({by}) '}(rate({metric}{matching}[$__rate_interval]))"


def _quantiles(metric: str, matching: str = "", high_percent: int = 99) -> list[Json]:
    asked = [
        (f"histogram_quantile({percent / 100}, {_rate(f'{metric}_bucket', 'le', matching)})", f"p{percent}")
        for percent in (50, high_percent)
    ]
    return prometheus(*asked)


def _now(expression: str) -> list[Json]:
    return prometheus((expression, ""), instant=True)


def _at_a_glance() -> Iterator[Json]:
    processes = 'up{job=~"convometer-.+"}'
    yield row("At a glance")
    yield stat(
        "Processes that answer",
        "Gateways, workers and dashboards that Prometheus reaches, of those it is told of.",
        prometheus((f"sum({processes})", "up"), (f"count({processes})", "known"), instant=True),
        min=0,
    )
    yield stat(
        "Partitions not metered",
        "Restoring, moving or stopped. /readyz of the workers says which.",
        _now("count(max by (partition) (convometer_partition_ready) == 0) or vector(0)"),
        thresholds=steps("green", (1, "red")),
        min=0,
    )
    yield stat(
        "Furthest behind",
        "Age of the oldest record that is not committed, over all partitions.",
        _now(f"max({_newest('convometer_lag_seconds')})"),
        unit="s",
        thresholds=steps("green", (10, "orange"), (60, "red")),
        min=0,
    )
    yield stat(
        "ClickHouse lacks",
        "Age of the oldest committed change that ClickHouse does not have.",
        _now("max(convometer_flush_age_seconds)"),
        unit="s",
        thresholds=steps("green", (10, "orange"), (60, "red")),
        min=0,
    )
    yield stat(
        "Retention used",
        "At 100 % Kafka removes what was not counted.",
        _now(f"max({_newest('convometer_retention_used_ratio')})"),
        unit="percentunit",
        thresholds=steps("green", (0.1, "orange"), (0.5, "red")),
        min=0,
    )
    yield stat(
        "Dead letters, 24 h",
        "Updates that were not counted. See `convometer dlq list`.",
        _now("sum(increase(convometer_dead_letter_total[1d])) or vector(0)"),
        thresholds=steps("green", (1, "orange")),
        min=0,
    )


def _intake() -> Iterator[Json]:
    yield row("Intake")
    yield lines(
        "Events taken",
        "Durable in the log, by kind.",
        prometheus((_rate("convometer_events_total", "kind", '{outcome="accepted"}'), "{{kind}}")),
        unit="ops",
        is_stacked=True,
    )
    routes = '{route=~"/webhooks/.+|/events"}'
    yield lines(
        "Webhooks by answer",
        "503: Kafka does not take records in time. 401: not signed with our secret.",
        prometheus((_rate("convometer_gateway_requests_total", "status", routes), "{{status}}")),
        unit="reqps",
        is_stacked=True,
    )
    yield lines(
        "Time until durable", "Of one record in the log.", _quantiles("convometer_append_seconds"), unit="s"
    )
    yield lines(
        "Waiting for the log",
        "Updates taken, but not yet durable. At gateway.queue_events_max the answer is 503.",
        prometheus(("convometer_queue_events", "{{instance}}")),
    )
    yield lines(
        "Refused, ignored, unsigned",
        "Refused updates by reason are dead letters. Ignored ones are known and not metered.",
        prometheus(
            (_rate("convometer_refused_total", "reason"), "refused: {{reason}}"),
            (_rate("convometer_updates_ignored_total"), "ignored"),
            (_rate("convometer_gateway_signature_failures_total"), "without a valid signature"),
            (_rate("convometer_append_errors_total"), "not taken by the log"),
        ),
        unit="ops",
    )
    mean = f"{_rate('convometer_batch_events_sum')} / {_rate('convometer_batch_events_count')}"
    yield lines(
        "Events in one record", "More of them are cheaper for the worker.", prometheus((mean, "mean"))
    )


def _metering() -> Iterator[Json]:
    yield row("Metering")
    yield lines(
        "Events metered",
        "What the workers made of them.",
        prometheus((_rate("convometer_events_total", "outcome", '{outcome!="accepted"}'), "{{outcome}}")),
        unit="ops",
        is_stacked=True,
    )
    yield lines(
        "Behind, by partition",
        "Age of the oldest record that is not committed.",
        prometheus((_newest("convometer_lag_seconds"), "{{partition}}")),
        unit="s",
        alarm=60,
    )
    yield lines(
        "Records not read, by partition",
        "A record holds many events.",
        prometheus((_newest("convometer_lag_records"), "{{partition}}")),
    )
    yield lines(
        "Commits",
        "Atomic commits of partitions.",
        prometheus((_rate("convometer_commits_total", "instance"), "{{instance}}")),
        unit="ops",
    )
    yield lines(
        "Time of a commit",
        "A commit without an answer for 60 s ends the worker.",
        _quantiles("convometer_commit_seconds"),
        unit="s",
    )
    yield lines(
        "Partitions, by worker",
        "Metered ones. They move when a worker comes or goes.",
        prometheus(("sum by (instance) (convometer_partition_ready)", "{{instance}}")),
        is_stacked=True,
    )
    yield from _state()


def _state() -> Iterator[Json]:
    yield lines(
        "Repeated, late, two identities",
        "Repeats change no number. Late events are dead letters.",
        prometheus(
            (_rate("convometer_duplicates_total"), "repeated"),
            (_rate("convometer_late_total"), "late"),
            (_rate("convometer_identity_pairs_total"), "two identities"),
        ),
        unit="ops",
    )
    yield lines(
        "Local state",
        "Records, about.",
        prometheus(("sum by (instance) (convometer_state_records)", "{{instance}}")),
        is_stacked=True,
    )
    yield lines(
        "Starts within the last hour",
        "Each start costs time, and no number.",
        prometheus(('changes(convometer_commits_created{job=~"convometer-.+"}[1h])', "{{instance}}")),
    )


def _ladder() -> Iterator[Json]:
    judged = "sum(increase(convometer_ladder_messages_total[15m]))"
    by_gap = 'sum by (gap) (increase(convometer_ladder_messages_total{gap!="none"}[15m]))'
    share = "number:convometer_ladder_gap:share"
    yield row("Steps of messages")
    yield lines(
        "Steps that did not come",
        "Of the live messages looked at, each 30 minutes after it began. Silent: sent, and nothing since. Users "
        "who are in the chat get theirs read without delivered: that is usual.",
        prometheus((f"{by_gap} / on () group_left () ({judged} > 0)", "{{gap}}")),
        width=12,
        unit="percentunit",
    )
    yield lines(
        "Furthest above the usual, by number",
        "Share of the last 3 hours less the share of the week before; needs the recording rules. Beyond 10 % and "
        "twice the usual there is an alert.",
        prometheus(
            (
                f'topk(10, {share}3h{{gap!="none"}} - {share}1w > 0)',
                "{{account}}, number {{number}}: {{gap}}",
            )
        ),
        width=12,
        unit="percentunit",
    )


def _clickhouse() -> Iterator[Json]:
    yield row("ClickHouse")
    yield lines(
        "Age of what ClickHouse lacks",
        "Normally below a second.",
        prometheus(("convometer_flush_age_seconds", "{{instance}}")),
        width=6,
        unit="s",
        alarm=60,
    )
    yield lines(
        "Rows written",
        "Absolute values: a repeat changes nothing.",
        prometheus((_rate("convometer_flush_rows_total", "instance"), "{{instance}}")),
        width=6,
        unit="ops",
    )
    yield lines(
        "Time of a flush",
        "Half of the flushes, and 99 of 100, take no longer than this.",
        _quantiles("convometer_flush_seconds"),
        width=6,
        unit="s",
    )
    yield lines(
        "Flushes that failed",
        "Within 5 minutes. They are repeated.",
        prometheus(("sum by (instance) (increase(convometer_flush_errors_total[5m]))", "{{instance}}")),
        width=6,
    )
    yield table(
        "What ClickHouse has",
        "By partition: the newest commit whose rows are all in ClickHouse, when it was written, and when the newest "
        "record was received that is counted in it. Times do not move while nothing arrives.",
        _MARKS,
        size=(24, 9),
    )


def _billing_dashboard() -> Iterator[Json]:
    name = METRICS_PREFIX
    yield row("Billing dashboard")
    yield lines(
        "Requests by answer",
        "429: too many exports or mails. 503: ClickHouse, prices or the audit log; the page says which.",
        prometheus((_rate(f"{name}_requests_total", "status"), "{{status}}")),
        width=6,
        unit="reqps",
        is_stacked=True,
    )
    pages = '{route!~"/downloads|/static"}'
    yield lines(
        "Time of an answer",
        "Of pages and the API. Files are left out: they take as long as they take.",
        _quantiles(f"{name}_request_seconds", pages, high_percent=95),
        width=6,
        unit="s",
    )
    yield lines(
        "Exports pending",
        "Files that are made or wait for it. At dashboard.export_queue_max the answer is 429.",
        prometheus((f"{name}_exports_pending", "{{instance}}")),
        width=6,
    )
    failed = f'{{event=~"{"|".join(REFUSED_EVENTS)}"}}'
    yield lines(
        "Nobody was let in",
        "Within 5 minutes, by the event in the audit log; and what the audit log did not take.",
        prometheus(
            (f"sum by (event) (increase({name}_audited_total{failed}[5m]))", "{{event}}"),
            (f"sum(increase({name}_audit_errors_total[5m]))", "not noted"),
        ),
        width=6,
    )


def pipeline_health() -> Json:
    """Return the dashboard."""
    panels = [*_at_a_glance(), *_intake(), *_metering(), *_ladder(), *_clickhouse(), *_billing_dashboard()]
    return dashboard(
        "convometer-operations",
        "convometer: pipeline health",
        "Is everything taken, metered and in ClickHouse, and how late.",
        panels,
        (PROMETHEUS_VARIABLE, CLICKHOUSE_VARIABLE),
        span=("now-6h", "now"),
        timezone="browser",
        refresh="30s",
    )
