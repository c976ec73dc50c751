"""The ordered task of ``mau.alerts``: every channel gets every notice at least once, and none holds up another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from schemas.alert_codec import encode_notice
from schemas.alerts import Notice
from schemas.topics import DELIVERIES_CHANGELOG, MAU_ALERTS
from sinks.notify.channel import Channel, DeliveryFailed
from streams.guard import Acceptances, RefusalLimits
from streams.notifying import NotifyPorts, NotifyTask, Outcome, Pending, RetryLimits
from streams.processor import StateMismatch
from streams.source import Source
from streams.task import Supervision
from tests.support.alerts import FakeChannel, notice_of
from tests.support.memory_log import MemoryLog

UNWANTED_MS = 15 * 60_000


class Bench:
    """A task over a log in memory, with a clock of its own."""

    def __init__(self, **channels: Channel) -> None:
        self.log = MemoryLog()
        self.channels: dict[str, Channel] = dict(channels)
        self.now_ms = 1_000_000
        self.outcomes: list[tuple[str, Outcome, int]] = []
        self.failures: list[BaseException] = []
        self.restart()

    def restart(self) -> None:
        """Begin another life."""
        self.source = Source(MAU_ALERTS, 0, self.log, lambda _flow: None)
        ports = NotifyPorts(
            self.log,
            lambda: self.channels,
            lambda: self.now_ms,
            lambda: RetryLimits(2.0, 60.0, 3600.0),
            lambda *outcome: self.outcomes.append(outcome),
        )
        supervision = Supervision(self.failures.append, Acceptances(self.log), RefusalLimits())
        self.task = NotifyTask(self.source, ports, supervision)
        self.task.start()

    def deliver(self, *notices: Notice) -> None:
        """Append notices to the topic and deliver them."""
        for notice in notices:
            offset = self.log.ends.get((MAU_ALERTS, 0), 0)
            self.log.put(MAU_ALERTS, 0, offset, encode_notice(notice))
            self.source.put((offset, encode_notice(notice), 0))

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something happened, ten seconds at most."""
        async with asyncio.timeout(10):
            while not happened():
                assert not self.failures
                await asyncio.sleep(0.001)

    @property
    def owed(self) -> set[bytes | None]:
        """Return the keys that the changelog still has."""
        kept: dict[bytes | None, bytes | None] = {}
        for _, record in sorted(self.log.records.get((DELIVERIES_CHANGELOG, 0), {}).items()):
            kept[record.key] = record.value
        return {key for key, value in kept.items() if value is not None}


def test_every_channel_gets_every_notice_and_nothing_stays_owed() -> None:
    """One by one where a channel takes one at a time, together where it takes many."""

    async def over() -> None:
        one, many = FakeChannel(), FakeChannel(batch_max=10)
        bench = Bench(one=one, many=many)
        notices = [notice_of(n) for n in (1, 2, 3)]
        bench.deliver(*notices)
        ids = [notice.id for notice in notices]
        await bench.until(lambda: sum(map(len, one.taken)) == sum(map(len, many.taken)) == 3)
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert one.taken == [[id_] for id_ in ids]
        assert [id_ for batch in many.taken for id_ in batch] == ids
        assert not bench.failures

    asyncio.run(over())


def test_a_channel_that_is_away_gets_its_notices_later_and_holds_up_no_other() -> None:
    """It is tried again after a while that grows, and the others have their notices at once."""

    async def over() -> None:
        away, well = FakeChannel(), FakeChannel()
        away.failure = DeliveryFailed("no answer")
        bench = Bench(away=away, well=well)
        bench.deliver(notice_of(1))
        await bench.until(lambda: away.tried == 1 and len(well.taken) == 1)
        [pending] = bench.task.pending.values()
        waits = [pending.due_ms - bench.now_ms]
        for tries in (2, 3, 4):
            bench.now_ms = pending.due_ms
            await bench.until(lambda tries=tries: away.tried == tries)  # type: ignore[misc]
            waits.append(pending.due_ms - bench.now_ms)
        # 2, 4, 8, 16 seconds, each spread down to half of it.
        assert all(1000 * 2**place <= wait <= 2000 * 2**place for place, wait in enumerate(waits))
        away.failure = None
        bench.now_ms = pending.due_ms
        await bench.until(lambda: len(away.taken) == 1)
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert bench.outcomes.count(("webhook", "failed", 1)) == 4

    asyncio.run(over())


def test_what_is_owed_is_delivered_by_the_next_life_with_the_same_id() -> None:
    """A process that dies before a channel took a notice leaves it in the log."""

    async def over() -> None:
        away = FakeChannel()
        away.failure = DeliveryFailed("no answer")
        bench = Bench(away=away)
        bench.deliver(notice_of(1))
        await bench.until(lambda: away.tried == 1)
        await bench.task.stop()
        away.failure = None
        bench.restart()
        await bench.until(lambda: len(away.taken) == 1)
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert away.taken == [[notice_of(1).id]]

    asyncio.run(over())


