"""The ordered task of one partition of ``mau.counts``: counts in, notices out.

State, notices and source position become durable in one commit, so that a notice is in ``mau.alerts`` exactly once for
its id. The state is small (accounts x numbers x a few months), so it is kept in memory and read from its changelog when
the partition is opened. Owns this order; what a count leads to is ``metering.alert_book``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import msgspec
import orjson

from metering.alert_book import AlertBook, Moment, MonthScope, MonthState, Terms
from metering.alerts import LimitNow
from schemas.alert_codec import count_key, decode_count, encode_notice
from schemas.alerts import Cause, CountKey, MonthCount, Notice
from schemas.codec import UnreadableRecord
from schemas.events import Refusal
from schemas.topics import ALERTS_CHANGELOG, MAU_ALERTS, MAU_COUNTS
from sinks.notify.texts import LIMIT_WORDS
from streams.log import SourcePosition, WorkerLog
from streams.normalize import refusal_appends
from streams.records import Append, Record
from streams.source import Source
from streams.step import SourceRecord
from streams.task import Supervision, WritingTask

_log = logging.getLogger(__name__)
_JUDGED_AT_ONCE = 200
_encode_state = msgspec.msgpack.Encoder().encode
_decode_state = msgspec.msgpack.Decoder(MonthState).decode
_decode_scope = msgspec.json.Decoder(tuple[str, str, str]).decode


@dataclass(frozen=True, slots=True)
class AlertPorts:
    """What the task reaches the world through."""

    log: WorkerLog
    terms: Callable[[], Terms]
    """Returns the terms in force; the same object while they have not changed."""
    today_of: Callable[[str], date]
    """Returns the day that it is for an account."""
    now_ms: Callable[[], int]
    observe: Callable[[Notice], None] = lambda _: None
    """Called with each notice once it is durable."""
    on_step: Callable[[str], None] = lambda _: None
    """The crash tests' way in: called with the name of each step."""


class AlertTask(WritingTask):
    """Judges the counts of one partition of ``mau.counts``."""

    def __init__(self, source: Source, ports: AlertPorts, supervision: Supervision) -> None:
        """Take the records and what they are judged by."""
        super().__init__(source, supervision)
        self.book = AlertBook()
        self._ports = ports
        self._judged_by: Terms | None = None
        self._step_oldest_ms: int | None = None

    @property
    def oldest_pending_ms(self) -> int | None:
        """Return the time of the oldest count that is here and not judged, UTC milliseconds."""
        return self.source.oldest_ms if self._step_oldest_ms is None else self._step_oldest_ms

    def limits(self) -> Iterable[tuple[MonthScope, LimitNow]]:
        """Yield the limits of each account's current month, as judged last."""
        terms = self._judged_by
        if terms is None or not self.is_open:
            return
        for scope in list(self.book.months):
            if scope[2] == f"{self._ports.today_of(scope[0]):%Y-%m}":
                for limit in self.book.limits(scope, terms):
                    yield scope, limit

    async def _open(self) -> int:
        log, partition = self._ports.log, self.source.partition
        # First: whoever had the partition before can commit no more, so that what is read next is final.
        self._writer = await log.writer(MAU_COUNTS, partition)
        self.book, self._judged_by = AlertBook(), None
        end = (await log.bounds(ALERTS_CHANGELOG, partition)).end
        async for chunk in log.read(ALERTS_CHANGELOG, partition, 0, end):
            for _, record in chunk:
                self._restore(record)
        # Compaction may have taken the oldest: what is left has the newest value of each count.
        return await self._find_position(
            log,
            "the counts before {} were judged",
            "counts are judged anew, and notices that were given are not given again",
        )

    def _restore(self, record: Record) -> None:
        assert record.value is not None, "what is known of a month is never removed"
        self.book.months[_decode_scope(record.key or b"")] = _decode_state(record.value)

    async def _work(self, records: list[SourceRecord]) -> None:
        self._step_oldest_ms = records[0][2]
        work = _Work(self.book, self._ports)
        await self._judge_by_new_terms(work)
        for _, value, _ in records:
            work.take(value, self._terms)
        await self._commit(work, records[-1][0] + 1)
        self._step_oldest_ms = None

    async def _idle(self) -> None:
        work = _Work(self.book, self._ports)
        await self._judge_by_new_terms(work)
        if work.changed:
            await self._commit(work, self._position)

    @property
    def _terms(self) -> Terms:
        assert self._judged_by is not None, "terms are taken before anything is judged"
        return self._judged_by

    async def _judge_by_new_terms(self, work: _Work) -> None:
        """Judge everything anew when plans or settings have changed, or may have while nobody looked."""
        terms = self._ports.terms()
        if terms is not self._judged_by:
            self._judged_by = terms
            for place, scope in enumerate(list(self.book.months)):
                work.judge(scope, terms, "plan")
                if place % _JUDGED_AT_ONCE == 0:
                    await asyncio.sleep(0)  # others live in this loop, a session with Kafka among them

    async def _commit(self, work: _Work, next_offset: int) -> None:
        partition = self.source.partition
        self._ports.on_step("before-alert-commit")
        await self.writer.commit(work.appends(partition), SourcePosition(MAU_COUNTS, partition, next_offset))
        self._ports.on_step("after-alert-commit")
        self._position = next_offset
        for notice in work.notices:
            _log.info("%s", described(notice), extra={"account": notice.account, "notice": notice.id})
            self._ports.observe(notice)


