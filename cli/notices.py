"""From settings and price files to what the alerts go by: terms and channels, renewed when they change.

Owns the names of channels: they stay the same as long as the address does, or a webhook's own name, so that what is
owed to one survives a restart.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from fractions import Fraction

from cli.prices import PRICE_FAULTS, Prices
from metering.alert_book import Terms
from runtime.alert_tables import AlertEmail
from runtime.clock import Clock
from runtime.settings import Settings
from runtime.settings_in_force import Derived, SettingsInForce
from sinks.clickhouse.client import ClientPool
from sinks.notify.channel import Channel
from sinks.notify.email import EmailChannel, EmailTarget
from sinks.notify.guard import AddressGuard
from sinks.notify.table import TableChannel
from sinks.notify.webhook import WebhookChannel, WebhookTarget
from sinks.price_data import Prices as PriceFilesRead
from streams.alert_options import AlertOptions
from streams.notifying import RetryLimits

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 2.0
"""How often the price files are looked at."""
_NAME_BYTES = 8


class LiveTerms:
    """The terms in force: the same object until plans, rates or settings change."""

    def __init__(self, in_force: SettingsInForce, read: Callable[[], PriceFilesRead], clock: Clock) -> None:
        """Take what they are made of.

        Raises:
            PlanFaults, RateFaults, RegimeFaults: the files cannot be used.
        """
        self._in_force = in_force
        self._read = read
        self._clock = clock
        self._fault = ""
        self._prices = read()
        self._look_at = 0.0
        self._terms = self._made()

    def __call__(self) -> Terms:
        """Return the terms in force."""
        now = self._clock.monotonic_seconds()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look()
        return self._terms

    def _look(self) -> None:
        try:
            self._prices = self._read()
            self._fault = ""
        except PRICE_FAULTS as fault:
            if str(fault) != self._fault:
                _log.error("notices go by the plans as they were: %s", fault)
            self._fault = str(fault)
        made = self._made()
        if made.digest != self._terms.digest:
            self._terms = made

    def _made(self) -> Terms:
        alerts, prices = self._in_force.settings.alerts, self._prices
        digest = f"{prices.digest} {alerts.thresholds} {alerts.hysteresis_percent}"
        return Terms(prices.data, alerts.thresholds, Fraction(alerts.hysteresis_percent), digest)


def alert_options(
    in_force: SettingsInForce, prices: Prices, clients: ClientPool, clock: Clock, table_thread: Executor
) -> AlertOptions:
    """Return what the alerts of a worker go by.

    Args:
        in_force: the settings.
        prices: the price files.
        clients: of ClickHouse.
        clock: where time comes from.
        table_thread: writes the table of notices; to be ended before the clients are closed.

    Raises:
        PlanFaults, RateFaults, RegimeFaults: the price files cannot be used.
    """
    table = TableChannel(clients.get, table_thread)

    def made(settings: Settings) -> Mapping[str, Channel]:
        return {"clickhouse": table, **channels_of(settings, clock)}

    return AlertOptions(
        LiveTerms(in_force, prices.read, clock), Derived(in_force, made), Derived(in_force, _retry_limits)
    )


def _retry_limits(settings: Settings) -> RetryLimits:
    return RetryLimits(give_up_seconds=settings.alerts.give_up_hours * 3600)


def new_table_thread() -> ThreadPoolExecutor:
    """Return a thread for the table of notices: a ClickHouse that does not answer must take no thread from others."""
    return ThreadPoolExecutor(1, thread_name_prefix="alerts")


def channels_of(settings: Settings, clock: Clock) -> dict[str, Channel]:
    """Return the channels of the settings, by name: webhooks and e-mail."""
    return dict(_channels(settings, clock))


def _channels(settings: Settings, clock: Clock) -> Iterator[tuple[str, Channel]]:
    alerts = settings.alerts
    guard = AddressGuard(alerts.allowed_networks)
    for webhook in alerts.webhooks:
        url = webhook.url.get_secret_value()
        secrets = tuple(secret.get_secret_value() for secret in webhook.secrets)
        target = WebhookTarget(url, secrets, webhook.accounts, alerts.timeout_seconds)
        yield _name("webhook", webhook.name or url), WebhookChannel(target, guard, clock.now_seconds)
    for address, accounts in _mailed(alerts.emails).items():
        yield _name("email", address), EmailChannel(EmailTarget(address, accounts), settings.dashboard.mail)


def _mailed(groups: Iterable[AlertEmail]) -> dict[str, tuple[str, ...]]:
    """Return each address of all groups with the accounts that it hears of; none = all.

    One delivery for each: whoever is refused for now is written to again, and a group may change while mails are owed.
    """
    mailed: dict[str, tuple[str, ...]] = {}
    for group in groups:
        for address in group.to:
            known = mailed.get(address)
            hears_all = not group.accounts or known == ()
            mailed[address] = () if hears_all else tuple(dict.fromkeys((*(known or ()), *group.accounts)))
    return mailed


def _name(kind: str, of: str) -> str:
    return f"{kind}-{hashlib.blake2b(of.encode(), digest_size=_NAME_BYTES).hexdigest()}"
