"""A view as its URL."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from dashboard.periods import Duration, period_of
from dashboard.views import View, view_of

TODAY = date(2026, 3, 31)
TEXTS = st.text(min_size=1, max_size=20)


@st.composite
def views(draw: st.DrawFn) -> View:
    """Return any view that a URL can ask for."""
    duration = draw(st.sampled_from(Duration))
    if duration is Duration.CUSTOM:
        last = TODAY - timedelta(days=draw(st.integers(0, 3000)))
        first = last - timedelta(days=draw(st.integers(0, 399)))
        period = type(period_of(Duration.YESTERDAY, TODAY))(first, last)
    else:
        period = period_of(duration, TODAY)
    numbers, countries = (tuple(sorted(draw(st.sets(TEXTS, max_size=4)))) for _ in range(2))
    return View(draw(TEXTS), duration, period, numbers, countries)


@given(views())
def test_a_view_comes_back_from_its_url(view: View) -> None:
    """Whatever accounts, numbers and countries are called, the URL of a view leads to it again."""
    parameters = QueryParams(view.query())
    assert view_of(parameters, parameters["account"], TODAY, 400) == (view, [])
    fixed = QueryParams(view.fixed().query())
    later, faults = view_of(fixed, fixed["account"], TODAY + timedelta(days=50), 400)
    assert (later.period, later.numbers, faults) == (view.period, view.numbers, [])


def test_without_parameters_the_last_seven_days_are_shown() -> None:
    """The default is Last 7 Days, of every number and country."""
    view, faults = view_of(QueryParams(""), "a", TODAY, 400)
    assert view == View("a", Duration.LAST_7_DAYS, period_of(Duration.LAST_7_DAYS, TODAY))
    assert not faults


def test_what_a_form_sends_for_all_means_all() -> None:
    """An empty choice is all; days of a range that is not custom are left alone."""
    view, faults = view_of(
        QueryParams("duration=this-month&number=&country=&from=nonsense&to="), "a", TODAY, 400
    )
    assert (view.duration, view.numbers, view.countries, faults) == (Duration.THIS_MONTH, (), (), [])


def test_faults_are_said_all_at_once() -> None:
    """A bad duration and too many numbers are two faults, and the default stands in."""
    many = "&".join(f"number={place}" for place in range(301))
    view, faults = view_of(QueryParams(f"duration=forever&{many}"), "a", TODAY, 400)
    assert view.duration is Duration.LAST_7_DAYS
    assert len(faults) == 2


def test_a_link_to_one_part_replaces_the_choice() -> None:
    """A row's link narrows the view to it, whatever was chosen."""
    view = View("a", Duration.YESTERDAY, period_of(Duration.YESTERDAY, TODAY), ("1", "2"), ("BR",))
    assert QueryParams(view.query(number="1")).getlist("number") == ["1"]
    assert QueryParams(view.query(number="1")).getlist("country") == ["BR"]
