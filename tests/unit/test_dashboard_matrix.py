"""Every route, for every role, about an own account and a foreign one. A new route is in it by itself."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from dashboard.access.audit import AuditEntry
from dashboard.access.permissions import ROLES, Permission
from dashboard.api.routes import router
from dashboard.pages.routes import PAGES
from tests.support.dashboards import FOREIGN, FOREIGN_MARKS, OWN, Served, serving_dashboard

USERS = {
    **{role: (role, (OWN,)) for role in ROLES},
    "all": ("admin", None),
    "other": ("viewer", (FOREIGN,)),
}


def _page_targets() -> list[tuple[str, str, frozenset[Permission], bool]]:
    """Return (method, path, needed permissions, is about an account) of every page."""
    return [
        (
            page.method,
            page.path.replace("{format:str}", _format(page.path)),
            frozenset(filter(None, (page.permission, page.also))),
            page.is_about_account,
        )
        for page in PAGES
    ]


def _format(path: str) -> str:
    if "chart" in path or "active-users" in path:
        return "svg"
    return "csv"


def _api_targets() -> list[tuple[str, str, frozenset[Permission], bool]]:
    targets = []
    for route in router.routes:
        assert isinstance(route, APIRoute)
        [permission] = [
            each.call.permission  # type: ignore[union-attr]
            for each in route.dependant.dependencies
            if hasattr(each.call, "permission")
        ]
        about = route.path != "/api/v1/accounts"
        targets.append(("GET", route.path, frozenset({permission}), about))
    return targets


TARGETS = [*_page_targets(), *_api_targets()]


def _url(path: str, account: str) -> str:
    url = path.replace("{account}", account)
    return f"{url}?account={account}&user=4915100000001&month=2026-11"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run on asyncio."""
    return "asyncio"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with a user of each role, who may see one account each."""
    async with serving_dashboard(tmp_path, users=USERS) as opened:
        yield opened


async def _ask(client: httpx.AsyncClient, method: str, url: str) -> httpx.Response:
    if method == "GET":
        return await client.get(url)
    page = await client.get("/overview")
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    return await client.post(url, data={"csrf": csrf[1] if csrf else "", "addresses": "a@b.example"})


def test_the_matrix_has_every_route() -> None:
    """Pages, downloads and the API are all in it, and each has a permission."""
    assert len(TARGETS) >= 28
    assert all(permissions for _, _, permissions, _ in TARGETS)


@pytest.mark.anyio
@pytest.mark.parametrize("role", [*ROLES, "all"])
async def test_each_role_gets_what_it_may_and_no_foreign_numbers(served: Served, role: str) -> None:
    """A role without the permission gets 403; with it its own account, and of a foreign one not a figure."""
    client = await served.signed_in(role)
    allowed = ROLES["admin" if role == "all" else role]
    for method, path, permissions, about in TARGETS:
        for account in (OWN, FOREIGN):
            response = await _ask(client, method, _url(path, account))
            where = f"{role} {method} {path} of {account}: {response.status_code}"
            if not permissions <= allowed:
                assert response.status_code == 403, where
            elif account == FOREIGN and about and role != "all":
                assert response.status_code == 404, where
            else:
                assert response.status_code in (200, 409), where
            if role != "all":
                # What the visitor wrote may come back in the sentence that refuses it.
                marks = FOREIGN_MARKS if response.status_code < 400 else FOREIGN_MARKS[1:]
                assert not [mark for mark in marks if mark in response.text], where


@pytest.mark.anyio
async def test_nobody_gets_anything(served: Served) -> None:
    """Without a sign-in pages lead to the sign-in form, and everything else is refused."""
    client = served.client()
    for method, path, _, _ in TARGETS:
        response = await client.request(method, _url(path, OWN))
        if path.startswith("/api/") or method == "POST":
            assert response.status_code == 401, path
            assert response.headers["content-type"] == "application/problem+json"
        else:
            assert response.status_code == 303, path
            assert response.headers["location"].startswith("/sign-in?next="), path
        assert "Own Ltd" not in response.text


@pytest.mark.anyio
async def test_a_foreign_account_and_none_are_refused_in_the_same_words(served: Served) -> None:
    """Whoever may not see an account does not learn that it exists."""
    client = await served.signed_in("viewer")
    answers = [
        (await client.get("/api/v1/usage", params={"account": account})).json()
        for account in (FOREIGN, "0000000000")
    ]
    assert answers[0]["detail"].replace(FOREIGN, "X") == answers[1]["detail"].replace("0000000000", "X")


@pytest.mark.anyio
async def test_answers_of_one_visitor_are_not_given_to_another(served: Served) -> None:
    """What was cached for somebody who may see money or more accounts stays with them."""
    everything, viewer = await served.signed_in("all"), await served.signed_in("viewer")
    url = f"/overview?account={OWN}"
    assert "USD" in (await everything.get(url)).text
    assert "USD" not in (await viewer.get(url)).text
    assert "USD" not in (await viewer.get(f"/downloads/usage.csv?account={OWN}")).text
    tiles = (await viewer.get(f"/api/v1/summary?account={OWN}")).json()["tiles"]
    assert all(tile["costs"] is None for tile in tiles)
    first = await everything.get(f"/api/v1/usage?account={OWN}")
    again = await viewer.get(f"/api/v1/usage?account={OWN}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 200


@pytest.mark.anyio
async def test_live_figures_are_of_the_account_alone(served: Served) -> None:
    """A scoped visitor sees neither others' dead letters, nor those of nobody, nor how long the log is."""
    viewer = await served.signed_in("viewer")
    live = (await viewer.get(f"/api/v1/live?account={OWN}")).json()
    assert {row["account"] for row in live["refused"]} == {OWN}
    assert live["freshness"][0]["position"] == 0
    everything = await served.signed_in("all")
    rows = (await everything.get(f"/api/v1/live?account={OWN}")).json()["refused"]
    assert {row["account"] for row in rows} == {OWN, FOREIGN, ""}


