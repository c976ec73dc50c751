"""The dashboard's small parts: caches, live figures, throttle, recipients, static files, formats."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.access.throttle import WAIT_MAX_SECONDS, Throttle
from dashboard.cache import ROWS_IN_ALL_MAX, ROWS_KEPT_MAX, TimedCache, VersionedCache
from dashboard.formats import age_text, change_text, cost_texts, phone_text, time_text
from dashboard.live import MINUTES_KEPT, LiveCounts, LiveSampler
from dashboard.recipients import OFFERED_MAX, Recipients
from dashboard.usage import Change
from metering.charges import Sums
from sinks.clickhouse.directory import DayCount
from sinks.exports.chart_looks import COLOURS, THEMES

pytestmark = pytest.mark.anyio
NOW = int(datetime(2026, 11, 20, 12, 0, 30, tzinfo=UTC).timestamp())
DAY = date(2026, 11, 20)


class Asked:
    """Counts how often it is asked, and answers with that; it can be held and made to fail."""

    def __init__(self) -> None:
        self.times = 0
        self.held: asyncio.Event | None = None
        self.fault: Exception | None = None

    async def __call__(self) -> int:
        self.times += 1
        answer = self.times
        if self.held is not None:
            await self.held.wait()
        if self.fault is not None:
            raise self.fault
        return answer


class Versions:
    """A version that can be changed, and a clock."""

    def __init__(self) -> None:
        self.version, self.now, self.read = "1", 0.0, 0

    async def current(self) -> str:
        """Return the version."""
        self.read += 1
        return self.version


async def test_answers_last_as_long_as_their_version() -> None:
    """A new version is noticed within a second; until then, and while it stays, nothing is asked again."""
    versions, asked = Versions(), Asked()
    cache = VersionedCache(versions.current, lambda: versions.now)
    assert [await cache.get("q", asked) for _ in range(3)] == [1, 1, 1]
    versions.version = "2"
    assert await cache.get("q", asked) == 1
    versions.now = 1.0
    assert await cache.get("q", asked) == 2
    assert versions.read == 2


async def test_what_is_asked_at_once_is_asked_once_and_survives_who_leaves() -> None:
    """Several who wait share one question; one of them giving up takes nothing from the others."""
    versions, asked = Versions(), Asked()
    asked.held = asyncio.Event()
    cache = VersionedCache(versions.current, lambda: versions.now)
    waiting = [asyncio.create_task(cache.get("q", asked)) for _ in range(3)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()
    asked.held.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1]
    assert asked.times == 1


@pytest.mark.parametrize("kind", ["versioned", "timed"])
async def test_failures_are_not_kept(kind: str) -> None:
    """The next who asks tries again."""
    versions, asked = Versions(), Asked()
    make: dict[str, Callable[[], VersionedCache | TimedCache]] = {
        "versioned": lambda: VersionedCache(versions.current, lambda: versions.now),
        "timed": lambda: TimedCache(lambda: versions.now),
    }
    cache = make[kind]()
    asked.fault = ValueError("away")
    with pytest.raises(ValueError, match="away"):
        await cache.get("q", asked)
    asked.fault = None
    assert await cache.get("q", asked) == 2


async def test_memory_of_answers_is_bounded() -> None:
    """The answers that were used longest ago go first."""
    versions, asked = Versions(), Asked()
    cache = VersionedCache(versions.current, lambda: versions.now, answers_max=2)
    for question in ("a", "b", "a", "c", "a"):
        await cache.get(question, asked)
    assert asked.times == 3
    await cache.get("b", asked)
    assert asked.times == 4


async def test_long_lists_are_given_but_not_kept() -> None:
    """A list that would fill the memory is asked for again."""
    versions, times = Versions(), 0

    async def ask() -> list[int]:
        nonlocal times
        times += 1
        return list(range(ROWS_KEPT_MAX + 1))

    cache = VersionedCache(versions.current, lambda: versions.now)
    for _ in range(2):
        assert len(await cache.get("q", ask)) == ROWS_KEPT_MAX + 1
    assert times == 2


async def test_lists_together_are_bounded() -> None:
    """Where no version ends them, the lists used longest ago make room for new ones."""
    versions, asked = Versions(), dict.fromkeys("abcdefgh", 0)
    cache = VersionedCache(versions.current, lambda: versions.now)
    rows = ROWS_IN_ALL_MAX // 6

    async def get(question: str) -> None:
        async def ask() -> list[int]:
            asked[question] += 1
            return [0] * rows

        assert len(await cache.get(question, ask)) == rows

    for question in "abcdefagha":
        await get(question)
    assert asked == dict.fromkeys("abcdefgh", 1)
    await get("b")
    assert asked["b"] == 2
    versions.version, versions.now = "2", 1.0
    for question in "abcdef" * 2:
        await get(question)
    assert [asked[question] for question in "acdef"] == [2] * 5


async def test_an_answer_of_a_moment_takes_the_place_of_the_one_before() -> None:
    """What also changes with the clock is kept once, not once a moment."""
    versions, asked = Versions(), Asked()
    cache = VersionedCache(versions.current, lambda: versions.now, answers_max=2)
    kept = await cache.get("kept", asked)
    for moment in range(10):
        first = await cache.get("live", asked, moment)
        assert await cache.get("live", asked, moment) == first == kept + moment + 1
    assert await cache.get("kept", asked) == kept


async def test_old_choices_are_given_at_once_and_renewed_meanwhile() -> None:
    """Nobody but the first waits; a failed renewal leaves the old answer."""
    versions, asked = Versions(), Asked()
    cache = TimedCache(lambda: versions.now, fresh_seconds=30)
    assert await cache.get("q", asked) == 1
    versions.now = 31
    asked.fault = ValueError("away")
    assert await cache.get("q", asked) == 1
    await asyncio.sleep(0.01)
    asked.fault = None
    assert await cache.get("q", asked) == 1
    await asyncio.sleep(0.01)
    assert await cache.get("q", asked) == 3


def counts(account: str, day: date, messages: int) -> DayCount:
    """Return totals of a day."""
    return DayCount(account, day, messages, messages, 0, 0, 1)


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from("AB"), st.integers(-1, 0), st.integers(0, 50)),
        max_size=30,
    )
)
def test_minutes_add_up_to_what_grew(steps: list[tuple[int, str, int, int]]) -> None:
    """Whatever is counted when, on whichever day, each account's minutes are its growth since the first sample."""
    live, now = LiveCounts(), NOW
    totals: dict[tuple[str, date], int] = {("A", DAY): 100}
    live.add([counts(*key, value) for key, value in totals.items()], now)
    grown = {"A": 0, "B": 0}
    begun = now
    for elapsed, account, days, more in steps:
        now += elapsed
        key = (account, DAY + timedelta(days=days))
        totals[key] = totals.get(key, 0) + more
        live.add([counts(*each, value) for each, value in totals.items()], now)
        grown[account] += more
    if now - begun < (MINUTES_KEPT - 1) * 60:
        for account, expected in grown.items():
            minutes = live.minutes(account, now)
            assert len(minutes) == MINUTES_KEPT
            assert sum(minute.messages for minute in minutes) == expected
            assert minutes[-1].at.timestamp() == now // 60 * 60


