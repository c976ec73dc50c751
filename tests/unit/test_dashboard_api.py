"""The JSON API: paging, entity tags, csv by Accept, one shape of errors, and everything its document allows."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema_rs import validator_for

from dashboard.access.permissions import Permission
from dashboard.api.paging import KEYS, page_of, sort_key
from dashboard.http import Refusal
from dashboard.ports import QueryName, Row
from runtime.dashboard_tables import DashboardSettings
from sinks.clickhouse.client import ClickHouseAway
from sinks.clickhouse.reader import Filters
from tests.support.dashboards import OWN, Served, serving_dashboard

pytestmark = pytest.mark.anyio
URL = f"/api/v1/conversations?account={OWN}"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with an administrator."""
    async with serving_dashboard(tmp_path, users={"root": ("admin", None)}) as opened:
        yield opened


@pytest.fixture
def client(served: Served) -> httpx.AsyncClient:
    """Return a program with a token that allows everything."""
    return served.client(Authorization=f"Bearer {served.token('root', *Permission)}")


async def everything(client: httpx.AsyncClient, url: str, limit: int) -> list[dict[str, Any]]:
    """Return all rows, page by page."""
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = (await client.get(f"{url}&limit={limit}&after={after}")).json()
        assert len(page["data"]) <= limit
        rows += page["data"]
        if page["next"] is None:
            return rows
        after = page["next"]


@pytest.mark.parametrize("name", ["usage", "conversations", "incoming", "active-users", "charges"])
async def test_pages_of_any_size_hold_all_rows_once(client: httpx.AsyncClient, name: str) -> None:
    """Whatever the size of a page, all pages together are all rows, in their order."""
    url = f"/api/v1/{name}?account={OWN}&from=2026-11-01&to=2026-11-09"
    whole = await everything(client, url, 10_000)
    assert len(whole) >= 3
    for limit in (1, 2, 7):
        assert await everything(client, url, limit) == whole
    assert [sort_key(name, row) for row in whole] == sorted(sort_key(name, row) for row in whole)


def test_rows_that_come_in_between_move_nothing() -> None:
    """A cursor names a row: what appears before it does not come again, what appears behind it comes."""
    rows = [
        {"day": f"2026-01-0{day}", "account": "a", "number": "1", "country": "BR", "count": 1}
        for day in (1, 3, 5, 7)
    ]
    first, cursor = page_of("incoming", rows, "", 2)
    assert cursor is not None
    new = [rows[0] | {"day": "2026-01-02"}, rows[0] | {"day": "2026-01-06"}]
    later = sorted([*rows, *new], key=lambda row: str(row["day"]))
    rest, _ = page_of("incoming", later, cursor, 10)
    assert [row["day"] for row in first] == ["2026-01-01", "2026-01-03"]
    assert [row["day"] for row in rest] == ["2026-01-05", "2026-01-06", "2026-01-07"]


@pytest.mark.parametrize("cursor", ["x", "WyJhIl0", "!!!", "eyJhIjoxfQ", "A" * 5000, "\u00e9"])
def test_a_cursor_of_something_else_is_refused(cursor: str) -> None:
    """What is no cursor of this answer is a fault of the request."""
    with pytest.raises(Refusal, match="no cursor"):
        page_of("incoming", [], cursor, 10)


def test_keys_of_templates_sort_as_the_queries_do() -> None:
    """Null, false and true stand in the order of their codes."""
    base: dict[str, object] = dict.fromkeys(KEYS["usage"], "x")
    keys = [sort_key("usage", base | {"template": value}) for value in (None, False, True)]
    assert keys == sorted(keys)


async def test_the_same_answer_is_not_sent_twice(served: Served, client: httpx.AsyncClient) -> None:
    """With the tag of the last answer the next one is 304, until the totals change."""
    first = await client.get(URL)
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    assert "Authorization" in first.headers["vary"]
    assert (await client.get(URL, headers={"If-None-Match": tag})).status_code == 304
    assert (await client.get(f"{URL}&limit=1", headers={"If-None-Match": tag})).status_code == 200
    as_csv = {"If-None-Match": tag, "Accept": "text/csv"}
    assert (await client.get(URL, headers=as_csv)).status_code == 200
    served.meter.version = "2"
    served.clock.advance(2000)
    assert (await client.get(URL, headers={"If-None-Match": tag})).status_code == 200


