"""The ordered task of ``mau.counts``: each notice once, over restarts, changed plans and what it cannot read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date

import msgspec

from metering.alert_book import MonthState, Terms
from schemas.alert_codec import decode_notice, encode_count
from schemas.alerts import MonthCount, Notice
from schemas.topics import ALERTS_CHANGELOG, DEAD_LETTER, MAU_ALERTS, MAU_COUNTS
from streams.alerting import AlertPorts, AlertTask
from streams.guard import Acceptances, RefusalLimits
from streams.source import Source
from streams.task import Supervision
from tests.support.alerts import MONTH, count_of, terms_of
from tests.support.memory_log import MemoryLog

TODAY = date(2026, 11, 20)


class Bench:
    """A task over a log in memory; ``restart`` takes another one over the same log."""

    def __init__(self, terms: Terms) -> None:
        self.log = MemoryLog()
        self.terms = terms
        self.today = TODAY
        self.observed: list[Notice] = []
        self.failures: list[BaseException] = []
        self.restart()

    def restart(self) -> None:
        """Begin another life; what was not committed is lost."""
        self.source = Source(MAU_COUNTS, 0, self.log, lambda _flow: None)
        ports = AlertPorts(
            self.log, lambda: self.terms, lambda _account: self.today, lambda: 5, self.observed.append
        )
        supervision = Supervision(self.failures.append, Acceptances(self.log), RefusalLimits())
        self.task = AlertTask(self.source, ports, supervision)
        self.task.start()

    def deliver(self, *counts: MonthCount) -> None:
        """Append counts to the topic and deliver them."""
        for count in counts:
            self.deliver_value(encode_count(count)[1])

    def deliver_value(self, value: bytes) -> None:
        """Append a record and deliver it."""
        offset = self.log.ends.get((MAU_COUNTS, 0), 0)
        self.log.put(MAU_COUNTS, 0, offset, value)
        self.source.put((offset, value, 0))

    def redeliver(self) -> None:
        """Deliver everything that the topic has, as after a restart."""
        for offset, record in sorted(self.log.records.get((MAU_COUNTS, 0), {}).items()):
            self.source.put((offset, record.value or b"", 0))

    @property
    def notices(self) -> list[Notice]:
        """Return what stands in ``mau.alerts``."""
        return [
            decode_notice(record.value or b"")
            for record in self.log.records.get((MAU_ALERTS, 0), {}).values()
        ]

    @property
    def told(self) -> list[tuple[str, str, int]]:
        """Return the notices in short."""
        return [(notice.kind, notice.threshold, notice.n) for notice in self.notices]

    async def until(self, happened: Callable[[], bool]) -> None:
        """Wait until something happened, ten seconds at most."""
        async with asyncio.timeout(10):
            while not happened():
                assert not self.failures
                await asyncio.sleep(0.001)

    async def judged(self) -> None:
        """Wait until all that was delivered is judged."""
        end = self.log.ends[MAU_COUNTS, 0]
        await self.until(lambda: self.log.positions.get((MAU_COUNTS, 0)) == end)


def test_a_notice_is_there_once_over_lives_and_repeats() -> None:
    """The sum over partitions is judged; a new life that is told everything again gives no notice twice."""

    async def over() -> None:
        bench = Bench(terms_of(10))
        bench.deliver(count_of(5, 1), count_of(3, 1, partition=1), count_of(6, 2))
        await bench.judged()
        assert bench.told == [("crossed", "80%", 1)]
        await bench.task.stop()
        bench.restart()
        bench.redeliver()
        bench.deliver(count_of(8, 3))
        await bench.judged()
        await bench.task.stop()
        assert bench.told == [("crossed", "80%", 1), ("crossed", "100%", 1)]
        assert bench.observed == bench.notices
        assert [notice.level for notice in bench.notices] == ["warning", "exhausted"]

    asyncio.run(over())


def test_a_restatement_recovers_and_may_cross_again() -> None:
    """Two users who turn out to be one take the count below the threshold; the next user crosses it anew."""

    async def over() -> None:
        bench = Bench(terms_of(10, ("100%",)))
        for sequence, users in enumerate((10, 9, 10), 1):
            bench.deliver(count_of(users, sequence))
        await bench.judged()
        await bench.task.stop()
        assert bench.told == [("crossed", "100%", 1), ("recovered", "100%", 2), ("crossed", "100%", 3)]

    asyncio.run(over())


def test_a_larger_package_recovers_without_a_new_count() -> None:
    """Terms that change are noticed while nothing comes, and also when they changed between two lives."""

    async def over() -> None:
        bench = Bench(terms_of(10))
        bench.deliver(count_of(10, 1))
        await bench.judged()
        bench.terms = terms_of(20)
        await bench.until(lambda: len(bench.told) == 4)
        await bench.task.stop()
        bench.terms = terms_of(12)
        bench.restart()
        await bench.until(lambda: len(bench.told) == 5)
        await bench.task.stop()
        assert bench.told == [
            ("crossed", "80%", 1),
            ("crossed", "100%", 1),
            ("recovered", "100%", 2),
            ("recovered", "80%", 2),
            ("crossed", "80%", 3),
        ]
        assert [notice.cause for notice in bench.notices] == ["count", "count", "plan", "plan", "plan"]

    asyncio.run(over())


def test_a_larger_package_is_reached_anew() -> None:
    """What was used up is less than the new package, if only by a few: that is told, and so is the new one's end."""

    async def over() -> None:
        bench = Bench(terms_of(1000, ("100%",)))
        bench.deliver(count_of(1190, 1))
        await bench.judged()
        bench.terms = terms_of(1200, ("100%",))
        await bench.until(lambda: len(bench.told) == 2)
        bench.deliver(count_of(1200, 2), count_of(1190, 3))
        await bench.judged()
        await bench.task.stop()
        assert bench.told == [("crossed", "100%", 1), ("recovered", "100%", 2), ("crossed", "100%", 3)]

    asyncio.run(over())


