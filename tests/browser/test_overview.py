"""The usage summary in a browser: its numbers are those of the queries, whatever is chosen."""

from __future__ import annotations

import re
from collections import Counter
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from dashboard.periods import Duration, Period, days_text, period_of
from dashboard.usage import tile_of, tile_of_messages
from tests.browser.conftest import NewContext, signed_in
from tests.support.dashboard_process import ACCOUNT, NUMBERS, RunningDashboard

DURATIONS = [duration for duration in Duration if duration is not Duration.CUSTOM]


def choose(page: Page, duration: Duration, numbers: tuple[str, ...], countries: tuple[str, ...]) -> None:
    """Use the form as a person does."""
    page.get_by_label("Duration").select_option(duration.value)
    for legend, values in (("Business number", numbers), ("Country", countries)):
        if values:
            page.locator("details.choices", has=page.locator(f"summary[aria-label^='{legend}']")).click()
            for value in values:
                page.locator(f"input[type=checkbox][value='{value}']").check()
            page.keyboard.press("Escape")
    before = page.url
    page.get_by_role("button", name="Apply").click()
    page.wait_for_function("url => location.href !== url", arg=before)


def figures(page: Page) -> dict[str, int]:
    """Return every figure of the tiles, by tile and name."""
    found = {}
    for tile in page.locator("[data-tile]").all():
        key = tile.get_attribute("data-tile")
        for figure in tile.locator("[data-figure]").all():
            name = figure.get_attribute("data-figure")
            if name != "cost":
                found[f"{key}.{name}"] = number(figure.inner_text())
    for name in ("all-conversations", "all-messages", "all-incoming"):
        found[name] = number(page.locator(f"[data-figure={name}]").inner_text())
    return found


def number(text: str) -> int:
    """Return a number that was written with its thousands apart."""
    return int(text.replace(",", ""))


def expected(
    dashboard: RunningDashboard, period: Period, numbers: tuple[str, ...], countries: tuple[str, ...]
) -> Counter[str]:
    """Return the figures as the rows of the queries add up to, chosen here row by row."""

    def chosen(verb: str) -> list[dict[str, object]]:
        return [
            row
            for row in dashboard.rows(verb)
            if str(period.first) <= str(row["day"]) <= str(period.last)
            and (not numbers or row["number"] in numbers)
            and (not countries or row["country"] in countries)
        ]

    sums: Counter[str] = Counter()
    for row in chosen("conversations"):
        tile, total, free = tile_of(str(row["type"])), int(str(row["total"])), int(str(row["free"]))
        sums.update({f"{tile}.conversations": total, f"{tile}.free": free, "all-conversations": total})
        sums.update({"free.conversations": free, "free.total": total})
    for row in chosen("usage"):
        delivered = int(str(row["delivered"]))
        tile = tile_of_messages(str(row["category"]), row["template"])
        sums.update({f"{tile}.messages": delivered, "all-messages": delivered})
    for row in chosen("incoming"):
        sums["all-incoming"] += int(str(row["count"]))
    return sums


@pytest.mark.parametrize("duration", DURATIONS)
@pytest.mark.parametrize(
    ("numbers", "countries"),
    [((), ()), (NUMBERS[:1], ()), (NUMBERS, ("BR", "IN"))],
    ids=["everything", "one number", "two numbers, two countries"],
)
def test_figures_are_those_of_the_queries(
    page: Page,
    dashboard: RunningDashboard,
    duration: Duration,
    numbers: tuple[str, ...],
    countries: tuple[str, ...],
) -> None:
    """For each duration and filter, every figure of the page equals the sum of the query's rows."""
    page.goto(f"/overview?account={ACCOUNT}&duration=custom&from=2026-01-01&to=2026-01-01")
    choose(page, duration, numbers, countries)
    period = period_of(duration, dashboard.today())
    assert page.locator("[data-range]").inner_text() == days_text(period)
    wanted = expected(dashboard, period, numbers, countries)
    shown = figures(page)
    assert shown == {name: wanted[name] for name in shown}
    assert set(wanted) <= set(shown) | {"free.total"}
    assert wanted["all-conversations"] or duration is Duration.YESTERDAY


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
    wanted = expected(dashboard, Period(first, last), (), ())
    assert figures(page)["all-conversations"] == wanted["all-conversations"] > 0


def test_a_range_that_cannot_be_shown_is_said_beside_the_form(page: Page) -> None:
    """The fault is in words, and what was typed stays to be mended."""
    page.goto(f"/overview?account={ACCOUNT}")
    response = page.goto(f"/overview?account={ACCOUNT}&duration=custom&from=2026-03-02&to=2026-03-01")
    assert response is not None
    assert response.status == 400
    expect(page.get_by_role("alert")).to_contain_text("is after To")
    expect(page.get_by_label("From", exact=True)).to_have_value("2026-03-02")


def test_the_chart_has_a_bar_for_every_number_that_is_not_zero(
    page: Page, dashboard: RunningDashboard
) -> None:
    """Each day and type with conversations is a bar, and pointing at one tells its number."""
    page.goto(f"/overview?account={ACCOUNT}&duration=last-30-days")
    page.wait_for_selector("[data-drawn]")
    period = period_of(Duration.LAST_30_DAYS, dashboard.today())
    sums: Counter[tuple[str, str]] = Counter()
    for row in dashboard.rows("conversations", "--from", str(period.first), "--to", str(period.last)):
        sums[str(row["day"]), tile_of(str(row["type"]))] += int(str(row["total"]))
    bars = page.locator("[data-chart] path[aria-roledescription=bar]")
    assert bars.count() == len(sums) > 50
    bars.nth(5).scroll_into_view_if_needed()
    box = bars.nth(5).bounding_box()
    assert box is not None
    page.mouse.move(0, 0)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=8)
    tooltip = page.locator("#vg-tooltip-element.visible")
    expect(tooltip).to_contain_text("Conversations")
    assert re.search(r"\d", tooltip.inner_text())


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


def test_costs_are_those_of_the_charges(page: Page, dashboard: RunningDashboard) -> None:
    """The sum on the page is that of the verb ``charges``, rounded to the cent; what has no rate is said."""
    page.goto(f"/overview?account={ACCOUNT}&duration=last-90-days")
    period = period_of(Duration.LAST_90_DAYS, dashboard.today())
    rows = dashboard.rows("charges", "--from", str(period.first), "--to", str(period.last))
    amount = sum(round(float(str(row["amount"] or 0)) * 1e6) for row in rows)
    unrated = sum(int(str(row["charged"])) for row in rows if row["amount"] is None)
    text = f"{amount / 1e6:,.2f} USD" + (f" + {unrated:,} without a rate" if unrated else "")
    assert page.locator("[data-figure=all-cost]").inner_text() == text


def test_a_viewer_sees_no_money(new_context: NewContext, dashboard: RunningDashboard) -> None:
    """Whoever may not see money finds neither amounts nor a way to the report."""
    page = signed_in(new_context(), dashboard, "ann")
    page.goto(f"/overview?account={ACCOUNT}&duration=last-90-days")
    assert "USD" not in page.content()
    expect(page.get_by_role("link", name="Final report")).to_have_count(0)
    expect(page.get_by_role("link", name="User windows")).to_have_count(0)
