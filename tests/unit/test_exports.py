"""The final report in its four formats, read back: every number is the report's, and no name is more than a text."""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal

import msgspec
import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.workbook import Workbook
from pypdf import PdfReader

from metering.charges import ConversationCount
from schemas.final_report import FinalReport
from sinks.exports import FORMATS, render
from sinks.exports.sections import Section, sections_of
from tests.support.final_reports import FIFTH, big_report, final_reports, report_of
from tests.support.prices import delivered, opened, plan

HOSTILE = '=HYPERLINK("http://x";"y") #let a = 1 *b* _c_ $d$ <e> @f \\ \' " & אבג 漢字 \t-1'
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def workbook(report: FinalReport, *, values: bool) -> Workbook:
    """Return the workbook, with the values or the formulas of its cells."""
    return openpyxl.load_workbook(io.BytesIO(render(report, "xlsx")), data_only=values)


def csv_rows(report: FinalReport) -> list[dict[str, str]]:
    """Return the lines of the csv."""
    return list(csv.DictReader(io.StringIO(render(report, "csv").decode(), newline="")))


def pdf_text(report: FinalReport) -> str:
    """Return the text of all pages."""
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(render(report, "pdf"))).pages)


def as_cell(cell: object) -> object:
    """Return what a cell of a section must be in a workbook, where whole and decimal numbers are one type."""
    if isinstance(cell, int | Decimal):
        return float(cell) if len(Decimal(cell).as_tuple().digits) <= 15 else f"{cell:f}"
    return cell


def sheet_of(section: Section) -> str:
    """Return the name of a section's sheet."""
    return section.title.replace("/", " and ")


@MANY
@given(final_reports())
def test_json_is_the_report_itself(report: FinalReport) -> None:
    """Reading it back gives the same values, amounts to the last digit."""
    assert msgspec.json.decode(render(report, "json"), type=FinalReport) == report


@MANY
@given(final_reports())
def test_csv_has_every_value(report: FinalReport) -> None:
    """Each value of each line stands on a line of its own; no price is empty."""
    found = {
        (row["section"], row["number"], row["line"], row["country"], row["item"], row["currency"]): row[
            "value"
        ]
        for row in csv_rows(report)
    }
    for line in report.outgoing:
        for name, value in msgspec.structs.asdict(line).items():
            assert found["outgoing", "", line.type, "", name, ""] == str(value)
    for mau in report.mau:
        for name, value in msgspec.structs.asdict(mau).items():
            if name not in ("number", "currency"):
                text = "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)
                assert found["mau", mau.number, mau.rule, "", name, mau.currency] == text
    for total in report.totals:
        assert found["totals", "", total.section, "", "amount", total.currency] == str(total.amount)
    assert found["incoming", "", "", "", "incoming_total", ""] == str(report.incoming_total)


@MANY
@given(final_reports())
def test_the_workbook_has_every_cell_of_every_section(report: FinalReport) -> None:
    """Numbers are numbers, texts are texts, and what has no price says so."""
    book = workbook(report, values=True)
    for section in sections_of(report):
        cells = list(book[sheet_of(section)].iter_rows(values_only=True))
        assert cells[0] == tuple(column.title for column in section.columns)
        for known, found in zip(section.rows, cells[1:], strict=False):
            for cell, value in zip(known, found, strict=True):
                if cell is None:
                    assert value in ("no price", "none")
                elif isinstance(cell, int | Decimal):
                    assert value == as_cell(cell)
                elif isinstance(cell, str):
                    assert (value or "") == cell


@MANY
@given(final_reports())
def test_every_formula_of_the_workbook_comes_to_the_value_that_is_stored(report: FinalReport) -> None:
    """A program that calculates on opening shows the report's totals, whatever has several currencies or no price."""
    formulas, values = (workbook(report, values=each) for each in (False, True))
    for sheet in formulas:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    stored = values[sheet.title][cell.coordinate].value
                    assert calculated(values, sheet.title, str(cell.value)) == stored, cell


def calculated(values: Workbook, sheet: str, formula: str) -> float:
    """Return what a sum comes to, added without a loss; the two formulas that the workbook has."""
    if plain := re.fullmatch(r"=SUM\(([A-Z]+\d+:[A-Z]+\d+)\)", formula):
        return float(sum(Decimal(str(each)) for each in column(values, sheet, plain[1]) if is_number(each)))
    conditional = re.fullmatch(
        r"=SUMIF\(('[^']+'!)?([A-Z0-9:]+),\"([A-Z]{3})\",('[^']+'!)?([A-Z0-9:]+)\)", formula
    )
    assert conditional is not None, formula
    other, keys, wanted, _, amounts = conditional.groups()
    source = other.strip("'!") if other else sheet
    pairs = zip(column(values, source, keys), column(values, source, amounts), strict=True)
    return float(sum(Decimal(str(amount)) for key, amount in pairs if key == wanted and is_number(amount)))