def test_a_limit_that_changed_without_a_notice_is_known_to_the_next_life() -> None:
    """What the next life judges does not depend on whether there was one before it."""

    async def over() -> None:
        bench = Bench(terms_of(1000, ("100%",)))
        bench.deliver(count_of(1000, 1), count_of(995, 2))
        await bench.judged()
        bench.terms = terms_of(900, ("100%",))
        await bench.until(lambda: stored_limit(bench) == 900)
        await bench.task.stop()
        assert bench.told == [("crossed", "100%", 1)]
        bench.terms = terms_of(1000, ("100%",))
        bench.restart()
        await bench.until(lambda: len(bench.told) == 2)
        await bench.task.stop()
        assert bench.told[1] == ("recovered", "100%", 2)

    asyncio.run(over())


def test_states_of_the_version_before_are_read() -> None:
    """They do not say of which limit they are: a count wavers as it did, and from then on the limit is known."""

    async def over() -> None:
        bench = Bench(terms_of(1000, ("100%",)))
        bench.deliver(count_of(1000, 1))
        await bench.judged()
        await bench.task.stop()
        records = bench.log.records[ALERTS_CHANGELOG, 0]
        newest = max(records)
        state = msgspec.msgpack.decode(records[newest].value or b"")
        state[1]["mau_package"] = state[1]["mau_package"][:2]
        records[newest] = records[newest]._replace(value=msgspec.msgpack.encode(state))
        assert stored_limit(bench) is None
        bench.terms = terms_of(1005, ("100%",))
        bench.restart()
        await bench.until(lambda: stored_limit(bench) == 1005)
        assert bench.told == [("crossed", "100%", 1)]
        bench.terms = terms_of(1006, ("100%",))
        await bench.until(lambda: len(bench.told) == 2)
        await bench.task.stop()
        assert bench.told[1] == ("recovered", "100%", 2)

    asyncio.run(over())


def stored_limit(bench: Bench) -> int | None:
    """Return the limit that the newest state in the changelog was judged by."""
    records = bench.log.records[ALERTS_CHANGELOG, 0]
    state = msgspec.msgpack.decode(records[max(records)].value or b"", type=MonthState)
    return state.limits["mau_package"].limit


def test_a_plan_without_a_package_has_thresholds_that_are_counts() -> None:
    """Shares of nothing are never reached; a count is, and its notice says no share."""

    async def over() -> None:
        bench = Bench(terms_of(0, ("80%", "5")))
        bench.deliver(count_of(4, 1), count_of(5, 2))
        await bench.judged()
        await bench.task.stop()
        assert bench.told == [("crossed", "5", 1)]
        [notice] = bench.notices
        assert (notice.limit, notice.used_percent, notice.level) == (0, "", "warning")

    asyncio.run(over())


def test_a_month_that_is_forgotten_is_never_judged_again() -> None:
    """What a partition has forgotten is no recovery; nor is what a new one counts of it later a beginning."""

    async def over() -> None:
        bench = Bench(terms_of(10))
        bench.deliver(count_of(6, 1), count_of(6, 1, partition=1), count_of(0, 2, is_closed=True))
        bench.deliver(count_of(5, 2, partition=1))
        await bench.judged()
        assert bench.told == [("crossed", "80%", 1), ("crossed", "100%", 1)]
        bench.deliver(count_of(0, 3, partition=1, is_closed=True))
        await bench.judged()
        assert bench.task.book.months == {("A", "", MONTH): MonthState(is_closed=True)}
        await bench.task.stop()
        # The keys are removed from the compacted topic; its reader passes over that.
        assert [r.value for r in bench.log.records[MAU_COUNTS, 0].values()].count(None) == 2
        assert not bench.failures
        bench.restart()
        bench.redeliver()
        bench.deliver(count_of(9, 1, partition=2))
        await bench.judged()
        assert bench.task.book.months == {("A", "", MONTH): MonthState(is_closed=True)}
        await bench.task.stop()
        assert len(bench.told) == 2

    asyncio.run(over())


def test_a_final_month_wakes_nobody() -> None:
    """A backfill of last year crosses its thresholds; the notices say that they are about the past."""

    async def over() -> None:
        bench = Bench(terms_of(10))
        bench.today = date(2026, 12, 8)
        bench.deliver(count_of(10, 1))
        await bench.judged()
        await bench.task.stop()
        assert [notice.is_past for notice in bench.notices] == [True, True]

    asyncio.run(over())


def test_the_last_day_on_which_a_month_is_not_final() -> None:
    """Seven days after its end a month can still be corrected by webhooks that are repeated."""

    async def over() -> None:
        bench = Bench(terms_of(10))
        bench.today = date(2026, 12, 7)
        bench.deliver(count_of(10, 1))
        await bench.judged()
        await bench.task.stop()
        assert [notice.is_past for notice in bench.notices] == [False, False]

    asyncio.run(over())


def test_what_is_no_count_is_set_aside() -> None:
    """Somebody else's record goes to the dead letter, and the counts behind it are judged."""

    async def over() -> None:
        bench = Bench(terms_of(10))
        bench.deliver_value(b'{"no": "count"}')
        bench.deliver(count_of(8, 1))
        await bench.judged()
        await bench.task.stop()
        assert len(bench.log.records[DEAD_LETTER, 0]) == 1
        assert bench.told == [("crossed", "80%", 1)]

    asyncio.run(over())
