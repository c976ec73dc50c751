"""Monthly active users: the figures of the query, limits and notices of the verbs, and never a sum over numbers."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.reading import number, table_cells
from tests.support.dashboard_process import ACCOUNT, NUMBERS, RunningDashboard

WHOLE = "Whole account"


def counts_of(dashboard: RunningDashboard, month: str) -> dict[str, list[int]]:
    """Return MAU by either rule and phones of each scope, as the query has them."""
    counts = {
        row["number"] or WHOLE: [row["mau"], row["mau_both"], row["mau_phones"]]
        for row in dashboard.rows("active-users")
        if row["month"] == month
    }
    # What has a package is shown before anybody was active in a month.
    return {WHOLE: [0, 0, 0], NUMBERS[0]: [0, 0, 0]} | counts


def scopes(page: Page) -> dict[str, list[int]]:
    """Return the same as the table of the page has it."""
    return {row[0]: [number(cell) for cell in row[1:4]] for row in table_cells(page, "scopes")}


def show(page: Page, month: str, numbers: tuple[str, ...] = ()) -> None:
    """Open a month of an account, or of some of its numbers."""
    filters = "".join(f"&number={each}" for each in numbers)
    page.goto(f"/active-users?account={ACCOUNT}&month={month}{filters}")


@pytest.mark.parametrize("is_over", [False, True], ids=["this month", "last month"])
def test_active_users_are_those_of_the_query(page: Page, dashboard: RunningDashboard, is_over: bool) -> None:
    """The table has the query's numbers for the account and each number, and nothing is added up over them."""
    month = dashboard.whole_month() if is_over else f"{dashboard.today():%Y-%m}"
    show(page, month)
    wanted = counts_of(dashboard, month)
    assert scopes(page) == wanted
    growth = table_cells(page, "growth")
    assert number(growth[-1][2]) == sum(number(row[1]) for row in growth) == wanted[WHOLE][0]
    assert page.locator("[data-table=scopes] tfoot").count() == 0


@pytest.mark.parametrize("numbers", [NUMBERS[:2], NUMBERS[1:], NUMBERS], ids=["first two", "last two", "all"])
def test_several_numbers_are_each_shown_and_never_added_up(
    page: Page, dashboard: RunningDashboard, numbers: tuple[str, ...]
) -> None:
    """The whole account and each chosen number have the query's figures; a sum of them stands nowhere."""
    month = dashboard.whole_month()
    show(page, month, numbers)
    every = counts_of(dashboard, month)
    wanted = {scope: every[scope] for scope in (WHOLE, *numbers)}
    assert scopes(page) == wanted
    # Somebody is active with several numbers, or else a sum could not be told from the truth.
    sums = [sum(each) for each in zip(*(every[each] for each in numbers), strict=True)]
    assert sums not in every.values()
    assert page.locator("[data-table=scopes] tfoot").count() == 0
    uses = dashboard.rows("burn-down", "--month", month)
    gauges = [
        f"{use['number'] or WHOLE}: {use['used']:,} of {use['limit']:,} in the package"
        for use in uses
        if use["limit_name"] == "mau_package" and (use["number"] or WHOLE) in wanted
    ]
    assert page.locator("section.gauge h2").all_inner_texts() == gauges


def test_growth_of_several_numbers_is_that_of_the_whole_account(
    page: Page, dashboard: RunningDashboard
) -> None:
    """The chart adds no numbers up either: for several it is the account's, for one it is that number's."""
    month = dashboard.whole_month()
    every = counts_of(dashboard, month)
    for numbers, scope in ((NUMBERS[:2], WHOLE), (NUMBERS[1:2], NUMBERS[1])):
        show(page, month, numbers)
        expect(page.locator("#growth-heading")).to_have_text(
            f"Growth of {scope.replace(WHOLE, 'the whole account')}"
        )
        assert number(table_cells(page, "growth")[-1][2]) == every[scope][0]


def test_numbers_are_chosen_in_the_form(page: Page, dashboard: RunningDashboard) -> None:
    """Ticking two of three numbers leads to the view of these two, which its URL names."""
    month = dashboard.whole_month()
    show(page, month)
    page.locator("details.choices > summary").click()
    for each in NUMBERS[:2]:
        page.locator(f"input[type=checkbox][value='{each}']").check()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(f"**month={month}&number={NUMBERS[0]}&number={NUMBERS[1]}")
    every = counts_of(dashboard, month)
    expect(page.locator("[data-table=scopes] tbody tr")).to_have_count(3)
    assert scopes(page) == {scope: every[scope] for scope in (WHOLE, *NUMBERS[:2])}


def test_packages_are_those_of_the_query(page: Page, dashboard: RunningDashboard) -> None:
    """Package, balance and users beyond it are the query's, where there is a plan; elsewhere that there is none."""
    month = dashboard.whole_month()
    show(page, month)
    rows = [row for row in dashboard.rows("active-users") if row["month"] == month]
    wanted = {
        row["number"] or WHOLE: [f"{row[name]:,}" for name in ("package", "balance", "amau")]
        if "package" in row
        else ["no plan"]
        for row in rows
    }
    assert {row[0]: row[4:] for row in table_cells(page, "scopes")} == wanted
    assert wanted[NUMBERS[1]] == ["no plan"] != wanted[NUMBERS[0]]


def test_limits_and_notices_are_those_of_the_verbs(page: Page, dashboard: RunningDashboard) -> None:
    """Gauges and limits have the figures of ``burn-down``, and the notices are those of ``alerts list``, in order."""
    month = dashboard.whole_month()
    show(page, month)
    uses = dashboard.rows("burn-down", "--month", month)
    packages = {use["number"]: use for use in uses if use["limit_name"] == "mau_package"}
    assert set(packages) == {"", NUMBERS[0]}
    for number_id, use in packages.items():
        heading = page.get_by_role("heading", name=re.compile(f"^{number_id or WHOLE}: "))
        expect(heading).to_contain_text(f"{use['used']:,} of {use['limit']:,} in the package")
    others = [use for use in uses if use["limit_name"] != "mau_package"]
    assert [row[1:] for row in table_cells(page, "limits")] == [
        [
            *(f"{use[key]:,}" for key in ("used", "limit", "left", "projected")),
            str(use["exhausted_on"] or "not this month"),
        ]
        for use in others
    ]
    assert "conversation_budget" in {use["limit_name"] for use in others}
    notices = dashboard.rows("alerts", "list", "--month", month)
    assert {"mau_package", "conversation_budget"} <= {each["limit_name"] for each in notices}
    shown = table_cells(page, "notices")
    assert [[number(row[3]), number(row[4]), row[5]] for row in shown] == [
        [each["used"], each["limit"], each["level"]] for each in notices
    ]
    assert [row[2].split()[1] for row in shown] == [each["threshold"] for each in notices]
