"""The accounts table of a partition: how far each account's time has come, and what holds its cut.

Owns the records of accounts and of the partition itself (sequence, source position, installation, rules built with).
What is kept of the zones' offsets is in ``streams.offsets``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import msgspec

from metering.calendar import Calendar, ZoneRules, rules_agree_until
from metering.rules import RegimeRow, Regimes, regimes_of
from schemas.time_zones import ZONE_DATABASE
from streams.offsets import CountedOffsets, counted_between, first_difference, offsets_for, reaches

PARTITION_KEY = b"\0partition"
"""Key of the partition's own record; account ids never begin with NUL."""
NO_DAY = -(1 << 31)
_EPOCHS_KEPT = 32


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
    offsets: CountedOffsets | None = None
    """What the zones meant when the days were counted; None = not known (records written before this was kept)."""
    asked: int = 0
    """Instant up to which all partitions are being asked whether state may be forgotten; 0 = nothing is asked."""
    asked_round: int = 0
    told: int = 0
    """The partitions that have answered in this round, as bits."""
    agreed: int = 0
    """Instant up to which state may be forgotten."""
    names_seen: int = 0
    """Whether messages came that only a phone named (1), and such that only a BSUID named (2), to any partition."""


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
    epochs: list[tuple[int, int]] = []
    """First commit and id of the newest epochs: one for each time that the partition was opened and committed."""
    dropped_sequence: int = 0
    """Newest commit that changed a counter row which has left the table since; 0 = none has left."""
    dropped_day: int = NO_DAY
    """Newest day whose rows have left the table."""
    moves_out: int = 0
    """Number of users' states sent to another key."""
    moves_in: int = 0
    """Number of users' states that came from another key and were joined. Over all partitions both are equal, but for
    those under way."""
    received_until_ms: int = 0
    """Time of the newest source record in the state, UTC milliseconds; 0 = none, or not noted yet."""
    has_published: bool = False
    """Whether the totals of all months are in ``mau.counts``; False = this state is older than that topic."""

    def begin_epoch(self, epoch: int) -> None:
        """Put the commits from the next one on into an epoch of their own."""
        begun = [known for known in self.epochs if known[0] <= self.sequence]
        self.epochs = [*begun[1 - _EPOCHS_KEPT :], (self.sequence + 1, epoch)]

    def note_dropped(self, sequence: int, day: int) -> None:
        """Note that rows up to a day left the table, changed by commits up to ``sequence``; 0 = there were none."""
        if sequence:
            self.dropped_sequence = max(self.dropped_sequence, sequence)
            self.dropped_day = max(self.dropped_day, day)


_encode = msgspec.msgpack.Encoder().encode
_decode_account = msgspec.msgpack.Decoder(AccountRecord).decode
_decode_partition = msgspec.msgpack.Decoder(PartitionRecord).decode


def encode_record(record: AccountRecord | PartitionRecord) -> bytes:
    """Return the stored form. An account's is brought up to date with what its zones mean, up to its newest event."""
    if isinstance(record, AccountRecord):
        counted = counted_between(record.oldest_at, record.newest_at)
        if counted is not None and not reaches(record.offsets, *counted):
            record.offsets = offsets_for(calendar_of(record), *counted)
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
    """Return the zones to go on with; what they mean from now on is taken from the database that is installed.

    Raises:
        RulesChanged: they differ for a month that has begun, or the time zone database now says something else of time
            that is counted.
    """
    if rules_agree_until(record.zones, configured, record.newest_at):
        _check_offsets(account, record, configured)
        record.offsets = None
        return configured
    raise RulesChanged(
        f"account {account}: days were counted in {_described(record.zones)}, the settings now say "
        f"{_described(configured)}. A zone can only change from a later month on: keep the old zone and add "
        '{from = "YYYY-MM", zone = "..."}, or count everything anew in an empty data directory.'
    )


def _check_offsets(account: str, record: AccountRecord, configured: ZoneRules) -> None:
    counted, then = counted_between(record.oldest_at, record.newest_at), record.offsets
    if then is None or counted is None:
        return
    now = offsets_for(Calendar(configured), then.since, then.until - 1)
    at = first_difference(then, now, *counted)
    if at is not None:
        raise RulesChanged(
            f"account {account}: days were counted in {_described(record.zones)}. At {_utc(at)} that was "
            f"{_distance(then.at(at))} in the time zone database of then ({then.database}); the one installed now "
            f"({ZONE_DATABASE}) says {_distance(now.at(at))}, so that events would move to other days. Install "
            f"{then.database} again, or count everything anew in an empty data directory."
        )


def _utc(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _distance(seconds: int) -> str:
    return str(timezone(timedelta(seconds=seconds)))


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
