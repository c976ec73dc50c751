"""Tables as csv and xlsx, read back: every value is the table's, and no text is more than a text."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openpyxl.workbook import Workbook

from sinks.exports.tables import ExportFacts, Table, TableCell, TableColumn, TableKind, as_csv, as_xlsx

NOW = datetime(2026, 11, 2, 10, 30, 5, tzinfo=UTC)
FACTS = ExportFacts(
    "=1+1",
    date(2026, 10, 1),
    date(2026, 10, 31),
    "Europe/Berlin",
    NOW,
    "until noon",
    (("Country", "=HYPERLINK(1)"),),
)
HOSTILE = [
    "=1+1",
    "+49",
    "-1",
    "@x",
    "'q",
    "\t=1",
    "http://example.org",
    "mailto:a@b",
    "_x0041_",
    "1e5",
    'a,"b\r\nc',
]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30),
)
YEARS = datetime(1990, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - the strategy adds the zone
CELLS: dict[TableKind, st.SearchStrategy[TableCell]] = {
    "text": TEXTS,
    "count": st.integers(-(10**17), 10**17),
    "money": st.decimals(-(10**9), 10**9, places=2),
    "date": st.dates(date(1990, 1, 1), date(2200, 1, 1)),
    "moment": st.datetimes(*YEARS, timezones=st.just(timezone(timedelta(hours=3)))).map(
        lambda moment: moment.replace(microsecond=0)
    ),
}


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any table."""
    kinds = draw(st.lists(st.sampled_from(list(CELLS)), min_size=1, max_size=5))
    columns = tuple(TableColumn(f"key{place}", draw(TEXTS), kind) for place, kind in enumerate(kinds))
    row = st.tuples(*(st.one_of(st.none(), CELLS[kind]) for kind in kinds))
    return Table(draw(TEXTS), columns, draw(st.lists(row, max_size=6)))


def workbook(made: bytes, *, values: bool = True) -> Workbook:
    """Open a workbook, with the values or the formulas of its cells."""
    return openpyxl.load_workbook(io.BytesIO(made), data_only=values)


def as_read(text: str) -> str:
    """Return a text as other programs read it; openpyxl leaves this one sign as the file has it."""
    return text.replace("_x000D_", "\r")


def in_workbook(cell: TableCell) -> object:
    """Return what a cell must be there."""
    if cell is None:
        return "none"
    if isinstance(cell, datetime):
        return cell.astimezone(UTC).replace(tzinfo=None)
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)  # noqa: DTZ001 - files have no zones
    if isinstance(cell, int | Decimal):
        return float(cell) if len(Decimal(cell).as_tuple().digits) <= 15 else f"{Decimal(cell):f}"
    return cell


def in_csv(cell: TableCell) -> str:
    """Return what a cell must be there."""
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.isoformat()
    if isinstance(cell, str):
        return cell
    return (
        cell.isoformat()
        if isinstance(cell, date)
        else f"{cell:f}"
        if isinstance(cell, Decimal)
        else str(cell)
    )


@FEW
@given(tables())
def test_csv_reads_back(table: Table) -> None:
    """Every value comes back; texts that a spreadsheet would compute come back behind one apostrophe."""
    made = as_csv(table).decode()
    heads, *rows = csv.reader(io.StringIO(made, newline=""))
    assert heads == [column.key for column in table.columns]
    assert len(rows) == len(table.rows)
    for read, row in zip(rows, table.rows, strict=True):
        for text, cell in zip(read, row, strict=True):
            if isinstance(cell, str):
                assert not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
                text = text.removeprefix("'")  # noqa: PLW2901 - as a reader does
            assert text == in_csv(cell)


@FEW
@given(st.lists(tables(), min_size=1, max_size=3))
def test_xlsx_reads_back(several: list[Table]) -> None:
    """Every table has a sheet with its values in order: numbers and dates as such, texts as texts."""
    made = as_xlsx(several, FACTS)
    book, formulas = workbook(made), workbook(made, values=False)
    assert len(book.worksheets) == len(several) + 1
    for table, sheet, raw in zip(several, book.worksheets, formulas.worksheets, strict=False):
        assert [as_read(str(cell.value or "")) for cell in sheet[1]] == [
            column.heading for column in table.columns
        ]
        for number, row in enumerate(table.rows, 2):
            for place, cell in enumerate(row, 1):
                read = sheet.cell(number, place).value or ""
                assert (as_read(read) if isinstance(read, str) else read) == (in_workbook(cell) or ""), cell
                assert raw.cell(number, place).data_type != "f"
                assert raw.cell(number, place).hyperlink is None


def test_the_same_content_gives_the_same_bytes() -> None:
    """Two exports of the same answer can be compared."""
    table = Table("Usage", (TableColumn("day", "Day", "date"),), [(date(2026, 10, 1),)])
    assert as_xlsx([table], FACTS) == as_xlsx([table], FACTS)


MONEY = Table(
    "Charges",
    (
        TableColumn("day", "Day", "date"),
        TableColumn("count", "Conversations", "count", is_summed=True),
        TableColumn("amount", "Amount", "money", is_summed=True),
        TableColumn("currency", "Currency"),
    ),
    [
        (date(2026, 10, 1), 2, Decimal("1.25"), "EUR"),
        (date(2026, 10, 2), 3, Decimal("10.00"), "JPY"),
        (date(2026, 10, 3), 4, Decimal("2.50"), "EUR"),
        (date(2026, 10, 4), None, None, ""),
    ],
    ("Prices of the plan.",),
)


