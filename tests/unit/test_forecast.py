"""Worked examples of projections, with their arithmetic."""

from __future__ import annotations

import math
import statistics
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.forecast import SHAPES, Verdict, account_of, figures, verdict_of
from metering.forecast import Kind, burn_down

NOVEMBER = date(2026, 11, 1)
"""30 days; October before it has 31."""


def at(month: int, day: int, hour: int = 0) -> datetime:
    """Return a local time of 2026, without a zone."""
    return datetime(2026, month, day, hour)  # noqa: DTZ001 - the core takes local time as it is


def days(month: int, *counts: int) -> dict[date, int]:
    """Return counts from the 1st of a month of 2026 on."""
    return {date(2026, month, day): count for day, count in enumerate(counts, 1)}


def test_an_even_pace_without_a_month_before() -> None:
    """60 in 10 of 30 days make 180; the limit of 100 is reached after 16 2/3 days: on the 17th."""
    state = burn_down(100, days(11, *[6] * 10), [], NOVEMBER, at(11, 11), "units")
    assert (state.used, state.left, state.projected, state.method) == (60, 40, 180, "straight_line")
    assert state.exhausted_on == date(2026, 11, 17)
    assert state.exhausted_from is not None
    assert state.exhausted_from <= date(2026, 11, 17) <= (state.exhausted_to or date.max)


def test_half_a_day_counts_as_half() -> None:
    """15 in 2.5 of 30 days make 180."""
    state = burn_down(1000, days(11, 6, 6, 3), [], NOVEMBER, at(11, 3, 12), "units")
    assert (state.projected, state.exhausted_on) == (180, None)


def test_the_first_days_are_too_early() -> None:
    """Three users by noon of the 1st say nothing, unless last month says how such a day goes on."""
    for kind in ("users", "units"):
        state = burn_down(10, days(11, 3), [], NOVEMBER, at(11, 1, 12), kind)
        assert (state.projected, state.projected_low, state.method) == (None, None, "too_early")
    assert burn_down(10, days(11, 3), [days(10, *[3] * 31)], NOVEMBER, at(11, 1, 12)).projected is not None


@pytest.mark.parametrize("kind", ["users", "units"])
@pytest.mark.parametrize("hours", [30, 200, 500, 800])
@pytest.mark.parametrize("counts", [(-1,), (-3, 1), (1, -2)])
def test_a_correction_that_takes_away_more_than_there_is_counts_as_nothing(
    kind: Kind, hours: int, counts: tuple[int, ...]
) -> None:
    """For some seconds half of a correction can be missing, of this month and of one before: nothing breaks by it."""
    now = at(11, 1) + timedelta(hours=hours)
    state = burn_down(10, days(11, *counts), [days(10, *counts)], NOVEMBER, now, kind)
    nothing = burn_down(10, {}, [], NOVEMBER, now, kind)
    assert state == nothing
    assert (state.used, state.left) == (0, 10)


def test_users_come_ever_more_slowly() -> None:
    """As many each day as before are fewer than an even pace; ever fewer are fewer still."""
    steady = burn_down(10**6, days(11, *[40] * 10), [], NOVEMBER, at(11, 11))
    slowing = burn_down(10**6, days(11, *range(58, 18, -4)), [], NOVEMBER, at(11, 11))
    assert slowing.used == steady.used == 400
    assert slowing.method == steady.method == "growth_curve"
    assert slowing.projected is not None
    assert steady.projected is not None
    assert 400 < slowing.projected < steady.projected < 1200


def test_a_finite_pool_is_found() -> None:
    """1,000 people who come at a tenth a day each: from a third of the month on, the end is in the range."""
    pool = [round(1000 * (math.exp(-0.1 * day) - math.exp(-0.1 * (day + 1)))) for day in range(30)]
    state = burn_down(900, days(11, *pool[:10]), [], NOVEMBER, at(11, 11))
    assert state.projected is not None
    assert state.projected_low is not None
    assert state.projected_high is not None
    assert state.projected == pytest.approx(sum(pool), rel=0.25)
    assert state.projected_low <= sum(pool) <= state.projected_high


def test_last_months_curve_is_followed() -> None:
    """October: 1,000 users, 800 of them in the first ten of 31 days, then ten a day from the 12th on. After a third of
    November, that is 10 1/3 days of October, its share was 0.8. 1,200 by now make about 1,500 by the end, not 3,600.
    """
    october = days(10, *[80] * 10, 0, *[10] * 20)
    state = burn_down(1400, days(11, *[120] * 10), [october], NOVEMBER, at(11, 11))
    assert state.method == "last_month"
    assert state.projected == pytest.approx(1500, rel=0.005)
    # 1,400 of 1,500 are 93.3 of 100: at the end of the day on which October's share reaches that, day 24.33 of 31.
    assert state.exhausted_on == date(2026, 11, 24)


