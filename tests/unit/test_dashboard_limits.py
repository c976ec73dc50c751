"""Limits, forecasts and what they will cost: on the page and in the API, with amounts for those who may see money."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from pypdf import PdfReader

from dashboard.access.permissions import ROLES, Permission
from dashboard.formats import NO_VALUE
from metering.limits import LimitUse
from sinks.billing import LimitsAsked
from tests.support.dashboard_limits import AMAU_COST, MONEY_MARKS, uses_of
from tests.support.dashboards import OWN, Served, serving_dashboard

pytestmark = pytest.mark.anyio
URL = f"/api/v1/limits?account={OWN}&month=2026-11"
PAGE = f"/active-users?account={OWN}&month=2026-11"
SIGHT = [
    (role, Permission.MONEY in permissions)
    for role, permissions in ROLES.items()
    if Permission.USAGE in permissions
]
"""Who sees the page, and whether amounts as well."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with a user of each role."""
    async with serving_dashboard(tmp_path, users={role: (role, (OWN,)) for role in ROLES}) as opened:
        yield opened


def marks_in(text: str) -> list[str]:
    """Return what in a text only those may read who may see money."""
    return [mark for mark in MONEY_MARKS if mark in text]


def text_of(page: str) -> str:
    """Return what a page says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", "", page).split())


async def package_of(client: httpx.AsyncClient) -> dict[str, object]:
    """Return the package's row of the API."""
    rows: list[dict[str, object]] = (await client.get(URL)).json()["data"]
    return rows[0]


@pytest.mark.parametrize(("role", "sees_money"), SIGHT)
async def test_the_expected_cost_is_for_whom_may_see_money(
    served: Served, role: str, sees_money: bool
) -> None:
    """In the API as JSON and csv, and on the page; everybody else sees the users without what they cost.

    The csv is a download, which not everybody may have.
    """
    client = await served.signed_in(role)
    package = await package_of(client)
    assert package["projected_amau"] == 20_000
    assert package["projected_amau_cost"] == (str(AMAU_COST) if sees_money else None)
    as_csv = await client.get(URL, headers={"Accept": "text/csv"})
    if Permission.EXPORT in ROLES[role]:
        [line, *_] = csv.DictReader(io.StringIO(as_csv.text))
        assert line["projected_amau_cost"] == (str(AMAU_COST) if sees_money else "")
    else:
        assert as_csv.status_code == 403
    page = text_of((await client.get(PAGE)).text)
    amount = ": 5,432.10 EUR" if sees_money else ""
    # With the sentence behind it: what the template says on two lines must not run into one another.
    assert f"20,000 of them beyond the package{amount}. The last of it will be used" in page
    assert bool(marks_in(page)) is sees_money


async def test_no_file_has_the_amount_for_a_viewer(served: Served) -> None:
    """What a viewer can save of active users says nothing of money, in whichever form."""
    client = await served.signed_in("viewer")
    texts = {}
    for path in ("/charts/active-users.json", "/charts/active-users.svg", "/downloads/active-users.svg"):
        texts[path] = (await client.get(f"{path}?account={OWN}")).text
    for path in ("/downloads/details.csv", "/downloads/usage.csv"):
        texts[path] = (await client.get(f"{path}?account={OWN}")).text
    texts["/api/v1/active-users"] = (await client.get(f"/api/v1/active-users?account={OWN}")).text
    pdf = await client.get(f"/downloads/active-users.pdf?account={OWN}")
    texts["pdf"] = "".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf.content)).pages)
    assert all(texts.values())
    assert {name: marks_in(text) for name, text in texts.items() if marks_in(text)} == {}


async def test_a_tag_of_somebody_who_sees_money_is_not_one_of_others(served: Served) -> None:
    """Neither of both is told that they have the other's answer already."""
    finance, viewer = await served.signed_in("finance"), await served.signed_in("viewer")
    tags = [(await client.get(URL)).headers["etag"] for client in (finance, viewer)]
    for client, tag, status in (
        (finance, tags[0], 304),
        (finance, tags[1], 200),
        (viewer, tags[0], 200),
        (viewer, tags[1], 304),
    ):
        assert (await client.get(URL, headers={"If-None-Match": tag})).status_code == status


