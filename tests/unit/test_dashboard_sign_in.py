"""Signing in and out, and what protects it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from dashboard.access.gate import local_path
from runtime.dashboard_tables import DashboardSettings
from tests.support.dashboards import OWN, PASSWORD, Served, serving_dashboard

pytestmark = pytest.mark.anyio
USERS = {"ann": ("finance", (OWN,)), "root": ("admin", None)}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with two users."""
    async with serving_dashboard(tmp_path, users=USERS) as opened:
        yield opened


def events(served: Served) -> list[str]:
    """Return the audit log's events, oldest first."""
    return [entry.event for entry in reversed(served.dashboard.gate.audit.tail(1000))]


async def test_signing_in_leads_to_where_one_wanted_to_go(served: Served) -> None:
    """The page asked for comes after the sign-in, and sign-out ends the session for good."""
    client = served.client()
    wanted = await client.get(f"/active-users?account={OWN}")
    form = await client.get(wanted.headers["location"])
    target = re.search(r'name="next" value="([^"]+)"', form.text)
    assert target is not None
    response = await client.post(
        "/sign-in", data={"name": " Ann ", "password": PASSWORD, "next": target[1].replace("&amp;", "&")}
    )
    assert response.headers["location"] == f"/active-users?account={OWN}"
    page = await client.get(response.headers["location"])
    csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert csrf is not None
    cookies = dict(client.cookies)
    out = await client.post("/sign-out", data={"csrf": csrf[1]})
    assert out.status_code == 303
    stolen = served.client()
    stolen.cookies.update(cookies)
    assert (await stolen.get("/overview")).status_code == 303
    assert events(served) == ["sign_in", "sign_out"]


