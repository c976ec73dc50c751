"""The ordered task of ``mau.alerts``: each notice goes to every channel that wants it, at least once.

What is to be delivered is durable in the commit that takes the notice; it is removed in a commit of its own after the
channel took it. A process that dies in between delivers again, with the same id. Owns pending deliveries, back-off and
giving up. Does not own the channels (``sinks.notify``).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec
import orjson

from schemas.alert_codec import decode_notice
from schemas.alerts import Notice
from schemas.codec import UnreadableRecord
from schemas.topics import DELIVERIES_CHANGELOG, MAU_ALERTS
from sinks.notify.channel import Channel, ChannelKind, DeliveryFailed, KeepingChannel
from streams.log import SourcePosition, WorkerLog
from streams.records import Append, OffsetOutOfRange, Record
from streams.source import Source
from streams.step import SourceRecord
from streams.task import Supervision, WritingTask

_log = logging.getLogger(__name__)
Outcome = Literal["delivered", "failed", "gave_up"]
_LOOK_SECONDS = 1.0
_LOOK_FOR_LOST_SECONDS = 3600.0
_LOOK_AGAIN_SECONDS = 30.0
_UNWANTED_SECONDS = 900.0
"""What no channel here wants is kept so long: another process may already go by newer settings than this one."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """When a delivery is tried again; seconds."""

    first_seconds: float = 2.0
    longest_seconds: float = 900.0
    give_up_seconds: float = 3 * 86_400.0


@dataclass(frozen=True, slots=True)
class NotifyPorts:
    """What the task reaches the world through."""

    log: WorkerLog
    channels: Callable[[], Mapping[str, Channel]]
    """Returns the channels in force, by a name that stays the same."""
    now_ms: Callable[[], int]
    limits: Callable[[], RetryLimits] = RetryLimits
    """Returns those in force."""
    observe: Callable[[ChannelKind, Outcome, int], None] = lambda _kind, _outcome, _count: None
    """Called with a channel's kind, what became of deliveries, and how many."""
    on_step: Callable[[str], None] = lambda _: None


class Pending(msgspec.Struct, array_like=True):
    """A delivery that is owed. Field order is the storage format."""

    notice: Notice
    channel: str
    since_ms: int
    attempts: int = 0
    """Since this process has it."""
    due_ms: int = 0
    kind: ChannelKind = "webhook"
    """Of the channel, for whoever does not know it. Not in what was stored first."""
    unwanted_since_ms: int | None = None
    """Since when the settings of this process have no channel that wants it; None = they have."""


Key = tuple[str, str]
"""``(id of the notice, channel)``"""


