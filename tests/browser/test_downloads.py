"""What is downloaded and mailed: opened, and compared with the page."""

from __future__ import annotations

import csv
import io
import re
import struct
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, Route, expect
from pypdf import PdfReader

from dashboard.periods import Duration
from tests.browser.reading import cells_of, parts, table_cells
from tests.browser.saving import downloaded, picture_of
from tests.browser.views import SEVERAL, Values, chosen_of, of_some_filters, show
from tests.support.dashboard_process import ACCOUNT, REFUSED, MailBox, RunningDashboard
from tests.support.overview_truth import Chosen, exact_sum, figures_of, tile_of

URL = f"/overview?account={ACCOUNT}&duration=last-30-days"
_MARKETING = (0x39, 0x97, 0xF2)
"""Colour of marketing in every chart."""


def table_of(page: Page) -> list[list[str]]:
    """Return the figures of the chart as the page has them, without separators."""
    rows = cells_of(page.locator("details.data table").first.locator("tbody tr"))
    return [[cell.replace(",", "") for cell in row] for row in rows]


@pytest.mark.parametrize(("name", "media_type"), [("PNG image", "png"), ("JPEG image", "jpeg")])
def test_pictures_show_the_chart(page: Page, tmp_path: Path, name: str, media_type: str) -> None:
    """PNG and JPEG have the size of the chart in double resolution, and its bars are in them."""
    page.goto(URL)
    content = downloaded(page, name, tmp_path)
    picture = picture_of(page, content, media_type, _MARKETING)
    assert (picture.width, picture.height > 600) == (1800, True)
    assert picture.coloured > 2000
    if media_type == "png":
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", content[16:24]) == (picture.width, picture.height)


def test_the_svg_is_the_picture_of_the_screen(page: Page, tmp_path: Path) -> None:
    """It has as many bars as the page, in the same colours, and says what it is about."""
    page.goto(URL)
    page.wait_for_selector("[data-drawn]")
    shown = page.locator("[data-chart] path[aria-roledescription=bar]")
    colours = {shown.nth(place).get_attribute("fill") for place in range(shown.count())}
    content = downloaded(page, "SVG vector image", tmp_path).decode()
    drawn = re.findall(
        r'<path aria-label="[^"]*" role="graphics-symbol" aria-roledescription="bar"[^>]*fill="([^"]+)"',
        content,
    )
    assert len(drawn) == shown.count() > 50
    assert set(drawn) == colours
    assert ACCOUNT in content
    assert "<script" not in content


def test_the_pdf_has_the_chart_with_its_texts(page: Page, tmp_path: Path) -> None:
    """The PDF is one page whose texts can be searched."""
    page.goto(URL)
    reader = PdfReader(io.BytesIO(downloaded(page, "PDF document", tmp_path)))
    assert len(reader.pages) == 1
    text = reader.pages[0].extract_text()
    for part in ("Conversations by day", ACCOUNT, "Marketing", "Free"):
        assert part in text


def test_the_csv_equals_the_page(page: Page, dashboard: RunningDashboard, tmp_path: Path) -> None:
    """Each line and number of the table below the chart stands in the csv; costs are the charges', unrounded."""
    page.goto(URL)
    content = downloaded(page, "Days as CSV", tmp_path).decode()
    lines = list(csv.reader(io.StringIO(content)))
    shown = table_of(page)
    costs = lines[0].index("cost_usd")
    assert [line[:costs] for line in lines[1:]] == [row[:costs] for row in shown]
    chosen = chosen_of(dashboard, Duration.LAST_30_DAYS)
    assert [line[0] for line in lines[1:]] == [str(day) for day in chosen.period.days]
    charges = chosen.of(dashboard.rows("charges"))
    by_day = [[row for row in charges if row["day"] == line[0]] for line in lines[1:]]
    assert [Decimal(line[costs]) for line in lines[1:]] == [exact_sum(rows) for rows in by_day]
    unrated = [sum(row["charged"] for row in rows if row["amount"] is None) for rows in by_day]
    assert [int(line[costs + 1]) for line in lines[1:]] == unrated
    assert sum(unrated) > 0


