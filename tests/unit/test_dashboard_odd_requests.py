"""Requests, settings and files that are odd, and what access makes of them: an answer, and nobody out for good."""

from __future__ import annotations

import logging
import re
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from dashboard.access import backwards
from dashboard.access.audit import Audit, AuditEntry
from dashboard.access.permissions import Permission
from dashboard.access.throttle import Throttle
from runtime.dashboard_metrics import DashboardMetrics
from runtime.dashboard_tables import DashboardSettings
from runtime.setting_tables import MIB
from tests.support.dashboards import FOREIGN, OWN, PASSWORD, Served, serving_dashboard

pytestmark = pytest.mark.anyio
USERS = {"ann": ("finance", (OWN,)), "root": ("admin", None)}
PAGE = f"/overview?account={OWN}"
BASIC = {"Authorization": "Basic cm9vdDp4"}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with two users."""
    async with serving_dashboard(tmp_path, users=USERS) as opened:
        yield opened


async def csrf_of(client: httpx.AsyncClient) -> str:
    """Return the form token of whoever has signed in."""
    found = re.search(r'name="csrf" value="([^"]+)"', (await client.get(PAGE)).text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/sign-in", "/link/x"])
@pytest.mark.parametrize("header", ["Referer", "Origin"])
@pytest.mark.parametrize(
    "value", [b"http://[", b"http://[x]/", "http://a\u00ff\u2100.test".encode(), b"//", b"%ff"]
)
async def test_an_origin_that_is_none_is_another_sites(
    served: Served, path: str, header: str, value: bytes
) -> None:
    """Nobody has signed in, and what cannot be parted is refused like any other address."""
    response = await served.client().post(path, data={"name": "ann"}, headers=[(header.encode(), value)])
    assert response.status_code == 403


def multipart(value: bytes) -> bytes:
    """Return a form with a name."""
    return b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\n' + value + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("charset", "value"),
    [("punycode", b"a-\xff"), ("undefined", b"a"), ("unicode_escape", b"\\ud800"), ("utf-7", b"+2AA-")],
)
async def test_forms_with_an_encoding_of_their_own_are_not_read(
    served: Served, charset: str, value: bytes
) -> None:
    """Their encoding could fail, or make of them what is no text."""
    response = await served.client().post(
        "/sign-in",
        content=multipart(value),
        headers={
            "Content-Type": f"multipart/form-data; boundary=b; charset={charset}",
            "Accept": "text/html",
        },
    )
    assert response.status_code == 415
    assert "application/x-www-form-urlencoded" in response.text


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"application/x-www-form-urlencoded", 303),
        (b"application/x-www-form-urlencoded;charset=UTF-8", 303),
        (b'Application/X-WWW-Form-Urlencoded ; charset="utf-8"', 303),
        (b"application/x-www-form-urlencoded; charset=utf-7", 415),
        (b"multipart/form-data; boundary=b", 415),
        (b"text/plain", 415),
        (b"\xff", 415),
    ],
)
async def test_forms_are_taken_as_browsers_send_them(served: Served, sent: bytes, status: int) -> None:
    """With and without the encoding that they are in; another kind of form is told what to be."""
    content = f"name=ann&password={PASSWORD.replace(' ', '+')}"
    response = await served.client().post("/sign-in", content=content, headers=[(b"Content-Type", sent)])
    assert response.status_code == status


@pytest.mark.parametrize(
    "body", [b"name=%ff%fe", b"name=%ed%a0%80", b"name=\xff", b"name=%zz&%", b"\x00", b"&=&;"]
)
async def test_a_form_that_is_no_utf_8_is_a_failed_sign_in(served: Served, body: bytes) -> None:
    """What is no text is replaced, and so no name of anybody."""
    response = await served.client().post(
        "/sign-in",
        content=body,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"},
    )
    assert response.status_code == 401
    assert "Name or password is wrong." in response.text


async def test_the_kind_of_form_counts_whatever_else_a_request_carries(served: Served) -> None:
    """Neither a form token in a header nor an API token lets a multipart form in."""
    kind = {"Content-Type": "multipart/form-data; boundary=b; charset=punycode"}
    browser = await served.signed_in("ann")
    token = served.token("root", Permission.EXPORT, Permission.USAGE)
    program = served.client(authorization=f"Bearer {token}")
    for client, headers in ((browser, {"X-CSRF-Token": await csrf_of(browser)}), (program, {})):
        response = await client.post(
            f"/send?account={OWN}", content=multipart(b"a-\xff"), headers=headers | kind
        )
        assert response.status_code == 415


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sign-in?next=%ff", 200),
        ("/sign-in?next=/%ed%a0%80", 200),
        ("/sign-in?%ff=%00", 200),
        ("/link/%ff", 404),
        ("/link/%ed%a0%80", 404),
        ("/overview?next=%ff", 303),
    ],
)
async def test_odd_addresses_are_answered(served: Served, path: str, status: int) -> None:
    """What is no text in an address fails nothing."""
    assert (await served.client().get(path, headers={"Accept": "text/html"})).status_code == status


def close_sessions_file(served: Served, is_closed: bool) -> None:
    """Make the sessions file as unwritable as a full disk does, or writable again."""
    served.dashboard.gate.sessions._database.execute(f"PRAGMA query_only = {int(is_closed)}")


async def test_on_a_full_disk_who_is_signed_in_stays_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading needs no write. Requests count meanwhile, also afterwards, and the log is told once a minute."""
    own = DashboardSettings(session_idle_minutes=30)
    async with serving_dashboard(tmp_path, own, users=USERS) as served:
        client = await served.signed_in("ann")
        close_sessions_file(served, is_closed=True)
        with caplog.at_level(logging.WARNING, "dashboard.access.sessions"):
            for _ in range(4):
                served.clock.advance(20 * 60_000)
                assert (await client.get(PAGE)).status_code == 200
                assert (await client.get(PAGE)).status_code == 200
        assert len(caplog.records) == 4
        close_sessions_file(served, is_closed=False)
        # A sign-in clears away what has ended.
        await served.signed_in("root")
        served.clock.advance(20 * 60_000)
        assert (await client.get(PAGE)).status_code == 200


