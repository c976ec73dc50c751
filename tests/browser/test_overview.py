"""The usage summary in a browser: its numbers are those of the queries, whatever is chosen."""

from __future__ import annotations

import re
from datetime import timedelta

from playwright.sync_api import Page, expect

from dashboard.periods import Duration, Period, days_text
from tests.browser.conftest import NewContext, signed_in
from tests.browser.reading import changes, choose, figures, parts, table_cells
from tests.browser.views import (
    FILTERS,
    Values,
    chosen_of,
    of_every_duration,
    of_every_filter,
    of_some_filters,
    show,
)
from tests.support.dashboard_process import ACCOUNT, RunningDashboard
from tests.support.overview_truth import Chosen, changes_of, figures_of, messages_of, parts_of


@of_every_duration
@of_every_filter
def test_figures_are_those_of_the_queries(
    page: Page, dashboard: RunningDashboard, duration: Duration, numbers: Values, countries: Values
) -> None:
    """For each duration and filter, every count of the page equals the sum of the query's rows."""
    page.goto(f"/overview?account={ACCOUNT}&duration=custom&from=2026-01-01&to=2026-01-01")
    choose(page, duration, numbers, countries)
    chosen = chosen_of(dashboard, duration, numbers, countries)
    assert page.locator("[data-range]").inner_text() == days_text(chosen.period)
    wanted = figures_of(dashboard, chosen)
    shown = figures(page)
    assert shown == {name: wanted[name] for name in shown}
    assert set(wanted) <= set(shown)
    # A day of one country, or a month that has just begun, can be without any.
    assert wanted["all-conversations"] or chosen.period.length_days < 7


def test_one_several_and_all_are_told_apart(dashboard: RunningDashboard) -> None:
    """What the filters choose differs, so that a filter that is not followed is seen above."""
    wanted = [
        figures_of(dashboard, chosen_of(dashboard, Duration.LAST_30_DAYS, numbers, countries))
        for numbers, countries in FILTERS.values()
    ]
    names = ("all-conversations", "all-messages", "all-incoming")
    assert len({tuple(each[name] for name in names) for each in wanted}) == len(FILTERS)


@of_every_duration
@of_some_filters
def test_changes_are_against_the_period_before(
    page: Page, dashboard: RunningDashboard, duration: Duration, numbers: Values, countries: Values
) -> None:
    """Each tile, and all together, says how the query's sum changed against that of the days before."""
    show(page, duration, numbers, countries)
    wanted = changes_of(dashboard, chosen_of(dashboard, duration, numbers, countries), duration)
    assert changes(page) == wanted
    assert duration is not Duration.LAST_30_DAYS or re.search(r"(up|down) [\d.]+ %", str(wanted))


@of_every_duration
@of_some_filters
def test_the_tables_are_those_of_the_queries(
    page: Page, dashboard: RunningDashboard, duration: Duration, numbers: Values, countries: Values
) -> None:
    """The lines by number, by country and of the messages are the queries' sums, in order and to the last one."""
    show(page, duration, numbers, countries)
    chosen = chosen_of(dashboard, duration, numbers, countries)
    if not any(figures_of(dashboard, chosen).values()):
        # So on the first days of a month.
        for name in ("number", "country", "messages"):
            assert table_cells(page, name) == [["nothing in these days"]]
        return
    for column in ("number", "country"):
        assert parts(page, column) == parts_of(dashboard, chosen, column), column
    wanted = [
        [title, *(f"{count:,}" for count in counts)] for title, *counts in messages_of(dashboard, chosen)
    ]
    assert table_cells(page, "messages") == wanted


def test_a_custom_range_is_chosen_in_the_calendar(page: Page, dashboard: RunningDashboard) -> None:
    """The days appear once a custom range is chosen, and the range is in the URL and in the figures."""
    page.goto(f"/overview?account={ACCOUNT}")
    expect(page.get_by_label("From", exact=True)).to_be_hidden()
    page.get_by_label("Duration").select_option("custom")
    last = dashboard.today() - timedelta(days=20)
    first = last - timedelta(days=12)
    page.get_by_label("From", exact=True).fill(str(first))
    page.get_by_label("To", exact=True).fill(str(last))
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile(f"from={first}&to={last}"))
    assert page.locator("[data-range]").inner_text() == days_text(Period(first, last))
    wanted = figures_of(dashboard, Chosen(Period(first, last)))
    shown = figures(page)
    assert shown == {name: wanted[name] for name in shown}
    assert wanted["all-conversations"] > 0


def test_a_range_that_cannot_be_shown_is_said_beside_the_form(page: Page) -> None:
    """The fault is in words, and what was typed stays to be mended."""
    page.goto(f"/overview?account={ACCOUNT}")
    response = page.goto(f"/overview?account={ACCOUNT}&duration=custom&from=2026-03-02&to=2026-03-01")
    assert response is not None
    assert response.status == 400
    expect(page.get_by_role("alert")).to_contain_text("is after To")
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-03-02")


def test_every_view_has_a_url_that_back_and_reload_lead_to(page: Page) -> None:
    """Choosing changes the URL, Back returns to the view of before, and a reload shows the same."""
    page.goto(f"/overview?account={ACCOUNT}")
    choose(page, Duration.LAST_90_DAYS, (), ())
    wide = figures(page)
    choose(page, Duration.YESTERDAY, (), ())
    assert figures(page) != wide
    page.go_back()
    expect(page.locator("[data-figure=all-conversations]")).to_have_text(f"{wide['all-conversations']:,}")
    page.reload()
    assert figures(page) == wide
    expect(page.get_by_label("Duration")).to_have_value("last-90-days")


def test_a_part_leads_to_itself(page: Page) -> None:
    """The line of a number or country is a link to the view of that alone."""
    page.goto(f"/overview?account={ACCOUNT}&duration=last-90-days")
    line = page.locator("[data-table=number] tbody tr").first
    total = line.locator("td").first.inner_text()
    line.locator("a").click()
    expect(page.locator("[data-figure=all-conversations]")).to_have_text(total)


def test_a_viewer_sees_no_money(new_context: NewContext, dashboard: RunningDashboard) -> None:
    """Whoever may not see money finds neither amounts nor a way to the report, but every other count.

    How many messages were free is told by the charges, which are money.
    """
    page = signed_in(new_context(), dashboard, "ann")
    show(page, Duration.LAST_90_DAYS)
    assert "USD" not in page.content()
    expect(page.locator("[data-figure=cost], [data-figure=all-cost]")).to_have_count(0)
    wanted = figures_of(dashboard, chosen_of(dashboard, Duration.LAST_90_DAYS))
    assert wanted.pop("free.messages") > 0
    assert figures(page) == wanted
    expect(page.get_by_role("link", name="Final report")).to_have_count(0)
    expect(page.get_by_role("link", name="User windows")).to_have_count(0)
