"""Every route, for every role, about an own account and a foreign one. A route that is not in it fails a test."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

from dashboard.access.audit import AuditEntry
from dashboard.access.permissions import ROLES, Permission
from runtime.dashboard_tables import DashboardSettings, MailSettings
from tests.support.dashboard_process import MailBox, mail_box
from tests.support.dashboard_routes import (
    FORMATS,
    FORMS,
    PUBLIC,
    TARGETS,
    Target,
    application,
    marks_in,
    readable_text,
    unknown_routes,
    walked,
)
from tests.support.dashboards import FOREIGN, OWN, WORLDS, Served, TableMeter, serving_dashboard

pytestmark = pytest.mark.anyio
USERS = {
    **{role: (role, (OWN,)) for role in ROLES},
    "all": ("admin", None),
    "other": ("viewer", (FOREIGN,)),
}
ACCOUNTS = (OWN, FOREIGN)
DOTS = ("png", "jpeg")
"""Pictures in which nothing can be read by a program."""
JSON_ONLY = ("/api/v1/live", "/api/v1/windows", "/api/v1/accounts/{account}")
"""Routes of the API whose answers are no rows."""


@pytest.fixture(scope="module")
def box() -> Iterator[MailBox]:
    """Return a mail server."""
    with mail_box() as opened:
        yield opened


@pytest.fixture
async def served(tmp_path: Path, box: MailBox) -> AsyncIterator[Served]:
    """Return a dashboard with a mail server, a user of each role for one account, and two others."""
    mail = MailSettings(host="127.0.0.1", port=box.port, security="none", sender="billing@example.com")
    async with serving_dashboard(tmp_path, DashboardSettings(mail=mail), users=USERS) as opened:
        yield opened


async def _ask(client: httpx.AsyncClient, target: Target, account: str) -> httpx.Response:
    if target.method != "POST":
        return await client.request(target.method, target.url(account))
    page = await client.get("/overview")
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    form = {"csrf": csrf[1] if csrf else "", "addresses": "reader@example.com"}
    return await client.post(target.url(account), data=form)


def _sees(name: str, account: str) -> bool:
    accounts = USERS[name][1]
    return accounts is None or account in accounts


def _due(name: str, target: Target, account: str) -> int:
    """Return the one status that a user should get."""
    if not target.needs <= ROLES[USERS[name][0]]:
        return 403
    return 404 if target.is_about_account and not _sees(name, account) else 200


def _told(response: httpx.Response) -> str:
    return readable_text(response.content, response.headers.get("content-type", "text/plain"))


def _said(mail: EmailMessage) -> str:
    """Return everything of a mail: its headers, its text, and its attachments with their names."""
    parts = [f"{name}: {value}" for name, value in mail.items()]
    for part in mail.walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            parts += [part.get_filename() or "", readable_text(content, part.get_content_type())]
    return "\n".join(parts)


async def test_every_route_is_in_the_matrix_or_public_for_a_reason(served: Served) -> None:
    """What the application answers is what is tried here, no more and no less, and each needs a permission."""
    app = application(served.dashboard.app)
    assert unknown_routes(app) == set()
    tried = {(target.method, target.route) for target in TARGETS}
    public = {(each.method, each.route) for each in PUBLIC}
    assert not tried & public
    assert tried | public == walked(app)
    assert all(target.needs for target in TARGETS)
    assert all(each.reason for each in PUBLIC)


async def _leak(_request: object) -> PlainTextResponse:
    return PlainTextResponse("everybody's figures")


def _plant(app: FastAPI, kind: str) -> tuple[str, str]:
    """Add a route that nobody thought of; return how the walk should name it."""
    if kind == "another method":
        app.routes.append(Route("/overview", _leak, methods=["DELETE"]))
        return "DELETE", "/overview"
    if kind == "router":
        router = APIRouter(prefix="/api/v1")
        router.add_api_route("/leak", lambda: "figures", methods=["GET"])
        app.include_router(router)
        return "GET", "/api/v1/leak"
    routes = {
        "route": Route("/leak", _leak, methods=["POST"]),
        "mount": Mount("/leak", routes=[Route("/deep", _leak)]),
        "websocket": WebSocketRoute("/leak", _leak),
    }
    app.routes.append(routes[kind])
    return {"route": "POST", "mount": "Mount", "websocket": "WebSocketRoute"}[kind], "/leak"


@pytest.mark.parametrize("kind", ["route", "another method", "router", "mount", "websocket"])
async def test_a_route_that_nobody_thought_of_is_named(served: Served, kind: str) -> None:
    """However it came into the application, the test above would fail by it."""
    app = application(served.dashboard.app)
    planted = _plant(app, kind)
    assert unknown_routes(app) == {planted}


@pytest.mark.parametrize("name", USERS)
async def test_each_user_gets_what_they_may_and_no_foreign_numbers(
    served: Served, box: MailBox, name: str
) -> None:
    """Without the permission 403; with it their own accounts, in each format; of others 404 and not a figure."""
    client = await served.signed_in(name)
    for target in TARGETS:
        for account in ACCOUNTS:
            box.mails.clear()
            response = await _ask(client, target, account)
            where = f"{name} {target.method} {target.path} of {account}: {response.status_code}"
            due = _due(name, target, account)
            assert response.status_code == due, where
            if due == 200:
                _check_form(response, target, where)
            mails = [_said(mail) for mail in box.mails]
            assert len(mails) == (due == 200 and target.method == "POST"), where
            for unseen in ACCOUNTS:
                if not _sees(name, unseen):
                    _check_says_nothing(response, mails, unseen, where)


def _check_form(response: httpx.Response, target: Target, where: str) -> None:
    media_type, first_bytes = FORMS[target.form]
    assert response.headers["content-type"].partition(";")[0] == media_type, where
    assert response.content.startswith(first_bytes) or target.method == "HEAD", where


def _check_says_nothing(response: httpx.Response, mails: list[str], account: str, where: str) -> None:
    # What the visitor wrote may come back in the sentence that refuses it.
    asked = () if response.status_code < 400 else (account,)
    found = [mark for mark in marks_in(_told(response), account) if mark not in asked]
    assert not found, where
    assert not [mark for mail in mails for mark in marks_in(mail, account)], where


async def test_figures_would_be_seen_wherever_they_are(served: Served, box: MailBox) -> None:
    """Whoever sees everything finds the foreign account in each answer about it, and its figures in what is sent."""
    client = await served.signed_in("all")
    for target in TARGETS:
        if target.is_about_account and target.form not in DOTS and target.method != "HEAD":
            response = await _ask(client, target, FOREIGN)
            assert marks_in(_told(response), FOREIGN), target
    [mail] = box.mails
    [attachment] = mail.iter_attachments()
    assert str(WORLDS[FOREIGN].count) in attachment.get_content()


async def test_pictures_are_the_same_whether_or_not_there_are_other_accounts(
    served: Served, tmp_path: Path
) -> None:
    """Nothing can be read in dots: but where they would be others without the foreign account, they told of it."""
    targets = [target for target in TARGETS if target.form in DOTS and target.method == "GET"]
    assert len(targets) == 4
    alone = TableMeter({OWN: WORLDS[OWN]})
    async with serving_dashboard(tmp_path / "alone", users=USERS, meter=alone) as without:
        everywhere, viewer = await served.signed_in("all"), await served.signed_in("viewer")
        lonely = await without.signed_in("viewer")
        for target in targets:
            seen = (await _ask(viewer, target, OWN)).content
            assert seen == (await _ask(lonely, target, OWN)).content, target
            assert seen != (await _ask(everywhere, target, FOREIGN)).content, target


async def test_each_route_takes_the_formats_of_the_matrix_and_no_other(served: Served) -> None:
    """What is in no list is refused, and the list of formats has every route that takes several."""
    client = await served.signed_in("all")
    routes = {route for _, route in walked(application(served.dashboard.app)) if "{format" in route}
    assert routes == set(FORMATS)
    for route, taken in FORMATS.items():
        for form in {*FORMS, "webp", "html", "CSV"} - set(taken) - {""}:
            response = await client.get(f"{route.replace('{format:str}', form)}?account={OWN}")
            assert response.status_code == 404, f"{route} {form}"


@pytest.mark.parametrize("name", USERS)
async def test_csv_of_the_api_is_a_download(served: Served, name: str) -> None:
    """It needs the permission for downloads besides the route's own; where there is no csv, none is made up."""
    client = await served.signed_in(name)
    for target in (target for target in TARGETS if target.is_api):
        for account in ACCOUNTS:
            response = await client.get(target.url(account), headers={"Accept": "text/csv"})
            where = f"{name} {target.route} of {account}: {response.status_code}"
            assert response.status_code in _due_as_csv(name, target, account), where
            if response.status_code == 200:
                assert response.headers["content-type"].startswith("text/csv"), where
            for unseen in ACCOUNTS:
                if not _sees(name, unseen):
                    _check_says_nothing(response, [], unseen, where)