@of_some_filters
def test_every_row_as_csv_equals_the_query(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, numbers: Values, countries: Values
) -> None:
    """The detailed csv has all rows of the verb ``conversations`` that the view holds, and no other."""
    show(page, Duration.LAST_30_DAYS, numbers, countries)
    lines = list(csv.DictReader(io.StringIO(downloaded(page, "Every row as CSV", tmp_path).decode())))
    chosen = chosen_of(dashboard, Duration.LAST_30_DAYS, numbers, countries)
    wanted = chosen.of(dashboard.rows("conversations"))
    assert lines == [{name: str(value) for name, value in row.items()} for row in wanted]
    assert len(lines) > 30


def test_the_workbook_equals_the_page(page: Page, dashboard: RunningDashboard, tmp_path: Path) -> None:
    """The workbook has the days, the parts and the messages of the page, and every row, as numbers and dates."""
    page.goto(URL)
    book = openpyxl.load_workbook(
        io.BytesIO(downloaded(page, "Everything as XLSX", tmp_path)), data_only=True
    )
    shown = table_of(page)
    width = len(shown[0]) - 1
    assert [row[:width] for row in sheet_of(book, "Days")[: len(shown)]] == [row[:width] for row in shown]
    for name, column in (("Numbers", "number"), ("Countries", "country")):
        lines = [[str(cell) for cell in line] for line in parts(page, column)]
        # A country's name stands behind its code.
        cells = [[row[0], *row[-5:]] for row in sheet_of(book, name)]
        assert cells[: len(lines)] == lines, name
    messages = [[cell.replace(",", "") for cell in row] for row in table_cells(page, "messages")]
    assert sheet_of(book, "Messages")[: len(messages)] == messages
    rows = chosen_of(dashboard, Duration.LAST_30_DAYS).of(dashboard.rows("conversations"))
    assert sheet_of(book, "Rows")[: len(rows)] == [list(map(str, row.values())) for row in rows]


def sheet_of(book: openpyxl.Workbook, name: str) -> list[list[str]]:
    """Return the cells of a sheet below its head as texts; days without the time that a workbook gives them."""
    lines = book[name].iter_rows(min_row=2, values_only=True)
    return [[str(cell).removesuffix(" 00:00:00") for cell in line] for line in lines]


def test_the_first_sheet_has_the_tiles(page: Page, dashboard: RunningDashboard, tmp_path: Path) -> None:
    """Each tile's conversations, what was free, the messages, and the unrounded cost are those of the queries."""
    show(page, Duration.LAST_30_DAYS, SEVERAL)
    book = openpyxl.load_workbook(
        io.BytesIO(downloaded(page, "Everything as XLSX", tmp_path)), data_only=True
    )
    head, *lines = book["Summary"].iter_rows(values_only=True)
    chosen = chosen_of(dashboard, Duration.LAST_30_DAYS, SEVERAL)
    wanted = figures_of(dashboard, chosen)
    for line in lines[:5]:
        cells = dict(zip(head, line, strict=True))
        key = str(cells["Type"]).lower().replace("free entry points", "free_entry_point")
        names = ("Conversations", "Free", "Messages delivered")
        assert [cells[name] for name in names] == [
            wanted[f"{key}.{figure}"] for figure in ("conversations", "free", "messages")
        ], key
        assert cells["Cost, USD"] == pytest.approx(float(cost_of(dashboard, chosen, key)), abs=1e-9), key
    others = {line[0]: dict(zip(head, line, strict=True)) for line in lines[5:]}
    assert others["Free"]["Conversations"] == wanted["free.conversations"]
    assert others["Free"]["Messages delivered"] == wanted["free.messages"]
    assert others["All"]["Conversations"] == wanted["all-conversations"]
    assert others["All"]["Messages delivered"] == wanted["all-messages"]


def cost_of(dashboard: RunningDashboard, chosen: Chosen, tile: str) -> Decimal:
    """Return what the charges of a tile come to."""
    return exact_sum(
        [row for row in chosen.of(dashboard.rows("charges")) if tile_of(row["category"]) == tile]
    )


