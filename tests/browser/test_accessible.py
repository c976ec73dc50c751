"""Every page for everybody: by keyboard, without scripts, on a phone, in light and dark, with a screen reader."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext, signed_in
from tests.support.dashboard_process import ACCOUNT, RunningDashboard

PAGES = (
    f"/overview?account={ACCOUNT}&duration=last-30-days",
    f"/overview?account={ACCOUNT}&duration=custom&from=2026-03-02&to=2026-03-01",
    f"/active-users?account={ACCOUNT}",
    f"/report?account={ACCOUNT}",
    f"/live?account={ACCOUNT}",
    "/audit",
    "/api/docs",
    f"/send?account={ACCOUNT}",
    f"/overview?account={ACCOUNT}&duration=forever",
    "/nowhere",
)
_AXE = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }
}


def pages(dashboard: RunningDashboard) -> dict[str, tuple[str, ...]]:
    """Return all pages, and what must be on some of them: what is not there is not judged.

    Of active users there is a month that is over, too, in which every threshold was crossed.
    """
    over = f"/active-users?account={ACCOUNT}&month={dashboard.whole_month()}"
    windows = f"/windows?account={ACCOUNT}&user={dashboard.seeded_user()}"
    return {
        **dict.fromkeys(PAGES, ()),
        f"/live?account={ACCOUNT}": ("[data-table=freshness] td", "[data-table=ladder] td"),
        over: ("meter", "[data-table=limits] td", "[data-table=notices] td"),
        windows: (".state", "[data-table=conversations] td.text"),
    }


def faults_of(page: Page) -> str:
    """Return what axe finds on a page, in words; "" = nothing."""
    found = Axe().run(page, options=_AXE)
    return str(found.generate_report()) if found.violations_count else ""


def settled(page: Page, url: str) -> None:
    """Open a page and wait until its charts are drawn."""
    page.goto(url)
    if page.locator("[data-chart]").count():
        page.wait_for_selector("[data-drawn]")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_has_a_fault_that_axe_finds(
    new_context: NewContext, dashboard: RunningDashboard, scheme: str, width: int
) -> None:
    """axe finds nothing on any page, in light and dark, wide and narrow; and no page is wider than the screen."""
    context = new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
    page = signed_in(context, dashboard)
    faults = {}
    for url, wanted in pages(dashboard).items():
        settled(page, url)
        assert [each for each in wanted if not page.locator(each).count()] == [], url
        faults[url] = faults_of(page)
        overflow = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert overflow <= 0, url
    assert {url: fault for url, fault in faults.items() if fault} == {}
    out = new_context(color_scheme=scheme, viewport={"width": width, "height": 844}).new_page()
    out.goto("/sign-in")
    assert faults_of(out) == ""


def test_open_menus_and_panes_have_none_either(page: Page) -> None:
    """The choices, the download menu and the pane are checked while they are open."""
    settled(page, PAGES[0])
    page.locator("details.choices > summary").first.click()
    assert faults_of(page) == ""
    page.locator("details.menu > summary").click()
    assert faults_of(page) == ""
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Download report").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert faults_of(page) == ""


def focused(page: Page) -> str:
    """Return what has the focus, in words."""
    return str(
        page.evaluate(
            "() => { const e = document.activeElement;"
            " return e.name || e.getAttribute('aria-label') || e.textContent.trim(); }"
        )
    )


def test_everything_is_reached_by_keyboard(page: Page) -> None:
    """From the top: skip link, pages, filters, Apply, downloads; a view is chosen and a menu used without a mouse."""
    settled(page, f"/overview?account={ACCOUNT}")
    walk = []
    for _ in range(22):
        page.keyboard.press("Tab")
        walk.append(focused(page))
    wanted = [
        "Skip to the content",
        "Overview",
        "Final report",
        "Sign out",
        "account",
        "duration",
        "Business number: all",
        "Country: all",
        "Apply",
        "Download",
        "Download report",
    ]
    places = [walk.index(each) for each in wanted]
    assert places == sorted(places)
    page.get_by_label("Duration").focus()
    page.keyboard.type("Last 90")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.keyboard.press("Escape")
    assert focused(page).startswith("Business number")
    while focused(page) != "Apply":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("duration=last-90-days&number="))
    assert focused(page) == "Apply"
    while focused(page) != "Download":
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "Chart as PNG image"
    page.keyboard.press("Escape")
    assert focused(page) == "Download"
    expect(page.get_by_role("link", name="Chart as PNG image")).to_be_hidden()


def test_everything_works_without_scripts(new_context: NewContext, dashboard: RunningDashboard) -> None:
    """The form, the chart, the download links and the mail form do without JavaScript."""
    page = signed_in(new_context(java_script_enabled=False), dashboard)
    page.goto(f"/overview?account={ACCOUNT}")
    page.get_by_label("Duration").select_option("last-30-days")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(re.compile("duration=last-30-days"))
    image = page.locator("noscript img.chart, img.chart").first
    expect(image).to_be_visible()
    box = image.bounding_box()
    assert box is not None
    assert box["width"] > 500
    page.locator("details.menu > summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Days as CSV").click()
    assert waiting.value.suggested_filename.endswith(".csv")
    page.goto(f"/send?account={ACCOUNT}")
    page.get_by_label(re.compile("ddresses, one a line")).fill("quiet@example.com")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("quiet@example.com")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_the_chart_follows_the_colour_scheme_and_the_width(page: Page) -> None:
    """Changing to dark, or to a narrow window, draws the chart anew to fit."""
    settled(page, PAGES[0])
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("[data-drawn=dark]")
    page.set_viewport_size({"width": 420, "height": 800})
    page.wait_for_function("() => document.querySelector('[data-chart] svg').clientWidth < 400")
    assert page.locator("[data-chart] path[aria-roledescription=bar]").count() > 20