async def test_on_a_full_disk_what_has_ended_stays_ended(served: Served) -> None:
    """A session that cannot be removed is refused all the same, and signing out is not said to be done."""
    late, gone = await served.signed_in("root"), await served.signed_in("ann")
    csrf = await csrf_of(gone)
    close_sessions_file(served, is_closed=True)
    assert (await gone.post("/sign-out", data={"csrf": csrf})).status_code == 503
    form = {"name": "root", "password": PASSWORD}
    assert (await served.client().post("/sign-in", data=form)).status_code == 503
    served.users.change("ann", partial(msgspec.structs.replace, is_disabled=True))
    assert (await gone.get(PAGE)).status_code == 303
    served.clock.advance(13 * 3_600_000)
    assert (await late.get(PAGE)).status_code == 303


PROXY = DashboardSettings(
    trusted_header="X-Forwarded-User",
    trusted_proxies=("10.0.0.7",),
    public_url="https://billing.example",
)


async def test_a_password_that_a_proxy_passes_on_is_no_token(tmp_path: Path) -> None:
    """Such as nginx does after its own check: its header is what counts, and a token still comes first."""
    async with serving_dashboard(tmp_path, PROXY, users=USERS) as served:
        proxy = served.client("10.0.0.7", **{"X-Forwarded-User": "ann"})
        for scheme in ("Basic YW5uOng=", "Digest x", "basic", " "):
            assert (await proxy.get(PAGE, headers={"Authorization": scheme})).status_code == 200, scheme
        for token in ("Bearer nonsense", "bearer\tnonsense", "Bearer"):
            assert (await proxy.get(PAGE, headers={"Authorization": token})).status_code == 401, token
        both = [("Authorization", "Basic YW5uOng="), ("Authorization", "Bearer nonsense")]
        assert (await proxy.get(PAGE, headers=both)).status_code == 401
        stranger = served.client("192.0.2.9", **{"X-Forwarded-User": "ann"})
        assert (await stranger.get(PAGE, headers=BASIC)).status_code == 303