def test_totals_are_formulas_with_their_values() -> None:
    """Counts are added up in one row, money by currency, and what is stored is what the formula gives."""
    made = as_xlsx([MONEY], FACTS)
    values, formulas = workbook(made)["Charges"], workbook(made, values=False)["Charges"]
    assert [values.cell(row, 1).value for row in (6, 7, 8)] == ["Total", "Total EUR", "Total JPY"]
    assert (values["B6"].value, formulas["B6"].value) == (9, "=SUM(B2:B5)")
    assert (values["C7"].value, formulas["C7"].value) == (3.75, '=SUMIF(D2:D5,"EUR",C2:C5)')
    assert (values["C8"].value, formulas["C8"].value) == (10, '=SUMIF(D2:D5,"JPY",C2:C5)')
    assert values["C6"].value is None, "currencies are never added up together"
    assert (formulas["C2"].number_format, formulas["C3"].number_format) == ("#,##0.00", "#,##0")


def test_sums_that_a_cell_cannot_hold_are_text() -> None:
    """A number of more than 15 digits keeps them all, and so does a sum with it."""
    column = TableColumn("n", "N", "count", is_summed=True)
    sheet = workbook(as_xlsx([Table("T", (column,), [(9_999_999_999_999_999,), (1,)])], FACTS))["T"]
    assert [sheet.cell(row, 1).value for row in (2, 3, 4)] == ["9999999999999999", 1, "10000000000000000"]


def test_a_currency_from_outside_stays_out_of_formulas() -> None:
    """What is no code of a currency has no total, and so no place in a formula."""
    columns = (TableColumn("amount", "Amount", "money", is_summed=True), TableColumn("currency", "Currency"))
    made = as_xlsx([Table("T", columns, [(Decimal("1.00"), '",1)+CMD("')])], FACTS)
    sheet = workbook(made, values=False)["T"]
    assert sheet.max_row == 2
    assert not [cell for row in sheet.iter_rows() for cell in row if cell.data_type == "f"]


def test_the_sheet_can_be_worked_with() -> None:
    """The head stays in view, every column can be filtered, and the totals are no part of what is filtered."""
    sheet = workbook(as_xlsx([MONEY], FACTS))["Charges"]
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:D5"
    assert all(sheet.column_dimensions[letter].width >= 11 for letter in "ABCD")


def test_facts_are_told() -> None:
    """Account, range, zone, freshness, time of making, filters and notes stand on the last sheet, as texts."""
    book = workbook(as_xlsx([MONEY], FACTS), values=False)
    told = {row[0].value: row[1] for row in book["About"].iter_rows()}
    assert (told["Account"].value, told["Account"].data_type) == ("=1+1", "s")
    assert told["First day"].value == datetime(2026, 10, 1)  # noqa: DTZ001 - files have no zones
    assert told["Last day"].value == datetime(2026, 10, 31)  # noqa: DTZ001 - files have no zones
    assert told["Time zone of days"].value == "Europe/Berlin"
    assert told["Counted up to"].value == "until noon"
    assert told["Generated at (UTC)"].value == NOW.replace(tzinfo=None)
    assert told["Country"].value == "=HYPERLINK(1)"
    assert told["Note on Charges"].value == "Prices of the plan."


def test_odd_titles_are_names_of_sheets() -> None:
    """Whatever a table is called, its sheet has a name of its own that programs accept."""
    titles = ["a/b:c*?[x]\\'", "A b c x", "", "History", "about", "x" * 40, "x" * 41, "'q'", "\x00\r\n"]
    column = (TableColumn("k", "K"),)
    made = as_xlsx([Table(title, column, [("v",)]) for title in titles], FACTS)
    names = workbook(made).sheetnames
    assert len({name.lower() for name in names}) == len(titles) + 1
    assert all(0 < len(name) <= 31 for name in names)


def test_empty_tables_and_long_texts() -> None:
    """A table without rows says so; a text longer than a cell can hold is shortened there and whole in the csv."""
    column = (TableColumn("k", "K"),)
    long = "x" * 40_000
    table = Table("Long", column, [(long,)])
    book = workbook(as_xlsx([Table("Empty", column, []), table], FACTS))
    assert book["Empty"]["A2"].value == "No rows"
    assert book["Long"]["A2"].value == "x" * 32_766 + "…"
    assert as_csv(table) == f"k\n{long}\n".encode()


def test_no_part_points_elsewhere() -> None:
    """The file has no outside links and no macros."""
    with zipfile.ZipFile(io.BytesIO(as_xlsx([MONEY], FACTS))) as parts:
        names = parts.namelist()
        relations = b"".join(parts.read(name) for name in names if name.endswith(".rels"))
    assert b"External" not in relations
    assert not any("vba" in name.lower() or "externalLink" in name for name in names)


def test_a_row_has_a_cell_for_each_column() -> None:
    """Anything else is a fault of the program."""
    with pytest.raises(ValueError, match="cell for each"):
        Table("T", (TableColumn("k", "K"),), [("a", "b")])
    with pytest.raises(ValueError, match="has columns"):
        Table("T", (), [])