def test_a_month_that_begins_as_those_before_ends_as_they_did() -> None:
    """Three equal months before: their number is expected, and the range is narrow and becomes narrower."""
    shape = [50, 45, 40, *[20] * 7, *[10] * 10, *[5] * 8]
    earlier = [days(month, *shape, *[5] * (length - 28)) for month, length in ((10, 31), (9, 30), (8, 31))]
    widths = []
    for known in (5, 10, 20, 28):
        state = burn_down(10**6, days(11, *shape[:known]), earlier, NOVEMBER, at(11, known + 1))
        assert state.method == "earlier_months"
        assert state.projected == pytest.approx(sum(shape) + 10, rel=0.04)
        assert state.projected_low is not None
        assert state.projected_high is not None
        widths.append(state.projected_high - state.projected_low)
    assert widths == sorted(widths, reverse=True)


def test_a_business_that_rests_at_weekends_is_not_late_on_a_sunday() -> None:
    """With several months to learn from, a month is compared by its working days."""

    def month(first: date, length: int) -> dict[date, int]:
        span = [first + timedelta(days=offset) for offset in range(length)]
        return {day: 100 for day in span if day.weekday() < 5}

    earlier = [month(date(2026, 10, 1), 31), month(date(2026, 9, 1), 30), month(date(2026, 8, 1), 31)]
    # November 2026 begins on a Sunday: by the 9th there were 5 working days of 21.
    state = burn_down(10**6, month(NOVEMBER, 8), earlier, NOVEMBER, at(11, 9), "units")
    assert state.projected == pytest.approx(2100, rel=0.05)


def test_months_that_went_apart_make_the_range_wide() -> None:
    """Where the months before do not agree, less is promised."""
    early, late = days(10, 900, *[0] * 29, 100), days(9, 100, *[0] * 28, 900)
    even = [days(10, *[30] * 31), days(9, *[30] * 30)]
    alike = burn_down(10**6, days(11, *[300] * 10), even, NOVEMBER, at(11, 11))
    apart = burn_down(10**6, days(11, *[300] * 10), [early, late], NOVEMBER, at(11, 11))
    assert apart.projected_high is not None
    assert apart.projected_low is not None
    assert alike.projected_high is not None
    assert alike.projected_low is not None
    assert apart.projected is not None
    assert alike.projected is not None
    wide = (apart.projected_high - apart.projected) / (apart.projected - apart.used)
    assert wide > 1.5 * (alike.projected_high - alike.projected) / (alike.projected - alike.used)


def test_a_month_that_is_over_is_what_it_was() -> None:
    """No projection: the number itself, and the day on which the limit was reached."""
    state = burn_down(10, days(11, 4, 6, 1), [], NOVEMBER, at(12, 5))
    assert (state.used, state.projected, state.exhausted_on, state.method) == (
        11,
        11,
        date(2026, 11, 2),
        "complete",
    )
    assert (state.projected_low, state.projected_high) == (11, 11)


@pytest.mark.parametrize("day", [1, 3, 20, 30])
def test_of_nothing_nothing_follows(day: int) -> None:
    """Without a month before, no user or unit by now is too early to say, on whatever day: no range of 0 to 0."""
    for kind in ("users", "units"):
        state = burn_down(10, {}, [], NOVEMBER, at(11, day), kind)
        assert (state.projected, state.projected_low, state.projected_high) == (None, None, None)
        assert (state.used, state.left, state.exhausted_on, state.method) == (0, 10, None, "too_early")


def test_a_month_to_come_is_too_early() -> None:
    """Nothing is used."""
    state = burn_down(10, {}, [], NOVEMBER, at(10, 20))
    assert (state.used, state.left, state.projected, state.exhausted_on) == (0, 10, None, None)


def test_four_users_are_as_good_as_none_and_five_are_not() -> None:
    """On the 21st, without a month before: four say as little as none; five make a range that has room above."""
    for users in (1, 4):
        assert burn_down(10, days(11, users), [], NOVEMBER, at(11, 21)).method == "too_early"
    five = burn_down(10, days(11, 5), [], NOVEMBER, at(11, 21))
    assert five.projected is not None
    assert five.projected_high is not None
    assert 5 <= five.projected < five.projected_high


def test_one_unit_makes_a_wide_range() -> None:
    """One message in 3 of 30 days make 10, and say hardly more: chance is in the pace so far as well."""
    state = burn_down(100, days(11, 0, 1, 0), [], NOVEMBER, at(11, 4), "units")
    assert (state.projected, state.projected_low) == (10, 1)
    assert state.projected_high is not None
    assert state.projected_high > 25


def test_who_all_came_early_last_month_leave_room_for_one_more() -> None:
    """October's 60 had all come by the 5th: 40 by the middle of November stay 40, or become a few more."""
    state = burn_down(50, days(11, *[10] * 4), [days(10, *[15] * 4)], NOVEMBER, at(11, 16))
    assert (state.projected, state.projected_low) == (40, 40)
    assert state.projected_high is not None
    assert 41 <= state.projected_high <= 43