class NotifyTask(WritingTask):
    """Delivers the notices of ``mau.alerts``."""

    def __init__(self, source: Source, ports: NotifyPorts, supervision: Supervision) -> None:
        """Take the records and where they go."""
        super().__init__(source, supervision)
        self.pending: dict[Key, Pending] = {}
        self._ports = ports
        self._commits = asyncio.Lock()
        self._more = asyncio.Event()
        self._deliverer: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def _open(self) -> int:
        log, partition = self._ports.log, self.source.partition
        # First: whoever had the partition before can commit no more, so that what is read next is final.
        self._writer = await log.writer(MAU_ALERTS, partition)
        self.pending = {}
        end = (await log.bounds(DELIVERIES_CHANGELOG, partition)).end
        async for chunk in log.read(DELIVERIES_CHANGELOG, partition, 0, end):
            for _, record in chunk:
                key = _decode_key(record.key or b"")
                if record.value is None:
                    self.pending.pop(key, None)
                else:
                    self.pending[key] = _decode_pending(record.value)
        # Notices that left the topic before they were read are old beyond their use.
        position = await self._find_position(
            log,
            "the notices before {} were taken",
            "the notices that are there now are sent, perhaps again, with the same ids",
        )
        self._begin_delivering()
        return position

    def _begin_delivering(self) -> None:
        self._is_stopping = False
        self._deliverer = asyncio.create_task(self._deliver_all(), name="deliver-notices")
        self._deliverer.add_done_callback(self._ended)

    async def _work(self, records: list[SourceRecord]) -> None:
        now_ms = self._ports.now_ms()
        channels = self._ports.channels()
        fresh: dict[Key, Pending] = {}
        for notice in _readable(value for _, value, _ in records):
            for name, channel in channels.items():
                if channel.wants(notice):
                    fresh[notice.id, name] = Pending(notice, name, now_ms, kind=channel.kind)
        await self._commit(fresh, records[-1][0] + 1)
        self.pending.update(fresh)
        self._more.set()

    async def _commit(self, changed: Mapping[Key, Pending | None], next_offset: int | None = None) -> bool:
        """Make pending deliveries, or their end (None), durable; False = nothing was done, as deliveries are ended."""
        now_ms = self._ports.now_ms()
        records = [
            Record(orjson.dumps(list(key)), None if each is None else _encode_pending(each), now_ms)
            for key, each in changed.items()
        ]
        async with self._commits:
            if self._is_stopping and next_offset is None:
                return False
            position = self._position if next_offset is None else next_offset
            partition = self.source.partition
            self._ports.on_step("before-notify-commit")
            appends = [Append(DELIVERIES_CHANGELOG, partition, records)] if records else []
            await self.writer.commit(appends, SourcePosition(MAU_ALERTS, partition, position))
            self._ports.on_step("after-notify-commit")
            self._position = position
            return True

    async def _idle(self) -> None:
        """Deliveries have a task of their own: a channel that does not answer must not hold up new notices."""

    async def _deliver_all(self) -> None:
        """Deliver what is due, again and again; a channel that does not answer holds up its own notices only."""
        busy: dict[str, asyncio.Task[None]] = {}
        looking = asyncio.create_task(self._owe_what_is_lacked(), name="look-for-lost-notices")
        try:
            while True:
                self._more.clear()
                if looking.done():
                    looking.result()
                for name, task in list(busy.items()):
                    if task.done():
                        busy.pop(name).result()
                for name, due in self._due().items():
                    if name not in busy:
                        busy[name] = asyncio.create_task(self._deliver(due), name=f"deliver-{name}")
                        busy[name].add_done_callback(lambda _: self._more.set())
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._more.wait()
        finally:
            for task in (looking, *busy.values()):
                task.cancel()
            await asyncio.gather(looking, *busy.values(), return_exceptions=True)

    async def _owe_what_is_lacked(self) -> None:
        """Look again and again whether channels that keep notices still have them: a table may come from a backup."""
        while True:
            wait_seconds = _LOOK_FOR_LOST_SECONDS
            for name, channel in self._ports.channels().items():
                if isinstance(channel, KeepingChannel):
                    try:
                        await self._owe_again(name, channel)
                    except (DeliveryFailed, OffsetOutOfRange) as error:
                        _log.info(
                            "whether notices are lacking is not known yet: %s: %s", channel.title, error
                        )
                        wait_seconds = _LOOK_AGAIN_SECONDS
            await asyncio.sleep(wait_seconds)

    async def _owe_again(self, name: str, channel: KeepingChannel) -> None:
        log, partition = self._ports.log, self.source.partition
        start = (await log.bounds(MAU_ALERTS, partition)).start
        async for chunk in log.read(MAU_ALERTS, partition, start, self._position):
            taken = _readable(record.value for _, record in chunk)
            owed = {key[0] for key in self.pending if key[1] == name}
            asked = [each for each in taken if each.id not in owed and channel.wants(each)]
            lost = await channel.lacks(asked) if asked else ()
            if not lost:
                continue
            now_ms = self._ports.now_ms()
            fresh: dict[Key, Pending | None] = {
                (notice.id, name): Pending(notice, name, now_ms, kind=channel.kind) for notice in lost
            }
            # Another look may find them lacking once more before they are there: a second copy is the same.
            if await self._commit(fresh):
                _log.warning("%d notices are lacking and are written again: %s", len(lost), channel.title)
                self.pending.update({key: each for key, each in fresh.items() if each is not None})
                self._more.set()

    def _due(self) -> dict[str, list[Pending]]:
        """Return the deliveries that are due, oldest first, by channel."""
        now_ms = self._ports.now_ms()
        by_channel: dict[str, list[Pending]] = {}
        for pending in sorted(self.pending.values(), key=lambda each: each.since_ms):
            if pending.due_ms <= now_ms:
                by_channel.setdefault(pending.channel, []).append(pending)
        return by_channel

    async def _deliver(self, due: list[Pending]) -> None:
        """Try the due deliveries of one channel, one batch after the other."""
        channel = self._ports.channels().get(due[0].channel)
        size = channel.batch_max if channel else len(due)
        for at in range(0, len(due), size):
            await self._settle(await self._attempt(due[at : at + size]))

    async def _attempt(self, batch: list[Pending]) -> list[Key]:
        """Try to deliver what is still wanted; return the deliveries that are over, well or not."""
        channel = self._ports.channels().get(batch[0].channel)
        if channel is None:
            return self._unwanted(None, batch)
        wanted: list[Pending] = []
        unwanted: list[Pending] = []
        for pending in batch:
            # Asked again: its accounts may be others since.
            (wanted if channel.wants(pending.notice) else unwanted).append(pending)
        over = self._unwanted(channel, unwanted)
        return over + await self._tried(channel, wanted) if wanted else over

    def _unwanted(self, channel: Channel | None, batch: list[Pending]) -> list[Key]:
        """Keep deliveries that no channel here wants for a while; return those whose time is over."""
        now_ms = self._ports.now_ms()
        fresh = [pending for pending in batch if pending.unwanted_since_ms is None]
        for pending in fresh:
            pending.unwanted_since_ms = now_ms
        for pending in batch:
            pending.due_ms = now_ms + round(_LOOK_SECONDS * 1000)
        until_ms = now_ms - _UNWANTED_SECONDS * 1000
        over = [pending for pending in batch if (pending.unwanted_since_ms or 0) <= until_ms]
        for pendings, outcome in ((fresh, "wait"), (over, "are not sent")):
            if pendings:
                why = _why_unwanted(channel, pendings[0].channel)
                _log.warning("%d notices %s: %s", len(pendings), outcome, why)
        if over and channel is None:
            self._ports.observe(over[0].kind, "gave_up", len(over))
        return _keys(over)

    async def _tried(self, channel: Channel, batch: list[Pending]) -> list[Key]:
        """Try to deliver what the channel wants; return the deliveries that are over, well or not."""
        for pending in batch:
            pending.unwanted_since_ms = None
        try:
            await channel.deliver([pending.notice for pending in batch])
        except DeliveryFailed as error:
            return self._failed(channel, batch, error)
        except Exception as error:
            # A fault of ours, or of a library. Metering is not to stop because somebody cannot be told.
            _log.exception("a notice could not be delivered, by a fault of this program: %s", channel.title)
            return self._failed(channel, batch, DeliveryFailed(f"unexpected {type(error).__name__}"))
        self._ports.observe(channel.kind, "delivered", len(batch))
        return _keys(batch)

    def _failed(self, channel: Channel, batch: list[Pending], error: DeliveryFailed) -> list[Key]:
        now_ms, limits = self._ports.now_ms(), self._ports.limits()
        over: list[Pending] = []
        for pending in batch:
            pending.attempts += 1
            wait = min(limits.longest_seconds, limits.first_seconds * 2 ** min(pending.attempts - 1, 30))
            # Spread, so that what failed together does not come back together.
            wait = max(error.retry_after_seconds, wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pending.due_ms = now_ms + round(wait * 1000)
            is_old = now_ms - pending.since_ms > limits.give_up_seconds * 1000
            if channel.gives_up and (error.is_final or is_old):
                over.append(pending)
        outcome: Outcome = "gave_up" if over else "failed"
        log = _log.error if over else _log.warning
        log(
            "%d notices could not be delivered to %s (attempt %d)%s: %s",
            len(batch),
            channel.title,
            batch[0].attempts,
            ", and are given up" if over else "",
            error,
        )
        self._ports.observe(channel.kind, outcome, len(batch))
        return _keys(over)

    async def _settle(self, keys: Sequence[Key]) -> None:
        if keys and await self._commit(dict.fromkeys(keys)):
            for key in keys:
                self.pending.pop(key, None)

    async def pause(self) -> None:
        """Return after the step under way; deliveries stop too, as the partition may go to another worker."""
        await super().pause()
        await self._stop_delivering()

    def start(self) -> None:
        """Begin, or go on after a pause."""
        super().start()
        if self._opened and self._deliverer is None:
            self._begin_delivering()

    async def _stop_delivering(self) -> None:
        deliverer, self._deliverer = self._deliverer, None
        if deliverer is not None:
            # A commit under way has to come to its end, and none may begin: its outcome must be known.
            async with self._commits:
                self._is_stopping = True
                deliverer.cancel()
            await asyncio.wait({deliverer})

    async def _close(self) -> None:
        await self._stop_delivering()
        await super()._close()


def _readable(values: Iterable[bytes | None]) -> list[Notice]:
    """Return the notices of records; what is none is told, and passed over."""
    notices = []
    for value in values:
        try:
            notices.append(decode_notice(value or b""))
        except UnreadableRecord as error:
            _log.error("a record of %s is skipped: %s", MAU_ALERTS, error)
    return notices


def _keys(batch: Iterable[Pending]) -> list[Key]:
    return [(pending.notice.id, pending.channel) for pending in batch]


def _why_unwanted(channel: Channel | None, name: str) -> str:
    if channel is None:
        return f"the settings in force here have no channel {name}"
    return f"by the settings in force here they are not for {channel.title}"


_encode_pending = msgspec.msgpack.Encoder().encode
_decode_pending = msgspec.msgpack.Decoder(Pending).decode
_decode_key = msgspec.json.Decoder(tuple[str, str]).decode
