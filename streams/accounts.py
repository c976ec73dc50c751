"""The accounts table of a partition: how far each account's time has come, and what holds its cut.

Owns the records of accounts and of the partition itself (sequence, source position, installation, rules built with).
"""

from __future__ import annotations

import msgspec

from metering.calendar import Calendar, ZoneRules, rules_agree_until
from metering.rules import RegimeRow, Regimes, regimes_of

PARTITION_KEY = b"\0partition"
"""Key of the partition's own record; account ids never begin with NUL."""


class AccountRecord(msgspec.Struct, array_like=True):
    """What a partition remembers of an account. Times in UTC seconds; field order is the storage format."""

    zones: ZoneRules = (("", "UTC"),)
    newest_at: int = 0
    """Newest ``occurred_at``, never beyond the receiver's clock."""
    cut: int = 0
    """Events before it are late: state up to here was or is being dropped. 0 = none was."""
    swept: int = 0
    """Cut up to which the sweep has been through all users."""
    floor_day: int = -(1 << 31)
    """Counter rows of earlier days have left the table."""
    holds: dict[str, int] = {}
    """Backfills that hold the cut: id to expiry."""
    oldest_at: int = 0
    """Oldest ``occurred_at`` ever admitted; 0 = not known (records written before this was kept)."""


class PartitionRecord(msgspec.Struct, array_like=True):
    """What a partition remembers of itself; written in every commit."""

    installation: str
    partition_count: int
    sequence: int = 0
    """Number of commits so far."""
    source_offset: int = 0
    """First event record that is not in the state. The authority over the consumer group's offset."""
    generation: int = 0
    regimes: list[RegimeRow] = []


_encode = msgspec.msgpack.Encoder().encode
_decode_account = msgspec.msgpack.Decoder(AccountRecord).decode
_decode_partition = msgspec.msgpack.Decoder(PartitionRecord).decode


def encode_record(record: AccountRecord | PartitionRecord) -> bytes:
    """Return the stored form."""
    return _encode(record)


def decode_account(stored: bytes) -> AccountRecord:
    """Return an account's record."""
    return _decode_account(stored)


def decode_partition(stored: bytes) -> PartitionRecord:
    """Return the partition's record."""
    return _decode_partition(stored)


class RulesChanged(RuntimeError):
    """The rules that days were counted by have changed for the past; says what to do."""


def check_zones(account: str, record: AccountRecord, configured: ZoneRules) -> ZoneRules:
    """Return the zones to go on with.

    Raises:
        RulesChanged: they differ for a month that has begun.
    """
    if rules_agree_until(record.zones, configured, record.newest_at):
        return configured
    raise RulesChanged(
        f"account {account}: days were counted in {_described(record.zones)}, the settings now say "
        f"{_described(configured)}. A zone can only change from a later month on: keep the old zone and add "
        '{from = "YYYY-MM", zone = "..."}, or count everything anew in an empty data directory.'
    )


def _described(zones: ZoneRules) -> str:
    return ", ".join(f"{zone} from {month or 'the beginning'}" for month, zone in zones)


def check_regimes(record: PartitionRecord, configured: Regimes, newest_day: int) -> None:
    """Make sure that the price regimes still say of every counted day what they said when it was counted.

    Raises:
        RulesChanged: they differ for a day up to ``newest_day``.
    """
    built_with = regimes_of(record.regimes) if record.regimes else configured
    if built_with.effective_until(newest_day) != configured.effective_until(newest_day):
        raise RulesChanged(
            "the price regimes changed for days that are already counted; restore the earlier regimes, or count "
            "everything anew in an empty data directory"
        )


def calendar_of(record: AccountRecord) -> Calendar:
    """Return the account's calendar."""
    return Calendar(record.zones)