def test_a_notice_is_given_up_when_it_is_refused_for_good_or_too_old() -> None:
    """It is counted as such, and nothing of it stays; a channel that never gives up keeps trying."""

    async def over() -> None:
        final, late, table = FakeChannel(), FakeChannel(), FakeChannel()
        final.failure = DeliveryFailed("HTTP 410", is_final=True)
        late.failure = table.failure = DeliveryFailed("no answer")
        table.gives_up = False
        bench = Bench(final=final, late=late, table=table)
        bench.deliver(notice_of(1))
        await bench.until(lambda: final.tried == late.tried == table.tried == 1)
        await bench.until(lambda: len(bench.owed) == 2)
        bench.now_ms += 3_600_001
        await bench.until(lambda: late.tried == table.tried == 2)
        await bench.until(lambda: len(bench.owed) == 1)
        await bench.task.stop()
        assert final.tried == 1
        assert bench.outcomes.count(("webhook", "gave_up", 1)) == 2
        assert {channel for _, channel in bench.task.pending} == {"table"}

    asyncio.run(over())


def test_a_channel_that_is_taken_out_of_the_settings_is_owed_nothing() -> None:
    """And one that asks for patience gets it."""

    async def over() -> None:
        gone = FakeChannel()
        gone.kind = "email"
        gone.failure = DeliveryFailed("HTTP 429", retry_after_seconds=500)
        bench = Bench(gone=gone)
        bench.deliver(notice_of(1))
        await bench.until(lambda: gone.tried == 1)
        [pending] = bench.task.pending.values()
        assert pending.due_ms - bench.now_ms == 500_000
        del bench.channels["gone"]
        bench.now_ms = pending.due_ms
        await bench.until(lambda: pending.unwanted_since_ms is not None)
        assert len(bench.owed) == 1
        bench.now_ms += UNWANTED_MS
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert gone.tried == 1
        assert bench.outcomes[-1] == ("email", "gave_up", 1)

    asyncio.run(over())


def test_a_worker_with_older_settings_keeps_what_a_new_channel_is_owed() -> None:
    """Settings are rolled out worker by worker: the partition may go to one that does not know the channel yet."""

    async def over() -> None:
        old, new = FakeChannel(), FakeChannel()
        new.failure = DeliveryFailed("no answer")
        bench = Bench(old=old, new=new)
        bench.deliver(notice_of(1))
        await bench.until(lambda: new.tried == len(old.taken) == 1)
        await bench.task.stop()
        del bench.channels["new"]
        bench.restart()
        await bench.until(lambda: bool(bench.task.pending))
        [pending] = bench.task.pending.values()
        await bench.until(lambda: pending.unwanted_since_ms is not None)
        for _ in range(2):
            bench.now_ms += UNWANTED_MS // 2 - 1
            await bench.until(lambda: pending.due_ms > bench.now_ms)
        assert len(bench.owed) == 1
        new.failure = None
        bench.channels["new"] = new
        bench.now_ms = pending.due_ms
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert new.taken == old.taken == [[notice_of(1).id]]
        assert not [outcome for outcome in bench.outcomes if outcome[1] == "gave_up"]

    asyncio.run(over())


def test_a_channel_whose_accounts_are_narrowed_gets_nothing_of_the_others() -> None:
    """Not even what it was owed before; it is kept as long as that of a channel that is unknown, and dropped then."""

    async def over() -> None:
        narrow = FakeChannel(batch_max=10)
        narrow.failure = DeliveryFailed("no answer")
        bench = Bench(narrow=narrow)
        mine, other = notice_of(1), notice_of(1, account="B")
        bench.deliver(mine, other)
        await bench.until(
            lambda: len(bench.owed) == 2 and all(p.attempts for p in bench.task.pending.values())
        )
        narrow.accounts, narrow.failure = ("A",), None
        bench.now_ms += 10_000
        await bench.until(lambda: len(bench.owed) == 1)
        [pending] = bench.task.pending.values()
        await bench.until(lambda: pending.unwanted_since_ms is not None)
        bench.now_ms += UNWANTED_MS
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert narrow.taken == [[mine.id]]
        assert not [outcome for outcome in bench.outcomes if outcome[1] == "gave_up"]

    asyncio.run(over())