def test_the_day_belongs_to_the_bound_that_is_shown() -> None:
    """The high bound, 265.3 here, is rounded up: a package of 266 may be used up, one of 267 not."""
    current, earlier = days(11, *[8] * 20), [days(10, *[8] * 31)]
    for limit, day in ((266, date(2026, 11, 30)), (267, None)):
        state = burn_down(limit, current, earlier, NOVEMBER, at(11, 21))
        assert (state.projected, state.projected_high) == (240, 266)
        assert (state.exhausted_from, state.exhausted_on) == (day, None)


def test_exactly_the_limit_is_exhausted_with_nothing_left() -> None:
    """The day on which the last one came."""
    state = burn_down(5, days(11, 2, 3), [], NOVEMBER, at(11, 16))
    assert (state.left, state.exhausted_on, state.exhausted_from, state.exhausted_to) == (
        0,
        *[date(2026, 11, 2)] * 3,
    )


def test_no_package_is_never_exhausted() -> None:
    """Without a package there is no day on which it was used up."""
    state = burn_down(0, days(11, 2, 3), [], NOVEMBER, at(11, 16))
    assert (state.left, state.exhausted_on) == (0, None)


def test_last_month_without_anything_by_now_says_nothing() -> None:
    """October's units all came on its last day: its curve says nothing of the 11th."""
    state = burn_down(90, days(11, 30), [{date(2026, 10, 31): 7}], NOVEMBER, at(11, 11), "units")
    assert (state.projected, state.method) == (90, "straight_line")
    assert state.exhausted_on == date(2026, 11, 30)


def test_the_error_is_a_fraction_of_that_of_an_even_pace() -> None:
    """On generated months that are held back; ``python -m bench.forecast`` has the whole table."""
    accounts = [account_of(shape, 50_000 + number) for shape in SHAPES for number in range(4)]
    for earlier_count, share, factor in ((3, 0.35, 0.25), (1, 0.35, 0.25), (0, 0.5, 0.5)):
        found = [verdict for each in accounts if (verdict := verdict_of(each, share, earlier_count))]
        assert len(found) == len(accounts)
        error = statistics.median(each.error for each in found)
        assert error < factor * statistics.median(each.line_error for each in found)
        assert 0.65 <= statistics.mean(each.is_inside for each in found) <= 0.99


def test_a_forecast_that_names_no_day_is_in_the_table() -> None:
    """Four months: a day two days off, one that was said to last, one that had run out already, a false alarm."""
    found = [
        Verdict(0.1, True, 1.0, True, 2, True, False),
        Verdict(0.2, False, 1.0, True, None, False, False),
        Verdict(0.0, True, 1.0, False, None, False, False),
        Verdict(0.3, False, 1.0, True, 4, False, True),
    ]
    assert list(figures(found)) == ["4", "15.0%", "20.0%", "50%", "3", "3", "33%", "33%", "25%", "100.0%"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=30, max_size=30),
    st.lists(st.lists(st.integers(0, 20), min_size=28, max_size=28), max_size=3),
    st.integers(0, 30 * 86_400),
    st.integers(0, 400) | st.none(),
    st.sampled_from(["users", "units"]),
)
def test_a_projection_is_never_below_what_is_used(
    current: list[int], previous: list[list[int]], seconds: int, limit: int | None, kind: Kind
) -> None:
    """Used and left add up, the range holds what is expected, and a day of exhaustion is in the month and not past.

    Where no limit is drawn it is the high bound itself.
    """
    whole, rest = divmod(seconds, 86_400)
    now = datetime.fromordinal(NOVEMBER.toordinal() + whole).replace(hour=rest // 3600)
    so_far = days(11, *current[: whole + 1])
    earlier = [days(10 - place, *counts) for place, counts in enumerate(previous)]
    if limit is None:
        limit = burn_down(10**6, so_far, earlier, NOVEMBER, now, kind).projected_high or 1
    state = burn_down(limit, so_far, earlier, NOVEMBER, now, kind)
    assert state.left == max(0, limit - state.used)
    if state.projected is None:
        return
    assert state.projected_low is not None
    assert state.projected_high is not None
    assert state.used <= state.projected_low <= state.projected <= state.projected_high
    ordered = (state.exhausted_from, state.exhausted_on, state.exhausted_to)
    reached = [day for day in ordered if day is not None]
    assert reached == sorted(reached)
    assert ordered[len(reached) :] == (None,) * (3 - len(reached)), "who is sooner is reached first"
    for day in reached:
        assert day.month == 11
        assert state.used >= limit or day >= now.date()
    ends = (state.projected_high, state.projected, state.projected_low)
    for named, end in zip(ordered, ends, strict=True):
        assert (named is not None) == (0 < limit <= end), (
            "a day is named just where its end comes to the limit"
        )
