"""Notices in the API and on the page: pages that stand still while new ones arrive, tags that hide none, csv."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboard.pages.active_users import NOTICES_SHOWN
from sinks.clickhouse.notices import NoticeRow, NoticesAsked
from tests.support.dashboard_limits import notice
from tests.support.dashboards import FOREIGN, OWN, Served, serving_dashboard

pytestmark = pytest.mark.anyio
URL = f"/api/v1/alerts?account={OWN}&month=2026-11"
READ_AGAIN_MS = 6000
"""Notices are read at most every five seconds."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with a user of one account, and one of the other."""
    users = {"ann": ("viewer", (OWN,)), "bob": ("viewer", (FOREIGN,))}
    async with serving_dashboard(tmp_path, users=users) as opened:
        yield opened


@pytest.fixture
async def client(served: Served) -> httpx.AsyncClient:
    """Return a browser in which the user of the own account has signed in."""
    return await served.signed_in("ann")


def own(served: Served) -> list[NoticeRow]:
    """Return all notices about the own account, the newest first, and of one moment the highest threshold first."""
    rows = [each for each in served.meter.given if each.account == OWN]
    return sorted(rows, key=lambda row: (row.noticed_at, row.threshold_count, row.id), reverse=True)


async def ids_of(client: httpx.AsyncClient, limit: int) -> list[str]:
    """Return the ids of all notices, page by page."""
    ids: list[str] = []
    after = ""
    while True:
        page = await page_after(client, after, limit)
        assert len(page["data"]) <= limit
        ids += [row["id"] for row in page["data"]]
        if page["next"] is None:
            return ids
        after = page["next"]


async def page_after(client: httpx.AsyncClient, after: str, limit: int = 2) -> dict[str, Any]:
    """Return one page."""
    response = await client.get(f"{URL}&limit={limit}&after={after}")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


async def test_pages_of_any_size_hold_all_notices_once(served: Served, client: httpx.AsyncClient) -> None:
    """Also where a page ends between notices of one moment."""
    served.meter.given += [notice(OWN, f"{10 * (place % 7) + 5}%", place) for place in range(1, 30)]
    served.meter.given.append(notice(OWN, "80%", 1, month="2026-10"))
    wanted = [row.id for row in own(served) if row.month == "2026-11"]
    assert len(wanted) == 32
    for limit in (1, 2, 7, 31, 32, 33, 10_000):
        assert await ids_of(client, limit) == wanted


async def test_notices_that_arrive_between_pages_move_nothing(
    served: Served, client: httpx.AsyncClient
) -> None:
    """The second page is what was behind the first, and the newcomer is at the beginning of the next first."""
    before = [row.id for row in own(served)]
    first = await page_after(client, "")
    served.meter.given.append(notice(OWN, "100%", 1, minutes=60))
    served.clock.advance(READ_AGAIN_MS)
    second = await page_after(client, first["next"])
    assert [row["id"] for row in first["data"] + second["data"]] == before
    assert second["next"] is None
    assert (await page_after(client, ""))["data"][0]["threshold"] == "100%"


