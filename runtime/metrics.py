"""All metric names of the process in one place.

Owns names, help texts, label sets and buckets. Does not own when they are raised. Label values are bounded: closed
vocabularies, partitions, or the first names seen, as many as ``NAMES_MAX`` or the settings say; the rest counts as
``other``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from runtime.clock import Clock, SystemClock
from runtime.largest_of_late import LargestOfLate
from runtime.limit_metrics import LimitCollector, ShownLimit
from runtime.setting_tables import MetricsSettings
from schemas.alerts import LIMIT_NAMES, LimitName, NoticeKind
from schemas.events import KINDS, REFUSAL_REASONS, Event
from schemas.limits import FUTURE_TOLERANCE_SECONDS

PREFIX = "convometer"
NAMES_MAX = 100
OTHER = "other"
FROM_THE_FUTURE = "from_the_future"

EVENT_OUTCOMES: tuple[str, ...] = ("accepted", "counted", "duplicate", "late", "expired_status", "forwarded")
"""``accepted``: durable in the log. The rest is what the worker made of it."""
RELOAD_OUTCOMES: tuple[str, ...] = ("applied", "unchanged", "refused", "failed")
"""``refused``: the settings are faulty. ``failed``: they could not be read again by a fault of ours."""

Channel = Literal["webhook", "email"]
DeliveryOutcome = Literal["delivered", "failed", "gave_up"]
"""``failed``: it will be tried again. ``gave_up``: it will not."""
LadderGap = Literal["none", "silent", "read_without_delivered", "delivered_without_sent"]
"""Which step of a message did not come, while a later one did; ``silent``: sent, and nothing since."""

_SKEW_SLICE_SECONDS = 60.0
_SKEW_SLICES = 5

_SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
_EVENTS_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics:
    """Every metric of one process, registered in the registry given, so that tests have their own."""

    def __init__(
        self,
        registry: CollectorRegistry,
        bounds: MetricsSettings | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Register all metrics; without settings, within the default bounds.

        Raises:
            ValueError: the registry already has them.
        """
        self.registry = registry
        self._bounds = bounds or MetricsSettings()
        self._clock = clock or SystemClock()
        self._ignored_names: set[str] = set()
        self._event_children: dict[tuple[str, str], Counter] = {}
        self._request_children: dict[tuple[str, int], Counter] = {}
        self._account_children: dict[str, Counter] = {}
        self._ladder_numbers: set[tuple[str, str]] = set()
        self._intake()
        self._gateway()
        self._worker()
        self._ladder()
        self._flush()
        self._settings()
        self._limits()

    def _intake(self) -> None:
        self.events = self._counter("events", "Events by kind and what became of them.", "kind", "outcome")
        # From the start on, so that a process that takes nothing says 0, and not nothing at all.
        for kind in KINDS:
            self.events.labels(kind, "accepted")
        self.account_events = self._counter(
            "account_events", "Events that came in live and are durable in the log, by account.", "account"
        )
        self._skew = LargestOfLate(self._clock, _SKEW_SLICE_SECONDS, _SKEW_SLICES)
        self._gauge(
            "clock_skew_seconds",
            "How far events of the last minutes lay ahead of the clock of this process; 0 = none did.",
        ).set_function(self._skew.largest)
        self.updates_ignored = self._counter(
            "updates_ignored", "Known updates that are not metered, by name.", "name"
        )
        self.refused = self._counter("refused", "Updates refused to the dead letter, by reason.", "reason")
        self.batch_events = self._histogram("batch_events", "Events per batch record.", _EVENTS_BUCKETS)
        self.append_seconds = self._histogram(
            "append_seconds", "Seconds until one record was durable in the log.", _SECONDS_BUCKETS
        )
        self.append_errors = self._counter("append_errors", "Records the log did not take.")
        self.queue_events = self._gauge("queue_events", "Updates taken but not yet durable in the log.")
        self.dead_letters = self._counter("dead_letter", "Records written to the dead letter.", "reason")
        self.dead_letter_bytes = self._gauge("dead_letter_bytes", "Bytes kept in the dead letter.")

    def _gateway(self) -> None:
        self.gateway_requests = self._counter(
            "gateway_requests", "HTTP requests answered, by route and status.", "route", "status"
        )
        self.gateway_signature_failures = self._counter(
            "gateway_signature_failures", "Webhook bodies without a valid signature."
        )

    def _worker(self) -> None:
        self.late = self._counter("late", "Events before their account's cut, set aside.")
        self.duplicates = self._counter("duplicates", "Events that had been counted before.")
        self._identities()
        self.commits = self._counter("commits", "Atomic commits of a partition.")
        self.commit_seconds = self._histogram(
            "commit_seconds", "Seconds of one atomic commit.", _SECONDS_BUCKETS
        )
        self.state_records = self._gauge("state_records", "Live records of a state table.", "table")
        self.lag_records = self._gauge("lag_records", "Records not yet read, by partition.", "partition")
        self.lag_seconds = self._gauge(
            "lag_seconds", "Age of the oldest record not yet committed, by partition.", "partition"
        )
        self.retention_used_ratio = self._gauge(
            "retention_used_ratio",
            "Age of the oldest record not yet committed, as a share of how long the log keeps it.",
            "partition",
        )
        self.partition_ready = self._gauge(
            "partition_ready",
            "1 if the partition is metered, 0 while it is restored or stopped.",
            "partition",
        )

    def _identities(self) -> None:
        self.identity_pairs = self._counter("identity_pairs", "Names found to be those of a known user.")
        self.identity_moves = self._counter(
            "identity_moves", "States of linked users that came from another key and were joined."
        )
        self.identity_moves_sent = self._gauge(
            "identity_moves_sent",
            "States that the partition has given to another key since it exists; less those joined: under way.",
            "partition",
        )
        self.identity_moves_joined = self._gauge(
            "identity_moves_joined", "States that the partition has joined since it exists.", "partition"
        )
        self.identity_refused = self._counter(
            "identity_refused", "Links that were not made, because too many users share one name."
        )
        self.identity_unrestated = self._counter(
            "identity_unrestated", "Rows that a link came too late for: their days have left the worker."
        )
        self.identity_beyond_state = self._counter(
            "identity_beyond_state",
            "Joins of users of whom months had been dropped that may count them twice.",
        )

    def _ladder(self) -> None:
        self.ladder_messages = self._counter(
            "ladder_messages",
            "Live messages that were looked at some time after they began, by the step that did not come.",
            "account",
            "number",
            "gap",
        )

    def _flush(self) -> None:
        self.flush_age_seconds = self._gauge(
            "flush_age_seconds", "Age of the oldest committed change that ClickHouse does not have."
        )
        self.flush_errors = self._counter("flush_errors", "Flushes to ClickHouse that failed.")
        self.flush_rows = self._counter("flush_rows", "Rows written to ClickHouse.")
        self.flush_seconds = self._histogram(
            "flush_seconds", "Seconds of one flush to ClickHouse.", _SECONDS_BUCKETS
        )

    def _settings(self) -> None:
        self.settings_reloads = self._counter(
            "settings_reloads", "Settings read again while running, by outcome.", "outcome"
        )
        # From the start on, so that the first refusal is a step from 0 that alarms can see.
        for outcome in RELOAD_OUTCOMES:
            self.settings_reloads.labels(outcome)
        self.settings_last_reload = self._gauge(
            "settings_last_reload_timestamp_seconds", "When the settings were last read and found good."
        )
        self.settings_faults = self._gauge(
            "settings_faults",
            "Faults in the settings that were read last; while there are any, the old ones stay.",
        )
        self.settings_restart_pending = self._gauge(
            "settings_restart_pending", "Changed settings that take effect by a restart only."
        )

    def _limits(self) -> None:
        self._limit_collector = LimitCollector(PREFIX, self._bounds.limits_max)
        self.registry.register(self._limit_collector)
        self.alert_notices = self._counter(
            "alert_notices", "Notices of limits, by what became of a threshold.", "limit_name", "kind"
        )
        self.alert_deliveries = self._counter(
            "alert_deliveries", "Attempts to deliver a notice of a limit.", "channel", "outcome"
        )
        # From the start on, so that the first is a step from 0 that alarms can see.
        for limit_name in LIMIT_NAMES:
            for kind in get_args(NoticeKind):
                self.alert_notices.labels(limit_name, kind)
        for channel in get_args(Channel):
            for outcome in get_args(DeliveryOutcome):
                self.alert_deliveries.labels(channel, outcome)
        self.alert_deliveries_pending = self._gauge(
            "alert_deliveries_pending", "Notices of limits that are neither delivered nor given up."
        )
        self.alert_lag_seconds = self._gauge(
            "alert_lag_seconds", "Age of the oldest count that limits have not been compared with."
        )

    def show_limits(self, rows: Iterable[ShownLimit]) -> None:
        """Show these limits and no others; beyond ``metrics.limits_max``, those that are used up the most."""
        self._limit_collector.show(rows)

    def count_alert_notice(self, limit_name: LimitName, kind: NoticeKind) -> None:
        """Count a notice of a limit."""
        self.alert_notices.labels(limit_name, kind).inc()

    def count_alert_deliveries(self, channel: Channel, outcome: DeliveryOutcome, count: int = 1) -> None:
        """Count attempts to deliver a notice."""
        self.alert_deliveries.labels(channel, outcome).inc(count)

    def count_live(self, events: Sequence[Event]) -> None:
        """Count events that have just become durable, on the way that live traffic takes.

        What an operator feeds in is counted by ``count_events`` alone: a backfill must not pass for an account's
        traffic of today. The events are of one batch: what they have in common is looked up once.
        """
        kinds: dict[str, int] = {}
        accounts: dict[str, int] = {}
        newest = 0.0
        for event in events:
            kinds[event.kind] = kinds.get(event.kind, 0) + 1
            accounts[event.account] = accounts.get(event.account, 0) + 1
            newest = max(newest, event.occurred_at - event.received_at / 1000)
        for kind, count in kinds.items():
            self.count_events(kind, "accepted", count)
        for account, count in accounts.items():
            self._account_child(account).inc(count)
        if newest > 0:
            self._skew.note(newest)

    def _account_child(self, account: str) -> Counter:
        child = self._account_children.get(account)
        if child is None:
            if len(self._account_children) >= self._bounds.accounts_max:
                return self.account_events.labels(OTHER)
            child = self._account_children[account] = self.account_events.labels(account)
        return child

    def count_ladder(self, account: str, number: str, messages: Mapping[LadderGap, int]) -> None:
        """Count messages of a business number that were looked at, each under one gap."""
        place = (account, number)
        if place not in self._ladder_numbers:
            if len(self._ladder_numbers) >= self._bounds.numbers_max:
                place = (OTHER, OTHER)
            else:
                self._ladder_numbers.add(place)
        # All of them, as a share of nothing is 0 only where there is a 0.
        for gap in get_args(LadderGap):
            self.ladder_messages.labels(*place, gap).inc(messages.get(gap, 0))

    def count_events(self, kind: str, outcome: str, count: int = 1) -> None:
        """Count events of one kind; words outside the vocabularies count as ``other``."""
        child = self._event_children.get((kind, outcome))
        if child is None:
            kind_label = kind if kind in KINDS else OTHER
            outcome_label = outcome if outcome in EVENT_OUTCOMES else OTHER
            child = self.events.labels(kind_label, outcome_label)
            # Looking a child up by its labels costs more than raising it. Only known words are kept.
            if OTHER not in (kind_label, outcome_label):
                self._event_children[kind, outcome] = child
        child.inc(count)

    def count_request(self, route: str, status: int) -> None:
        """Count an answered request; ``route`` is one of our paths, never the sender's text."""
        child = self._request_children.get((route, status))
        if child is None:
            child = self._request_children[route, status] = self.gateway_requests.labels(route, str(status))
        child.inc()

    def count_settings_reload(self, outcome: str) -> None:
        """Count settings that were read again; ``outcome`` is one of ``RELOAD_OUTCOMES``."""
        self.settings_reloads.labels(outcome).inc()

    def count_refused(self, reason: str, count: int = 1) -> None:
        """Count refused updates."""
        self.refused.labels(_known_reason(reason)).inc(count)
        if reason == FROM_THE_FUTURE:
            # By how much does not get here: at least so much.
            self._skew.note(FUTURE_TOLERANCE_SECONDS)

    def count_dead_letters(self, reason: str, count: int = 1) -> None:
        """Count records that are durable in the dead letter."""
        self.dead_letters.labels(_known_reason(reason)).inc(count)

    def count_ignored(self, name: str, count: int = 1) -> None:
        """Count known updates that are not metered.

        Names come from the provider's vocabulary, which grows, so that only the first ``NAMES_MAX`` become labels.
        """
        if name not in self._ignored_names:
            if len(self._ignored_names) >= NAMES_MAX:
                name = OTHER
            else:
                self._ignored_names.add(name)
        self.updates_ignored.labels(name).inc(count)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", help_text, registry=self.registry, buckets=buckets)


def _known_reason(reason: str) -> str:
    return reason if reason in REFUSAL_REASONS else OTHER
