"""Alerts against the oracle: totals of months, crossings and recoveries, under any order, repetition and crash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from datetime import date
from fractions import Fraction
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.alert_book import AlertBook, Moment, MonthState, Terms
from metering.alerts import LimitNow, LimitState, judge
from metering.charges import PriceData
from schemas.alert_codec import decode_count
from schemas.alerts import MonthCount, Notice, notice_id
from schemas.events import Event
from schemas.plans import Plan, PlanBook
from schemas.regimes import load_regimes
from streams.step import Step
from tests.oracle import alerts as oracle
from tests.oracle.strategies import histories, shuffled_and_duplicated, time_zone_of
from tests.oracle.totals import expected_totals
from tests.property.test_processor import append_in_chunks
from tests.property.test_retention import in_arrival_order, months_of_history, within_retention
from tests.support.partitions import Partitions

HISTORIES = max(1, int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 4)
SETTINGS = settings(
    max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
MOMENT = Moment(2_000_000_000_000, date(2033, 5, 18))
REGIMES = load_regimes()

percents = st.one_of(
    st.integers(1, 300).map(lambda percent: f"{percent}%"),
    st.integers(1, 2000).map(lambda tenths: f"{tenths / 10}%"),
)
threshold_lists = st.lists(
    st.one_of(percents, st.integers(1, 60).map(str)), min_size=1, max_size=5, unique=True
).map(tuple)

amounts = st.integers(0, 50)
courses = st.one_of(
    st.tuples(amounts, st.lists(st.integers(0, 60), max_size=25)).map(
        lambda drawn: [(used, drawn[0]) for used in drawn[1]]
    ),
    # The same limit twice and more: what comes after a change is as much of it as the change.
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from((0, 10, 40, 41, 50))), max_size=25),
    st.lists(st.tuples(st.integers(0, 60), amounts), max_size=25),
)


@settings(SETTINGS, max_examples=HISTORIES * 5)
@given(
    course=courses,
    thresholds=threshold_lists,
    hysteresis=st.sampled_from([Fraction(0), Fraction(1), Fraction(5, 2), Fraction(20)]),
)
def test_every_crossing_and_recovery_is_told_once(
    course: list[tuple[int, int]], thresholds: tuple[str, ...], hysteresis: Fraction
) -> None:
    """Whatever way count and limit go up and down, the notices are those that follow from the definition."""
    state = LimitState()
    log = []
    for count, limit in course:
        # As between two lives of a process.
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=LimitState)
        crossings = judge(state, LimitNow("mau_package", limit, count, thresholds), hysteresis)
        log.append([(each.kind, each.threshold, each.n, each.level) for each in crossings])
    assert log == oracle.notices(course, thresholds, hysteresis)


@pytest.mark.parametrize(
    ("course", "told"),
    [
        # A larger package is agreed, of which less is used: from then on it is reached anew.
        (
            [(1000, 1000), (1190, 1000), (1190, 1200), (1199, 1200), (1200, 1200)],
            [(1, "crossed"), (3, "recovered"), (5, "crossed")],
        ),
        # With the limit that it has, the count wavers.
        (
            [(1000, 1000), (1200, 1200), (1190, 1200), (1188, 1200), (1187, 1200)],
            [(1, "crossed"), (5, "recovered")],
        ),
        # A smaller one, of which less is used too, as two users were one.
        ([(1000, 1000), (990, 999)], [(1, "crossed"), (2, "recovered")]),
        # No package for a while: its shares stay as they were.
        ([(1000, 1000), (995, 0), (995, 1000)], [(1, "crossed"), (3, "recovered")]),
    ],
)
def test_a_limit_that_is_another_one_has_no_hysteresis(
    course: list[tuple[int, int]], told: list[tuple[int, str]]
) -> None:
    """Worked out by hand: at which moment what is told, by the product and by the oracle."""
    state, thresholds = LimitState(), ("100%",)
    judged = [judge(state, LimitNow("mau_package", *each[::-1], thresholds), Fraction(1)) for each in course]
    assert [(place, each.kind) for place, step in enumerate(judged, 1) for each in step] == told
    expected = oracle.notices(course, thresholds, Fraction(1))
    assert [(place, each[0]) for place, step in enumerate(expected, 1) for each in step] == told


class Topic:
    """``mau.counts`` as the partitions write it, in the order of their commits."""

    def __init__(self, partitions: Partitions) -> None:
        self.counts: list[MonthCount] = []
        for partition in partitions.partitions:
            partition.on_step = self._take

    def _take(self, step: Step) -> None:
        for records in step.published.values():
            self.counts += [decode_count(value) for _, value in records]

    def newest(self) -> dict[oracle.Scope, oracle.Totals]:
        """Return the sums of the newest counts, those that are all zero left out."""
        newest = {(c.account, c.number, c.month, c.partition): c.totals for c in self.counts}
        sums: dict[oracle.Scope, list[int]] = {}
        for (account, number, month, _), totals in newest.items():
            own = sums.setdefault((account, number, month), [0] * 5)
            sums[account, number, month] = [a + b for a, b in zip(own, totals, strict=True)]
        return {scope: (a, b, c, d, e) for scope, (a, b, c, d, e) in sums.items() if any((a, b, c, d, e))}


@SETTINGS
@given(history=histories(), seed=st.integers(0, 2**32))
def test_the_totals_of_months_are_those_of_the_rows(history: list[Event], seed: int) -> None:
    """Shuffled, repeated, cut into steps anyhow and with crashes: what is published last is what was counted."""
    random = Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 3, time_zone_of)
        topic = Topic(partitions)
        append_in_chunks(partitions, shuffled_and_duplicated(history, seed), random)
        partitions.work(random, crash_share=0.2)
        assert topic.newest() == oracle.month_totals(expected_totals(history, time_zone_of))
        partitions.close()


@SETTINGS
@given(seed=st.integers(0, 2**32))
def test_what_is_forgotten_is_closed_and_nothing_else_changes(seed: int) -> None:
    """Months in order of arrival with sweeps: an open month is whole, a closed one says nothing more."""
    random = Random(seed)
    history = within_retention(months_of_history(seed))
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 2, time_zone_of)
        topic = Topic(partitions)
        append_in_chunks(partitions, in_arrival_order(history, random), random)
        partitions.work(random, sweep_share=0.3, crash_share=0.1)
        closed: set[tuple[str, str, str, int]] = set()
        for count in topic.counts:
            place = (count.account, count.number, count.month, count.partition)
            assert count.is_closed or place not in closed, "a closed month is not told of again"
            if count.is_closed:
                closed.add(place)
        expected = oracle.month_totals(expected_totals(history, time_zone_of))
        whole = {scope for scope in expected if not any(place[:3] == scope for place in closed)}
        newest = topic.newest()
        assert {scope: newest.get(scope) for scope in whole} == {scope: expected[scope] for scope in whole}
        partitions.close()


def plans_of(accounts: Iterable[str], random: Random) -> PlanBook:
    """Return plans with small packages, so that histories of a few users cross them."""
    return PlanBook(
        tuple(
            Plan(
                account=account,
                number="",
                effective=date(2010, 1, 1),
                activated=date(2010, 1, 1),
                licence="none",
                price=0,
                currency="USD",
                mau_package=random.randint(0, 4),
                mau_rule=random.choice(("any", "both")),
                conversation_budget=random.randint(0, 3),
                alert_thresholds=random.choice((None, ("50%", "100%", "150%"), ("1", "2", "80%"))),
            )
            for account in accounts
        )
    )


@SETTINGS
@given(history=histories(), seed=st.integers(0, 2**32))
def test_the_alert_log_is_that_of_the_oracle(history: list[Event], seed: int) -> None:
    """From events to notices: repeated counts and lives of the process change nothing, each id is there once."""
    random = Random(seed)
    data = PriceData(REGIMES, plans=plans_of({event.account for event in history}, random))
    terms = Terms(data, hysteresis_percent=Fraction(random.choice((0, 1, 30))))
    with tempfile.TemporaryDirectory() as directory:
        partitions = Partitions(Path(directory), 2, time_zone_of)
        topic = Topic(partitions)
        append_in_chunks(partitions, shuffled_and_duplicated(history, seed), random)
        partitions.work(random, crash_share=0.1)
        partitions.close()
    log = told(topic.counts, terms, random)
    assert len({notice.id for notice in log}) == len(log)
    assert [described(notice) for notice in log] == expected_log(topic.counts, terms)


def told(counts: list[MonthCount], terms: Terms, random: Random) -> list[Notice]:
    """Return the notices of a book that is stored and read again now and then, and is told some counts twice."""
    book, log = AlertBook(), []
    for place, count in enumerate(counts):
        if random.random() < 0.2:
            stored = {scope: msgspec.msgpack.encode(month) for scope, month in book.months.items()}
            book = AlertBook()
            book.months = {
                scope: msgspec.msgpack.decode(month, type=MonthState) for scope, month in stored.items()
            }
        again = counts[max(0, place - 3) : place] if random.random() < 0.2 else []
        for each in (*again, count):
            scope = book.take(each)
            if scope is not None:
                log += book.notices(scope, terms, "count", MOMENT)
    return log


def described(notice: Notice) -> tuple[object, ...]:
    """Return what the oracle says of a notice."""
    parts = (notice.account, notice.number, notice.month, notice.limit_name, notice.threshold, notice.n)
    assert notice.id == notice_id(*parts)
    return (*parts, notice.kind, notice.level, notice.used)


def expected_log(counts: list[MonthCount], terms: Terms) -> list[tuple[object, ...]]:
    """Return the log that follows from the counts, each limit's history judged whole and then put in order."""
    newest: dict[tuple[str, str, str], dict[int, tuple[int, ...]]] = {}
    histories_of: dict[tuple[str, str, str, str], list[tuple[int, int]]] = {}
    limits: dict[tuple[str, str, str, str], tuple[int, tuple[str, ...]]] = {}
    for place, count in enumerate(counts):
        scope = (count.account, count.number, count.month)
        newest.setdefault(scope, {})[count.partition] = count.totals
        sums = [sum(column) for column in zip(*newest[scope].values(), strict=True)]
        for name, limit, used, thresholds in limits_of(scope, sums, terms):
            histories_of.setdefault((*scope, name), []).append((place, used))
            limits[*scope, name] = (limit, thresholds)
    order = ("mau_package", "conversation_budget", "free_service")
    log: list[tuple[int, int, int, tuple[object, ...]]] = []
    for key, history in histories_of.items():
        limit, thresholds = limits[key]
        course = [(each, limit) for _, each in history]
        steps = oracle.notices(course, thresholds, terms.hysteresis_percent)
        for (place, now), step in zip(history, steps, strict=True):
            for inner, (kind, threshold, n, level) in enumerate(step):
                log.append((place, order.index(key[3]), inner, (*key, threshold, n, kind, level, now)))
    return [entry for *_, entry in sorted(log, key=lambda each: each[:3])]


def limits_of(
    scope: tuple[str, str, str], sums: list[int], terms: Terms
) -> Iterable[tuple[str, int, int, tuple[str, ...]]]:
    """Yield the limits of a scope: name, limit, used, thresholds."""
    account, number, month = scope
    [plan] = [each for each in terms.data.plans.plans if each.account == account]
    thresholds = ("80%", "90%", "100%") if plan.alert_thresholds is None else plan.alert_thresholds
    of_shares = tuple(threshold for threshold in thresholds if threshold.endswith("%"))
    if number == "":
        yield "mau_package", plan.mau_package, sums[1 if plan.mau_rule == "both" else 0], thresholds
        if plan.conversation_budget:
            yield "conversation_budget", plan.conversation_budget, sums[4], of_shares
    if "2023-06" <= month < "2024-11" and number == "":
        yield "free_service", 1000, sums[3], of_shares
    if month >= "2026-10" and number:
        yield "free_service", 1000, sums[2], of_shares
