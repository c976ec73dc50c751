"""Turns what the worker reports into metrics. Owns no metric's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from runtime.clock import Clock
from runtime.metrics import Metrics
from runtime.settings import Settings
from sinks.clickhouse.client import ClientPool
from sinks.clickhouse.ladder_health import JudgedMinute
from sinks.notify.channel import ChannelKind
from streams.ladder_watch import LadderWatcher
from streams.notifying import Outcome
from streams.step import Step
from streams.worker import Observers, Worker


def worker_observers(
    metrics: Metrics,
    on_step: Callable[[str], None] = lambda _: None,
    ladder: LadderWatcher | None = None,
) -> Observers:
    """Return observers that count in the given metrics, and show live messages to the watcher."""

    def committed(partition: int, step: Step, seconds: float) -> None:
        _committed(metrics, step, seconds)
        if ladder is not None:
            ladder.take(partition, step.heard)

    def owned(partition: int, ready: bool) -> None:
        metrics.partition_ready.labels(str(partition)).set(int(ready))
        if ladder is not None and not ready:
            ladder.forget(partition)

    return Observers(
        committed=committed,
        flushed=lambda rows, seconds, succeeded: _flushed(metrics, rows, seconds, succeeded),
        taken=metrics.count_live,
        ignored=metrics.count_ignored,
        refused=lambda reason: _refused(metrics, reason),
        owned=owned,
        noticed=lambda notice: metrics.count_alert_notice(notice.limit_name, notice.kind),
        delivered=lambda channel, outcome, count: _delivered(metrics, channel, outcome, count),
        on_step=on_step,
    )


def _refused(metrics: Metrics, reason: str) -> None:
    metrics.count_refused(reason)
    metrics.count_dead_letters(reason)


def _committed(metrics: Metrics, step: Step, seconds: float) -> None:
    metrics.commits.inc()
    metrics.commit_seconds.observe(seconds)
    for (kind, outcome), count in step.outcomes.items():
        metrics.count_events(kind, outcome, count)
        if outcome == "late":
            metrics.late.inc(count)
        elif outcome == "duplicate":
            metrics.duplicates.inc(count)
    for reason, count in Counter(refusal.reason for refusal in step.refusals).items():
        metrics.count_refused(reason, count)
        metrics.count_dead_letters(reason, count)
    links = step.links
    metrics.identity_pairs.inc(links["announced"])
    metrics.identity_moves.inc(links["joined"])
    metrics.identity_refused.inc(links["refused"])
    metrics.identity_unrestated.inc(links["unrestated"])
    metrics.identity_beyond_state.inc(links["beyond_state"])


def _flushed(metrics: Metrics, rows: int, seconds: float, succeeded: bool) -> None:
    metrics.flush_seconds.observe(seconds)
    if succeeded:
        metrics.flush_rows.inc(rows)
    else:
        metrics.flush_errors.inc()


def _delivered(metrics: Metrics, channel: ChannelKind, outcome: Outcome, count: int) -> None:
    # ClickHouse is no addressee, and has metrics of its own.
    if channel != "clickhouse":
        metrics.count_alert_deliveries(channel, outcome, count)


def ladder_watcher(metrics: Metrics, settings: Settings, clients: ClientPool, clock: Clock) -> LadderWatcher:
    """Return the watcher of a worker's live messages, whose findings are counted in the given metrics."""
    minutes = settings.worker.ladder_wait_minutes
    return LadderWatcher(clients, minutes, clock.now_seconds, lambda judged: ladder_judged(metrics, judged))


def ladder_judged(metrics: Metrics, judged: JudgedMinute) -> None:
    """Count what became of the messages of a minute. Their gaps exclude each other."""
    minute = judged.minute
    messages, silent, read_without_delivered, delivered_without_sent = minute.counts
    metrics.count_ladder(
        minute.account,
        minute.number,
        {
            "none": messages - silent - read_without_delivered - delivered_without_sent,
            "silent": silent,
            "read_without_delivered": read_without_delivered,
            "delivered_without_sent": delivered_without_sent,
        },
    )


def behind_seconds(worker: Worker, now_ms: int) -> dict[int, float]:
    """Return the age of the oldest record that each partition has not taken up."""
    return {partition: lag.seconds for partition, lag in worker.lag(now_ms).items()}


def sample_gauges(metrics: Metrics, worker: Worker, now_ms: int) -> None:
    """Set the gauges that are read off rather than counted; called when metrics are scraped."""
    # Nothing is left of a partition that another worker has now: its last lag would stand for ever.
    moves = (metrics.identity_moves_sent, metrics.identity_moves_joined)
    for gauge in (metrics.lag_records, metrics.lag_seconds, metrics.retention_used_ratio, *moves):
        gauge.clear()
    for partition, counts in worker.moves().items():
        for gauge, count in zip(moves, counts, strict=True):
            gauge.labels(str(partition)).set(count)
    for partition, sample in worker.lag(now_ms).items():
        metrics.lag_records.labels(str(partition)).set(sample.records)
        metrics.lag_seconds.labels(str(partition)).set(sample.seconds)
        used = sample.seconds / worker.options.events_seconds
        metrics.retention_used_ratio.labels(str(partition)).set(used)
    metrics.alert_lag_seconds.set(worker.alert_lag_seconds(now_ms))
    notify = worker.notify_task
    metrics.alert_deliveries_pending.set(len(notify.pending) if notify is not None else 0)
    metrics.flush_age_seconds.set(worker.flush_age_seconds(now_ms))
    for table, count in worker.state_records().items():
        metrics.state_records.labels(table).set(count)


def worker_readiness(worker: Worker) -> dict[str, str]:
    """Return why a worker is not ready, by component; an empty text = ready.

    A worker without a partition is ready: there may be more workers than partitions.
    """
    if worker.failed.is_set():
        return {"worker": str(worker.failure or "stopped")}
    opening = worker.opening()
    waiting = f"partitions {opening} are being restored" if opening else ""
    return {"worker": waiting, **worker.stops()}