def column(values: Workbook, sheet: str, cells: str) -> list[object]:
    """Return the values of a range of one column."""
    return [row[0].value for row in values[sheet][cells]]


def is_number(cell: object) -> bool:
    """Tell whether a sum takes a cell: texts are left out."""
    return isinstance(cell, int | float)


def test_a_conversation_total_adds_up_countries_where_a_line_has_two_currencies() -> None:
    """The line itself has no amount then; its countries have, each in its own currency."""
    european = plan(number="1", account="9001", currency="EUR", conversation_prices={"service": 1_000_000})
    chilean = plan(number="2", account="9001", currency="CLP", conversation_prices={"service": 500_000_000})
    rows = [opened(FIFTH, 3, "service"), opened(FIFTH, 2, "service", number="2")]
    report = report_of(rows, [european, chilean])
    [line] = [line for line in report.conversations if line.type == "service"]
    assert line.amount is None
    sheet = workbook(report, values=False)["Conversations"]
    formulas = {
        str(row[0].value): str(row[4].value)
        for row in sheet.iter_rows()
        if str(row[0].value).startswith("Total ")
    }
    assert set(formulas) == {"Total EUR", "Total CLP"}
    shown = {
        name: calculated(workbook(report, values=True), "Conversations", text)
        for name, text in formulas.items()
    }
    assert shown == {"Total EUR": 3.0, "Total CLP": 1000.0}


def test_a_number_that_a_cell_cannot_hold_exactly_is_a_text() -> None:
    """16 digits and more would come back changed."""
    report = report_of(messages=1_234_567_890_123_456_789)
    assert workbook(report, values=True)["Incoming messages"]["A2"].value == "1234567890123456789"


@pytest.mark.parametrize("report_format", FORMATS)
def test_a_hostile_name_is_a_text_in_every_format(report_format: str) -> None:
    """Neither a formula, nor a link, nor markup, nor a code of the footer."""
    report = report_of([delivered(FIFTH, 1)], [plan(account=HOSTILE)], account=HOSTILE)
    if report_format == "json":
        assert msgspec.json.decode(render(report, "json"), type=FinalReport).account == HOSTILE
    elif report_format == "csv":
        [cell] = [row["value"] for row in csv_rows(report) if row["item"] == "account"]
        assert cell == f"'{HOSTILE}"
    elif report_format == "xlsx":
        cell = workbook(report, values=False)["Summary"]["B3"]
        assert (cell.value, cell.data_type, cell.hyperlink) == (HOSTILE, "s", None)
    else:
        assert "=HYPERLINK(" in pdf_text(report)


def test_a_page_has_every_number() -> None:
    """Thousands apart, in the sections' own words; without a price it says so."""
    report = report_of(
        [
            opened(FIFTH, 1_234_567),
            opened(FIFTH, 89, "utility"),
            delivered(FIFTH, 54_321, "authentication", country="KE"),
        ],
        [
            plan(
                account="9001",
                currency="EUR",
                mau_package=5,
                conversation_prices={"marketing": 85_000},
                rate_currency="USD",
            )
        ],
        users=7_654_321,
        messages=13_579,
    )
    text = pdf_text(report)
    for word in (
        "1,234,567",
        "104,938.20",
        "7,654,321",
        "13,579",
        "54,321",
        "no price",
        "Free entry points",
        "Europe/Berlin",
    ):
        assert word in text, word
    assert "provisional, can change until 2026-11-08" in text
    assert "0123456789abcdef" in text


def test_a_long_report_repeats_its_heads_over_pages() -> None:
    """300 countries: every page of the details has the columns' names, every page its number."""
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(render(big_report(), "pdf"))).pages]
    assert len(pages) >= 8
    heads = [page for page in pages if "Country" in page and "Market" in page]
    assert len(heads) > 5
    for place, page in enumerate(pages, 1):
        assert re.search(rf"{place} / {len(pages)}", page)


def test_an_empty_report_can_be_printed() -> None:
    """No plan, no traffic: every format says so and none fails."""
    report = report_of()
    assert "No license in this month." in pdf_text(report)
    assert workbook(report, values=True)["License"]["A2"].value == "No license in this month."
    assert "There is no plan for this account." in [row["value"] for row in csv_rows(report)]


@MANY
@given(final_reports(), st.sampled_from(FORMATS))
def test_the_same_report_gives_the_same_bytes(report: FinalReport, report_format: str) -> None:
    """Also for workbook and page, whose formats have room for dates of their making."""
    again = msgspec.json.decode(msgspec.json.encode(report), type=FinalReport)
    assert render(report, report_format) == render(again, report_format)  # type: ignore[arg-type]


def test_an_unknown_type_has_a_line_where_there_is_any() -> None:
    """And none otherwise: edna's report has five."""
    made = report_of([ConversationCount(FIFTH, "1", "DE", "unknown", 2, 0, 2)])
    assert "Unknown" in pdf_text(made)
    assert "Unknown" not in pdf_text(report_of())
