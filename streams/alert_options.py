"""What a worker's alerts go by. Owns the defaults: no plans, no channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from metering.alert_book import Terms
from metering.charges import PriceData
from schemas.regimes import load_regimes
from sinks.notify.channel import Channel
from streams.notifying import RetryLimits

NOTICES_SECONDS = 400 * 86_400
"""How long notices are kept in ``mau.alerts``."""


@cache
def _without_plans() -> Terms:
    return Terms(PriceData(load_regimes()))


def _no_channels() -> Mapping[str, Channel]:
    return {}


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """What notices are given by, and where they go."""

    terms: Callable[[], Terms] = _without_plans
    """Returns the terms in force; the same object while they have not changed."""
    channels: Callable[[], Mapping[str, Channel]] = _no_channels
    retry: Callable[[], RetryLimits] = RetryLimits
    """Returns when deliveries are tried again."""
