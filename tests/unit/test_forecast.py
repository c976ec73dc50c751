"""Worked examples of projections, with their arithmetic."""

from __future__ import annotations

from datetime import date, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from metering.forecast import burn_down

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
    state = burn_down(100, days(11, *[6] * 10), {}, NOVEMBER, at(11, 11))
    assert (state.used, state.left, state.projected, state.method) == (60, 40, 180, "straight_line")
    assert state.exhausted_on == date(2026, 11, 17)


def test_half_a_day_counts_as_half() -> None:
    """15 in 2.5 of 30 days make 180."""
    state = burn_down(1000, days(11, 6, 6, 3), {}, NOVEMBER, at(11, 3, 12))
    assert (state.projected, state.exhausted_on) == (180, None)


def test_the_first_day_is_too_early_for_an_even_pace() -> None:
    """Three users by noon of the 1st say nothing, unless last month says how such a day goes on."""
    state = burn_down(10, days(11, 3), {}, NOVEMBER, at(11, 1, 12))
    assert (state.projected, state.method) == (None, "too_early")


def test_last_months_curve_is_followed() -> None:
    """October: 100 users, 80 of them in the first ten of 31 days, then one a day from the 12th on. After a third of
    November, that is 10 1/3 days of October, its share was 0.8. 120 by now make 150 by the end, not 360.
    """
    october = days(10, *[8] * 10, 0, *[1] * 20)
    state = burn_down(140, days(11, *[12] * 10), october, NOVEMBER, at(11, 11))
    assert (state.projected, state.method) == (150, "last_month")
    # 140 of 150 are 93.3 of 100: at the end of the day on which October's share reaches that, day 24.33 of 31.
    assert state.exhausted_on == date(2026, 11, 24)


def test_a_month_that_is_over_is_what_it_was() -> None:
    """No projection: the number itself, and the day on which the limit was reached."""
    state = burn_down(10, days(11, 4, 6, 1), {}, NOVEMBER, at(12, 5))
    assert (state.used, state.projected, state.exhausted_on, state.method) == (
        11,
        11,
        date(2026, 11, 2),
        "complete",
    )


def test_a_month_to_come_and_a_month_without_anything() -> None:
    """Nothing is used and, before the first day is over, nothing is projected."""
    state = burn_down(10, {}, {}, NOVEMBER, at(10, 20))
    assert (state.used, state.left, state.projected, state.exhausted_on) == (0, 10, None, None)
    assert burn_down(10, {}, {}, NOVEMBER, at(11, 3)).projected == 0


def test_exactly_the_limit_is_exhausted_with_nothing_left() -> None:
    """The day on which the last one came."""
    state = burn_down(5, days(11, 2, 3), {}, NOVEMBER, at(11, 16))
    assert (state.left, state.exhausted_on) == (0, date(2026, 11, 2))


def test_no_package_is_never_exhausted() -> None:
    """Without a package there is no day on which it was used up."""
    state = burn_down(0, days(11, 2, 3), {}, NOVEMBER, at(11, 16))
    assert (state.left, state.exhausted_on) == (0, None)


def test_last_month_without_anything_by_now_falls_back_to_an_even_pace() -> None:
    """October's users all came on its last day: its curve says nothing of the 11th."""
    state = burn_down(90, days(11, 30), {date(2026, 10, 31): 7}, NOVEMBER, at(11, 11))
    assert (state.projected, state.method) == (90, "straight_line")
    assert state.exhausted_on == date(2026, 11, 30)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 20), min_size=30, max_size=30),
    st.lists(st.integers(0, 20), min_size=31, max_size=31),
    st.integers(0, 30 * 86_400),
    st.integers(0, 400),
)
def test_a_projection_is_never_below_what_is_used(
    current: list[int], previous: list[int], seconds: int, limit: int
) -> None:
    """Used and left add up, no projection falls below what is there, and a day of exhaustion is in the month."""
    whole, rest = divmod(seconds, 86_400)
    now = datetime.fromordinal(NOVEMBER.toordinal() + whole).replace(hour=rest // 3600)
    so_far = days(11, *current[: whole + 1])
    state = burn_down(limit, so_far, days(10, *previous), NOVEMBER, now)
    assert state.left == max(0, limit - state.used)
    assert state.projected is None or state.projected >= state.used
    if state.exhausted_on is not None:
        assert state.exhausted_on.month == 11
        assert state.used >= limit or (state.projected is not None and state.projected >= limit)