def _due_as_csv(name: str, target: Target, account: str) -> set[int]:
    """Return the status that a csv should end in: one, but where two reasons refuse it and either may come first."""
    due = _due(name, target, account)
    reasons = {due} - {200}
    if due != 403 and target.route in JSON_ONLY:
        reasons.add(406)
    elif due != 403 and Permission.EXPORT not in ROLES[USERS[name][0]]:
        reasons.add(403)
    return reasons or {200}


async def test_nobody_gets_anything(served: Served, box: MailBox) -> None:
    """Without a sign-in pages lead to the sign-in form, and everything else is refused."""
    box.mails.clear()
    client = served.client()
    for target in TARGETS:
        response = await client.request(target.method, target.url(OWN))
        if target.is_api or target.method == "POST":
            assert response.status_code == 401, target
            assert response.headers["content-type"] == "application/problem+json"
        else:
            assert response.status_code == 303, target
            assert response.headers["location"].startswith("/sign-in?next="), target
        assert not marks_in(_told(response), OWN), target
    assert not box.mails


async def test_public_routes_say_nothing_of_any_account(served: Served) -> None:
    """What asks nobody who they are has no texts of an account in it, for nobody and for whoever sees everything."""
    nobody, everywhere = served.client(), await served.signed_in("all")
    for public in PUBLIC:
        response = await nobody.request(public.method, public.url)
        assert response.status_code == public.status, public
        assert "set-cookie" not in response.headers, public
        answers = [response, await everywhere.request(public.method, public.url)]
        found = [mark for each in answers for account in ACCOUNTS for mark in marks_in(each.text, account)]
        assert not found, public


async def test_a_foreign_account_and_none_are_refused_in_the_same_words(served: Served) -> None:
    """Whoever may not see an account does not learn that it exists."""
    client = await served.signed_in("viewer")
    answers = [
        (await client.get("/api/v1/usage", params={"account": account})).json()
        for account in (FOREIGN, "0000000000")
    ]
    assert answers[0]["detail"].replace(FOREIGN, "X") == answers[1]["detail"].replace("0000000000", "X")


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


async def test_live_figures_are_of_the_account_alone(served: Served) -> None:
    """A scoped visitor sees neither others' dead letters, nor those of nobody, nor how long the log is."""
    viewer = await served.signed_in("viewer")
    live = (await viewer.get(f"/api/v1/live?account={OWN}")).json()
    assert {row["account"] for row in live["refused"]} == {OWN}
    assert live["freshness"][0]["position"] == 0
    everything = await served.signed_in("all")
    rows = (await everything.get(f"/api/v1/live?account={OWN}")).json()["refused"]
    assert {row["account"] for row in rows} == {OWN, FOREIGN, ""}


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
    assert "newest entries" in (await admin.get("/audit")).text


def _audit(served: Served) -> list[AuditEntry]:
    return served.dashboard.gate.audit.tail(100)
