"""The overview's chart: a bar for each number of the query, and each tells what it stands for."""

from __future__ import annotations

from collections import Counter

import pytest
from playwright.sync_api import Locator, Page, expect

from dashboard.periods import Duration
from tests.browser.views import chosen_of, show
from tests.support.dashboard_process import RunningDashboard
from tests.support.overview_truth import tile_of

TITLES = {
    "marketing": "Marketing",
    "utility": "Utility",
    "authentication": "Authentication",
    "service": "Service",
    "free_entry_point": "Free entry points",
}


def sums_of(dashboard: RunningDashboard) -> Counter[tuple[str, str]]:
    """Return the conversations of the last 30 days by day and series, as chart and tooltip write them."""
    sums: Counter[tuple[str, str]] = Counter()
    chosen = chosen_of(dashboard, Duration.LAST_30_DAYS)
    words = {str(day): f"{day:%a} {day.day} {day:%b} {day.year}" for day in chosen.period.days}
    for row in chosen.of(dashboard.rows("conversations")):
        sums[words[row["day"]], TITLES[tile_of(row["type"])]] += row["total"]
        sums[words[row["day"]], "Free"] += row["free"]
    return sums


def bars_of(page: Page) -> Locator:
    """Return the bars of the chart, once it is drawn."""
    page.wait_for_selector("[data-drawn]")
    return page.locator("[data-chart] path[aria-roledescription=bar]")


def label_of(mark: Locator) -> tuple[str, str, int]:
    """Return day, series and number as a mark says them to a screen reader."""
    said = dict(part.split(": ", 1) for part in str(mark.get_attribute("aria-label")).split("; "))
    return said["Day"], said.get("Type", said.get("type", "")), int(said["Conversations"].replace(",", ""))


def test_the_chart_has_a_bar_for_every_number_that_is_not_zero(
    page: Page, dashboard: RunningDashboard
) -> None:
    """Each day and type with conversations is one bar, which says the query's number; no other bar is there."""
    show(page, Duration.LAST_30_DAYS)
    said = [label_of(bar) for bar in bars_of(page).all()]
    wanted = {key: count for key, count in sums_of(dashboard).items() if key[1] != "Free"}
    assert len(said) == len(wanted) > 50
    assert {(day, series): count for day, series, count in said} == wanted


def test_the_line_of_what_is_free_has_a_point_for_every_day(page: Page, dashboard: RunningDashboard) -> None:
    """Each of the 30 days has a point with the query's number, 0 included."""
    show(page, Duration.LAST_30_DAYS)
    bars_of(page)
    points = page.locator("[data-chart] path[aria-roledescription=point]")
    said = {day: count for day, _, count in map(label_of, points.all())}
    sums = sums_of(dashboard)
    assert len(said) == points.count() == 30
    assert said == {day: sums[day, "Free"] for day in said}


@pytest.mark.parametrize("series", TITLES.values())
def test_pointing_at_a_bar_tells_its_number(page: Page, dashboard: RunningDashboard, series: str) -> None:
    """The tooltip has the day, the type and the query's number of exactly the bar below the pointer."""
    show(page, Duration.LAST_30_DAYS)
    sums = sums_of(dashboard)
    # The largest is high enough to be pointed at, and its number is not that of its neighbours.
    day, _ = max((key for key in sums if key[1] == series), key=lambda key: (sums[key], key))
    bars = bars_of(page)
    bar = page.locator(f"[data-chart] path[aria-roledescription=bar][aria-label*='{day}; Type: {series};']")
    expect(bar).to_have_count(1)
    assert bars.count() > 50
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    assert box is not None
    page.mouse.move(0, 0)
    # Left of the middle, where the points of the line are.
    page.mouse.move(box["x"] + box["width"] / 5, box["y"] + box["height"] / 2, steps=8)
    tooltip = page.locator("#vg-tooltip-element.visible td.value")
    expect(tooltip).to_have_text([day, series, f"{sums[day, series]:,}"])