def test_the_first_sample_is_no_growth_and_a_correction_takes_away() -> None:
    """What was there before the dashboard is not "just now"; counts that are restated downwards show as such."""
    live = LiveCounts()
    live.add([counts("A", DAY, 1000)], NOW)
    assert sum(minute.messages for minute in live.minutes("A", NOW)) == 0
    live.add([counts("A", DAY, 990)], NOW + 5)
    assert live.minutes("A", NOW + 5)[-1].messages == -10


async def test_the_sampler_goes_on_after_a_fault() -> None:
    """A sample that fails is tried again, and looking makes it soon."""
    rows, faults = [counts("A", DAY, 1)], [ValueError("away")]

    async def recent(_first: date) -> list[DayCount]:
        if faults:
            raise faults.pop()
        return rows

    sampler = LiveSampler(recent, lambda: NOW)
    task = asyncio.create_task(sampler.run())
    await asyncio.sleep(0.01)
    assert sampler.sampled_at is None
    sampler.look()
    await asyncio.sleep(0.01)
    task.cancel()
    assert sampler.sampled_at == NOW


@given(st.lists(st.tuples(st.floats(0, 2000), st.booleans()), max_size=40))
def test_waits_double_and_end(steps: list[tuple[float, bool]]) -> None:
    """No wait before the limit; then 1, 2, 4 s and so on up to a quarter of an hour, and never longer."""
    throttle, now, failures = Throttle(3), 0.0, 0
    for elapsed, fails in steps:
        now += elapsed
        if fails:
            throttle.failed("ann", "192.0.2.1", now)
            failures += 1
            wait = throttle.wait_seconds("ann", "192.0.2.1", now)
            assert wait == (0 if failures < 3 else min(2.0 ** (failures - 3), WAIT_MAX_SECONDS))
            assert throttle.wait_seconds("ann", "192.0.2.1", now + WAIT_MAX_SECONDS) == 0
            assert throttle.wait_seconds("bob", "192.0.2.2", now) == 0


