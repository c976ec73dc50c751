"""What the dashboard asks ClickHouse beside the totals: accounts, choices, recent days, has anything changed."""

from __future__ import annotations

from datetime import date

from sinks.clickhouse.directory import account_choices, account_names, recent_days, totals_version
from tests.integration.conftest import Database


def insert(database: Database, table: str, *rows: dict[str, object]) -> None:
    """Insert rows with the columns given."""
    for row in rows:
        database.client.insert(table, list(row), [[value] for value in row.values()])


def message(
    account: str, day: date, number: str, country: str, total: int, **more: object
) -> dict[str, object]:
    """Return a row of messages."""
    return {
        "day": day,
        "account": account,
        "number": number,
        "country": country,
        "category": "marketing",
        "template": 1,
        "total": total,
        "sent": total,
        "delivered": total,
        "read": 0,
        "not_delivered": 0,
        "partition": 0,
        "generation": 0,
        "version": 1,
    } | more


def incoming(account: str, day: date, number: str, country: str, count: int) -> dict[str, object]:
    """Return a row of incoming."""
    return {
        "day": day,
        "account": account,
        "number": number,
        "country": country,
        "count": count,
        "partition": 0,
        "generation": 0,
        "version": 1,
    }


FIRST, LAST = date(2026, 1, 31), date(2026, 3, 1)


def test_choices_are_those_of_live_rows(database: Database) -> None:
    """Numbers and countries of messages and incoming messages, of live generations, of the one account."""
    insert(
        database,
        "messages",
        message("A", FIRST, "1", "BR", 5),
        message("A", LAST, "2", "IN", 5, generation=7),
        message("B", LAST, "9", "DE", 5),
    )
    insert(database, "incoming", incoming("A", LAST, "3", "US", 1), incoming("C", LAST, "4", "FR", 1))
    found = account_choices(database.client, "A")
    assert (found.numbers, found.countries) == (("1", "3"), ("BR", "US"))
    assert (found.first_day, found.last_day) == (FIRST, LAST)
    assert account_names(database.client) == ["A", "B", "C"]
    nothing = account_choices(database.client, "nobody")
    assert (nothing.numbers, nothing.first_day) == ((), None)


def test_recent_days_add_up_what_is_newest(database: Database) -> None:
    """Per account and day the newest version of each row, over partitions and numbers, since a day."""
    insert(
        database,
        "messages",
        message("A", LAST, "1", "BR", 5),
        message("A", LAST, "1", "BR", 8, version=2),
        message("A", LAST, "1", "BR", 100, partition=1),
        message("A", LAST, "2", "BR", 1000),
        message("A", FIRST, "1", "BR", 7),
    )
    insert(database, "incoming", incoming("A", LAST, "1", "BR", 3), incoming("B", LAST, "1", "BR", 4))
    rows = recent_days(database.client, LAST)
    assert [(row.account, row.day, row.messages, row.delivered, row.incoming) for row in rows] == [
        ("A", LAST, 1108, 1108, 3),
        ("B", LAST, 0, 0, 4),
    ]


def test_the_version_changes_with_each_complete_flush(database: Database) -> None:
    """A mark of progress or another live generation is another version; asking twice is not."""
    seen = [totals_version(database.client)]
    assert totals_version(database.client) == seen[0]
    mark: dict[str, object] = {"partition": 0, "generation": 0, "sequence": 1, "source_offset": 5}
    insert(database, "flush_progress", mark | {"slot": 1})
    seen.append(totals_version(database.client))
    insert(database, "flush_progress", mark | {"slot": 2, "sequence": 2})
    seen.append(totals_version(database.client))
    insert(database, "generations", {"generation": 1, "live": 1, "version": 9})
    seen.append(totals_version(database.client))
    assert len(set(seen)) == 4
