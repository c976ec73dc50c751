"""The settings that a running process goes by: one reference, replaced whole while it runs.

Owns which keys may change without a restart, and when an account's time zone may. Does not own where settings come
from, nor when they are read again; that is ``runtime.reloading``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final, Generic, Literal, TypeVar

from runtime.setting_faults import SettingsError
from runtime.setting_tables import DEFAULT_ZONE, AccountSettings, Table, ZoneRules
from runtime.settings import Settings

LIVE_GATEWAY_KEYS: Final = ("app_secrets", "events_tokens", "verify_token")
"""What of the gateway's table takes effect without a restart. Of accounts, alerts and mail, everything can."""
_DEFAULT_ZONES: Final[ZoneRules] = (("", DEFAULT_ZONE),)

Metering = Literal["none", "shared", "sole"]
"""Whether this process meters: nothing, some partitions beside other workers, or every partition there is."""
ZonesAgree = Callable[[ZoneRules, ZoneRules], bool]
"""Tells whether two lists of zones mean the same for everything that can have been counted by now."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of settings that were read again: names of keys, never values."""

    changed: tuple[str, ...]
    """Keys that are in force with their new values."""
    waiting: tuple[str, ...]
    """Keys whose new values need a restart."""


@dataclass(frozen=True, slots=True)
class _Held:
    settings: Settings
    zones: Mapping[str, ZoneRules]
    """By account. Also of accounts that are no longer listed, where their zone could not change with that."""


class SettingsInForce:
    """The settings of a running process. Reading is safe from every thread; ``take`` is called by one."""

    def __init__(
        self,
        settings: Settings,
        metering: Metering = "none",
        zones_agree: ZonesAgree = lambda _old, _new: False,
    ) -> None:
        """Take the settings of the start.

        Args:
            settings: validated.
            metering: what of the metering happens in this process.
            zones_agree: says of an account that was metered whether a change of its zone is for the future only.
        """
        self._held = _Held(settings, settings.zone_rules())
        self._metering = metering
        self._zones_agree = zones_agree
        self._zones_lock = Lock()
        self._zones_used: set[str] = set()

    @classmethod
    def of(cls, settings: Settings | SettingsInForce) -> SettingsInForce:
        """Return settings that may change, from those that may not, or as they are."""
        return cls(settings) if isinstance(settings, Settings) else settings

    @property
    def settings(self) -> Settings:
        """Return the settings in force now. Take it once for what must fit together."""
        return self._held.settings

    def zones_of(self, account: str) -> ZoneRules:
        """Return the zones to count an account by. From now on they only change by a restart.

        Whoever asks goes on to count by them, so that after this another answer would put one account's events on days
        of two zones. The lock makes asking and changing follow on each other.
        """
        with self._zones_lock:
            self._zones_used.add(account)
            return self._held.zones.get(account, _DEFAULT_ZONES)

    def take(self, fresh: Settings) -> Taken:
        """Put in force what may change; keep the rest as it is. All of it at once, or nothing.

        Raises:
            SettingsError: an account was metered in another zone than the settings now say.
        """
        with self._zones_lock:
            held = self._held
            zones, waiting = self._zones_after(held, fresh)
            settings = _with_live_keys(held.settings, fresh, waiting)
            changed = tuple(changed_keys(held.settings, settings))
            if changed or zones != held.zones:
                self._held = _Held(settings, zones)
        unlisted = [f"accounts.{account}.time_zone" for account in waiting if account not in fresh.accounts]
        return Taken(changed, (*changed_keys(settings, fresh), *unlisted))

    def _zones_after(self, held: _Held, fresh: Settings) -> tuple[dict[str, ZoneRules], list[str]]:
        """Return the zones to go on with, and the accounts whose new zone needs a restart."""
        zones, wanted = dict(held.zones), fresh.zone_rules()
        waiting, faults = [], []
        for account in sorted(zones.keys() | wanted.keys()):
            old, new = zones.get(account, _DEFAULT_ZONES), wanted.get(account, _DEFAULT_ZONES)
            if old == new:
                continue
            is_used = account in self._zones_used
            if is_used and not self._zones_agree(old, new):
                faults.append(_zone_fault(account))
            elif self._metering == "sole" and not is_used:
                zones[account] = new
            elif self._metering != "none" or account in fresh.accounts.keys() - held.settings.accounts.keys():
                # A gateway counts nothing. But once it let a new account in, workers would count that by the zone
                # they know: the whole entry waits, so that they can be restarted first.
                waiting.append(account)
        if faults:
            raise SettingsError(faults)
        return zones, waiting


class Derived(Generic[T]):
    """Something made of the settings in force, made anew once they are others."""

    def __init__(self, in_force: SettingsInForce, make: Callable[[Settings], T]) -> None:
        """Make it a first time; ``make`` must work for all valid settings."""
        self._in_force = in_force
        self._make = make
        settings = in_force.settings
        self._made = (settings, make(settings))

    def __call__(self) -> T:
        """Return what belongs to the settings in force now."""
        settings = self._in_force.settings
        made_of, made = self._made
        if made_of is not settings:
            made = self._make(settings)
            # One reference, so that no thread finds the settings of one and the thing of another.
            self._made = (settings, made)
        return made


def changed_keys(old: Table, new: Table, prefix: str = "") -> Iterator[str]:
    """Yield the names of keys that differ; an account that is only on one side is one name."""
    explicit = old.model_fields_set | new.model_fields_set
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if name == "accounts" and not prefix:
            yield from _changed_accounts(before, after)
        elif isinstance(before, Table) and isinstance(after, Table):
            yield from changed_keys(before, after, f"{prefix}{name}.")
        # A default that follows from another key has changed with that one, which is named.
        elif before != after and name in explicit:
            yield prefix + name


def _changed_accounts(
    old: Mapping[str, AccountSettings], new: Mapping[str, AccountSettings]
) -> Iterator[str]:
    for account in sorted(old.keys() | new.keys()):
        if account in old and account in new:
            yield from changed_keys(old[account], new[account], f"accounts.{account}.")
        else:
            yield f"accounts.{account}"


def _with_live_keys(running: Settings, fresh: Settings, waiting: list[str]) -> Settings:
    """Return the running settings with what may change taken from the fresh ones."""
    accounts = {}
    for account, entry in fresh.accounts.items():
        if account not in waiting:
            accounts[account] = entry
        elif account in running.accounts:
            kept = running.accounts[account].time_zone
            accounts[account] = entry.model_copy(update={"time_zone": kept})
    live = {name: getattr(fresh.gateway, name) for name in LIVE_GATEWAY_KEYS}
    gateway = running.gateway.model_copy(update=live)
    # With the alerts: these name who is written to, and are only valid beside a server that does it.
    dashboard = running.dashboard.model_copy(update={"mail": fresh.dashboard.mail})
    return running.model_copy(
        update={"gateway": gateway, "accounts": accounts, "alerts": fresh.alerts, "dashboard": dashboard}
    )


def _zone_fault(account: str) -> str:
    return (
        f"accounts.{account}.time_zone: found another zone for months that have begun, expected the one that this "
        'account is metered in; a zone can only change from a later month on: keep it and add {from = "YYYY-MM", '
        'zone = "..."}, which takes a restart'
    )
