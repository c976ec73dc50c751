"""The files of the final report, saved from its page: each holds the figures of the verb ``report``."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from playwright.sync_api import Page
from pypdf import PdfReader

from tests.browser.saving import saved
from tests.support.dashboard_process import ACCOUNT, NUMBERS, RunningDashboard
from tests.support.report_truth import (
    SHEETS,
    SUMMED,
    Cell,
    in_words,
    sections_of,
    summed,
    values_of,
    without_moment,
)

of_every_scope = pytest.mark.parametrize("number", ["", NUMBERS[0]], ids=["account", "number"])


def file_of(page: Page, dashboard: RunningDashboard, number: str, name: str, directory: Path) -> bytes:
    """Return the report of the last whole month as a button of its page gives it."""
    month = dashboard.whole_month()
    page.goto(f"/report?account={ACCOUNT}&month={month}&number={number}")
    content, file_name = saved(
        page, lambda: page.get_by_role("link", name=name, exact=True).click(), directory
    )
    assert file_name == "_".join(
        filter(None, ("whatsapp-report", ACCOUNT, number, f"{month}.{name.lower()}"))
    )
    return content


def report_of(dashboard: RunningDashboard, number: str) -> dict[str, Any]:
    """Return what the verb says of the same month."""
    return dashboard.report(dashboard.whole_month(), number)


@of_every_scope
def test_the_json_is_that_of_the_verb(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, number: str
) -> None:
    """Every value is the verb's, but for when the report was made."""
    content = json.loads(file_of(page, dashboard, number, "JSON", tmp_path))
    report = report_of(dashboard, number)
    assert without_moment(content) == without_moment(report)
    assert set(content) == set(report)


@of_every_scope
def test_the_csv_has_every_value_of_the_verb(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, number: str
) -> None:
    """One line a value: none is missing, none is there twice, and none is another."""
    content = file_of(page, dashboard, number, "CSV", tmp_path).decode()
    lines = csv.DictReader(io.StringIO(content))
    found = Counter(
        (line["section"], line["item"], line["value"], line["currency"])
        for line in lines
        if line["section"] != "freshness" and line["item"] != "generated_at"
    )
    assert found == values_of(report_of(dashboard, number))
    assert found.total() > 500


def typed(cell: object) -> Cell:
    """Return a cell of a workbook as the truth has it; an empty one is an empty text."""
    if isinstance(cell, datetime):
        return cell.date()
    if isinstance(cell, float):
        return Decimal(str(cell))
    if cell == "no price" or cell is None:
        return None if cell else ""
    assert isinstance(cell, str | int)
    return cell


@of_every_scope
def test_the_workbook_has_every_section_of_the_verb(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, number: str
) -> None:
    """Each section is a sheet whose cells are the verb's figures, as numbers and days; sums stand below."""
    book = openpyxl.load_workbook(
        io.BytesIO(file_of(page, dashboard, number, "XLSX", tmp_path)), data_only=True
    )
    for name, rows in sections_of(report_of(dashboard, number)).items():
        cells = [
            [typed(cell) for cell in line]
            for line in book[SHEETS[name]].iter_rows(min_row=2, values_only=True)
        ]
        assert cells[: len(rows)] == rows, name
        if name in SUMMED:
            places = SUMMED[name]
            assert cells[len(rows)][places.start : places.stop] == summed(rows, places), name


def test_the_first_sheet_has_the_totals_of_the_verb(
    page: Page, dashboard: RunningDashboard, tmp_path: Path
) -> None:
    """The sheet "Summary" says whose report it is, and has each total of money with what has no price."""
    book = openpyxl.load_workbook(io.BytesIO(file_of(page, dashboard, "", "XLSX", tmp_path)), data_only=True)
    report = report_of(dashboard, "")
    lines = [[typed(cell) for cell in line[:4]] for line in book["Summary"].iter_rows(values_only=True)]
    assert ["Account", ACCOUNT] in [line[:2] for line in lines]
    head = next(place for place, line in enumerate(lines) if line[0] == "Total of")
    titles = {**SHEETS, "amau": "MAU/AMAU"}
    wanted = [
        [titles[each["section"]], Decimal(each["amount"]), each["currency"], each["unpriced"]]
        for each in report["totals"]
    ]
    assert lines[head + 1 : head + 1 + len(wanted)] == wanted
    assert len(wanted) == 4


def words_of(content: bytes) -> str:
    """Return the text of a pdf with single blanks, as if no line was broken."""
    reader = PdfReader(io.BytesIO(content))
    text = " ".join(each.extract_text() for each in reader.pages)
    return re.sub(r"\s+", " ", text.replace("\u200b", ""))


def lines_of(report: Mapping[str, Any]) -> list[str]:
    """Return each row and total of a report as the pdf writes it."""
    sections = sections_of(report)
    # A number alone would be found anywhere.
    sections["incoming"] = [["Number of incoming messages", *row] for row in sections["incoming"]]
    rows = [" ".join(filter(None, map(in_words, row))) for rows in sections.values() for row in rows]
    return rows + [
        f"Total {each['currency']} {in_words(Decimal(each['amount']))}"
        + (f", without {each['unpriced']:,} that have no price" if each["unpriced"] else "")
        for each in report["totals"]
    ]


@of_every_scope
def test_the_pdf_has_every_row_of_the_verb(
    page: Page, dashboard: RunningDashboard, tmp_path: Path, number: str
) -> None:
    """Every row of every section and every total stands in the document, and its text can be searched."""
    text = words_of(file_of(page, dashboard, number, "PDF", tmp_path))
    wanted = lines_of(report_of(dashboard, number))
    assert [line for line in wanted if line not in text] == []
    assert len(wanted) > 100
    assert f"Account {ACCOUNT}" in text