async def test_the_cookie_is_as_closed_as_it_can_be(tmp_path: Path) -> None:
    """It is for http only, for our site only; by https also for this very host and https only."""
    async with serving_dashboard(tmp_path / "a", users=USERS) as plain:
        response = await plain.client().post("/sign-in", data={"name": "ann", "password": PASSWORD})
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("convometer=")
        assert {"HttpOnly", "Path=/", "SameSite=lax", "Max-Age=43200"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
    own = DashboardSettings(public_url="https://billing.example")
    async with serving_dashboard(tmp_path / "b", own, users=USERS) as secure:
        response = await secure.client().post(
            "/sign-in",
            data={"name": "ann", "password": PASSWORD},
            headers={"Origin": "https://billing.example"},
        )
        cookie = response.headers["set-cookie"]
        assert cookie.startswith("__Host-convometer=")
        assert {"Secure", "HttpOnly", "Path=/"} <= set(cookie.split("; "))
        assert "Domain" not in cookie
        assert response.headers["strict-transport-security"].startswith("max-age=")


async def test_a_session_known_before_the_sign_in_is_worth_nothing(served: Served) -> None:
    """Signing in makes a new session id, and ends the one the browser came with."""
    client = await served.signed_in("ann")
    before = client.cookies["convometer"]
    await client.post("/sign-in", data={"name": "root", "password": PASSWORD})
    assert client.cookies["convometer"] != before
    old = served.client()
    old.cookies.set("convometer", before)
    assert (await old.get("/overview")).status_code == 303
    chosen = served.client()
    chosen.cookies.set("convometer", "an-id-that-somebody-chose")
    response = await chosen.post("/sign-in", data={"name": "ann", "password": PASSWORD})
    assert "an-id-that-somebody-chose" not in response.headers["set-cookie"]


async def test_the_files_let_nobody_in(served: Served) -> None:
    """Neither session ids nor link secrets nor passwords nor tokens stand in any file."""
    client = await served.signed_in("ann")
    link = served.dashboard.gate.sessions.make_link(served.clock.now_seconds())
    token = served.token("ann")
    secrets = [client.cookies["convometer"], link, PASSWORD, token, token.split("_", 2)[2]]
    for path in served.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path
            assert path.suffix == ".js" or not path.stat().st_mode & 0o077 or "-" in path.suffix, path


@pytest.mark.parametrize(
    ("headers", "csrf", "status"),
    [
        ({}, "right", 303),
        ({"Origin": "http://dashboard.test"}, "right", 303),
        ({"Sec-Fetch-Site": "same-origin"}, "right", 303),
        ({}, "wrong", 403),
        ({}, "", 403),
        ({"Origin": "http://evil.test"}, "right", 403),
        ({"Origin": "null"}, "right", 403),
        ({"Referer": "http://evil.test/page"}, "right", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "right", 403),
        ({"Sec-Fetch-Site": "same-site"}, "right", 403),
    ],
)
async def test_forms_of_others_are_refused(
    served: Served, headers: dict[str, str], csrf: str, status: int
) -> None:
    """A form needs the session's token, and must not come from another site's page."""
    client = await served.signed_in("ann")
    page = await client.get("/overview")
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found is not None
    sent = {"right": found[1], "wrong": "x" * len(found[1]), "": ""}[csrf]
    response = await client.post("/sign-out", data={"csrf": sent}, headers=headers)
    assert response.status_code == status
    assert (await client.get("/overview")).status_code == (303 if status == 303 else 200)


async def test_another_sessions_form_token_is_refused(served: Served) -> None:
    """A form token belongs to one session."""
    first, second = await served.signed_in("ann"), await served.signed_in("root")
    token = re.search(r'name="csrf" value="([^"]+)"', (await first.get("/overview")).text)
    assert token is not None
    assert (await second.post("/sign-out", data={"csrf": token[1]})).status_code == 403


async def test_another_sites_page_cannot_sign_anybody_in(served: Served) -> None:
    """Login forms of others are refused, so that nobody works in an account that is not theirs."""
    response = await served.client().post(
        "/sign-in", data={"name": "ann", "password": PASSWORD}, headers={"Origin": "http://evil.test"}
    )
    assert response.status_code == 403


async def test_guessing_becomes_slow_for_the_name_and_for_the_address(served: Served) -> None:
    """After five failures the right password has to wait too; another address may not guess that name either."""
    client = served.client("203.0.113.5")
    for _ in range(5):
        response = await client.post("/sign-in", data={"name": "ann", "password": "not the right one"})
        assert response.status_code == 401
        assert "Name or password is wrong." in response.text
    for address, name in (("203.0.113.5", "ann"), ("198.51.100.7", "ann"), ("203.0.113.5", "root")):
        waiting = await served.client(address).post("/sign-in", data={"name": name, "password": PASSWORD})
        assert waiting.status_code == 429
        assert waiting.headers["retry-after"] == "1"
    served.clock.advance(1000)
    response = await client.post("/sign-in", data={"name": "ann", "password": PASSWORD})
    assert response.status_code == 303
    assert events(served).count("sign_in_failed") == 5


async def test_a_password_in_the_wrong_field_is_not_noted(served: Served) -> None:
    """Of a failed sign-in the log has the name only if there is such a user."""
    await served.client().post("/sign-in", data={"name": PASSWORD, "password": "ann"})
    await served.client().post("/sign-in", data={"name": "ann", "password": "not the right one"})
    assert [entry.who for entry in served.dashboard.gate.audit.tail(2)] == ["ann", ""]


async def test_unknown_names_are_answered_like_known_ones(served: Served) -> None:
    """Status and page do not tell whether a name exists."""
    answers = []
    for name in ("ann", "bob"):
        response = await served.client().post(
            "/sign-in", data={"name": name, "password": "not the right one"}
        )
        answers.append((response.status_code, response.text.replace(name, "NAME")))
    assert answers[0] == answers[1]


async def test_a_removed_user_is_out_with_the_next_request(served: Served) -> None:
    """Removing, disabling, and a new password or role end sessions at once."""
    changes: dict[str, dict[str, object]] = {
        "ann": {"is_disabled": True},
        "root": {"password": served.users.hashed("x" * 20)},
    }
    for name, change in changes.items():
        client = await served.signed_in(name)
        assert (await client.get(f"/overview?account={OWN}")).status_code == 200
        served.users.change(name, partial(msgspec.structs.replace, **change))
        assert (await client.get(f"/overview?account={OWN}")).status_code == 303
    served.users.remove("ann")
    assert [user.name for user in served.users.all()] == ["root"]


async def test_sessions_end_by_themselves(tmp_path: Path) -> None:
    """A session ends after its whole time, and earlier without requests."""
    own = DashboardSettings(session_hours=2, session_idle_minutes=30)
    async with serving_dashboard(tmp_path, own, users=USERS) as served:
        client = await served.signed_in("ann")
        for _ in range(5):
            served.clock.advance(20 * 60_000)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get(f"/overview?account={OWN}")).status_code == 200
        served.clock.advance(20 * 60_000)
        assert (await client.get(f"/overview?account={OWN}")).status_code == 303
        idle = await served.signed_in("ann")
        served.clock.advance(30 * 60_000)
        assert (await idle.get(f"/overview?account={OWN}")).status_code == 303


async def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    """Who was signed in still is when the process has started again."""
    async with serving_dashboard(tmp_path, users=USERS) as served:
        cookies = dict((await served.signed_in("ann")).cookies)
    async with serving_dashboard(tmp_path) as again:
        client = again.client()
        client.cookies.update(cookies)
        assert (await client.get(f"/overview?account={OWN}")).status_code == 200


async def test_a_damaged_users_file_lets_nobody_in(served: Served) -> None:
    """What the file said before could let in somebody who was taken out; a mended file works at once."""
    client = await served.signed_in("ann")
    whole = served.users.path.read_bytes()
    served.users.path.write_bytes(whole[:-20])
    assert (await client.get(f"/overview?account={OWN}")).status_code == 503
    response = await served.client().post("/sign-in", data={"name": "ann", "password": PASSWORD})
    assert response.status_code == 401
    served.users.path.write_bytes(whole)
    await served.signed_in("root")