async def test_a_tag_changes_with_the_forecast(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast moves with the clock, though nothing was counted: the tag goes by what is said."""
    client = await served.signed_in("viewer")
    first = await client.get(URL)
    assert first.headers["cache-control"] == "private, no-cache"
    tag = {"If-None-Match": first.headers["etag"]}
    served.clock.advance(60_000)
    assert (await client.get(URL, headers=tag)).status_code == 304

    async def later(asked: LimitsAsked) -> list[LimitUse]:
        [package, *_] = uses_of(asked.accounts[0], "5550001", 7)
        return [msgspec.structs.replace(package, exhausted_to="2026-11-29")]

    monkeypatch.setattr(served.meter, "limits", later)
    served.clock.advance(60_000)
    again = await client.get(URL, headers=tag)
    assert again.status_code == 200
    assert again.json()["data"][0]["exhausted_to"] == "2026-11-29"


async def test_a_form_that_there_is_not_is_refused(served: Served) -> None:
    """As everywhere: 406, and no JSON for whom takes none."""
    client = await served.signed_in("viewer")
    assert (await client.get(URL, headers={"Accept": "image/png"})).status_code == 406


async def test_the_forecast_is_a_range(served: Served) -> None:
    """The API has it in figures and days, the page in a sentence; and the budget says that it is too early."""
    client = await served.signed_in("viewer")
    package = await package_of(client)
    assert [package[f"projected{end}"] for end in ("_low", "", "_high")] == [110_000, 120_000, 130_000]
    assert [package[f"exhausted_{end}"] for end in ("from", "on", "to")] == [
        "2026-11-24",
        "2026-11-26",
        "2026-11-28",
    ]
    page = text_of((await client.get(PAGE)).text)
    assert "Whole account: 7 of 100,000 in the package" in page
    assert "0.1 % used, 99,993 left." in page
    assert (
        "By the month's end 120,000 are to be expected, probably between 110,000 and 130,000 (at an even pace)."
        in page
    )
    assert "The last of it will be used about 2026-11-26. Probably between 2026-11-24 and 2026-11-28." in page


async def test_a_budget_of_a_number_is_in_the_table(served: Served) -> None:
    """Used, of how many, left; and that it is too early to say more, which is not that it will last."""
    client = await served.signed_in("viewer")
    table = (await client.get(PAGE)).text.partition('data-table="limits"')[2].partition("</table>")[0]
    assert "Conversation budget, 5550001</th>" in table
    assert _cells(table) == ["7", "50,000", "49,993", NO_VALUE, "too early to say"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"exhausted_to": None}, "Probably not before 2026-11-24, and perhaps not in this month."),
        (
            {"exhausted_on": None, "exhausted_to": None},
            "It will probably last, but could be used up from 2026-11-24 on.",
        ),
        (
            {"projected": None, "exhausted_on": None, "exhausted_from": None},
            "It is too early for a projection.",
        ),
        (
            {"used": 100_250, "left": 0, "exhausted_on": "2026-11-19"},
            "250 over. By the month's end",
        ),
        (
            {"used": 100_000, "left": 0, "exhausted_on": "2026-11-19"},
            "The last of it was used on 2026-11-19.",
        ),
    ],
)
async def test_each_outlook_has_its_sentence(
    served: Served, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], sentence: str
) -> None:
    """One that may last, one that will, one of which nothing is known, and one that is used up."""

    async def limits(asked: LimitsAsked) -> list[LimitUse]:
        [package, *_] = uses_of(asked.accounts[0], "5550001", 7)
        return [msgspec.structs.replace(package, **changes)]

    monkeypatch.setattr(served.meter, "limits", limits)
    client = await served.signed_in("viewer")
    assert sentence in text_of((await client.get(PAGE)).text)


async def test_a_plan_without_a_package_has_no_gauge(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can be full: the page says how many users there are and what is to be expected, the chart alike."""

    async def limits(asked: LimitsAsked) -> list[LimitUse]:
        [package, *_] = uses_of(asked.accounts[0], "5550001", 7)
        return [msgspec.structs.replace(package, limit=0, left=0, used_percent=None, exhausted_on=None)]

    monkeypatch.setattr(served.meter, "limits", limits)
    client = await served.signed_in("viewer")
    page = (await client.get(PAGE)).text
    assert "Whole account: 7, without a package By the month's end 120,000 are" in text_of(page)
    assert "<meter" not in page
    assert "in the package" not in page
    chart = await client.get(PAGE.replace("/active-users", "/charts/active-users.json"))
    assert chart.status_code == 200
    assert "Package" not in chart.text


async def test_users_beyond_a_package_are_in_the_table(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``left`` ends at 0: who is beyond the package follows from how many are used."""

    async def limits(asked: LimitsAsked) -> list[LimitUse]:
        [package, *_] = uses_of(asked.accounts[0], "5550001", 7)
        return [msgspec.structs.replace(package, used=100_250, left=0)]

    monkeypatch.setattr(served.meter, "limits", limits)
    client = await served.signed_in("viewer")
    page = (await client.get(PAGE)).text
    table = page.partition('data-table="scopes"')[2].partition("</table>")[0]
    row = table.partition("Whole account")[2].partition("</tr>")[0]
    assert _cells(row)[3:] == ["100,000", "0", "250"]


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, ["120,000 (110,000 to 130,000)", "2026-11-26 (2026-11-24 to 2026-11-28)"]),
        ({"exhausted_to": None}, ["120,000 (110,000 to 130,000)", "2026-11-26 (not before 2026-11-24)"]),
        ({"exhausted_on": None}, ["120,000 (110,000 to 130,000)", "perhaps from 2026-11-24"]),
        (
            {"exhausted_on": None, "exhausted_from": None},
            ["120,000 (110,000 to 130,000)", "not this month"],
        ),
        ({"left": 0, "exhausted_on": "2026-11-02"}, ["120,000 (110,000 to 130,000)", "2026-11-02"]),
        (
            {
                "projected_low": 120_000,
                "projected_high": 120_000,
                "exhausted_on": None,
                "exhausted_from": None,
            },
            ["120,000", "not this month"],
        ),
    ],
)
async def test_other_limits_have_their_range_too(
    served: Served, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], cells: list[str]
) -> None:
    """Budgets and free messages: how many by the month's end, and when the last is used."""

    async def limits(asked: LimitsAsked) -> list[LimitUse]:
        [package, *_] = uses_of(asked.accounts[0], "5550001", 7)
        return [msgspec.structs.replace(package, limit_name="free_service", **changes)]

    monkeypatch.setattr(served.meter, "limits", limits)
    client = await served.signed_in("viewer")
    page = (await client.get(PAGE)).text
    table = page.partition('data-table="limits"')[2].partition("</tbody>")[0]
    assert _cells(table)[-2:] == cells


def _cells(table: str) -> list[str]:
    return [text_of(cell) for cell in re.findall(r"<td>(.*?)</td>", table, re.DOTALL)]