def test_a_clock_turned_back_makes_nobody_wait_longer() -> None:
    """The wait is never longer than it was when it began."""
    throttle = Throttle(1)
    throttle.failed("ann", "a", 1000.0)
    assert throttle.wait_seconds("ann", "a", 0.0) == 1.0


def test_guessers_cannot_fill_the_memory() -> None:
    """The names and addresses seen longest ago are forgotten first."""
    throttle = Throttle(1, entries_max=10)
    for number in range(1000):
        throttle.failed(f"name{number}", f"address{number}", 0.0)
    assert throttle.wait_seconds("name999", "", 0.0) > 0
    assert throttle.wait_seconds("name0", "address0", 0.0) == 0


def test_addresses_are_offered_to_who_used_them(tmp_path: Path) -> None:
    """The newest come first, a bounded number, and nobody sees another's."""
    recipients = Recipients(tmp_path / "recipients.sqlite")
    for number in range(120):
        recipients.used("ann", [f"a{number}@example.com"], number)
    recipients.used("bob", ["b@example.com"], 1)
    recipients.used("ann", ["a5@example.com"], 1000)
    recipients.close()
    again = Recipients(tmp_path / "recipients.sqlite")
    offered = again.offered("ann")
    assert offered[:2] == ["a5@example.com", "a119@example.com"]
    assert len(offered) == OFFERED_MAX
    assert again.offered("bob") == ["b@example.com"]
    again.close()


def test_the_page_and_its_charts_have_the_same_colours() -> None:
    """The tiles' colours are those of the chart's types, and its paper is that of the cards."""
    css = files("dashboard").joinpath("static/convometer.css").read_text("utf-8")
    for key in ("marketing", "utility", "authentication", "service", "free_entry_point", "unclassified"):
        assert f"--{key}: {COLOURS[key]};" in css
    card = re.search(r"--card: light-dark\((#\w+), (#\w+)\)", css)
    assert card is not None
    assert (card[1], card[2]) == (THEMES["light"].background, THEMES["dark"].background)


def test_figures_are_written_for_people() -> None:
    """Thousands apart, changes in words, what has no rate named, times with their offset."""
    assert change_text(Change(1125, 1000)) == "up 12.5 %"
    assert change_text(Change(0, 0)) == "none, as before"
    assert change_text(Change(3, 3)) == "unchanged"
    dollars = Sums(
        currency="USD",
        count=3,
        free=0,
        charged=3,
        amount=1_234_567_890,
        unrated=2,
        provider_charged=None,
        provider_amount=None,
        provider_unrated=None,
    )
    pesos = msgspec.structs.replace(dollars, currency="CLP", amount=0, unrated=1)
    only_free = msgspec.structs.replace(dollars, currency="EUR", free=3, charged=0, amount=0, unrated=0)
    sums = [dollars, pesos, only_free]
    assert cost_texts(sums) == ["1,234.57 USD + 2 without a rate", "no rate"]
    assert time_text(datetime(2026, 3, 1, 12, tzinfo=UTC), "Asia/Kolkata") == "2026-03-01 17:30:00 UTC+05:30"
    assert [age_text(seconds) for seconds in (5, 65, 3600, 90_000)] == ["5 s", "1 min 5 s", "1 h", "1 d 1 h"]
    assert phone_text("4915112345678") == "+49 1511 2345678"
    assert phone_text("BR.123") == "BR.123"