@pytest.mark.anyio
async def test_a_token_allows_no_more_than_it_says_and_its_user_may(served: Served) -> None:
    """A token has the permissions and accounts that both it and its user have, from now on."""
    narrow = served.token("all", Permission.USAGE, accounts=(OWN,))
    wide = served.token("viewer", *Permission)
    for token, money in ((narrow, 403), (wide, 403)):
        client = served.client(Authorization=f"Bearer {token}")
        assert (await client.get(f"/api/v1/usage?account={OWN}")).status_code == 200
        assert (await client.get(f"/api/v1/usage?account={FOREIGN}")).status_code == 404
        assert (await client.get(f"/api/v1/charges?account={OWN}")).status_code == money
        assert [row["account"] for row in (await client.get("/api/v1/accounts")).json()] == [OWN]
    served.users.remove("viewer")
    client = served.client(Authorization=f"Bearer {wide}")
    assert (await client.get(f"/api/v1/usage?account={OWN}")).status_code == 401


@pytest.mark.anyio
async def test_what_was_refused_and_exported_is_in_the_audit_log(served: Served) -> None:
    """The log has who exported, looked a user up, or was denied, with the account."""
    admin, viewer = await served.signed_in("all"), await served.signed_in("viewer")
    await viewer.get(f"/downloads/usage.csv?account={OWN}")
    await viewer.get("/audit")
    await admin.get(f"/windows?account={OWN}&user=4915100000001")
    events = [(entry.event, entry.who, entry.account) for entry in _audit(served)]
    assert ("export", "viewer", OWN) in events
    assert ("denied", "viewer", "") in events
    assert ("windows", "all", OWN) in events
    assert "Newest" in (await admin.get("/audit")).text


def _audit(served: Served) -> list[AuditEntry]:
    return served.dashboard.gate.audit.tail(100)