async def test_the_first_visit_is_by_a_link_that_works_once(tmp_path: Path) -> None:
    """Looking at the link does not use it up; signing in by it does, and after 15 minutes it is void."""
    async with serving_dashboard(tmp_path) as served:
        url = served.dashboard.first_visit("http://dashboard.test")
        assert url.startswith("http://dashboard.test/link/")
        scanner, client = served.client(), served.client()
        assert (await scanner.get(url)).status_code == 200
        assert (await client.post(url)).status_code == 303
        assert (await client.get("/audit")).status_code == 200
        assert (await scanner.post(url)).status_code == 404
        late = served.dashboard.first_visit("http://dashboard.test")
        served.clock.advance(15 * 60_000)
        assert (await scanner.post(late)).status_code == 404


async def test_no_link_where_it_could_be_somebody_elses(tmp_path: Path) -> None:
    """With users, behind a proxy, or on an address that others reach, there is no link."""
    async with serving_dashboard(tmp_path / "a", users=USERS) as served:
        assert served.dashboard.first_visit("http://x") == "http://x"
    async with serving_dashboard(tmp_path / "b", DashboardSettings(host="0.0.0.0")) as served:
        assert served.dashboard.first_visit("http://x") == "http://x"


PROXY = DashboardSettings(trusted_header="X-Forwarded-User", trusted_proxies=("10.0.0.0/8",))


async def test_a_proxy_is_believed_and_nobody_else(tmp_path: Path) -> None:
    """The header counts from a trusted proxy only, for known users only, and the own sign-in is off."""
    async with serving_dashboard(tmp_path, PROXY, users=USERS) as served:
        for address, name, status in (
            ("10.1.2.3", "Ann", 200),
            ("10.1.2.3", "nobody", 303),
            ("192.0.2.9", "ann", 303),
        ):
            client = served.client(address, **{"X-Forwarded-User": name, "X-Forwarded-For": "10.9.9.9"})
            assert (await client.get(f"/overview?account={OWN}")).status_code == status, (address, name)
        twice = served.client("10.1.2.3")
        headers = [("X-Forwarded-User", "ann"), ("X-Forwarded-User", "root")]
        assert (await twice.get(f"/overview?account={OWN}", headers=headers)).status_code == 303
        response = await served.client("10.1.2.3").post(
            "/sign-in", data={"name": "ann", "password": PASSWORD}
        )
        assert response.status_code == 403


async def test_forms_behind_a_proxy_need_their_token_too(tmp_path: Path) -> None:
    """The proxy signs every request in, also those that another site's page sent: the form token tells them apart."""
    async with serving_dashboard(tmp_path, PROXY, users=USERS) as served:
        client = served.client("10.1.2.3", **{"X-Forwarded-User": "ann"})
        url = f"/send?account={OWN}"
        page = await client.get(url)
        token = re.search(r'name="csrf" value="([^"]+)"', page.text)
        assert token is None, "there is no form while no mail server is set"
        assert (await client.post(url, data={"csrf": "", "addresses": "a@b.example"})).status_code == 403


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "garbage", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, garbage", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
async def test_the_address_is_the_one_that_no_client_can_choose(
    tmp_path: Path, peer: str, forwarded: str, expected: str
) -> None:
    """X-Forwarded-For is believed as far as trusted proxies wrote it."""
    own = DashboardSettings(trusted_proxies=("10.0.0.0/8",))
    async with serving_dashboard(tmp_path, own, users=USERS) as served:
        client = served.client(peer, **({"X-Forwarded-For": forwarded} if forwarded else {}))
        await client.post("/sign-in", data={"name": "ann", "password": "wrong password"})
        assert served.dashboard.gate.audit.tail(1)[0].address == expected


@pytest.mark.parametrize(
    "target", ["//evil.test", "https://evil.test/", "/\\evil.test", "javascript:x", "", "/a\nb", "evil.test"]
)
async def test_the_way_on_never_leads_elsewhere(target: str) -> None:
    """Only paths of ours are gone on to after a sign-in."""
    assert local_path(target) == "/overview"


async def test_tokens_are_refused_once_expired_or_revoked(served: Served) -> None:
    """A token that is wrong, revoked or expired is nobody, whatever cookie comes with it, and that is noted."""
    browser = await served.signed_in("root")
    for text in ("cvm_0000000000000000_" + "A" * 43, "nonsense", ""):
        response = await browser.get("/api/v1/accounts", headers={"Authorization": f"Bearer {text}"})
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Bearer")
    assert "token_refused" in events(served)


async def test_too_long_bodies_are_ended(served: Served) -> None:
    """A form has its bounds, before anybody has signed in."""
    response = await served.client().post("/sign-in", data={"name": "a", "password": "x" * 100_000})
    assert response.status_code == 413