async def test_a_password_that_is_passed_on_replaces_no_form_token(served: Served) -> None:
    """It signs nobody in, leads to the sign-in, and leaves the session's form token needed."""
    nobody = await served.client().get("/overview", headers=BASIC)
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/sign-in?next=%2Foverview")
    assert (await served.client().get("/api/v1/accounts", headers=BASIC)).status_code == 401
    client = await served.signed_in("ann")
    csrf = await csrf_of(client)
    assert (await client.post("/sign-out", data={"csrf": ""}, headers=BASIC)).status_code == 403
    assert (await client.get("/api/v1/accounts", headers=BASIC)).status_code == 200
    assert (await client.post("/sign-out", data={"csrf": csrf}, headers=BASIC)).status_code == 303
    assert (await client.get(PAGE, headers=BASIC)).status_code == 303


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://Billing.Example.com", "https://billing.example.com"),
        ("HTTPS://billing.example.com/", "https://billing.example.com"),
        ("https://billing.example.com:443", "https://billing.example.com"),
        ("http://billing.example.com:80/", "http://billing.example.com"),
        ("https://billing.example.com:8443", "https://billing.example.com:8443"),
        ("https://[2001:DB8:0::1]:443", "https://[2001:db8::1]"),
    ],
)
async def test_the_public_url_is_compared_as_browsers_write_it(
    tmp_path: Path, written: str, origin: str
) -> None:
    """Lower-case letters, and no port where it is the usual one."""
    own = DashboardSettings(public_url=written)
    async with serving_dashboard(tmp_path, own, users=USERS) as served:
        response = await served.client().post(
            "/sign-in", data={"name": "ann", "password": PASSWORD}, headers={"Origin": origin}
        )
        assert response.status_code == 303
        assert ("Secure" in response.headers["set-cookie"]) is origin.startswith("https:")


@pytest.mark.parametrize(
    "url",
    [
        "billing.example.com",
        "ftp://billing.example.com",
        "https://",
        "https://billing.example.com/dashboard",
        "https://billing.example.com?a",
        "https://ann@billing.example.com",
        "https://billing.example.com:x",
        "https://b\u00fccher.example",
        "https://[",
        "https://[x]",
    ],
)
def test_a_public_url_that_no_browser_has_is_refused(url: str) -> None:
    """It is said at the start, and not by every form."""
    with pytest.raises(ValidationError):
        DashboardSettings(public_url=url)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]"])
async def test_a_file_damaged_for_a_moment_ends_no_session(served: Served, damage: bytes) -> None:
    """Nobody is let in by it, nobody is told to be signed out by it, and whole again it counts as before."""
    client = await served.signed_in("ann")
    csrf = await csrf_of(client)
    whole = served.users.path.read_bytes()
    served.users.path.write_bytes(damage)
    for answer in (await client.get(PAGE), await client.post("/sign-out", data={"csrf": csrf})):
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
    served.users.path.write_bytes(whole)
    assert (await client.get(PAGE)).status_code == 200


async def test_who_was_taken_out_meanwhile_stays_out(served: Served) -> None:
    """A session ends for good where the whole file does not know its user any more, or another password."""
    whole = served.users.path.read_bytes()
    for name, change in (
        ("ann", {"is_disabled": True}),
        ("root", {"password": served.users.hashed("x" * 20)}),
    ):
        client = await served.signed_in(name)
        served.users.path.write_bytes(b"{")
        assert (await client.get(PAGE)).status_code == 503
        served.users.path.write_bytes(whole)
        served.users.change(name, partial(msgspec.structs.replace, **change))
        assert (await client.get(PAGE)).status_code == 303
        served.users.path.write_bytes(whole)
        assert (await client.get(PAGE)).status_code == 303


def entry_of(number: int, account: str = OWN) -> AuditEntry:
    """Return an entry of a log."""
    return AuditEntry(
        datetime(2026, 11, 20, tzinfo=UTC), "export", "ann", "finance", account, str(number), "::1"
    )


