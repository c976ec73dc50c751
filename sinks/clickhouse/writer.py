"""Writes absolute counter values to ClickHouse, so that a repeated or re-ordered flush changes nothing.

Owns the order of a flush (rows first, then the progress mark) and the shape of the inserts. Does not own what is
dirty or when to retry: the caller repeats a flush that failed with ``ClickHouseAway``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple, cast

from schemas.rows import FAMILIES, CounterKey, Family, FamilySchema
from sinks.clickhouse.client import ClickHouseRefused, ClientPool, quoted_identifier
from sinks.clickhouse.marks import MarkRow, newest_sound, place_of

_MONTHS_PER_INSERT_MAX: Final = 90
"""ClickHouse refuses an insert into more than 100 partitions of a table (``max_partitions_per_insert_block``)."""
_DAYS_PER_INSERT_MAX: Final = _MONTHS_PER_INSERT_MAX * 28


class CounterRow(NamedTuple):
    """One counter: its key as in ``schemas.rows``, the absolute values of its measures, and the commit sequence."""

    key: CounterKey
    values: tuple[int, ...]
    version: int


class Progress(NamedTuple):
    """How far a partition's rows are in ClickHouse: commit sequence and next source offset."""

    sequence: int
    source_offset: int


class Mark(NamedTuple):
    """What ClickHouse says of a partition: whose numbers it holds and how far they go without a gap."""

    installation: str = ""
    """Empty = ClickHouse belongs to none."""
    progress: Progress = Progress(0, 0)
    epoch: int = 0
    """In which epoch the commit was made that the progress names; 0 = not noted."""
    rows: tuple[MarkRow, ...] = ()
    """All marks that are there."""

    @property
    def newest(self) -> int:
        """Return the highest commit that any mark names: above ``progress``, after a rollback under a flush."""
        return max((row.sequence for row in self.rows), default=self.progress.sequence)


class ClickHouseWriter:
    """Blocking writer; call it in a thread. Safe for several threads: each has its own client of the pool.

    Every method raises ``ClickHouseAway`` (retry later) or ``ClickHouseRefused`` (stop, a person must act).
    """

    def __init__(self, clients: ClientPool, generation: int = 0) -> None:
        """Take the clients, and the generation that the rows and the progress belong to."""
        self._clients = clients
        self._generation = generation

    def read_installation(self) -> str | None:
        """Return the installation id that this database belongs to, or None if it belongs to none yet."""
        rows = self._clients.get().query("SELECT id FROM installation ORDER BY created_at, id LIMIT 1")
        return str(rows[0][0]) if rows else None

    def write_installation(self, id: str) -> None:  # noqa: A002
        """Mark the database as belonging to an installation. The first id stays.

        Raises:
            ClickHouseRefused: another installation was first.
        """
        columns: list[Sequence[object]] = [[id], [datetime.now(UTC)]]
        self._clients.get().insert("installation", ("id", "created_at"), columns)
        first = self.read_installation()
        if first != id:
            raise ClickHouseRefused(
                f"this ClickHouse database was taken by installation {first} just now, ours is {id}; "
                "give each installation a database of its own"
            )

    def read_progress(self, partition: int) -> Progress | None:
        """Return the newest progress mark of a partition in this generation, or None if it has none."""
        rows = self._clients.get().query(
            "SELECT sequence, source_offset FROM flush_progress"
            " WHERE partition = {partition:UInt16} AND generation = {generation:UInt16}"
            " ORDER BY sequence DESC, flushed_at DESC LIMIT 1",
            {"partition": partition, "generation": self._generation},
        )
        return Progress(*rows[0]) if rows else None

    def read_mark(self, partition: int) -> Mark:
        """Return what ClickHouse says of a partition now, in one small query."""
        [(installation, stored)] = self._clients.get().query(
            "SELECT (SELECT argMin(id, (created_at, id)) FROM installation),"
            " groupArray((slot, sequence, source_offset, epoch, previous)) FROM flush_progress"
            " WHERE partition = {partition:UInt16} AND generation = {generation:UInt16}",
            {"partition": partition, "generation": self._generation},
        )
        rows = tuple(MarkRow(*row) for row in stored)
        sound = newest_sound(rows)
        if sound is None:
            return Mark(installation, rows=rows)
        return Mark(installation, Progress(sound.sequence, sound.source_offset), sound.epoch, rows)

    def is_loss_accepted(self, partition: int, from_sequence: int, to_sequence: int) -> bool:
        """Tell whether an operator accepted to miss what commits changed, after the first up to the last."""
        rows = self._clients.get().query(
            "SELECT 1 FROM accepted_losses"
            " WHERE partition = {partition:UInt16} AND generation = {generation:UInt16}"
            " AND from_sequence <= {from:UInt64} AND to_sequence >= {to:UInt64} LIMIT 1",
            {
                "partition": partition,
                "generation": self._generation,
                "from": from_sequence,
                "to": to_sequence,
            },
        )
        return bool(rows)

    def acceptance_statement(self, partition: int, from_sequence: int, to_sequence: int) -> str:
        """Return the statement by which an operator accepts such a loss."""
        database = quoted_identifier(self._clients.get().database)
        return (
            f"INSERT INTO {database}.accepted_losses "  # noqa: S608 - shown to a person, never run here
            f"(partition, generation, from_sequence, to_sequence)"
            f" VALUES ({partition}, {self._generation}, {from_sequence}, {to_sequence})"
        )

    def has_rows(self) -> bool:
        """Tell whether any counter row of any generation is there (ClickHouse is not empty)."""
        tables = " UNION ALL ".join(
            f"(SELECT 1 FROM {schema.table} LIMIT 1)"  # noqa: S608 - names of our own tables
            for schema in FAMILIES.values()
        )
        return bool(self._clients.get().query(f"SELECT 1 FROM ({tables}) LIMIT 1"))  # noqa: S608

    def flush(  # noqa: PLR0913 - what a mark says, and the seams of the tests
        self,
        partition: int,
        rows: Sequence[CounterRow],
        progress: Progress,
        *,
        epoch: int = 0,
        check: Callable[[Mark], None] | None = None,
        chunk_rows: int = 50_000,
        on_step: Callable[[str], None] | None = None,
        received_until_ms: int = 0,
    ) -> None:
        """Write the rows of one partition, then its progress; return once all of it is acknowledged.

        Args:
            partition: the events partition that the rows were counted in.
            rows: absolute values in any order; a newer version of a key wins wherever it stands.
            progress: what ClickHouse holds once the rows are in.
            epoch: in which the commit was made that ``progress`` names.
            check: called with ClickHouse's mark before anything is written; what it raises ends the flush.
            chunk_rows: rows per insert.
            on_step: called with "after-chunk" after each insert, "before-progress" and "after-progress"; a seam
                for tests that kill the process between the steps.
            received_until_ms: when the newest record was received that these rows count, UTC milliseconds; 0 = not
                known. For readers, who want to know how fresh the rows are; nothing depends on it.

        Raises:
            ClickHouseAway: the outcome is unknown, some rows may be in, the progress mark may even be; flush again.
            ClickHouseRefused: ClickHouse will not take these rows however often they come.
        """
        step = on_step or _no_step
        client = self._clients.get()
        base = Mark()
        if check:
            base = self.read_mark(partition)
            check(base)
        for schema, chunk in _chunks(rows, chunk_rows):
            columns = _columns(schema, chunk, partition, self._generation)
            client.insert(schema.table, column_names(schema), columns)
            step("after-chunk")
        step("before-progress")
        self._write_mark(partition, progress, epoch, base, received_until_ms)
        step("after-progress")

    def _write_mark(
        self, partition: int, progress: Progress, epoch: int, base: Mark, received_until_ms: int
    ) -> None:
        if progress == base.progress:
            return  # an earlier attempt wrote it, though its answer was lost
        slot, previous = place_of(base.rows, progress.sequence)
        received_until = datetime.fromtimestamp(received_until_ms / 1000, UTC)
        mark = [
            partition,
            self._generation,
            *progress,
            epoch,
            previous,
            slot,
            datetime.now(UTC),
            received_until,
        ]
        self._clients.get().insert("flush_progress", _PROGRESS_COLUMNS, [[value] for value in mark])


