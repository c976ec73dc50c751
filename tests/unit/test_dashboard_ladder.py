"""What became of the messages, actual beside expected, on the live page and in the API."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metering.ladder_health import LadderCounts
from sinks.clickhouse.ladder_health import LadderHealth
from tests.support.dashboards import OWN, Served, serving_dashboard


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard with one user."""
    async with serving_dashboard(tmp_path, users={"viewer": ("viewer", (OWN,))}) as opened:
        yield opened


def test_expected_is_the_usual_share_of_what_there_is() -> None:
    """Of 100 messages now, at 1,000 of 10,000 before; without a before nobody knows."""
    health = LadderHealth("N", LadderCounts(100, 30, 4, 2), LadderCounts(10_000, 1_000, 100, 0))
    assert health.expected("silent") == 10
    assert health.expected("delivered_without_sent") == 0
    assert LadderHealth("N", LadderCounts(100, 30, 4, 2), LadderCounts()).expected("silent") is None


@pytest.mark.anyio
async def test_the_live_page_shows_both(served: Served) -> None:
    """One row a number: messages, then each gap and what is usual."""
    client = await served.signed_in("viewer")
    page = (await client.get(f"/live?account={OWN}")).text
    table = page[page.index('data-table="ladder"') :].partition("</table>")[0]
    [row] = re.findall(r"<tr>(.+?)</tr>", table.partition("<tbody>")[2], re.DOTALL)
    assert re.findall(r"<td>(.*?)</td>", row) == ["100", "30", "10", "4", "1", "2", "0"]


@pytest.mark.anyio
async def test_the_api_says_both(served: Served) -> None:
    """By number; what is expected is not rounded."""
    client = await served.signed_in("viewer")
    [row] = (await client.get(f"/api/v1/live?account={OWN}")).json()["ladder"]
    assert row == {
        "number": f"{OWN}-1",
        "messages": 100,
        "silent": 30,
        "read_without_delivered": 4,
        "delivered_without_sent": 2,
        "expected_silent": 10.0,
        "expected_read_without_delivered": 1.0,
        "expected_delivered_without_sent": 0.0,
    }
