"""The chart of active users as a file: png, jpeg, pdf and svg, each opened and compared with the page."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import pytest
from playwright.sync_api import Page
from pypdf import PdfReader

from tests.browser.reading import number, table_cells
from tests.browser.saving import downloaded, picture_of
from tests.browser.test_active_users import WHOLE, counts_of, show
from tests.support.dashboard_process import ACCOUNT, NUMBERS, RunningDashboard

_LINE = (0x39, 0x97, 0xF2)
_AREA = (0xD3, 0xE8, 0xFC)
"""The colour of the line on white, as thin as the area below it is painted."""
_PACKAGE = (0xBD, 0x3C, 0x09)
_BAR = re.compile(r'<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="bar"')


def growth(page: Page) -> dict[str, int]:
    """Return how many there were until the end of each day, as the table of the page has it."""
    return {row[0]: number(row[2]) for row in table_cells(page, "growth")}


@pytest.mark.parametrize("media_type", ["png", "jpeg"])
def test_pictures_show_the_growth(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, media_type: str
) -> None:
    """PNG and JPEG have the size of the chart in double resolution, with line, area and package."""
    show(page, dashboard.whole_month())
    content = downloaded(page, f"Chart as {media_type.upper()} image", tmp_path)
    line = picture_of(page, content, media_type, _LINE)
    assert (line.width, line.height) == (1800, 680)
    # The line is as long as the chart is wide, some pixels thick, and no area.
    assert 1600 * 3 < line.coloured < 1800 * 20
    # Most of the chart lies below the line, as most people write in the first days of a month.
    assert picture_of(page, content, media_type, _AREA).coloured > 1800 * 680 // 3
    assert picture_of(page, content, media_type, _PACKAGE).coloured > 1000
    if media_type == "png":
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", content[16:24]) == (1800, 680)
    else:
        assert content[:3] == b"\xff\xd8\xff"


def test_pictures_of_scopes_differ(page: Page, dashboard: RunningDashboard, tmp_path: Path) -> None:
    """A number's picture is not that of the account: a number without a plan has no line of a package."""
    show(page, dashboard.whole_month(), NUMBERS[1:2])
    content = downloaded(page, "Chart as PNG image", tmp_path)
    assert picture_of(page, content, "png", _LINE).coloured > 1600 * 3
    assert picture_of(page, content, "png", _PACKAGE).coloured == 0


@pytest.mark.parametrize(
    "numbers", [(), NUMBERS[:1], NUMBERS[:2]], ids=["account", "one number", "two numbers"]
)
def test_the_svg_has_the_figure_of_every_day(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, numbers: tuple[str, ...]
) -> None:
    """Each day of the page's table is in the svg with the page's figure; the last is the query's MAU."""
    month = dashboard.whole_month()
    show(page, month, numbers)
    content = downloaded(page, "Chart as SVG vector image", tmp_path).decode()
    said = [dict(part.split(": ", 1) for part in label.split("; ")) for label in _BAR.findall(content)]
    drawn = [number(each["Active users"]) for each in said]
    shown = growth(page)
    assert drawn == list(shown.values())
    assert [each["Day"].split()[1] for each in said] == [str(int(day[-2:])) for day in shown]
    scope = numbers[0] if len(numbers) == 1 else WHOLE
    assert drawn[-1] == counts_of(dashboard, month)[scope][0]
    assert f"{ACCOUNT}, {scope.replace(WHOLE, 'whole account')} " in content
    assert "<script" not in content


def test_the_pdf_has_the_figures_of_the_plan(page: Page, dashboard: RunningDashboard, tmp_path: Path) -> None:
    """It is one page, with the account, the month and the package of ``burn-down`` as text that can be searched."""
    month = dashboard.whole_month()
    show(page, month)
    reader = PdfReader(io.BytesIO(downloaded(page, "Chart as PDF document", tmp_path)))
    assert len(reader.pages) == 1
    text = reader.pages[0].extract_text()
    [use] = [
        each
        for each in dashboard.rows("burn-down", "--month", month)
        if each["limit_name"] == "mau_package" and not each["number"]
    ]
    applied = page.locator("p.applied strong").inner_text()
    for part in (f"Package {use['limit']:,}", f"{ACCOUNT}, whole account", applied, "Monthly active users"):
        assert part in text, part
    # The axis reaches up to the figure of the month.
    scale = [int(each) for each in re.findall(r"^\d+$", text, re.MULTILINE)]
    assert max(scale) <= counts_of(dashboard, month)[WHOLE][0] * 1.12 < max(scale) * 1.5


def test_the_month_that_runs_says_what_is_expected(
    page: Page, dashboard: RunningDashboard, tmp_path: Path
) -> None:
    """Where ``burn-down`` has a projection of this month, SVG and PDF name its range; where not, neither does."""
    month = f"{dashboard.today():%Y-%m}"
    show(page, month)
    svg = downloaded(page, "Chart as SVG vector image", tmp_path).decode()
    pdf = PdfReader(io.BytesIO(downloaded(page, "Chart as PDF document", tmp_path))).pages[0].extract_text()
    [use] = [
        each
        for each in dashboard.rows("burn-down", "--month", month)
        if each["limit_name"] == "mau_package" and not each["number"]
    ]
    projected, low, high = use["projected"], use["projected_low"], use["projected_high"]
    if projected is None:
        assert "Expected" not in svg + pdf
        return
    low, high = (projected if each is None else each for each in (low, high))
    wanted = f"Expected {low:,} to {high:,}" if low < high else f"Expected {low:,}"
    assert wanted in svg
    assert wanted in pdf
