"""Answers and the moment they are of: totals that change while they are read, days that begin, zones that changed."""

from __future__ import annotations

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from unittest.mock import AsyncMock

import httpx
import msgspec
import openpyxl
import pytest

from dashboard.ports import AccountInfo, LocalDay, QueryName, Row
from runtime.clock import ManualClock
from schemas.final_report import Freshness
from sinks.clickhouse.reader import Filters
from tests.support.dashboards import FOREIGN, NOW, OWN, TODAY, WORLDS, Served, TableMeter, serving_dashboard

pytestmark = pytest.mark.anyio
VIEW = f"account={OWN}&duration=last-7-days"
USERS = {"root": ("admin", None), "own": ("viewer", (OWN,)), "foreign": ("viewer", (FOREIGN,))}
ZONES = (("", "Pacific/Pago_Pago"), ("2026-11", "Pacific/Kiritimati"))


class MovingMeter(TableMeter):
    """Totals that a flush changes while they are read, if asked to; and days that begin."""

    def __init__(self) -> None:
        """Stand still at first."""
        super().__init__()
        self.flushes_meanwhile = False
        self.clock: ManualClock | None = None
        self.today = TODAY
        self.counted_until = NOW
        self.zones: tuple[tuple[str, str], ...] = ()

    async def query(self, name: QueryName, filters: Filters) -> list[Row]:
        """Answer with the figures before a flush that is over when the answer is here."""
        rows = await super().query(name, filters)
        if self.flushes_meanwhile and name == "conversations" and self.clock is not None:
            self.flushes_meanwhile = False
            self.clock.advance(1200)
            self.version = "2"
            self.counted_until = NOW + timedelta(hours=1)
            self.worlds = {
                account: replace(world, count=world.count + 500) for account, world in self.worlds.items()
            }
        return rows

    async def freshness(self) -> list[Freshness]:
        """See ``Meter``."""
        return [
            msgspec.structs.replace(each, received_until=self.counted_until)
            for each in await super().freshness()
        ]

    def local_day(self, account: str) -> LocalDay:
        """See ``Meter``."""
        del account
        return LocalDay("UTC", self.today)

    async def account(self, account: str) -> AccountInfo:
        """See ``Meter``."""
        info = await super().account(account)
        zone = self.zones[-1][1] if self.zones else "UTC"
        return msgspec.structs.replace(info, today=self.today, zones=self.zones, time_zone=zone)


@asynccontextmanager
async def opened(directory: Path, meter: MovingMeter) -> AsyncIterator[Served]:
    """Give a dashboard over the meter."""
    async with serving_dashboard(directory, users=USERS, meter=meter) as served:
        meter.clock = served.clock
        yield served


def axis_of(picture: httpx.Response) -> int:
    """Return the largest number that stands in a chart."""
    return max(int(text.replace(",", "")) for text in re.findall(r">([\d,]+)</text>", picture.text))


@pytest.mark.parametrize("path", ["/charts/usage.svg", "/downloads/chart.svg"])
async def test_a_picture_of_old_figures_is_not_that_of_new_ones(tmp_path: Path, path: str) -> None:
    """A flush ends while a picture's figures are read: the next picture has the new ones, and another tag."""
    meter = MovingMeter()
    async with opened(tmp_path, meter) as served:
        client = await served.signed_in("root")
        meter.flushes_meanwhile = True
        old = await client.get(f"{path}?{VIEW}")
        new = await client.get(f"{path}?{VIEW}")
        assert axis_of(old) < 500 < axis_of(new)
        assert old.headers.get("etag") != new.headers.get("etag") or path.startswith("/downloads")
        assert (await client.get(f"{path}?{VIEW}")).content == new.content


async def test_a_workbook_is_of_one_reading(tmp_path: Path) -> None:
    """Days and rows add up to the same, and it never says that it is fresher than its figures."""
    meter = MovingMeter()
    async with opened(tmp_path, meter) as served:
        client = await served.signed_in("root")
        meter.flushes_meanwhile = True
        content = (await client.get(f"/downloads/usage.xlsx?{VIEW}")).content
    book = openpyxl.load_workbook(io.BytesIO(content))

    def total(sheet: str, column: str) -> int:
        rows = [[cell.value for cell in row] for row in book[sheet].iter_rows()]
        place = rows[0].index(column)
        return sum(int(str(row[place])) for row in rows[1:] if isinstance(row[place], int))

    assert total("Days", "Conversations") == total("Rows", "Total")
    about = {row[0].value: row[1].value for row in book["About"].iter_rows()}
    [until] = [str(value) for label, value in about.items() if str(label).startswith("Counted up to")]
    assert "12:00:00" in until


@pytest.mark.parametrize(
    "path", ["/charts/usage.json", "/charts/usage.svg", "/downloads/chart.png", "/overview"]
)
async def test_a_correction_of_which_half_is_missing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """One partition has taken a conversation away that another has yet to write: the day is drawn as 0."""
    query = MovingMeter.query

    async def corrected(self: MovingMeter, name: QueryName, filters: Filters) -> list[Row]:
        rows = await query(self, name, filters)
        return [row | {"total": -1} for row in rows] if name == "conversations" else rows

    monkeypatch.setattr(MovingMeter, "query", corrected)
    async with opened(tmp_path, MovingMeter()) as served:
        client = await served.signed_in("root")
        assert (await client.get(f"{path}?{VIEW}")).status_code == 200


