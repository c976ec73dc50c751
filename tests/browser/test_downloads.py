"""What is downloaded and mailed: opened, and compared with the page."""

from __future__ import annotations

import base64
import csv
import io
import re
import struct
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Page, expect
from pypdf import PdfReader

from tests.browser.test_overview import number
from tests.support.dashboard_process import ACCOUNT, REFUSED, MailBox, RunningDashboard

URL = f"/overview?account={ACCOUNT}&duration=last-30-days"
_MARKETING = (0x39, 0x97, 0xF2)
"""Colour of marketing in every chart."""
_COUNT_PIXELS = """async ([source, colour]) => {
  const image = new Image();
  image.src = source;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width; canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height).data;
  let found = 0;
  for (let i = 0; i < data.length; i += 4)
    if (colour.every((value, place) => Math.abs(data[i + place] - value) < 12)) found++;
  return [image.width, image.height, found];
}"""


def downloaded(page: Page, name: str, directory: Path) -> bytes:
    """Return a file of the download menu."""
    page.locator("details.menu > summary").first.click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).click()
    path = directory / waiting.value.suggested_filename
    waiting.value.save_as(path)
    page.keyboard.press("Escape")
    return path.read_bytes()


def table_of(page: Page) -> list[list[str]]:
    """Return the figures of the chart as the page has them, without separators."""
    page.locator("details.data > summary").first.click()
    rows = page.locator("details.data table tbody tr").first.locator("xpath=..").locator("tr").all()
    return [[cell.replace(",", "") for cell in row.locator("th, td").all_inner_texts()] for row in rows]


@pytest.mark.parametrize(("name", "media_type"), [("PNG image", "png"), ("JPEG image", "jpeg")])
def test_pictures_show_the_chart(page: Page, tmp_path: Path, name: str, media_type: str) -> None:
    """PNG and JPEG have the size of the chart in double resolution, and its bars are in them."""
    page.goto(URL)
    content = downloaded(page, name, tmp_path)
    source = f"data:image/{media_type};base64,{base64.b64encode(content).decode()}"
    width, height, bars = page.evaluate(_COUNT_PIXELS, [source, list(_MARKETING)])
    assert (width, height > 600) == (1800, True)
    assert bars > 2000
    if media_type == "png":
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", content[16:24]) == (width, height)


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


def test_the_csv_equals_the_page(page: Page, tmp_path: Path) -> None:
    """Each line and number of the table below the chart stands in the csv."""
    page.goto(URL)
    content = downloaded(page, "Days as CSV", tmp_path).decode()
    lines = list(csv.reader(io.StringIO(content)))
    shown = table_of(page)
    costs = lines[0].index("cost_usd")
    assert [line[:costs] for line in lines[1:]] == [row[:costs] for row in shown]
    assert len(shown) == 30


def test_every_row_as_csv_equals_the_query(page: Page, dashboard: RunningDashboard, tmp_path: Path) -> None:
    """The detailed csv has the rows of the verb ``conversations``."""
    page.goto(URL)
    lines = list(csv.DictReader(io.StringIO(downloaded(page, "Every row as CSV", tmp_path).decode())))
    days = {line["day"] for line in lines}
    wanted = [row for row in dashboard.rows("conversations") if row["day"] in days]
    assert lines == [{name: str(value) for name, value in row.items()} for row in wanted]


def test_the_workbook_equals_the_page(page: Page, tmp_path: Path) -> None:
    """The workbook has the days, the tiles and the parts of the page, as numbers and dates."""
    page.goto(URL)
    book = openpyxl.load_workbook(
        io.BytesIO(downloaded(page, "Everything as XLSX", tmp_path)), data_only=True
    )
    assert {"Days", "Summary", "Numbers", "Countries", "Messages", "Rows"} <= set(book.sheetnames)
    shown = table_of(page)
    cells = list(book["Days"].iter_rows(min_row=2, max_row=1 + len(shown), values_only=True))
    width = len(shown[0]) - 1
    assert [[str(row[0])[:10], *map(str, row[1:width])] for row in cells] == [row[:width] for row in shown]
    tiles = {row[0]: row[1] for row in book["Summary"].iter_rows(min_row=2, values_only=True)}
    marketing = page.locator("[data-tile=marketing] [data-figure=conversations]").inner_text()
    assert tiles["Marketing"] == number(marketing)


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


@pytest.mark.parametrize("file_format", ["JSON", "CSV", "XLSX", "PDF"])
def test_the_final_report_can_be_saved(page: Page, tmp_path: Path, file_format: str) -> None:
    """All four formats of the report come, and each is about the account."""
    page.goto(f"/report?account={ACCOUNT}")
    with page.expect_download() as waiting:
        page.get_by_role("link", name=file_format, exact=True).click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    content = path.read_bytes()
    if file_format == "PDF":
        assert ACCOUNT in PdfReader(io.BytesIO(content)).pages[0].extract_text()
    elif file_format == "XLSX":
        assert "Summary" in openpyxl.load_workbook(io.BytesIO(content)).sheetnames
    else:
        assert ACCOUNT in content.decode()
