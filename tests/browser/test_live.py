"""The live page against webhooks that come in, what was refused, and what became of messages."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext, signed_in
from tests.browser.reading import number, table_cells
from tests.support.dashboard_feed import feed, incoming, status
from tests.support.dashboard_process import (
    ACCOUNT,
    FED_ACCOUNT,
    LIVE_ACCOUNT,
    LIVE_NUMBER,
    NUMBERS,
    RunningDashboard,
)
from tests.support.ladder_rows import RECENT, USUAL

_USER = "34612000111"
_PATIENCE_MS = 30_000
_SHOWN = 20


def test_live_shows_what_became_of_the_messages(page: Page) -> None:
    """By number: how many, which steps did not come, and how many that usually are."""
    page.goto(f"/live?account={ACCOUNT}")
    share = RECENT.messages / USUAL.messages
    pairs = zip(RECENT[1:], USUAL[1:], strict=True)
    cells = [
        f"{RECENT.messages:,}",
        *(f"{each:,}" for gap, usual in pairs for each in (gap, round(usual * share))),
    ]
    assert table_cells(page, "ladder") == [[each, *cells] for each in NUMBERS]


def test_live_shows_how_far_the_totals_are(page: Page, dashboard: RunningDashboard) -> None:
    """By partition: the position, and the times of the newest counted and of the last written, as a report has them."""
    zone = dashboard.zone(ACCOUNT)

    def reported() -> list[list[str]]:
        return [
            [
                str(each["partition"]),
                _moment(each["received_until"], zone),
                _moment(each["flushed_at"], zone),
                f"{each['position']:,}",
            ]
            for each in dashboard.report(dashboard.whole_month())["freshness"]
        ]

    page.goto(f"/live?account={ACCOUNT}")
    # What others have just fed may be counted between the two readings.
    for _ in range(10):
        wanted = reported()
        page.reload()
        shown = table_cells(page, "freshness")
        if wanted == reported():
            break
    assert [[row[0], row[1], row[3], row[4]] for row in shown] == wanted
    assert len(shown) > 1
    ages = [row[2] for row in shown]
    assert all(re.fullmatch(r"(\d+ (d|h|min|s) ?){1,2} ago", age) for age in ages), ages


def _moment(text: str, zone: ZoneInfo) -> str:
    """Return a report's instant as the page writes it."""
    local = datetime.fromisoformat(text).astimezone(zone)
    offset = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M:%S} UTC{offset[:3]}:{offset[3:]}"


def test_live_shows_what_has_just_come_in(page: Page, dashboard: RunningDashboard) -> None:
    """Some seconds after webhooks the live page has each of their figures, without being loaded again."""
    page.goto(f"/live?account={LIVE_ACCOUNT}")
    # What was counted before the first sample is not of the last hour.
    expect(page.get_by_text("Minutes before the dashboard was started are empty")).to_be_visible(
        timeout=_PATIENCE_MS
    )
    names = ("incoming", "messages", "delivered", "read", "not_delivered")
    before = {name: number(page.locator(f"[data-live-figure={name}]").inner_text()) for name in names}
    now = int(time.time())
    feed(
        dashboard,
        messages=(incoming(_USER, "wamid.live-in", now),),
        statuses=(
            status(_USER, "wamid.live-1", "delivered", now - 2),
            status(_USER, "wamid.live-2", "read", now - 1),
            status(_USER, "wamid.live-3", "failed", now),
        ),
        account=LIVE_ACCOUNT,
        number=LIVE_NUMBER,
    )
    wanted = {"incoming": 1, "messages": 3, "delivered": 2, "read": 1, "not_delivered": 1}
    for name in names:
        figure = page.locator(f"[data-live-figure={name}]")
        expect(figure).to_have_text(f"{before[name] + wanted[name]:,}", timeout=_PATIENCE_MS)


@pytest.fixture(scope="session")
def letters(dashboard: RunningDashboard) -> list[dict[str, Any]]:
    """Return the dead letters, the newest first, after webhooks of which each holds one update to be refused."""
    now = int(time.time())
    bad = status(_USER, "wamid.bad-own", "vanished", now)
    feed(dashboard, statuses=(bad,), account=ACCOUNT, number=NUMBERS[0])
    feed(dashboard, messages=({"from": _USER, "id": "wamid.bad-time", "type": "text"},))
    feed(dashboard, messages=(incoming(_USER, "wamid.bad-account", now),), account="")
    late = status(_USER, "wamid.bad-future", "delivered", now + 86_400)
    feed(dashboard, statuses=(late,), account=ACCOUNT, number=NUMBERS[0])
    found = dashboard.dead_letters()[::-1]
    assert [each["account"] for each in found[:4]] == [ACCOUNT, "", FED_ACCOUNT, ACCOUNT]
    return found


def refused_rows(dashboard: RunningDashboard, letters: list[dict[str, Any]]) -> list[list[str]]:
    """Return dead letters as the page of ``ACCOUNT`` lists them."""
    rows = []
    for letter in letters[:_SHOWN]:
        received = datetime.fromtimestamp(letter["received_at"] // 1000, UTC)
        rows.append(
            [
                _moment(received.isoformat(), dashboard.zone(ACCOUNT)),
                letter["reason"],
                letter["detail"],
                letter["account"] or "not known",
                str(letter["id"]),
            ]
        )
    return rows


def test_what_was_refused_is_what_the_dead_letter_has(
    page: Page, dashboard: RunningDashboard, letters: list[dict[str, Any]]
) -> None:
    """An administrator sees each with time, reason, detail, account and number of ``dlq list``, the newest first."""
    page.goto(f"/live?account={ACCOUNT}")
    expect(page.locator("[data-table=refused]")).to_contain_text(letters[0]["reason"], timeout=_PATIENCE_MS)
    shown = table_cells(page, "refused")
    assert shown == refused_rows(dashboard, letters)
    assert {row[1] for row in shown} >= {"unknown_kind", "no_time", "no_account", "from_the_future"}


def test_nobody_sees_what_was_refused_of_others(
    new_context: NewContext, dashboard: RunningDashboard, letters: list[dict[str, Any]]
) -> None:
    """Who may see one account finds its refused updates alone: none of others, and none that names no account."""
    page = signed_in(new_context(), dashboard, "ann")
    page.goto(f"/live?account={ACCOUNT}")
    own = [letter for letter in letters if letter["account"] == ACCOUNT]
    assert 1 < len(own) < len(letters)
    expect(page.locator("[data-table=refused]")).to_contain_text(own[0]["reason"], timeout=_PATIENCE_MS)
    assert table_cells(page, "refused") == refused_rows(dashboard, own)
    assert FED_ACCOUNT not in page.content()
