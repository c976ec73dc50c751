"""The other pages: their figures against the verbs, the live page against a webhook that comes in."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time

import httpx
from playwright.sync_api import Page, expect

from tests.browser.test_overview import number
from tests.support.dashboard_process import ACCOUNT, APP_SECRET, NUMBERS, RunningDashboard
from tests.support.ladder_rows import RECENT, USUAL

_NUMBER = NUMBERS[0]
_USER = "34612000111"


def _webhook(message_id: str, at: int) -> bytes:
    """Return an incoming message as the provider sends it."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": _NUMBER},
        "contacts": [{"wa_id": _USER}],
        "messages": [
            {"from": _USER, "id": message_id, "timestamp": str(at), "type": "text", "text": {"body": "x"}}
        ],
    }
    entry = {"id": ACCOUNT, "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def _send(dashboard: RunningDashboard, message_id: str) -> None:
    body = _webhook(message_id, int(time.time()))
    signature = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}"}
    assert httpx.post(f"{dashboard.gateway}/webhooks/meta", content=body, headers=headers).status_code == 200


def test_active_users_are_those_of_the_query(page: Page, dashboard: RunningDashboard) -> None:
    """The table has the query's numbers for the account and each number, and nothing is added up over them."""
    month = f"{dashboard.today():%Y-%m}"
    page.goto(f"/active-users?account={ACCOUNT}&month={month}")
    wanted = {
        str(row["number"]) or "Whole account": [str(row["mau"]), str(row["mau_both"]), str(row["mau_phones"])]
        for row in dashboard.rows("active-users")
        if row["month"] == month
    }
    shown = {
        row.locator("th").inner_text(): [
            cell.replace(",", "") for cell in row.locator("td").all_inner_texts()[:3]
        ]
        for row in page.locator("[data-table=scopes] tbody tr").all()
    }
    assert shown == wanted
    page.locator("details.data > summary").click()
    last = page.locator("[data-table=growth] tbody tr").last.locator("td").last.inner_text()
    assert last.replace(",", "") == wanted["Whole account"][0]


def _table(page: Page, name: str) -> list[list[str]]:
    """Return the cells of a table, row by row."""
    return [
        row.locator("th, td").all_inner_texts() for row in page.locator(f"[data-table={name}] tbody tr").all()
    ]


def test_limits_and_notices_are_those_of_the_verbs(page: Page, dashboard: RunningDashboard) -> None:
    """Gauges and limits have the figures of ``burn-down``, and the notices are those of ``alerts list``, in order."""
    month = dashboard.whole_month()
    page.goto(f"/active-users?account={ACCOUNT}&month={month}")
    uses = dashboard.rows("burn-down", "--month", month)
    packages = {str(use["number"]): use for use in uses if use["limit_name"] == "mau_package"}
    assert set(packages) == {"", NUMBERS[0]}
    for number_id, use in packages.items():
        heading = page.get_by_role("heading", name=re.compile(f"^{number_id or 'Whole account'}: "))
        expect(heading).to_contain_text(f"{use['used']:,} of {use['limit']:,} in the package")
    others = [use for use in uses if use["limit_name"] != "mau_package"]
    assert [row[1:] for row in _table(page, "limits")] == [
        [
            *(f"{use[key]:,}" for key in ("used", "limit", "left", "projected")),
            str(use["exhausted_on"] or "not this month"),
        ]
        for use in others
    ]
    assert "conversation_budget" in {use["limit_name"] for use in others}
    notices = dashboard.rows("alerts", "list", "--month", month)
    assert {"mau_package", "conversation_budget"} <= {each["limit_name"] for each in notices}
    shown = _table(page, "notices")
    assert [[number(row[3]), number(row[4]), row[5]] for row in shown] == [
        [each["used"], each["limit"], each["level"]] for each in notices
    ]
    assert [row[2].split()[1] for row in shown] == [each["threshold"] for each in notices]


def test_live_shows_what_became_of_the_messages(page: Page) -> None:
    """By number: how many, which steps did not come, and how many that usually are."""
    page.goto(f"/live?account={ACCOUNT}")
    share = RECENT.messages / USUAL.messages
    pairs = zip(RECENT[1:], USUAL[1:], strict=True)
    cells = [
        f"{RECENT.messages:,}",
        *(f"{each:,}" for gap, usual in pairs for each in (gap, round(usual * share))),
    ]
    assert _table(page, "ladder") == [[each, *cells] for each in NUMBERS]


def test_the_report_is_that_of_the_verb(page: Page, dashboard: RunningDashboard) -> None:
    """Every count of the report's sections on the page is in the report of the command line."""
    months = sorted({str(row["month"]) for row in dashboard.rows("active-users")})
    page.goto(f"/report?account={ACCOUNT}&month={months[-2]}")
    conversations = [row for row in dashboard.rows("conversations") if str(row["day"]).startswith(months[-2])]
    total = page.locator("table[data-section=conversations] tfoot td").first.inner_text()
    assert number(total) == sum(int(str(row["total"])) for row in conversations)


def test_live_shows_what_has_just_come_in(page: Page, dashboard: RunningDashboard) -> None:
    """Some seconds after a webhook the live page shows it, without being loaded again."""
    page.goto(f"/live?account={ACCOUNT}")
    figure = page.locator("[data-live-figure=incoming]")
    before = number(figure.inner_text())
    _send(dashboard, "wamid.live-1")
    expect(figure).to_have_text(f"{before + 1:,}", timeout=30_000)


def test_support_sees_an_open_window_and_its_end(page: Page, dashboard: RunningDashboard) -> None:
    """After a user has written, the service window is open for a day; a wrong number is said to be one."""
    _send(dashboard, "wamid.window-1")
    page.goto(f"/windows?account={ACCOUNT}")
    page.get_by_label("Phone number or user id").fill("+34 612-000-111")
    deadline = time.monotonic() + 20
    while True:
        page.get_by_role("button", name="Look up").click()
        page.wait_for_load_state()
        if page.locator(".state.open").count() or time.monotonic() > deadline:
            break
    expect(page.locator("section", has_text="Customer service window")).to_contain_text(
        re.compile(r"(1 d|23 h 59 min) from now")
    )
    page.get_by_label("Phone number or user id").fill("not a number")
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("alert")).to_contain_text("expected a phone number")
    page.goto("/audit")
    expect(page.locator("[data-table=audit]")).to_contain_text("34612000111")
