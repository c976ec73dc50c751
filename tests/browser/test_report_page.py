"""The page of the final report: section by section the figures of the verb ``report``."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.reading import cells_of
from tests.support.dashboard_process import ACCOUNT, NUMBERS, RunningDashboard
from tests.support.report_truth import SUMMED, in_words, sections_of, summed

of_every_scope = pytest.mark.parametrize(
    "number", ["", NUMBERS[0], NUMBERS[2]], ids=["account", "plan", "none"]
)


def show(page: Page, month: str, number: str) -> None:
    """Choose month and number in the form, as a person does."""
    page.goto(f"/report?account={ACCOUNT}")
    page.get_by_label("Month").select_option(month)
    page.get_by_label("Business number").select_option(number)
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url(f"**/report?account={ACCOUNT}&month={month}&number={number}")


def shown_sections(page: Page) -> dict[str, list[list[str]]]:
    """Return the tables of the page by the name of their section."""
    tables = page.locator("table[data-section]").all()
    return {str(table.get_attribute("data-section")): cells_of(table.locator("tbody tr")) for table in tables}


def wanted_sections(report: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return the same of the verb's report, as the page writes it."""
    sections = {
        name: [[in_words(cell) for cell in row] for row in rows] for name, rows in sections_of(report).items()
    }
    for row in sections.get("licence", ()):
        row[-1] = row[-1] if row[-1] == "not stated" else f"{row[-1]} %"
    return sections


@of_every_scope
def test_every_section_is_that_of_the_verb(page: Page, dashboard: RunningDashboard, number: str) -> None:
    """Licence, active users, conversations and their countries, outgoing, incoming, charges: cell by cell."""
    month = dashboard.whole_month()
    show(page, month, number)
    wanted = wanted_sections(dashboard.report(month, number))
    shown = shown_sections(page)
    assert list(shown) == list(wanted)
    for name, rows in wanted.items():
        assert shown[name] == rows, name


def test_the_report_has_something_in_every_section(dashboard: RunningDashboard) -> None:
    """The seeded month has licences, additional users, priced and unpriced conversations, and charges."""
    report = dashboard.report(dashboard.whole_month())
    assert set(sections_of(report)) >= {*SUMMED, "licence", "amau", "incoming"}
    amounts = {total["section"]: Decimal(total["amount"]) for total in report["totals"]}
    assert set(amounts) == {"licence", "amau", "conversations", "provider"}
    assert min(amounts.values()) > 0
    assert any(total["unpriced"] for total in report["totals"])
    assert report["incoming_total"] > 100


@of_every_scope
def test_sums_and_totals_are_those_of_the_verb(page: Page, dashboard: RunningDashboard, number: str) -> None:
    """Below each table stand the sums of its counts, and the verb's total of its money."""
    month = dashboard.whole_month()
    show(page, month, number)
    report = dashboard.report(month, number)
    for name, rows in sections_of(report).items():
        table = page.locator(f"table[data-section={name}]")
        if name in SUMMED and len(rows) > 1:
            places = SUMMED[name]
            [cells] = cells_of(table.locator("tfoot tr"))
            assert cells[places.start : places.stop] == [in_words(each) for each in summed(rows, places)], (
                name
            )
        totals = [
            f"In all {in_words(Decimal(total['amount']))} {total['currency']}"
            + (f"; {total['unpriced']:,} without a price are not in it" if total["unpriced"] else "")
            for total in report["totals"]
            # What conversations come to stands below their countries, too.
            if total["section"] == name.replace("details", "conversations")
        ]
        shown = page.locator("section", has=table).locator("p.totals")
        assert shown.all_inner_texts() == totals, name


def test_head_and_notes_are_those_of_the_verb(page: Page, dashboard: RunningDashboard) -> None:
    """Whose report, of which days, whether it is final, by which prices, and every note."""
    month = dashboard.whole_month()
    show(page, month, "")
    report = dashboard.report(month)
    names = page.locator("dl.facts dt").all_inner_texts()
    facts = dict(zip(names, page.locator("dl.facts dd").all_inner_texts(), strict=True))
    days = f"{report['first_day']} to {report['last_day']}, {report['time_zone']}"
    assert (facts["Account"], facts["Number"]) == (ACCOUNT, "Whole account")
    assert facts["Month"] == f"{month} ({days})"
    assert facts["Price data"] == report["price_data"] != ""
    state = "final" if report["is_final"] else f"provisional, can change until {report['final_from']}"
    assert facts["State"] == state
    notes = page.locator("section[aria-labelledby=notes-heading] li")
    assert notes.all_inner_texts() == report["notes"]
    assert report["notes"]


def test_the_month_that_runs_is_provisional(page: Page, dashboard: RunningDashboard) -> None:
    """The report of the current month says until when it can change, and has the verb's figures so far."""
    month = f"{dashboard.today():%Y-%m}"
    show(page, month, "")
    report = dashboard.report(month)
    expect(page.locator("h2 .state")).to_have_text(f"provisional until {report['final_from']}")
    assert shown_sections(page) == wanted_sections(report)