class _Work:
    """What one step changes."""

    def __init__(self, book: AlertBook, ports: AlertPorts) -> None:
        self.changed: set[MonthScope] = set()
        self.notices: list[Notice] = []
        self._closed: list[MonthCount] = []
        self._refusals: list[Refusal] = []
        self._book = book
        self._ports = ports

    def take(self, value: bytes, terms: Terms) -> None:
        """Take up one record and judge what it changes."""
        if not value:
            return  # one of our own removals
        try:
            count = decode_count(value)
        except UnreadableRecord as error:
            self._refusals.append(Refusal("malformed", str(error), value))
            return
        scope = self._book.take(count)
        if count.is_closed:
            self._closed.append(count)
        if scope is not None:
            self.changed.add(scope)
            self.judge(scope, terms, "count")

    def judge(self, scope: MonthScope, terms: Terms, cause: Cause) -> None:
        """Judge a month and keep what follows: notices, and limits that became others."""
        moment = Moment(self._ports.now_ms(), self._ports.today_of(scope[0]))
        limits = self._book.limits_judged(scope)
        notices = self._book.notices(scope, terms, cause, moment)
        self.notices += notices
        # Also a limit that became another without a notice: the next life is to go on as this one would.
        if notices or self._book.limits_judged(scope) != limits:
            self.changed.add(scope)

    def appends(self, partition: int) -> list[Append]:
        """Return what is to be committed."""
        now_ms = self._ports.now_ms()
        appends = refusal_appends(self._refusals, now_ms, "alerts")
        if self.changed:
            states = [
                Record(_key(scope), _encode_state(self._book.months[scope]), now_ms)
                for scope in sorted(self.changed)
            ]
            appends.append(Append(ALERTS_CHANGELOG, partition, states))
        if self._closed:
            keys = [
                count_key(CountKey(each.account, each.number, each.month, each.partition))
                for each in self._closed
            ]
            appends.append(Append(MAU_COUNTS, partition, [Record(key, None, now_ms) for key in keys]))
        if self.notices:
            appends.append(Append(MAU_ALERTS, 0, _records(self.notices, now_ms)))
        return appends


def _records(notices: Sequence[Notice], now_ms: int) -> list[Record]:
    return [Record(notice.id.encode(), encode_notice(notice), now_ms) for notice in notices]


def _key(scope: MonthScope) -> bytes:
    return orjson.dumps(list(scope))


def described(notice: Notice) -> str:
    """Return a notice as one sentence, without the ids of account and number."""
    what = LIMIT_WORDS[notice.limit_name]
    share = f" ({notice.used_percent} % of {notice.limit:,})" if notice.limit else ""
    verb = "have reached" if notice.kind == "crossed" else "are back below"
    return f"{notice.used:,} {what}{share} in {notice.month} {verb} the threshold {notice.threshold}"