_PROGRESS_COLUMNS: Final = (
    "partition",
    "generation",
    "sequence",
    "source_offset",
    "epoch",
    "previous",
    "slot",
    "flushed_at",
    "received_until",
)


def column_names(schema: FamilySchema) -> tuple[str, ...]:
    """Return the columns of a family's table, in storage order."""
    return (*schema.dimensions, *schema.measures, "partition", "generation", "version")


def _no_step(_: str) -> None:
    """Do nothing between the steps."""


def _chunks(
    rows: Sequence[CounterRow], chunk_rows: int
) -> Iterator[tuple[FamilySchema, Sequence[CounterRow]]]:
    """Cut the rows into inserts: one family each, at most ``chunk_rows`` rows and few enough months."""
    by_family: dict[Family, list[CounterRow]] = {}
    for row in rows:
        by_family.setdefault(cast("Family", row.key[0]), []).append(row)
    for family in sorted(by_family):
        schema = FAMILIES[family]
        for group in _within_months(by_family[family]):
            pending = iter(group)
            while chunk := list(islice(pending, chunk_rows)):
                yield schema, chunk


def _within_months(rows: list[CounterRow]) -> Iterator[list[CounterRow]]:
    """Split rows that span too many month partitions for one insert; usually there is nothing to split."""
    days = [_day(row) for row in rows]
    if max(days) - min(days) < _DAYS_PER_INSERT_MAX:
        yield rows
        return
    spans: dict[int, list[CounterRow]] = {}
    for row, day in zip(rows, days, strict=True):
        spans.setdefault(day // _DAYS_PER_INSERT_MAX, []).append(row)
    yield from (spans[span] for span in sorted(spans))


def _day(row: CounterRow) -> int:
    day = row.key[1]
    assert isinstance(day, int)
    return day


def _columns(
    schema: FamilySchema, rows: Sequence[CounterRow], partition: int, generation: int
) -> list[Sequence[object]]:
    """Turn rows into columns in the order of ``column_names``."""
    keys = list(zip(*(row.key for row in rows), strict=True))
    values = list(zip(*(row.values for row in rows), strict=True))
    if len(keys) != len(schema.dimensions) + 1 or len(values) != len(schema.measures):
        raise ValueError(
            f"rows of family {schema.table}: found {len(keys) - 1} dimensions and {len(values)} measures, "
            f"expected {len(schema.dimensions)} and {len(schema.measures)}"
        )
    count = len(rows)
    return [
        keys[1],  # the client library takes the number of days for a Date as it is
        *keys[2:],
        *values,
        [partition] * count,
        [generation] * count,
        [row.version for row in rows],
    ]
