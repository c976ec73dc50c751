"""An account whose numbers are charged in several currencies: side by side everywhere, added up nowhere."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import httpx
import openpyxl
import pytest

from tests.support.dashboards import OWN, WORLDS, Served, TableMeter, serving_dashboard

pytestmark = pytest.mark.anyio
DOLLARS, EUROS = WORLDS[OWN].numbers
COUNT, RATE = WORLDS[OWN].count, Decimal("0.0625")
DAYS = 7
URL = f"account={OWN}&duration=last-7-days"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Return a browser of somebody who may see money, over an account one number of which pays in euros."""
    meter = TableMeter({OWN: replace(WORLDS[OWN], currencies={EUROS: "EUR"})})
    async with serving_dashboard(tmp_path, users={"ann": ("finance", None)}, meter=meter) as served:
        yield await _signed_in(served)


async def _signed_in(served: Served) -> httpx.AsyncClient:
    return await served.signed_in("ann")


def figures(page: str, name: str) -> list[str]:
    """Return what stands in the cost of the marketing tile, or of all tiles together."""
    if name == "all":
        return re.findall(r'data-figure="all-cost">([^<]+)<', page)
    tile = page.partition('data-tile="marketing"')[2].partition("</li>")[0]
    return re.findall(r"<span>([^<]+ [A-Z]{3})</span>", tile)


@pytest.mark.parametrize(
    ("chosen", "currencies"),
    [("", ["EUR", "USD"]), (f"&number={DOLLARS}", ["USD"]), (f"&number={EUROS}", ["EUR"])],
)
async def test_each_currency_has_its_own_amount(
    client: httpx.AsyncClient, chosen: str, currencies: list[str]
) -> None:
    """On the page, in the API and in the csv: one amount for each that is charged, none of both together."""
    amount = COUNT * DAYS * RATE
    shown = [f"{amount:.2f} {currency}" for currency in currencies]
    page = (await client.get(f"/overview?{URL}{chosen}")).text
    assert figures(page, "marketing") == figures(page, "all") == shown
    assert page.count(f"<td>{', '.join(f'{COUNT * RATE:.2f} {each}' for each in currencies)}</td>") == DAYS
    summary = (await client.get(f"/api/v1/summary?{URL}{chosen}")).json()
    tiles = {tile["key"]: tile["costs"] for tile in [*summary["tiles"], summary["total"]]}
    for key in ("marketing", "total"):
        assert [(each["currency"], Decimal(each["amount"])) for each in tiles[key]] == [
            (currency, amount) for currency in currencies
        ]
    file = (await client.get(f"/downloads/usage.csv?{URL}{chosen}")).content.decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(file)))
    for currency in ("EUR", "USD"):
        column = f"cost_{currency.lower()}"
        assert (column in rows[0]) is (currency in currencies)
        if currency in currencies:
            assert {Decimal(row[column]) for row in rows if row["day"]} == {COUNT * RATE}
            assert {row[f"unrated_{currency.lower()}"] for row in rows} == {"0"}


async def test_a_workbook_has_a_column_for_each_currency(client: httpx.AsyncClient) -> None:
    """Day by day, that currency's alone."""
    content = (await client.get(f"/downloads/usage.xlsx?{URL}")).content
    sheet = openpyxl.load_workbook(io.BytesIO(content), data_only=True).worksheets[0]
    rows = [[cell.value for cell in row] for row in sheet.iter_rows()]
    [header] = [row for row in rows if "Cost, EUR" in row]
    days = rows[rows.index(header) + 1 :][:DAYS]
    for currency in ("EUR", "USD"):
        costs = [Decimal(str(row[header.index(f"Cost, {currency}")])) for row in days]
        assert costs == [COUNT * RATE] * DAYS
