"""Views of the overview: the durations and filters that tests choose, by URL and as the truth knows them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from dashboard.periods import Duration, period_of
from tests.support.dashboard_process import ACCOUNT, NUMBERS, RunningDashboard
from tests.support.overview_truth import Chosen

DURATIONS = [duration for duration in Duration if duration is not Duration.CUSTOM]
SEVERAL = NUMBERS[:2]
"""Two of three: several are not all."""
FILTERS = {
    "everything": ((), ()),
    "one number": (NUMBERS[:1], ()),
    "several numbers": (SEVERAL, ()),
    "one country": ((), ("BR",)),
    "several countries": ((), ("BR", "IN", "GB")),
    "several numbers, several countries": (SEVERAL, ("BR", "IN")),
}
Values = tuple[str, ...]
of_every_duration = pytest.mark.parametrize("duration", DURATIONS)
of_every_filter = pytest.mark.parametrize(("numbers", "countries"), FILTERS.values(), ids=FILTERS)
of_some_filters = pytest.mark.parametrize(
    ("numbers", "countries"), [((), ()), (SEVERAL, ("BR", "IN"))], ids=["everything", "several of both"]
)


def chosen_of(
    dashboard: RunningDashboard, duration: Duration, numbers: Values = (), countries: Values = ()
) -> Chosen:
    """Return what is chosen by a named duration and filters."""
    return Chosen(period_of(duration, dashboard.today()), numbers, countries)


def show(page: Page, duration: Duration, numbers: Values = (), countries: Values = ()) -> None:
    """Open the view by its URL."""
    filters = [f"&number={each}" for each in numbers] + [f"&country={each}" for each in countries]
    page.goto(f"/overview?account={ACCOUNT}&duration={duration.value}{''.join(filters)}")
