"""Gauges of how far limits are used up and where that leads by the month's end.

Owns their names, labels and bound: the limits that are used up the most have gauges of their own, of the rest only the
number is shown. Does not own what a limit is, nor when it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.alerts import LimitName

Bound = Literal["low", "expected", "high"]
"""The forecast's middle, and the ends of its range."""

_LABELS = ("account", "number", "limit_name")


@dataclass(frozen=True, slots=True)
class ShownLimit:
    """One limit of the current local month, as it is shown."""

    account: str
    number: str
    """Empty = the limit is the whole account's."""
    limit_name: LimitName
    limit: float
    """0 = there is none, and it is not shown."""
    used: float
    projected: Mapping[Bound, float] = field(default_factory=dict)
    """Used by the month's end; empty = too early to say."""
    exhausted_at_seconds: float | None = None
    """UTC seconds at which the last of it was or is expected to be used; None = not in this month."""

    @property
    def labels(self) -> tuple[str, str, str]:
        """Return the values of the labels that all gauges share."""
        return self.account, self.number, self.limit_name

    def ratio(self, count: float) -> float:
        """Return a count as a share of the limit, which is one."""
        return count / self.limit


def most_used_first(rows: Iterable[ShownLimit]) -> tuple[ShownLimit, ...]:
    """Return the limits in the order in which they get gauges. Of two with the same labels the more used one stays.

    A limit of 0 is none, as of a plan without a package: nothing of it can be used up, and it takes no gauge of others.
    """
    limits = (row for row in rows if row.limit > 0)
    by_labels: dict[tuple[str, str, str], ShownLimit] = {}
    for row in sorted(limits, key=lambda row: (-row.ratio(row.used), row.labels)):
        by_labels.setdefault(row.labels, row)
    return tuple(by_labels.values())


class LimitCollector(Collector):
    """Shows one set of limits until it is given another; a scrape sees one of them, never a mixture."""

    def __init__(self, prefix: str, limits_max: int) -> None:
        """Begin with no limits.

        Args:
            prefix: before the names of the gauges.
            limits_max: limits with gauges of their own.
        """
        self._prefix = prefix
        self._limits_max = limits_max
        self._shown: tuple[ShownLimit, ...] = ()
        self._left_out = 0

    def show(self, rows: Iterable[ShownLimit]) -> None:
        """Show these limits and no others."""
        ordered = most_used_first(rows)
        self._shown, self._left_out = ordered[: self._limits_max], max(0, len(ordered) - self._limits_max)

    def describe(self) -> Iterator[Metric]:
        """Return the gauges without values, so that a registry refuses others of their names."""
        return self._families((), 0)

    def collect(self) -> Iterator[Metric]:
        """Return the gauges."""
        return self._families(self._shown, self._left_out)

    def _families(self, rows: tuple[ShownLimit, ...], left_out: int) -> Iterator[Metric]:
        limit = self._family("limit", "The limit, in the current month of its account.")
        used = self._family("limit_used", "What of the limit is used.")
        used_ratio = self._family("limit_used_ratio", "What is used, as a share of the limit.")
        projected = self._family(
            "limit_projected_ratio",
            "What is used at the month's end by the forecast, as a share of the limit.",
            "bound",
        )
        exhausted = self._family(
            "limit_exhausted_timestamp_seconds",
            "When the last of the limit is expected to be used; absent = not in this month.",
        )
        for row in rows:
            limit.add_metric(row.labels, row.limit)
            used.add_metric(row.labels, row.used)
            used_ratio.add_metric(row.labels, row.ratio(row.used))
            for bound, count in row.projected.items():
                projected.add_metric((*row.labels, bound), row.ratio(count))
            if row.exhausted_at_seconds is not None:
                exhausted.add_metric(row.labels, row.exhausted_at_seconds)
        yield from (limit, used, used_ratio, projected, exhausted)
        yield GaugeMetricFamily(
            f"{self._prefix}_limits_left_out",
            "Limits without gauges of their own, as there are more than metrics.limits_max.",
            value=left_out,
        )

    def _family(self, name: str, help_text: str, *more_labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{self._prefix}_{name}", help_text, labels=(*_LABELS, *more_labels))
