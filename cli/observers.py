"""Turns what the worker reports into metrics. Owns no metric's name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from runtime.metrics import Metrics
from streams.step import Step
from streams.worker import Observers, Worker


def worker_observers(metrics: Metrics, on_step: Callable[[str], None] = lambda _: None) -> Observers:
    """Return observers that count in the given metrics."""
    return Observers(
        committed=lambda _partition, step, seconds: _committed(metrics, step, seconds),
        flushed=lambda rows, seconds, succeeded: _flushed(metrics, rows, seconds, succeeded),
        ignored=metrics.count_ignored,
        refused=lambda reason: _refused(metrics, reason),
        owned=lambda partition, ready: metrics.partition_ready.labels(str(partition)).set(int(ready)),
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