def lines_of(numbers: range, account: str = OWN) -> bytes:
    """Return lines of a log."""
    return b"".join(msgspec.json.encode(entry_of(number, account)) + b"\n" for number in numbers)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Return a log that holds nothing yet."""
    return Audit(tmp_path / "audit.ndjson", 64 * MIB, DashboardMetrics(CollectorRegistry()))


def whats_of(audit: Audit, limit: int = 10_000, bytes_max: int = 64 * MIB) -> list[int]:
    """Return which entries the log has, newest first."""
    return [int(entry.what) for entry in audit.tail(limit, bytes_max=bytes_max)]


@pytest.mark.parametrize("block", [1, 7, 150, 4096, 1024 * 1024])
def test_the_log_is_read_backwards_whatever_the_blocks_cut(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """Every entry comes once, newest first, over all files; damaged lines are left out."""
    monkeypatch.setattr(backwards, "BLOCK_BYTES", block)
    (tmp_path / "audit-20261101T000000000000.ndjson").write_bytes(lines_of(range(20)))
    (tmp_path / "audit-20261102T000000000000.ndjson").write_bytes(
        b'{"at": \n' + lines_of(range(20, 30)) + b"\n\n"
    )
    (tmp_path / "audit.ndjson").write_bytes(lines_of(range(30, 40)) + lines_of(range(40, 41))[:-20])
    assert whats_of(audit) == list(reversed(range(40)))
    assert whats_of(audit, limit=15) == list(reversed(range(25, 40)))


def test_the_log_is_looked_back_over_as_far_as_its_bound(audit: Audit, tmp_path: Path) -> None:
    """Old files are not opened, a line that the bound cuts is left out."""
    older = tmp_path / "audit-20261101T000000000000.ndjson"
    older.write_bytes(lines_of(range(10, 20)))
    # Opening this would fail.
    (tmp_path / "audit-20261001T000000000000.ndjson").mkdir()
    newest = lines_of(range(20, 30))
    (tmp_path / "audit.ndjson").write_bytes(newest)
    line = len(newest) // 10
    assert whats_of(audit, bytes_max=len(newest)) == list(reversed(range(20, 30)))
    assert whats_of(audit, bytes_max=len(newest) - 1) == list(reversed(range(21, 30)))
    assert whats_of(audit, bytes_max=len(newest) + 2 * line + 5) == list(reversed(range(18, 30)))


def test_looking_back_takes_little_memory(audit: Audit, tmp_path: Path) -> None:
    """Neither a big file nor a line without an end is held as a whole."""
    filling = (b"x" * 1023 + b"\n") * (12 * 1024)
    content = lines_of(range(10)) + b"x" * (12 * MIB) + b"\n" + lines_of(range(10, 20)) + filling
    (tmp_path / "audit.ndjson").write_bytes(content)
    tracemalloc.start()
    try:
        assert whats_of(audit) == list(reversed(range(20)))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_a_file_that_gets_its_later_name_meanwhile_is_read_once(audit: Audit, tmp_path: Path) -> None:
    """The log may begin a new file while it is read."""
    (tmp_path / "audit.ndjson").write_bytes(lines_of(range(10)))

    def rename(entry: AuditEntry) -> bool:
        if entry.what == "5":
            (tmp_path / "audit.ndjson").rename(tmp_path / "audit-20261101T000000000000.ndjson")
        return True

    assert [int(entry.what) for entry in audit.tail(100, rename)] == list(reversed(range(10)))
    assert whats_of(audit) == list(reversed(range(10)))


async def test_the_audit_page_lets_others_be_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is read in a thread of its own; where it is longer than what is looked at, the page says how far."""
    client = await served.signed_in("root")
    audit = served.dashboard.gate.audit
    threads: list[threading.Thread] = []
    tail = audit.tail

    def noted(limit: int, is_wanted: Callable[[AuditEntry], bool]) -> list[AuditEntry]:
        threads.append(threading.current_thread())
        return tail(limit, is_wanted)

    monkeypatch.setattr(audit, "tail", noted)
    page = (await client.get("/audit")).text
    assert "1 newest entry<" in page
    assert "MiB of the log" not in page
    monkeypatch.setattr("dashboard.pages.audit.LOOK_BACK_BYTES", 10)
    assert "All that the newest 0 MiB of the log have for you" in (await client.get("/audit")).text
    assert threads
    assert threading.current_thread() not in threads
    for number in range(300):
        served.dashboard.gate.audit.write(
            "export",
            who="root",
            role="admin",
            account=FOREIGN,
            what=str(number),
            address="",
            at=entry_of(0).at,
        )
    assert "MiB of the log" not in (await client.get("/audit")).text


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:DB8:1:2:0:0:0:1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_a_customer_is_slowed_down_whatever_address_is_chosen(first: str, second: str, is_one: bool) -> None:
    """A customer has the 2^64 addresses of an IPv6 network, but one of IPv4."""
    throttle = Throttle(1)
    throttle.failed("ann", first, 0.0)
    assert (throttle.wait_seconds("bob", second, 0.0) > 0) is is_one
    throttle.succeeded("ann", second)
    assert (throttle.wait_seconds("bob", first, 0.0) == 0) is is_one