def test_a_topic_that_was_made_anew_is_not_passed_over() -> None:
    """Its first notices would be taken for ones that were sent: the task ends, and says what to do."""

    async def over() -> None:
        channel = FakeChannel()
        bench = Bench(channel=channel)
        bench.deliver(notice_of(1), notice_of(2))
        await bench.until(lambda: len(channel.taken) == 2 and not bench.owed)
        await bench.task.stop()
        bench.log.records.pop((MAU_ALERTS, 0))
        bench.log.ends[MAU_ALERTS, 0] = 1
        bench.restart()
        async with asyncio.timeout(10):
            while not bench.failures:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
        await bench.task.stop()
        [failure] = bench.failures
        assert isinstance(failure, StateMismatch)
        assert "the notices before 2 were taken, the topic ends at 1: it was made anew" in str(failure)
        # As it says: from its beginning.
        bench.log.positions[MAU_ALERTS, 0] = 0
        bench.failures.clear()
        bench.log.ends[MAU_ALERTS, 0] = 0
        bench.restart()
        bench.deliver(notice_of(3))
        await bench.until(lambda: len(channel.taken) == 3)
        await bench.task.stop()

    asyncio.run(over())


def test_what_was_owed_before_channels_had_a_kind_is_still_owed() -> None:
    """A delivery that an older version stored has fewer fields; one that it reads has more."""
    old = msgspec.msgpack.encode([notice_of(1), "somebody", 5, 0, 0])
    assert msgspec.msgpack.decode(old, type=Pending) == Pending(notice_of(1), "somebody", 5)


def test_past_notices_go_where_they_are_wanted_only() -> None:
    """Nobody is woken by last year."""

    async def over() -> None:
        channel = FakeChannel()
        bench = Bench(channel=channel)
        bench.deliver(notice_of(1, is_past=True), notice_of(3))
        await bench.until(lambda: len(channel.taken) == 1)
        await bench.task.stop()
        assert channel.taken == [[notice_of(3).id]]

    asyncio.run(over())


def test_a_channel_that_breaks_in_no_way_that_was_thought_of_stops_nothing() -> None:
    """It is tried again like one that does not answer; metering runs in the same process."""

    async def over() -> None:
        broken, well = FakeChannel(), FakeChannel()
        broken.failure = TypeError("a fault of ours")
        bench = Bench(broken=broken, well=well)
        bench.deliver(notice_of(1))
        await bench.until(lambda: broken.tried == 1 and len(well.taken) == 1)
        broken.failure = None
        bench.now_ms += 2_000
        await bench.until(lambda: len(broken.taken) == 1)
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert bench.outcomes.count(("webhook", "failed", 1)) == 1
        assert not bench.failures

    asyncio.run(over())


class Table(FakeChannel):
    """Keeps what it takes, and can be put back to what it had before."""

    gives_up = False

    def __init__(self) -> None:
        super().__init__(batch_max=10)
        self.kept: set[str] = set()
        self.asked = 0
        self.away = False

    async def deliver(self, notices: Sequence[Notice]) -> None:
        """Keep them."""
        await super().deliver(notices)
        self.kept |= {notice.id for notice in notices}

    async def lacks(self, notices: Sequence[Notice]) -> Sequence[Notice]:
        """Return what is not kept."""
        self.asked += 1
        if self.away:
            raise DeliveryFailed("away")
        return [notice for notice in notices if notice.id not in self.kept]


def test_a_table_that_was_put_back_gets_what_it_lacks() -> None:
    """Notices are in the log for as long as it keeps them; other channels are not told again."""

    async def over() -> None:
        table, somebody = Table(), FakeChannel()
        bench = Bench(table=table, somebody=somebody)
        ids = [notice_of(n).id for n in (1, 2, 3)]
        bench.deliver(*[notice_of(n) for n in (1, 2, 3)])
        await bench.until(lambda: len(table.kept) == len(somebody.taken) == 3)
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        table.kept = {ids[1]}
        bench.restart()
        await bench.until(lambda: len(table.kept) == 3)
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert len(somebody.taken) == 3
        table.kept.clear()
        table.away, asked = True, table.asked
        bench.restart()
        await bench.until(lambda: table.asked > asked)
        bench.deliver(notice_of(4))
        await bench.until(lambda: len(somebody.taken) == 4)
        await bench.task.stop()
        assert table.kept == {notice_of(4).id}
        assert not bench.failures

    asyncio.run(over())


def test_no_commit_begins_once_deliveries_are_ended() -> None:
    """A delivery that has just been taken stays owed then, and is repeated: its commit would be cut in its middle."""

    async def over() -> None:
        taken, go_on = asyncio.Event(), asyncio.Event()

        class Slow(FakeChannel):
            async def deliver(self, notices: Sequence[Notice]) -> None:
                taken.set()
                await go_on.wait()
                await super().deliver(notices)

        slow = Slow()
        bench = Bench(slow=slow)
        bench.deliver(notice_of(1))
        await taken.wait()
        commits = bench.task._commits
        await commits.acquire()
        stopping = asyncio.create_task(bench.task.pause())
        await asyncio.sleep(1.2)  # the pause waits for the lock, behind nobody
        go_on.set()
        await asyncio.sleep(0)
        commits.release()
        await stopping
        assert len(bench.owed) == 1
        bench.task.start()
        await bench.until(lambda: not bench.owed)
        await bench.task.stop()
        assert len(slow.taken) == 2
        assert not bench.failures

    asyncio.run(over())
