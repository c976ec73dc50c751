"""The months after an account began: what it shows of its first, a part of one, is not taken for a whole."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest

from metering.courses import DailyCounts, past
from metering.forecast import BurnDown, burn_down

PACKAGE = 1400
OCTOBER, NOVEMBER, DECEMBER = date(2026, 10, 1), date(2026, 11, 1), date(2026, 12, 1)


def month(first: date, counts: list[int], begin_day: int = 1) -> DailyCounts:
    """Return counts of a month from a day of it on."""
    return {first + timedelta(days=begin_day - 1 + offset): count for offset, count in enumerate(counts)}


def people(count: int, days: int) -> list[int]:
    """Return the new users of each day where so many come at 8 % a day each."""
    gone = [round(count * (1 - math.exp(-0.08 * day))) for day in range(days + 1)]
    return [after - before for before, after in pairwise(gone)]


# 60 new users a day from 24 October on, and 1,250 in a whole month.
FIRST_MONTH = month(OCTOBER, [60] * 8, 24)
WHOLE = people(1375, 31)


def second_month(day: int, first_month: DailyCounts = FIRST_MONTH) -> BurnDown:
    """Return what is said of November at the beginning of a day."""
    now = datetime(2026, 11, day)  # noqa: DTZ001 - the core takes local time as it is
    return burn_down(PACKAGE, month(NOVEMBER, WHOLE[: day - 1]), [first_month, {}, {}], NOVEMBER, now)


def third_month(day: int) -> BurnDown:
    """Return the same of December."""
    now = datetime(2026, 12, day)  # noqa: DTZ001 - the core takes local time as it is
    earlier = [month(NOVEMBER, WHOLE[:30]), FIRST_MONTH, {}]
    return burn_down(PACKAGE, month(DECEMBER, WHOLE[: day - 1]), earlier, DECEMBER, now)


@pytest.mark.parametrize("day", range(2, 31))
def test_the_second_month_is_forecast_as_if_it_were_the_first(day: int) -> None:
    """October's eight days say nothing, least of all when November comes to the 24th: the same as without them."""
    alone = second_month(day, {})
    assert second_month(day) == alone
    assert alone.method == ("too_early" if day == 2 else "growth_curve")
    if day > 15:
        assert alone.projected == pytest.approx(1250, rel=0.1)
        assert alone.exhausted_on is None


def test_the_third_month_follows_the_second_alone() -> None:
    """From its second day on it is near the truth, and no false alarm is given: 1,250 of 1,400."""
    for day in range(2, 31):
        state = third_month(day)
        assert state.method == "last_month"
        assert state.projected == pytest.approx(1260, rel=0.04)
        assert state.exhausted_on is None
        assert state.projected_low is not None
        assert state.projected_high is not None
        assert state.projected_low <= sum(WHOLE) <= state.projected_high


def test_who_tried_it_out_before_does_not_make_a_month_whole() -> None:
    """Three users in the first days of October, then nobody until the 24th: still not a whole month."""
    tried = {OCTOBER: 1, date(2026, 10, 2): 2, **FIRST_MONTH}
    assert second_month(25, tried) == second_month(25, {})


def test_an_account_that_came_back_is_like_one_that_began() -> None:
    """Before October nothing was counted for a month: October says nothing, August does."""
    august = month(date(2026, 8, 1), WHOLE)
    now = datetime(2026, 11, 24)  # noqa: DTZ001 - the core takes local time as it is
    state = burn_down(PACKAGE, month(NOVEMBER, WHOLE[:23]), [FIRST_MONTH, {}, august], NOVEMBER, now)
    assert state.method == "last_month"
    assert state.projected == pytest.approx(1250, rel=0.03)


def test_a_month_that_follows_another_is_whole_however_late_it_begins() -> None:
    """Whose only campaign falls on another day each month has not begun anew: by then all had come."""
    september, october = month(date(2026, 9, 1), [5000], 12), month(OCTOBER, [4000], 15)
    now = datetime(2026, 11, 25)  # noqa: DTZ001 - the core takes local time as it is
    state = burn_down(9000, month(NOVEMBER, [3000], 3), [october, september], NOVEMBER, now, "units")
    assert (state.projected, state.method) == (3000, "last_month")


def began_days(counts: DailyCounts, began: int) -> int:
    """Return how many of one month before say something, if this month began after some days."""
    return len(past([counts], NOVEMBER, began).courses)


def test_two_days_late_is_whole_and_three_are_not() -> None:
    """The 1st and 2nd may be a weekend."""
    assert began_days(month(OCTOBER, [60] * 29, 3), 0) == 1
    assert began_days(month(OCTOBER, [60] * 28, 4), 0) == 0


def test_as_late_as_this_month_is_how_the_account_begins() -> None:
    """Who writes to all on the 10th of each month has had a whole October."""
    assert began_days(month(OCTOBER, [60] * 22, 10), 9) == 1
    assert began_days(month(OCTOBER, [60] * 22, 10), 0) == 0


def test_a_handful_of_users_may_be_late_by_chance() -> None:
    """Eight users in a month, the first on the 6th: an even pace would have brought hardly more than one by then."""
    assert began_days(month(OCTOBER, [1] * 8, 6), 0) == 1
    assert began_days(month(OCTOBER, [10] * 8, 6), 0) == 0


def weekday_course(campaign: int = 0) -> float:
    """Return the point that a November of working days comes to by its first Sunday; October may have campaigns."""
    october = month(
        OCTOBER, [100 if (OCTOBER + timedelta(days=day)).weekday() < 5 else 0 for day in range(31)]
    )
    mondays = {date(2026, 10, 12): campaign, date(2026, 10, 19): campaign} if campaign else {}
    week = past([{**october, **mondays}], NOVEMBER, 0).week
    return sum(week[:5]) / sum(week)


def test_a_weekend_is_seen_in_one_month_and_a_campaign_is_no_weekday() -> None:
    """Nearly all is done from Monday to Friday, and two campaigns on Mondays change nothing in that."""
    assert weekday_course() > 0.97
    assert weekday_course(2000) == weekday_course()