async def test_a_file_says_until_when_all_of_it_is_counted(tmp_path: Path) -> None:
    """A partition that stands still is not hidden by one that goes on: any user can be in it."""
    meter = MovingMeter()
    fresh = Freshness(partition=0, position=1, received_until=NOW, flushed_at=NOW)
    behind = msgspec.structs.replace(fresh, partition=1, received_until=NOW - timedelta(hours=7))
    async with opened(tmp_path, meter) as served:
        client = await served.signed_in("root")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(meter, "freshness", AsyncMock(return_value=[fresh, behind]))
            content = (await client.get(f"/downloads/usage.xlsx?{VIEW}")).content
    about = {
        row[0].value: row[1].value for row in openpyxl.load_workbook(io.BytesIO(content))["About"].iter_rows()
    }
    assert about["Counted up to"] == "2026-11-20 05:00:00 UTC (newest input: 2026-11-20 12:00:00 UTC)"


CONDITIONAL = (
    f"/api/v1/usage?account={OWN}",
    f"/api/v1/conversations?account={OWN}",
    f"/api/v1/incoming?account={OWN}",
    f"/api/v1/charges?account={OWN}",
    f"/api/v1/summary?account={OWN}",
    f"/charts/usage.svg?{VIEW}",
    f"/charts/usage.json?{VIEW}",
)


async def test_a_day_that_begins_changes_what_is_answered(tmp_path: Path) -> None:
    """Nothing was counted since, but "the last seven days" are others: yesterday's tag is no longer good."""
    meter = MovingMeter()
    async with opened(tmp_path, meter) as served:
        client = await served.signed_in("root")
        first = {url: await client.get(url) for url in CONDITIONAL}
        for url, answer in first.items():
            same = await client.get(url, headers={"If-None-Match": answer.headers["etag"]})
            assert same.status_code == 304, url
        meter.today = TODAY + timedelta(days=1)
        served.clock.advance(86_400_000)
        client = await served.signed_in("root")
        for url, answer in first.items():
            now = await client.get(url, headers={"If-None-Match": answer.headers["etag"]})
            assert (now.status_code, now.content != answer.content) == (200, True), url


@pytest.mark.parametrize(
    "url", ["/charts/usage.json?duration=last-7-days", "/charts/usage.svg", "/charts/active-users.json"]
)
async def test_a_tag_is_not_good_for_another_account(tmp_path: Path, url: str) -> None:
    """Where the URL names no account, each gets the first that they may see, and a tag of its own."""
    async with opened(tmp_path, MovingMeter()) as served:
        own = await (await served.signed_in("own")).get(url)
        foreign = await served.signed_in("foreign")
        answer = await foreign.get(url, headers={"If-None-Match": own.headers["etag"]})
        assert (answer.status_code, answer.content != own.content) == (200, True)


async def test_days_stand_in_the_zone_that_they_were_counted_in(tmp_path: Path) -> None:
    """A month before a change of zone has the zone of then, a range over it both, wherever days are written."""
    meter = MovingMeter()
    meter.zones = ZONES
    (_, before), (_, now) = ZONES
    october, across = "&from=2026-10-01&to=2026-10-31", "&from=2026-10-20&to=2026-11-05"
    both = f"{before}, from 2026-11 {now}"
    async with opened(tmp_path, meter) as served:
        client = await served.signed_in("root")
        for days, zones, last in ((october, before, before), (across, both, now)):
            view = f"account={OWN}&duration=custom{days}"
            for path in ("/overview", "/send"):
                assert f"days in {zones}" in re.sub(r"<[^>]+>", "", (await client.get(f"{path}?{view}")).text)
            assert zones in (await client.get(f"/charts/usage.json?{view}")).text
            book = openpyxl.load_workbook(
                io.BytesIO((await client.get(f"/downloads/usage.xlsx?{view}")).content)
            )
            assert zones in [row[1].value for row in book["About"].iter_rows()]
            for name in ("summary", "usage", "conversations", "charges"):
                answer = await client.get(f"/api/v1/{name}?account={OWN}{days}")
                assert answer.json()["time_zone"] == last, name
        month = await client.get(f"/active-users?account={OWN}&month=2026-10")
        assert f"<span data-zone>{before}</span>" in month.text
        growth = await client.get(f"/charts/active-users.json?account={OWN}&month=2026-10")
        assert before in growth.text
        assert now not in growth.text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (date(2026, 1, 1), date(2026, 3, 31), "A"),
        (date(2026, 4, 1), date(2026, 4, 1), "B"),
        (date(2026, 3, 31), date(2026, 4, 1), "A, from 2026-04 B"),
        (date(2025, 1, 1), date(2026, 12, 31), "A, from 2026-04 B, from 2026-06 C"),
        (date(2026, 5, 1), date(2027, 1, 1), "B, from 2026-06 C"),
    ],
)
@pytest.mark.parametrize("since", ["", "2026-02"])
def test_the_first_zone_is_also_that_of_everything_before(
    first: date, last: date, text: str, since: str
) -> None:
    """Each zone from its month on."""
    info = AccountInfo(
        OWN, "C", (), (), None, None, TODAY, zones=((since, "A"), ("2026-04", "B"), ("2026-06", "C"))
    )
    assert info.zones_text(first, last) == text
    assert info.zone_on(last) == text[-1]


async def test_more_rows_than_a_file_takes_are_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says to choose less; nothing is noted as exported."""
    monkeypatch.setattr("dashboard.pages.overview.ROWS_MAX", 3)
    async with opened(tmp_path, MovingMeter()) as served:
        client = await served.signed_in("root")
        for path in ("details.csv", "usage.xlsx"):
            answer = await client.get(f"/downloads/{path}?{VIEW}")
            assert (answer.status_code, "Choose fewer days" in answer.text) == (400, True)
        assert "export" not in {entry.event for entry in served.dashboard.gate.audit.tail(100)}
    assert len(WORLDS[OWN].numbers) * 7 > 3