async def test_only_a_page_is_read(
    served: Served, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ClickHouse is asked for a page and one row more, from the cursor on."""
    asked: list[NoticesAsked] = []
    notices = served.meter.notices

    async def spied(question: NoticesAsked) -> list[NoticeRow]:
        asked.append(question)
        return await notices(question)

    monkeypatch.setattr(served.meter, "notices", spied)
    first = await page_after(client, "", limit=1)
    await page_after(client, first["next"], limit=1)
    assert [question.rows_max for question in asked] == [2, 2]
    assert [question.after[-1:] for question in asked] == [(), (first["data"][0]["id"],)]


async def test_a_tag_never_hides_a_new_notice(served: Served, client: httpx.AsyncClient) -> None:
    """While nothing comes the answer is 304; one notice more is 200, though no total has changed."""
    first = await client.get(URL)
    tag = {"If-None-Match": first.headers["etag"]}
    assert first.headers["cache-control"] == "private, no-cache"
    served.clock.advance(READ_AGAIN_MS)
    assert (await client.get(URL, headers=tag)).status_code == 304
    assert (await client.get(f"{URL}&limit=1", headers=tag)).status_code == 200
    assert (await client.get(URL, headers={**tag, "Accept": "text/csv"})).status_code == 200
    # At the moment of another: neither the number of pages nor the newest time says that it came.
    served.meter.given.append(notice(OWN, "100%", 1, minutes=5))
    served.clock.advance(READ_AGAIN_MS)
    again = await client.get(URL, headers=tag)
    assert again.status_code == 200
    assert again.json()["data"][0]["threshold"] == "100%"
    assert again.headers["etag"] != first.headers["etag"]


async def test_a_tag_of_a_full_page_tells_of_what_follows(served: Served, client: httpx.AsyncClient) -> None:
    """A page that is the last one is another answer once there is one behind it."""
    url = f"{URL}&limit=3"
    tag = {"If-None-Match": (await client.get(url)).headers["etag"]}
    served.meter.given.append(notice(OWN, "50%", 1, minutes=-60))
    served.clock.advance(READ_AGAIN_MS)
    again = await client.get(url, headers=tag)
    assert again.status_code == 200
    assert again.json()["next"]


async def test_csv_comes_by_accept(client: httpx.AsyncClient) -> None:
    """The same rows under the same names, with the way to the next page in a Link header."""
    rows = (await client.get(f"{URL}&limit=2")).json()["data"]
    response = await client.get(f"{URL}&limit=2", headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(response.text)))
    assert [list(line) for line in lines] == [list(row) for row in rows]
    assert [(line["id"], line["threshold"], line["is_past"]) for line in lines] == [
        (row["id"], row["threshold"], "false") for row in rows
    ]
    assert [line["noticed_at"] for line in lines] == [row["noticed_at"] for row in rows]
    following = response.headers["link"].partition(">")[0].removeprefix("<")
    [last] = (await client.get(following)).json()["data"]
    assert last["id"] not in {row["id"] for row in rows}


@pytest.mark.parametrize(
    ("more", "accept", "status"),
    [
        ("", "image/png", 406),
        ("&after=zzz", "*/*", 400),
        ("&after=WyJhIl0", "*/*", 400),
        ("&limit=0", "*/*", 422),
        ("&limit=10001", "*/*", 422),
        ("&month=2027-01", "*/*", 400),
        ("&limit=10000", "*/*", 200),
    ],
)
async def test_what_cannot_be_answered_is_refused(
    client: httpx.AsyncClient, more: str, accept: str, status: int
) -> None:
    """Nothing is left out in silence: neither a cursor that is none, nor a form that there is not."""
    url = f"/api/v1/alerts?account={OWN}{more}"
    response = await client.get(url, headers={"Accept": accept})
    assert response.status_code == status
    expected = "application/json" if status == 200 else "application/problem+json"
    assert response.headers["content-type"] == expected


async def test_notices_are_those_of_the_account_asked(served: Served, client: httpx.AsyncClient) -> None:
    """Neither the API nor the page of one account has a notice about the other."""
    for browser, account in ((client, OWN), (await served.signed_in("bob"), FOREIGN)):
        rows = (await browser.get("/api/v1/alerts", params={"account": account})).json()["data"]
        assert [(row["account"], row["used"]) for row in rows] == [
            (account, served.meter.worlds[account].count)
        ] * 3
        page = (await browser.get("/active-users", params={"account": account})).text
        cells = _cells(page)
        assert {row[2] for row in cells} == {f"{served.meter.worlds[account].count:,}"}
    assert (await client.get("/api/v1/alerts", params={"account": FOREIGN})).status_code == 404


async def test_the_page_has_them_in_words(client: httpx.AsyncClient) -> None:
    """The newest first; why, how much of what, and what state the limit is in since."""
    page = (await client.get(f"/active-users?account={OWN}")).text
    assert _cells(page) == [
        ["MAU package", "back below 90% (plan changed)", "7", "100,000", "warning"],
        ["MAU package", "reached 90%", "7", "100,000", "warning"],
        ["MAU package", "reached 80%", "7", "100,000", "warning"],
    ]
    assert "2026-11-20 09:05:01 UTC" in page


async def test_a_count_is_not_taken_for_a_share(served: Served, client: httpx.AsyncClient) -> None:
    """Thresholds that are counts of users say so."""
    served.meter.given.append(notice(OWN, "80", 1, minutes=60))
    [first, *_] = _cells((await client.get(f"/active-users?account={OWN}")).text)
    assert first[1] == "reached 80 users"


async def test_the_page_says_when_there_are_more_than_it_shows(
    served: Served, client: httpx.AsyncClient
) -> None:
    """Fifty are enough to look at; that they are not all is said."""
    url = f"/active-users?account={OWN}"
    assert "newest" not in (await client.get(url)).text
    served.meter.given += [notice(OWN, "90%", n, minutes=n) for n in range(10, 10 + NOTICES_SHOWN)]
    served.clock.advance(READ_AGAIN_MS)
    page = (await client.get(url)).text
    assert len(_cells(page)) == NOTICES_SHOWN
    assert f"The newest {NOTICES_SHOWN}" in page


def _cells(page: str) -> list[list[str]]:
    """Return the cells of the table of notices, without when."""
    body = page.partition('data-table="notices"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in body.split("</tr>")[:-1]]
