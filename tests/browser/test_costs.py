"""The overview's money: the cost of each tile is what the verb ``charges`` says of its messages."""

from __future__ import annotations

from decimal import Decimal

import pytest
from playwright.sync_api import Page

from dashboard.periods import Duration
from tests.browser.reading import cells_of, costs
from tests.browser.views import Values, chosen_of, of_every_duration, show
from tests.support.dashboard_process import NUMBERS, RunningDashboard
from tests.support.overview_truth import cost_lines, costs_of, exact_sum, tile_of

of_these_filters = pytest.mark.parametrize(
    ("numbers", "countries"),
    [((), ()), (NUMBERS[:1], ("IN",)), (NUMBERS[1:], ("BR", "IN", "ID"))],
    ids=["everything", "a number and a country", "several of both"],
)


@of_every_duration
@of_these_filters
def test_every_tile_costs_what_the_charges_say(
    page: Page, dashboard: RunningDashboard, duration: Duration, numbers: Values, countries: Values
) -> None:
    """Tile by tile, and in all: the charges' sum to the cent, and how many of them have no rate."""
    show(page, duration, numbers, countries)
    shown = costs(page)
    # What is free costs nothing, in no duration and under no filter.
    assert shown.pop("free") == ["nothing charged"]
    wanted = costs_of(dashboard, chosen_of(dashboard, duration, numbers, countries))
    # Nothing is ever charged for an entry point, so that its tile says nothing of cost.
    assert wanted.pop("free_entry_point", ["nothing charged"]) == ["nothing charged"]
    assert shown == wanted


def test_the_charges_have_something_to_tell(dashboard: RunningDashboard) -> None:
    """In the seeded traffic tiles differ in cost, several are not all, and some messages have no rate."""
    everything = costs_of(dashboard, chosen_of(dashboard, Duration.LAST_30_DAYS))
    assert len({str(lines) for lines in everything.values()}) == len(everything)
    assert "without a rate" in str(everything)
    several = costs_of(
        dashboard, chosen_of(dashboard, Duration.LAST_30_DAYS, NUMBERS[1:], ("BR", "IN", "ID"))
    )
    one = costs_of(dashboard, chosen_of(dashboard, Duration.LAST_30_DAYS, NUMBERS[:1], ("IN",)))
    assert len({str(each["marketing"]) for each in (everything, several, one)}) == 3


@pytest.mark.parametrize("tile", ["marketing", "utility", "authentication", "service"])
def test_the_exact_cost_is_told_beside_the_rounded_one(
    page: Page, dashboard: RunningDashboard, tile: str
) -> None:
    """Pointing at a cost tells it unrounded, to the last micro-unit."""
    show(page, Duration.LAST_90_DAYS)
    chosen = chosen_of(dashboard, Duration.LAST_90_DAYS)
    own = [row for row in chosen.of(dashboard.rows("charges")) if tile_of(row["category"]) == tile]
    title = page.locator(f"[data-tile={tile}] [data-figure=cost]").get_attribute("title")
    assert title is not None
    amount, currency = title.split()
    assert (Decimal(amount.replace(",", "")), currency) == (exact_sum(own), "USD")


def test_the_days_of_the_chart_add_up_to_the_charges(page: Page, dashboard: RunningDashboard) -> None:
    """In the table below the chart each day costs what the charges of that day say."""
    show(page, Duration.LAST_30_DAYS)
    chosen = chosen_of(dashboard, Duration.LAST_30_DAYS)
    lines = cells_of(page.locator("details.data table tbody tr"))
    charges = chosen.of(dashboard.rows("charges"))
    wanted = [
        [str(day), ", ".join(cost_lines([row for row in charges if row["day"] == str(day)])) or "0"]
        for day in chosen.period.days
    ]
    assert [[line[0], line[-1]] for line in lines] == wanted
    assert len({cost for _, cost in wanted}) > 10
