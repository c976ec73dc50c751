"""The businesses of the simulated world, and their time zones.

Account and number ids are a fixed list, whatever the seed, so that a settings file can be written beforehand. Owns
reading and writing the one setting that the truth depends on, ``[accounts."ID"] time_zone``; every other setting is
the product's own business.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping

from schemas.time_zones import ZoneInfo, ZoneInfoNotFoundError
from simulation.world import Account, BusinessNumber

ACCOUNTS_MAX = 100
DEFAULT_ZONE = "UTC"

_FIRST_ACCOUNT_ID = 900_100_200_300_400
_FIRST_NUMBER_ID = 700_800_900_100_200
_NUMBERS_PER_ACCOUNT = (2, 1, 3)

# Whole, half and quarter hours, both hemispheres, with and without summer time.
_ZONES = (
    "Asia/Kolkata",
    "America/Sao_Paulo",
    "Europe/Berlin",
    "America/New_York",
    "Africa/Johannesburg",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "America/St_Johns",
    "UTC",
)


class ConfigFault(Exception):
    """The settings file cannot serve as the source of time zones; the text says what is wrong with it."""


def make_accounts(count: int) -> tuple[Account, ...]:
    """Return the first ``count`` (1 to ``ACCOUNTS_MAX``) accounts of the fixed list."""
    assert 1 <= count <= ACCOUNTS_MAX
    return tuple(_account(index) for index in range(count))


def _account(index: int) -> Account:
    numbers = tuple(
        BusinessNumber(str(_FIRST_NUMBER_ID + index * 10 + position), f"1555{index:03d}{position:04d}")
        for position in range(_NUMBERS_PER_ACCOUNT[index % len(_NUMBERS_PER_ACCOUNT)])
    )
    return Account(str(_FIRST_ACCOUNT_ID + index), numbers, conversation_always=index % 2 == 1)


def varied_zones(accounts: Iterable[Account]) -> dict[str, str]:
    """Return a time zone for every account, different ones as far as the list goes."""
    return {account.account_id: _ZONES[index % len(_ZONES)] for index, account in enumerate(accounts)}


def config_text(zones: Mapping[str, str]) -> str:
    """Return a settings file (TOML) that gives every account its zone."""
    return "\n".join(f'[accounts."{account}"]\ntime_zone = "{zone}"\n' for account, zone in zones.items())


def zones_from_config(text: str, accounts: Iterable[Account]) -> dict[str, str]:
    """Return the zone of every account, ``UTC`` for those that the settings file does not name.

    Raises:
        ConfigFault: the text is not TOML, or the zone of one of the accounts is not one known IANA name.
    """
    try:
        settings: dict[str, object] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigFault(f"not valid TOML: {error}") from error
    tables = settings.get("accounts", {})
    if not isinstance(tables, dict):
        raise ConfigFault("`accounts` must be a table of accounts")
    return {account.account_id: _zone(tables, account.account_id) for account in accounts}


def _zone(tables: dict[str, object], account_id: str) -> str:
    table = tables.get(account_id, {})
    zone = table.get("time_zone", DEFAULT_ZONE) if isinstance(table, dict) else None
    if not isinstance(zone, str):
        raise ConfigFault(
            f'accounts."{account_id}".time_zone: the truth needs one zone name as text, such as "Europe/Berlin"; '
            "a zone that changes over time is not simulated"
        )
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigFault(f'accounts."{account_id}".time_zone: no IANA time zone {zone!r}') from error
    return zone
