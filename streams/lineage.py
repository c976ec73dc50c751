"""Which commits are those of this partition's state: whether ClickHouse still is where this process left it.

Owns what a progress mark means: the mark may be ours, behind us (ClickHouse was rolled back) or of somebody else.
Reads nothing and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from sinks.clickhouse.writer import Mark
from streams.processor import StateMismatch

_RESTORE = (
    "End all but one of them, and restore a ClickHouse backup from before the copy was started, or empty the database "
    "to have it filled again from the state that stays"
)


class ClickHouseRolledBack(StateMismatch):
    """ClickHouse lost what it had acknowledged. The process must end: its next start writes again what is missing.

    Opening a partition anew is the one way to find every row that ClickHouse lacks while nothing else changes them.
    """


@dataclass(frozen=True, slots=True)
class Lineage:
    """The history of one partition's commits, as far as it tells one copy of the state from another."""

    partition: int
    installation: str = ""
    """Id that ClickHouse must carry; empty = not checked."""
    epochs: tuple[tuple[int, int], ...] = ()
    """First commit and id of each epoch, ascending. An epoch begins when the partition is opened."""

    def epoch_of(self, sequence: int) -> int:
        """Return the epoch that a commit was made in; 0 = not known."""
        for first, epoch in reversed(self.epochs):
            if sequence >= first:
                return epoch
        return 0

    def check(self, mark: Mark, committed: int) -> None:
        """Make sure that ClickHouse's mark names one of our commits, whoever wrote it.

        A worker that had the partition before us may write its mark late: its commits are ours too.

        Args:
            mark: what ClickHouse says of the partition.
            committed: our newest commit.

        Raises:
            StateMismatch: the mark is of another history; nothing may be written over it.
        """
        if self.installation and mark.installation and mark.installation != self.installation:
            raise StateMismatch(
                f"ClickHouse holds the numbers of installation {mark.installation}, the log is of {self.installation}; "
                "point to the ClickHouse that belongs to this log, or to an empty database"
            )
        found = mark.progress.sequence
        if mark.newest > committed:
            raise StateMismatch(
                f"ClickHouse has commit {mark.newest} of partition {self.partition}, the state only {committed}: the "
                "data directory was emptied or rolled back while ClickHouse was not, or another process works on this "
                "partition (on Kafka it has taken the partition over, and a restart is all that is needed). Restore "
                "the data directory that belongs to this ClickHouse, or point to an empty database"
            )
        expected = self.epoch_of(found)
        if expected and mark.epoch and mark.epoch != expected:
            raise StateMismatch(
                f"commit {found} of partition {self.partition} in ClickHouse was not made by this state: a copy of "
                f"the data directory works on the same ClickHouse. {_RESTORE}"
            )

    def check_unchanged(self, mark: Mark, flushed: int, committed: int) -> None:
        """Make sure that ClickHouse still has what it acknowledged to this process.

        Args:
            mark: what ClickHouse says of the partition.
            flushed: the newest commit that it acknowledged.
            committed: our newest commit. A mark between the two is of an attempt with unknown outcome.

        Raises:
            ClickHouseRolledBack: it has lost some of it.
            StateMismatch: as for ``check``.
        """
        self.check(mark, committed)
        if mark.progress.sequence < flushed or (self.installation and not mark.installation):
            raise ClickHouseRolledBack(
                f"ClickHouse has partition {self.partition} up to commit {mark.progress.sequence}, and had it up to "
                f"{flushed}: it was emptied or restored from a backup while this process ran. Nothing was written "
                "over it; start again, and what it lacks is written anew"
            )