async def test_what_changes_while_it_is_read_is_not_hidden_by_the_tag(
    served: Served, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of before a change have the tag of before it: with that tag the changed ones come."""
    query = served.meter.query

    async def slow_query(name: QueryName, filters: Filters) -> list[Row]:
        rows = await query(name, filters)
        served.meter.version = "2"
        served.clock.advance(2000)
        return rows

    monkeypatch.setattr(served.meter, "query", slow_query)
    first = await client.get(URL)
    monkeypatch.setattr(served.meter, "query", query)
    again = await client.get(URL, headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 200)


async def test_questions_are_asked_once_while_nothing_changes(
    served: Served, client: httpx.AsyncClient
) -> None:
    """Many requests for one answer ask the totals once; a new version asks again."""
    for _ in range(3):
        await client.get(URL)
    assert served.meter.questions.count("conversations") == 1
    served.meter.version = "2"
    served.clock.advance(2000)
    await client.get(URL)
    assert served.meter.questions.count("conversations") == 2


async def test_csv_comes_by_accept(client: httpx.AsyncClient) -> None:
    """The csv has the same rows under the same keys, and the next page in a Link header."""
    rows = (await client.get(f"{URL}&limit=3")).json()["data"]
    response = await client.get(f"{URL}&limit=3", headers={"Accept": "text/csv"})
    assert response.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(response.text)))
    assert lines == [{name: str(value) for name, value in row.items()} for row in rows]
    following = response.headers["link"].partition(">")[0].removeprefix("<")
    assert (await client.get(following)).json()["data"] != rows


async def test_csv_of_the_summary_the_accounts_and_the_report(client: httpx.AsyncClient) -> None:
    """Each as a table of what the JSON says: tiles, accounts, and the report as its own csv has it."""
    as_csv = {"Accept": "text/csv"}
    summary = f"/api/v1/summary?account={OWN}&duration=last-30-days"
    made = (await client.get(summary)).json()
    tiles = list(csv.DictReader(io.StringIO((await client.get(summary, headers=as_csv)).text)))
    expected = [(each["title"], str(each["conversations"])) for each in (*made["tiles"], made["total"])]
    assert [(line["type"], line["conversations"]) for line in tiles] == expected
    accounts = (await client.get("/api/v1/accounts")).json()
    found = csv.DictReader(io.StringIO((await client.get("/api/v1/accounts", headers=as_csv)).text))
    assert list(found) == accounts
    report = f"/api/v1/report?account={OWN}&month=2026-10"
    text = (await client.get(report, headers=as_csv)).text
    saved = (await client.get(f"/downloads/report.csv?account={OWN}&month=2026-10")).text
    assert text == saved
    assert OWN in text


@pytest.mark.parametrize(
    "path", [f"/api/v1/{name}?account={OWN}" for name in ("summary", "report", "usage", "charges", "limits")]
)
async def test_whoever_has_an_answer_is_told_so(served: Served, client: httpx.AsyncClient, path: str) -> None:
    """304 while nothing changed, in each form for itself; the whole answer again when the totals did."""
    for accept in ("application/json", "text/csv"):
        tag = (await client.get(path, headers={"Accept": accept})).headers["etag"]
        again = {"Accept": accept, "If-None-Match": tag}
        assert (await client.get(path, headers=again)).status_code == 304
    if "limits" in path:
        return  # its tag goes by what it says
    served.meter.version = "another"
    served.clock.advance(10_000)
    assert (await client.get(path, headers=again)).status_code == 200


async def test_a_csv_takes_the_permission_and_is_noted(served: Served) -> None:
    """A token without `export` gets the rows as JSON and not as csv; both the csv and the refusal are in the log."""
    audit = served.dashboard.gate.audit
    reading = served.client(Authorization=f"Bearer {served.token('root', Permission.USAGE)}")
    assert (await reading.get(URL)).status_code == 200
    assert not audit.tail(10)
    refused = await reading.get(URL, headers={"Accept": "text/csv"})
    assert refused.status_code == 403
    assert "`export`" in refused.json()["detail"]
    saving = served.client(
        Authorization=f"Bearer {served.token('root', Permission.USAGE, Permission.EXPORT)}"
    )
    as_csv = await saving.get(URL, headers={"Accept": "text/csv"})
    assert as_csv.status_code == 200
    again = {"Accept": "text/csv", "If-None-Match": as_csv.headers["etag"]}
    assert (await saving.get(URL, headers=again)).status_code == 304
    [saved, denied] = audit.tail(10)
    assert (saved.event, saved.account) == ("export", OWN)
    assert "/api/v1/conversations as csv" in saved.what
    assert denied.event == "denied"


@pytest.mark.parametrize(
    "path",
    [f"/api/v1/accounts/{OWN}", f"/api/v1/live?account={OWN}", f"/api/v1/windows?account={OWN}&user=4915"],
)
async def test_what_has_no_table_is_json_only(client: httpx.AsyncClient, path: str) -> None:
    """Whoever wants csv alone of an object is told that there is none, before anything is asked."""
    assert (await client.get(path)).headers["content-type"] == "application/json"
    assert (await client.get(path, headers={"Accept": "text/csv"})).status_code == 406


@pytest.mark.parametrize(
    ("accept", "status", "media_type"),
    [
        ("*/*", 200, "application/json"),
        ("text/html, text/csv;q=0.9, */*;q=0.1", 200, "text/csv"),
        ("application/json;q=0.5, text/csv;q=0.6", 200, "text/csv"),
        ("text/*", 200, "text/csv"),
        ("text/csv;q=0", 406, "application/problem+json"),
        ("image/png", 406, "application/problem+json"),
        ("application/json;q=broken", 406, "application/problem+json"),
    ],
)
async def test_the_form_is_negotiated(
    client: httpx.AsyncClient, accept: str, status: int, media_type: str
) -> None:
    """The best of the client's wishes is met, or none can be."""
    response = await client.get(URL, headers={"Accept": accept})
    assert response.status_code == status
    assert response.headers["content-type"].startswith(media_type)


@pytest.mark.parametrize(
    ("url", "status", "part"),
    [
        (f"{URL}&from=2026-11-09&to=2026-11-01", 400, "after to"),
        (f"{URL}&from=2020-01-01&to=2026-11-01", 400, "at most 400 days"),
        (f"{URL}&from=yesterday", 422, "from"),
        (f"{URL}&limit=0", 422, "limit"),
        (f"{URL}&limit=99999", 422, "limit"),
        (f"{URL}&after=nonsense", 400, "no cursor"),
        ("/api/v1/conversations", 422, "account"),
        (f"/api/v1/report?account={OWN}&month=2026-13", 400, "YYYY-MM"),
        (f"/api/v1/report?account={OWN}&month=2027-01", 400, "up to 2026-11"),
        (f"/api/v1/windows?account={OWN}&user=hello", 400, "phone number"),
        (f"/api/v1/summary?account={OWN}&duration=yesterday&from=2026-11-01", 400, "either"),
        ("/api/v1/nothing", 404, "Not Found"),
    ],
)
async def test_errors_have_one_shape(client: httpx.AsyncClient, url: str, status: int, part: str) -> None:
    """Every error is a problem document that says what is wrong."""
    response = await client.get(url)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == status
    assert part in problem["detail"]


async def test_what_passes_by_itself_says_when_to_come_again(
    served: Served, client: httpx.AsyncClient
) -> None:
    """Totals that cannot be read are 503 with a Retry-After; nothing of it is kept for later."""
    served.meter.fault = ClickHouseAway("the server is away")
    response = await client.get(URL)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert "the server is away" not in response.text
    page = await client.get(f"/overview?account={OWN}", headers={"Accept": "text/html"})
    assert page.status_code == 503
    served.meter.fault = None
    assert (await client.get(URL)).status_code == 200


async def test_a_fault_of_ours_is_500_without_its_text(served: Served, client: httpx.AsyncClient) -> None:
    """An unexpected error is not told to visitors; the log has it."""
    served.meter.fault = RuntimeError("secret detail")
    response = await client.get(URL)
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


async def test_answers_are_as_the_document_says(client: httpx.AsyncClient) -> None:
    """Each route's answer fits its schema, and the document names no address but ours."""
    document = (await client.get("/api/openapi.json")).json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    checked = 0
    for path, operations in document["paths"].items():
        schema = (
            operations["get"]["responses"]["200"].get("content", {}).get("application/json", {}).get("schema")
        )
        url = path.replace("{account}", OWN)
        response = await client.get(f"{url}?account={OWN}&user=4915100000001&month=2026-11")
        assert response.status_code == 200, path
        if schema:
            whole = {**schema, "components": document["components"]}
            validator_for(whole, validate_formats=True).validate(response.json())
            checked += 1
        for status, answer in operations["get"]["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"]
    assert checked >= 10
    assert "http" not in msgspec.json.encode(document["paths"]).decode()


async def test_the_summary_is_that_of_its_days(client: httpx.AsyncClient) -> None:
    """Without days it is the last seven; tiles are sums over them, and the period before is the seven before."""
    summary = (await client.get(f"/api/v1/summary?account={OWN}")).json()
    assert (summary["first_day"], summary["last_day"]) == ("2026-11-14", "2026-11-20")
    assert (summary["previous_first_day"], summary["previous_last_day"]) == ("2026-11-07", "2026-11-13")
    tiles = {tile["key"]: tile for tile in summary["tiles"]}
    # 7 charged and 1 free marketing conversations a day on each of two numbers.
    assert tiles["marketing"]["conversations"] == 7 * 2 * 8 == tiles["marketing"]["previous"]
    assert tiles["marketing"]["costs"] == [{"currency": "USD", "amount": "6.125", "unrated": 0}]
    month = (await client.get(f"/api/v1/summary?account={OWN}&duration=this-month")).json()
    assert date.fromisoformat(month["first_day"]) == date(2026, 11, 1)


async def test_the_docs_page_needs_nothing_from_outside(served: Served) -> None:
    """The page lists every route, and loads nothing that is not ours."""
    browser = await served.signed_in("root")
    page = await browser.get("/api/docs")
    assert page.status_code == 200
    for path in ("/api/v1/usage", "/api/v1/charges", "/api/v1/windows", "Bearer TOKEN"):
        assert path in page.text
    assert "https://" not in page.text
    assert (await served.client().get("/api/docs")).headers["location"] == "/sign-in?next=/api/docs"


async def test_more_exports_than_may_wait_are_told_to_come_again(tmp_path: Path) -> None:
    """Beyond the queue's length the answer is 429 with a time; those in the queue are served."""
    own = DashboardSettings(export_queue_max=1)
    async with serving_dashboard(tmp_path, own, users={"root": ("admin", None)}) as served:
        browser = await served.signed_in("root")
        urls = [f"/downloads/chart.svg?account={OWN}&duration={name}" for name in ("yesterday", "this-month")]
        first, second = await asyncio.gather(*(browser.get(url) for url in urls))
        assert sorted([first.status_code, second.status_code]) == [200, 429]
        refused = first if first.status_code == 429 else second
        assert int(refused.headers["retry-after"]) >= 1
        assert (await browser.get(urls[0])).status_code == 200


async def test_pictures_in_pages_are_no_way_around_the_permission_to_export(served: Served) -> None:
    """The page's own pictures come as the page needs them, and as nothing else."""
    browser = await served.signed_in("root")
    for name, status in (("json", 200), ("pdf", 404), ("png", 404), ("exe", 404)):
        response = await browser.get(f"/charts/active-users.{name}?account={OWN}")
        assert response.status_code == status, name
