"""Windows of one user: each row against the query, and against webhooks whose windows are known beforehand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.reading import table_cells
from tests.support.dashboard_feed import feed, incoming, status
from tests.support.dashboard_process import ACCOUNT, FED_ACCOUNT, FED_NUMBERS, RunningDashboard

_HOUR = 3600
_DAY = 24 * _HOUR
_PATIENCE_SECONDS = 30
_USER = "34612000777"
_NAMES = {
    "authentication_international": "authentication international",
    "free_entry_point": "free entry point",
}


def look_up(page: Page, account: str, user: str, number: str = "") -> None:
    """Ask for a user in the form, as support does."""
    page.goto(f"/windows?account={account}")
    page.get_by_label("Phone number or user id").fill(user)
    page.get_by_label("Business number").select_option(number)
    page.get_by_role("button", name="Look up").click()
    page.wait_for_url("**user=**")


def query(page: Page, account: str, user: str, number: str = "") -> dict[str, Any]:
    """Return what the API's query says of the same user."""
    asked: dict[str, str | float | bool] = {"account": account, "user": user, "number": number}
    answer: dict[str, Any] = page.request.get("/api/v1/windows", params=asked).json()
    return answer


def when(dashboard: RunningDashboard, account: str, moment: datetime) -> str:
    """Return a moment as the page writes it, in the account's zone."""
    local = moment.astimezone(dashboard.zone(account))
    offset = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M:%S} UTC{offset[:3]}:{offset[3:]}"


def rows_of(dashboard: RunningDashboard, account: str, found: dict[str, Any]) -> list[list[str]]:
    """Return the conversations of an answer as the page's table has them."""
    return [
        [
            when(dashboard, account, datetime.fromisoformat(each["opened_at"])),
            _NAMES.get(each["type"], each["type"]),
            each["number"],
            when(dashboard, account, datetime.fromisoformat(each["ends_at"])),
            "open" if each["is_open"] else "closed",
            f"{each['messages']:,}",
            "charged" if each["is_charged"] else "free",
        ]
        for each in found["conversations"]
    ]


def test_the_conversations_of_a_user_are_those_of_the_query(page: Page, dashboard: RunningDashboard) -> None:
    """For somebody of the generated traffic the table has each conversation of the query, in its order."""
    user = dashboard.seeded_user()
    found = query(page, ACCOUNT, user)
    look_up(page, ACCOUNT, user)
    shown = table_cells(page, "conversations")
    assert shown == rows_of(dashboard, ACCOUNT, found)
    assert len(shown) > 1
    assert len({tuple(row[1:]) for row in shown}) == len(shown)
    states = page.locator("section[aria-labelledby=service-heading] .state").all_inner_texts()
    assert states == ["open" if each["is_open"] else "closed" for each in found["customer_service"]]
    assert states


@pytest.fixture(scope="session")
def written_at(dashboard: RunningDashboard) -> int:
    """Return when ``_USER`` wrote to the first number, after webhooks about windows that are known beforehand."""
    at = int(time.time()) - _HOUR
    free = "free_customer_service"
    feed(
        dashboard,
        messages=(incoming(_USER, "wamid.windows-in", at),),
        statuses=(
            status(_USER, "wamid.windows-old", "delivered", at - 26 * _HOUR, "marketing"),
            status(_USER, "wamid.windows-1", "delivered", at + 60, "service", free),
            status(_USER, "wamid.windows-2", "delivered", at + 120, "service", free),
            status(_USER, "wamid.windows-3", "delivered", at + 180, "utility"),
            # What was only sent opens nothing.
            status(_USER, "wamid.windows-4", "sent", at + 240, "authentication"),
        ),
    )
    feed(
        dashboard,
        messages=(incoming(_USER, "wamid.windows-other", at - 30 * _HOUR),),
        number=FED_NUMBERS[1],
    )
    return at


def eventually_known(page: Page, conversations: int) -> None:
    """Wait until all that was sent is counted."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        found = query(page, FED_ACCOUNT, _USER)
        if len(found["conversations"]) == conversations and len(found["customer_service"]) == 2:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def test_each_conversation_is_a_row(page: Page, dashboard: RunningDashboard, written_at: int) -> None:
    """Newest first: opening and end, type, whether it is open, its messages, and whether it is charged."""
    eventually_known(page, 3)
    look_up(page, FED_ACCOUNT, "+34 612-000-777")

    def row(opened: int, kind: str, state: str, messages: int, counts_as: str) -> list[str]:
        ends = [
            when(dashboard, FED_ACCOUNT, datetime.fromtimestamp(each, UTC))
            for each in (opened, opened + _DAY)
        ]
        return [ends[0], kind, FED_NUMBERS[0], ends[1], state, str(messages), counts_as]

    assert table_cells(page, "conversations") == [
        row(written_at + 180, "utility", "open", 1, "charged"),
        row(written_at + 60, "service", "open", 2, "free"),
        row(written_at - 26 * _HOUR, "marketing", "closed", 1, "charged"),
    ]
    assert table_cells(page, "conversations") == rows_of(
        dashboard, FED_ACCOUNT, query(page, FED_ACCOUNT, _USER)
    )


def test_each_number_has_its_service_window(page: Page, dashboard: RunningDashboard, written_at: int) -> None:
    """Open until 24 hours after the last incoming message, and since when it is closed where that is over."""
    eventually_known(page, 3)
    look_up(page, FED_ACCOUNT, _USER)
    section = page.locator("section[aria-labelledby=service-heading] p:has(.state)")
    ends, ended = (
        when(dashboard, FED_ACCOUNT, datetime.fromtimestamp(each, UTC))
        for each in (written_at + _DAY, written_at - 30 * _HOUR + _DAY)
    )
    expect(section.first).to_contain_text(f"{FED_NUMBERS[0]}: until {ends}, 2")
    expect(section.nth(1)).to_contain_text(f"{FED_NUMBERS[1]}: since {ended}.")
    assert page.locator("section .state").all_inner_texts() == ["open", "closed"]


def test_windows_of_one_number_are_told_apart(page: Page, written_at: int) -> None:
    """With a business number chosen only its windows are there; of the other there is no conversation."""
    assert written_at
    eventually_known(page, 3)
    look_up(page, FED_ACCOUNT, _USER, FED_NUMBERS[0])
    assert [row[2] for row in table_cells(page, "conversations")] == [FED_NUMBERS[0]] * 3
    look_up(page, FED_ACCOUNT, _USER, FED_NUMBERS[1])
    assert table_cells(page, "conversations") == [["none is kept"]]
    assert page.locator("section .state").all_inner_texts() == ["closed"]


def test_nothing_is_shown_of_somebody_unknown(page: Page) -> None:
    """Of a phone without traffic the page says that nothing is kept, and shows no table."""
    look_up(page, FED_ACCOUNT, "34612999999")
    expect(page.get_by_role("status")).to_contain_text("Nothing is kept about +34 612 99 99 99")
    expect(page.locator("table")).to_have_count(0)


def test_a_wrong_number_is_said_to_be_one(page: Page) -> None:
    """What is no phone number is named as a fault beside the form."""
    look_up(page, FED_ACCOUNT, "not a number")
    expect(page.get_by_role("alert")).to_contain_text("expected a phone number")


def test_each_look_is_in_the_audit_log(page: Page) -> None:
    """Who looked at whose windows is noted: they are personal data."""
    user = "34612888888"
    look_up(page, FED_ACCOUNT, user)
    page.goto("/audit")
    line = page.locator("[data-table=audit] tbody tr", has_text=user)
    expect(line).to_have_count(1)
    expect(line).to_contain_text("root")
