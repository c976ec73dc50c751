"""The durations of the dashboard's filter, as days."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.periods import (
    Duration,
    Period,
    PeriodFault,
    custom_period,
    days_text,
    period_of,
    previous_period,
)

TODAY = date(2026, 3, 31)
NAMED = [duration for duration in Duration if duration is not Duration.CUSTOM]


@pytest.mark.parametrize(
    ("duration", "first", "last"),
    [
        (Duration.YESTERDAY, date(2026, 3, 30), date(2026, 3, 30)),
        (Duration.LAST_7_DAYS, date(2026, 3, 25), TODAY),
        (Duration.THIS_MONTH, date(2026, 3, 1), TODAY),
        (Duration.LAST_30_DAYS, date(2026, 3, 2), TODAY),
        (Duration.LAST_90_DAYS, date(2026, 1, 1), TODAY),
    ],
)
def test_named_durations(duration: Duration, first: date, last: date) -> None:
    """Last N Days include today; yesterday is one day; this month goes up to today."""
    assert period_of(duration, TODAY) == Period(first, last)


@given(st.sampled_from(NAMED), st.dates(date(1971, 1, 1), date(2149, 6, 6)))
def test_periods_are_compared_with_days_before(duration: Duration, today: date) -> None:
    """What is compared with lies wholly before, touches the period or its month, and shares no day with it."""
    period = period_of(duration, today)
    previous = previous_period(duration, period)
    assert previous is not None
    assert previous.first <= previous.last < period.first
    if duration is Duration.THIS_MONTH:
        assert previous.first == (period.first - timedelta(days=1)).replace(day=1)
        assert previous.length_days <= period.length_days
    else:
        assert previous.last == period.first - timedelta(days=1)
        assert previous.length_days == period.length_days


def test_a_long_month_is_compared_with_a_short_one() -> None:
    """On March 31st this month is compared with all of February, on the 15th with February 1st to 15th."""
    whole = previous_period(Duration.THIS_MONTH, Period(date(2026, 3, 1), TODAY))
    assert whole == Period(date(2026, 2, 1), date(2026, 2, 28))
    half = previous_period(Duration.THIS_MONTH, Period(date(2026, 3, 1), date(2026, 3, 15)))
    assert half == Period(date(2026, 2, 1), date(2026, 2, 15))


@pytest.mark.parametrize(
    ("first", "last", "part"),
    [
        ("", "2026-03-01", "From must be a day"),
        ("2026-03-01", "2026-02-30", "To must be a day"),
        ("2026-03-02", "2026-03-01", "is after To"),
        ("2026-03-01", "2026-04-01", "in the future"),
        ("2024-01-01", "2026-03-01", "at most 400"),
        ("1960-01-01", "1960-01-02", "between 1970-01-01"),
        ("<script>", "2026-03-01", "From must be a day"),
    ],
)
def test_bad_ranges_are_refused(first: str, last: str, part: str) -> None:
    """A range that cannot be shown says why."""
    with pytest.raises(PeriodFault, match=part):
        custom_period(first, last, TODAY, 400)


def test_a_range_of_exactly_the_longest_length_is_shown() -> None:
    """The longest range is 400 days, both ends included."""
    first = TODAY - timedelta(days=399)
    assert custom_period(str(first), str(TODAY), TODAY, 400).length_days == 400


def test_ranges_are_written_out() -> None:
    """Days are written in no order that could be mistaken."""
    assert days_text(Period(date(2026, 3, 4), date(2026, 3, 5))) == "4 Mar 2026 – 5 Mar 2026"  # noqa: RUF001
    assert days_text(Period(TODAY, TODAY)) == "31 Mar 2026"


def test_no_period_lies_before_all_time() -> None:
    """The first days that are kept are compared with nothing."""
    assert previous_period(Duration.CUSTOM, Period(date(1970, 1, 1), date(1970, 1, 7))) is None
