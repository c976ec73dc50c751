"""Faust's consumer over the embedded log: one worker that owns every partition.

Owns positions, the one rebalance at start (and when the subscription changes), fetching and committing. Does not
own storage (``log``).

Unlike in Faust's base class, one task delivers all records of a fetch (not four tasks a record), and a position
moves when its record was *delivered*: what a rebalance cuts short, or a seek overtakes, is not lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from faust.assignor.client_assignment import ClientAssignment
from faust.assignor.partition_assignor import PartitionAssignor
from faust.exceptions import ConsumerNotStarted, ImproperlyConfigured
from faust.transport import base
from faust.transport.consumer import CONSUMER_FETCHING
from faust.types import TP, ConsumerMessage
from mode.types import ServiceT
from mode.utils.times import Seconds

from streams.embedded.headers import decode_headers
from streams.embedded.log import EmbeddedLog, OffsetOutOfRange, StoredRecord

if TYPE_CHECKING:
    from streams.embedded.transport import Transport

Fetched = Mapping[TP, list[StoredRecord]]

_DISK_FETCH_BYTES_MAX = 8 << 20
"""Of all partitions together, read from disk in one fetch; what is in memory is not copied, so not counted."""
_DELIVERIES_BEFORE_YIELD = 100


class Consumer(base.Consumer):
    """Consumes the topics that the app subscribes to, from the committed offsets of the group ``app.conf.id``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take Faust's arguments; nothing is opened before the service starts."""
        super().__init__(*args, **kwargs)
        self._log: EmbeddedLog | None = None
        self._assignment: set[TP] = set()
        self._positions: dict[TP, int] = {}
        """Next offset to deliver; in the order in which the partitions were read last, longest ago first."""
        self._unacked_from: dict[TP, int] = {}
        """Next offset to commit, also where nothing was committed yet."""
        self._seeks = 0
        self._wake = asyncio.Event()
        self._rebalancing = asyncio.Lock()
        self._disk = ThreadPoolExecutor(1, "embedded-log-reader")  # starts its thread when first used

    @property
    def _embedded(self) -> Transport:
        return cast("Transport", self.transport)

    @property
    def _open_log(self) -> EmbeddedLog:
        if self._log is None:
            raise ConsumerNotStarted("the consumer is not started")
        return self._log

    async def on_start(self) -> None:
        """Open the log.

        Raises:
            ImproperlyConfigured: a setting asks for what this transport does not do.
        """
        if self.app.client_only:
            raise ImproperlyConfigured(
                "embedded:// has one owner process, so a client-only app cannot use it"
            )
        if self.app.conf.consumer_auto_offset_reset != "earliest":
            raise ImproperlyConfigured("embedded:// starts a new group at the earliest record, nowhere else")
        self._log = self._embedded.attach()
        self._wake_loop = asyncio.get_running_loop()
        self._log.add_listener(self._on_appended)
        await super().on_start()

    async def on_stop(self) -> None:
        """Commit what is acknowledged and let go of the log."""
        try:
            await super().on_stop()
        finally:
            self._wake.set()
            await asyncio.to_thread(self._disk.shutdown)
            if self._log is not None:
                self._log.remove_listener(self._on_appended)
                self._log = None
                await self._embedded.detach()

    def _on_appended(self, touched: Collection[tuple[str, int]]) -> None:
        """Wake the fetch; called in the writer thread."""
        if not touched or not self._assignment.isdisjoint(touched):
            with suppress(RuntimeError):  # the loop is closed, so nothing is fetched any more
                self._wake_loop.call_soon_threadsafe(self._wake.set)

    # Subscription and assignment

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take all partitions of the topics; topics that do not exist are created."""
        # Not awaited: the app's callback waits for subscriptions, which are done when this returns.
        self.add_future(self._rebalance(frozenset(topics)))

    async def _rebalance(self, topics: frozenset[str]) -> None:
        async with self._rebalancing:
            for topic in topics:
                await self._embedded.ensure_topic(topic)
            log = self._open_log
            assigned = {TP(topic, number) for topic in topics for number in range(log.partition_count(topic))}
            app = self.app
            app.on_rebalance_start()
            await self.on_partitions_revoked(set(self._assignment))
            self._seeks += 1
            self._positions = {tp: self._start_position(tp) for tp in sorted(assigned)}
            self._unacked_from = dict(self._positions)
            self._assignment = assigned
            self._tell_assignor(assigned)
            app.consumer_generation_id += 1
            await self.on_partitions_assigned(set(assigned), app.consumer_generation_id)

    def _start_position(self, tp: TP) -> int:
        """Return the committed offset, else the start of the partition.

        Raises:
            OffsetOutOfRange: records that the group has not processed are gone. That is data loss; to go on
                from the start as if nothing had happened would hide it.
        """
        log = self._open_log
        start_offset = log.start_offset(*tp)
        committed = log.committed(self.app.conf.id, *tp)
        if committed is None:
            return start_offset
        if committed < start_offset:
            raise OffsetOutOfRange(tp.topic, tp.partition, committed, start_offset)
        return committed

    def _tell_assignor(self, assigned: set[TP]) -> None:
        """Fill in what Kafka's group protocol would have told Faust's assignor: this worker has everything."""
        partitions: dict[str, list[int]] = {}
        for topic, number in sorted(assigned):
            partitions.setdefault(topic, []).append(number)
        names = self.app.tables.changelog_topics
        changelogs = {name: numbers for name, numbers in partitions.items() if name in names}
        others = {name: numbers for name, numbers in partitions.items() if name not in names}
        url = str(self.app.conf.canonical_url)
        assignor = cast("PartitionAssignor", self.app.assignor)
        assignor._assignment = ClientAssignment(actives=partitions, standbys={})
        assignor._active_tps = set(assigned)
        assignor._standby_tps = set()
        # Topics with equal partition counts are one group, as Faust's own assignor numbers them.
        counts = sorted({len(numbers) for numbers in partitions.values()})
        assignor._topic_groups = {name: counts.index(len(numbers)) for name, numbers in partitions.items()}
        assignor.changelog_distribution = {url: changelogs}
        assignor.external_topic_distribution = {url: others}

    def assignment(self) -> set[TP]:
        """Return all partitions of the subscribed topics."""
        return self._assignment

    # Flow

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch a partition again whose stream has caught up."""
        super().on_buffer_drop(tp)
        self._wake.set()

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Fetch paused partitions again."""
        super().resume_partitions(tps)
        self._wake.set()

    def resume_flow(self) -> None:
        """Fetch again at all."""
        super().resume_flow()
        self._wake.set()

    async def _wait_next_records(self, timeout: float) -> tuple[Fetched | None, set[TP] | None]:  # noqa: ASYNC109
        """Fetch; with every stream full, wait for one to drain instead of sleeping a second as Faust does."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # mode's type, asyncio's event
        active = self._get_active_partitions()
        return await self._getmany(active, timeout), active

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Fetched:  # noqa: ASYNC109
        """Return what there is from the current positions on, or nothing after at most ``timeout`` seconds."""
        self._wake.clear()
        fetched = await self._fetch(self._assignment if active_partitions is None else active_partitions)
        if not fetched and not self.should_stop:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
        return fetched

    async def _fetch(self, wanted: set[TP]) -> Fetched:
        if self._log is None or self.should_stop:
            return {}
        log = self._log
        log.check()
        seeks = self._seeks
        behind = {
            tp: offset
            for tp, offset in self._positions.items()
            if offset < log.end_offset(*tp) and tp in wanted
        }
        on_disk = {tp: offset for tp, offset in behind.items() if not log.in_memory(*tp, offset)}
        fetched = {tp: self._read(log, tp, offset) for tp, offset in behind.items() if tp not in on_disk}
        if on_disk:
            loop = asyncio.get_running_loop()
            fetched.update(await loop.run_in_executor(self._disk, self._read_disk, log, on_disk))
        return fetched if seeks == self._seeks else {}

    def _read(self, log: EmbeddedLog, tp: TP, offset: int) -> list[StoredRecord]:
        conf = self.app.conf
        return log.read(
            *tp,
            offset,
            max_records=conf.broker_max_poll_records or 500,
            max_bytes=conf.consumer_max_fetch_size,
        )

    def _read_disk(self, log: EmbeddedLog, positions: Mapping[TP, int]) -> dict[TP, list[StoredRecord]]:
        """Read in a thread of its own, so that a slow disk does not stop the loop; bounded over all partitions."""
        fetched: dict[TP, list[StoredRecord]] = {}
        room_bytes = _DISK_FETCH_BYTES_MAX
        for tp, offset in positions.items():
            fetched[tp] = self._read(log, tp, offset)
            room_bytes -= sum(len(stored.record.value or b"") for stored in fetched[tp])
            if room_bytes <= 0:
                break
        return fetched

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        """Fetch and deliver until the fetcher stops. An error, a failed log above all, crashes the app."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                self.diag.set_flag(CONSUMER_FETCHING)
                fetched, _ = await self._wait_next_records(timeout=1.0)
                if fetched and not self.should_stop:
                    await self.wait_first(self._deliver(fetched, self._seeks), self.suspend_flow.wait())
                else:
                    await asyncio.sleep(0)
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        finally:
            self.diag.unset_flag(CONSUMER_FETCHING)

    async def _deliver(self, fetched: Fetched, seeks: int) -> None:
        """Hand records to the streams, by turns over topics and partitions; stop where a rebalance begins."""
        if seeks != self._seeks:
            return
        for tp in fetched:
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            self._positions[tp] = self._positions.pop(tp)  # to the end: it had its turn
        for delivered, (tp, stored) in enumerate(self.scheduler.iterate(cast("Any", fetched)), 1):
            if not self._may_deliver(tp):
                return
            await self._before_delivery(tp, stored.offset)
            if seeks != self._seeks:
                return
            await self.callback(self._to_message(tp, stored))
            if seeks != self._seeks:
                return
            self._positions[tp] = stored.offset + 1
            if delivered % _DELIVERIES_BEFORE_YIELD == 0:
                await asyncio.sleep(0)

    def _may_deliver(self, tp: TP) -> bool:
        return self.flow_active and (tp in self._active_partitions or tp in self._buffered_partitions)

    async def _before_delivery(self, tp: TP, offset: int) -> None:
        position = self._positions[tp]
        if offset > position and self.app.topics.acks_enabled_for(tp.topic):
            # Nobody can acknowledge what compaction removed.
            self._gap[tp].addi(position, offset)
        if self._commit_every is not None and self._n_acked >= self._commit_every:
            self._n_acked = 0
            await self.commit()

    def _to_message(self, tp: TP, record: StoredRecord) -> ConsumerMessage:
        offset, (key, value, timestamp_ms, headers) = record
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            offset,
            timestamp_ms / 1_000,
            0,  # the time is the writer's
            decode_headers(headers) if headers is not None else [],
            key,
            value,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )

    # Offsets

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        group = self.app.conf.id
        await self._open_log.transaction(
            [], {(group, tp.topic, tp.partition): offset for tp, offset in offsets.items()}
        )
        self._unacked_from.update(offsets)
        return True

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit, never beyond one that is not acknowledged.

        Faust's own rule does not look below the lowest acknowledged offset of a partition that was never
        committed, and is off by one at the committed head.
        """
        acked = self._acked[tp]
        if acked:
            gaps = self._gap[tp]
            lowest = min(acked)
            if gaps:
                lowest = min(lowest, gaps.begin())
            if lowest > self._unacked_from[tp]:
                return None
        return super()._new_offset(tp)

    async def _seek(self, partition: TP, offset: int) -> None:
        if self._is_changelog_tp(partition):
            # Recovery goes one record before the first that it needs, which may be one before the start.
            offset = max(offset, self._open_log.start_offset(*partition))
        self._seeks += 1
        self._positions[partition] = offset
        self._wake.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Go to the offsets."""
        for tp, offset in partitions.items():
            await self.seek(tp, offset)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go to the committed offsets and return them; changelogs stay where recovery has left them.

        Raises:
            OffsetOutOfRange: see ``_start_position``.
        """
        offsets = {tp: self._start_position(tp) for tp in self._assignment if not self._is_changelog_tp(tp)}
        for tp, offset in offsets.items():
            await self._seek(tp, offset)
        self._unacked_from.update(offsets)
        return offsets

    async def position(self, tp: TP) -> int | None:
        """Return the offset of the next record to deliver."""
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """Return the offset that the next record will get, as Kafka does."""
        return self._open_log.end_offset(*tp)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return ``highwater`` of each."""
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the lowest offset of each that may be read."""
        return {tp: self._open_log.start_offset(*tp) for tp in partitions}

    # Topics

    def topic_partitions(self, topic: str) -> int | None:
        """Return the partition count, or None if there is no such topic."""
        if self._log is None or topic not in self._log.topics():
            return None
        return self._log.partition_count(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Return where a record goes, or None if there is no such topic."""
        if self.topic_partitions(topic) is None:
            return None
        return self._embedded.partition_for(topic, key, partition)

    async def create_topic(  # noqa: PLR0913 -- Faust's signature
        self,
        topic: str,
        partitions: int,
        replication: int,  # noqa: ARG002 -- one copy, whatever is asked
        *,
        config: Mapping[str, Any] | None = None,  # noqa: ARG002 -- Kafka's own options
        timeout: Seconds = 30.0,  # noqa: ARG002, ASYNC109 -- nothing to wait for
        retention: Seconds | None = None,
        compacting: bool | None = None,
        deleting: bool | None = None,  # noqa: ARG002 -- the log does one or the other
        ensure_created: bool = False,  # noqa: ARG002 -- an existing topic is never an error
    ) -> None:
        """Declare a topic unless it exists."""
        await self._embedded.create_topic(topic, partitions, retention=retention, compacting=compacting)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)
