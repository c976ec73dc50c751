"""Notices as ClickHouse gives them: in one order, by pages that stand still, whatever a cursor holds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from schemas.alerts import notice_id
from sinks.clickhouse.notices import NoticeRow, NoticesAsked, read_notices, sort_key
from sinks.notify.table import COLUMNS
from tests.integration.conftest import Database

FIRST = datetime(2026, 11, 20, 9, 0, 0, 7000, tzinfo=UTC)
NOVEMBER = NoticesAsked(date(2026, 11, 1), ("A",))


def notice(
    account: str, number: str, threshold: int, n: int, at_ms: int, month: str = "2026-11"
) -> NoticeRow:
    """Return a notice, some milliseconds after the first."""
    at = FIRST + timedelta(milliseconds=at_ms)
    return NoticeRow(
        id=notice_id(account, number, month, "mau_package", str(threshold), n),
        month=month,
        account=account,
        number=number,
        limit_name="mau_package",
        threshold=str(threshold),
        threshold_count=threshold,
        n=n,
        kind="crossed" if n % 2 else "recovered",
        level="warning",
        level_before="ok",
        limit=1000,
        used=threshold,
        cause="count",
        is_past=False,
        received_until=at,
        noticed_at=at,
    )


def insert(database: Database, notices: Sequence[NoticeRow]) -> None:
    """Insert notices as the channel does; each twice, since it delivers at least once."""
    rows = [
        msgspec.structs.asdict(each) | {"month": date.fromisoformat(f"{each.month}-01")}
        for each in (*notices, *notices)
    ]
    database.client.insert("alerts", COLUMNS, [[row[column] for row in rows] for column in COLUMNS])


def pages(database: Database, asked: NoticesAsked, rows_max: int) -> list[NoticeRow]:
    """Return all notices, page by page."""
    rows: list[NoticeRow] = []
    after: tuple[str, ...] = ()
    while page := read_notices(
        database.client, msgspec.structs.replace(asked, rows_max=rows_max, after=after)
    ):
        rows += page
        after = sort_key(page[-1])
    return rows


def test_pages_of_any_size_hold_all_notices_once(database: Database) -> None:
    """In the order of the sort keys, of which many have the same moment; of the month and account asked for."""
    dice = random.Random(5)
    notices = [
        notice("A", dice.choice(("", "N")), threshold, n, dice.choice((0, 1, 999, 1000, 90_000_000)))
        for threshold in (9, 80, 900, 10_000_000)
        for n in range(1, 6)
    ]
    insert(database, [*notices, notice("B", "", 80, 1, 0), notice("A", "", 80, 1, 0, "2026-10")])
    wanted = sorted(notices, key=sort_key, reverse=True)
    assert [row.noticed_at for row in wanted] == sorted((row.noticed_at for row in notices), reverse=True)
    assert read_notices(database.client, NOVEMBER) == wanted
    for rows_max in (1, 2, 3, 19, 20, 21):
        assert pages(database, NOVEMBER, rows_max) == wanted
    of_number = NoticesAsked(date(2026, 11, 1), ("A",), ("N",))
    assert pages(database, of_number, 2) == [row for row in wanted if row.number == "N"]


def test_notices_that_arrive_between_pages_move_nothing(database: Database) -> None:
    """Newer ones are before the cursor, and one that was late for the table has its place by its own time."""
    notices = [notice("A", "", threshold, 1, threshold) for threshold in (100, 200, 300, 400)]
    insert(database, notices)
    first = read_notices(database.client, msgspec.structs.replace(NOVEMBER, rows_max=2))
    late = notice("A", "", 150, 1, 150)
    insert(database, [notice("A", "", 500, 1, 500), late])
    behind = read_notices(database.client, msgspec.structs.replace(NOVEMBER, after=sort_key(first[-1])))
    assert first == notices[:1:-1]
    assert behind == [notices[1], late, notices[0]]


@pytest.mark.parametrize(
    ("after", "is_all"),
    [
        (("9999", "", ""), True),
        (("", "", ""), False),
        (("it's \\ %s \t;--", "{x:String}", '"'), True),
        (("\0", "NULL", "]"), False),
        (("2026-11-20 09:00:00.007", "x" * 3000, "\N{SNOWMAN}"), True),
    ],
)
def test_a_cursor_that_nobody_gave_is_only_a_place(
    database: Database, after: tuple[str, ...], is_all: bool
) -> None:
    """Its texts are compared, never read: they cannot make a fault of the query."""
    row = notice("A", "", 80, 1, 0)
    insert(database, [row])
    found = read_notices(database.client, msgspec.structs.replace(NOVEMBER, after=after))
    assert found == ([row] if is_all else [])