def test_a_report_is_sent_to_addresses(page: Page, mail: MailBox, tmp_path: Path) -> None:
    """The pane sends the same csv to those who may have it, says who was refused, and offers the addresses again."""
    page.goto(URL)
    mail.mails.clear()
    mail.envelopes.clear()
    page.get_by_role("link", name="Download report").click()
    pane = page.get_by_role("dialog", name="Download report")
    pane.get_by_label(re.compile("ddresses")).fill(f"finance@example.com, {REFUSED}")
    pane.get_by_role("button", name="Send").click()
    expect(pane.get_by_role("alert")).to_contain_text("took the report for finance@example.com")
    expect(pane.get_by_role("alert")).to_contain_text(f"{REFUSED}: 550")
    assert mail.envelopes == [("finance@example.com",)]
    [attachment] = mail.mails[0].iter_attachments()
    assert attachment.get_content_type() == "text/csv"
    sent = attachment.get_payload(decode=True)
    pane.get_by_role("link", name="Back").click()
    expect(pane).to_have_count(0)
    assert isinstance(sent, bytes)
    assert sent == downloaded(page, "Days as CSV", tmp_path)
    page.get_by_role("link", name="Download report").click()
    expect(pane.get_by_label("finance@example.com")).to_be_visible()
    expect(pane.get_by_label(REFUSED)).to_have_count(0)


@pytest.mark.parametrize(
    ("addresses", "part"),
    [
        ("", "no address"),
        ("somebody@elsewhere.test", "elsewhere.test"),
        ("not an address", "NAME@DOMAIN"),
        (", ".join(f"a{place}@example.com" for place in range(11)), "at most 10"),
    ],
)
def test_bad_addresses_are_named_and_nothing_is_sent(
    page: Page, mail: MailBox, addresses: str, part: str
) -> None:
    """Faults are said in the pane, what was typed stays, and the mail server hears nothing."""
    mail.mails.clear()
    page.goto(URL)
    page.get_by_role("link", name="Download report").click()
    pane = page.get_by_role("dialog", name="Download report")
    field = pane.get_by_label(re.compile("ddresses, one a line"))
    field.fill(addresses)
    pane.get_by_role("button", name="Send").click()
    expect(pane.get_by_role("alert")).to_contain_text(part)
    expect(field).to_have_value(addresses)
    assert mail.mails == []


def answer_with(page: Page, how: str) -> None:
    """Let the form be answered by something else than the pane."""

    def handle(route: Route) -> None:
        if route.request.method != "POST":
            route.continue_()
        elif how == "a proxy gives up":
            route.fulfill(status=504, content_type="text/html", body="<h1>Gateway Time-out</h1>")
        else:
            route.abort()

    if how == "a form of another session":
        page.locator("dialog input[name=csrf]").evaluate("(field) => { field.value = 'x'.repeat(43); }")
    else:
        page.route("**/send?*", handle)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("a form of another session", "This form is not of your session."),
        (
            "a proxy gives up",
            "It is not known whether it was sent. Sent again, it may arrive twice. The answer was 504.",
        ),
        (
            "no network",
            "It is not known whether it was sent. Sent again, it may arrive twice. No answer came.",
        ),
    ],
)
def test_a_form_that_is_not_answered_says_so(page: Page, mail: MailBox, how: str, told: str) -> None:
    """The pane stays with what was typed and why; a second try replaces the words, one that succeeds the pane."""
    mail.mails.clear()
    page.goto(URL)
    page.get_by_role("link", name="Download report").click()
    pane = page.get_by_role("dialog", name="Download report")
    csrf = pane.locator("input[name=csrf]").input_value()
    field = pane.get_by_label(re.compile("ddresses, one a line"))
    field.fill("finance@example.com")
    answer_with(page, how)
    for _ in range(2):
        pane.get_by_role("button", name="Send").click()
        expect(pane.get_by_role("alert")).to_contain_text(told)
        expect(pane.get_by_role("alert")).to_have_count(1)
        expect(pane.get_by_role("button", name="Send")).to_be_enabled()
    expect(field).to_have_value("finance@example.com")
    assert mail.mails == []
    page.unroute_all()
    pane.locator("input[name=csrf]").evaluate("(field, value) => { field.value = value; }", csrf)
    pane.get_by_role("button", name="Send").click()
    expect(pane.get_by_role("alert")).to_contain_text("took the report for finance@example.com")
    assert len(mail.mails) == 1
