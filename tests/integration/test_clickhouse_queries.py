"""The four queries over one seeded database: keys, order, filters; embedded and over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise

import pytest

from schemas.rows import CounterKey, Family
from sinks.clickhouse.reader import QUERY_NAMES, Filters, run_query
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from tests.integration.conftest import Database

DAY = (date(2026, 10, 5) - date(1970, 1, 1)).days

_QUOTES = 'it\'s \\ "{x}" %s \t;--'


@pytest.fixture(scope="module")
def seeded(shared_database: Database) -> Database:
    """Return a database with three days of four accounts' numbers."""
    rows: list[CounterRow] = []
    for day in (DAY - 5, DAY - 4, DAY):  # 2026-09-30, 2026-10-01, 2026-10-05
        for account, number, country in (
            ("A", "1", "DE"),
            ("A", "2", "FR"),
            ("B", "3", "DE"),
            (_QUOTES, "4", ""),
        ):
            at: CounterKey = (day, account, number, country)
            rows += [
                CounterRow((Family.MESSAGES, *at, "marketing", 1), (5, 4, 3, 2, 1), 1),
                CounterRow((Family.MESSAGES, *at, "", 0), (1, 0, 0, 0, 0), 1),
                CounterRow((Family.MESSAGES, *at, "", -1), (0, 0, 0, 0, 2), 1),
                CounterRow((Family.MESSAGES, *at, "utility", 1), (0, 0, 0, 0, 0), 1),
                CounterRow((Family.CONVERSATIONS, *at, "service", ""), (4, 3, 1), 1),
                CounterRow((Family.CONVERSATIONS, *at, "service", "utility"), (2, 1, 1), 1),
                CounterRow((Family.CONVERSATIONS, *at, "unknown", ""), (0, 0, 0), 1),
                CounterRow((Family.INCOMING, *at), (7,), 1),
                CounterRow((Family.ACTIVE_USERS, *at, "any"), (2,), 1),
                CounterRow((Family.ACTIVE_USERS, day, account, number, "", "any"), (3,), 1),
                CounterRow((Family.ACTIVE_USERS, day, account, number, "", "both"), (1,), 1),
            ]
        for account, users in (("A", 5), ("B", 3)):
            rows.append(CounterRow((Family.ACTIVE_USERS, day, account, "", "", "any"), (users,), 1))
    rows += [
        CounterRow((Family.ACTIVE_USERS, day, account, number, country, "phones"), (difference,), 1)
        for day, account, number, country, difference in (
            (DAY, "A", "1", "", 1),
            (DAY - 4, "A", "2", "", -2),
            (DAY - 4, "A", "2", "FR", -1),
            (DAY - 4, "A", "", "", -1),
            (DAY, "A", "", "", -2),
            (DAY - 4, "A", "9", "", -1),
            (DAY, "A", "9", "", 1),
        )
    ]
    ClickHouseWriter(shared_database.pool).flush(0, rows, Progress(1, 1))
    return shared_database


def test_usage_has_the_promised_keys_and_values(seeded: Database) -> None:
    """Usage rows say template true, false or null, in the promised order of keys; all-zero rows are left out."""
    day = date(2026, 10, 5)
    rows = run_query(seeded.client, "usage", Filters(day, day, ("A",), ("1",), ("DE",)))
    at = {"day": "2026-10-05", "account": "A", "number": "1", "country": "DE"}
    zero = {"total": 0, "sent": 0, "delivered": 0, "read": 0, "not_delivered": 0}
    expected: list[dict[str, object]] = [
        {**at, "category": "", "template": None, **zero, "not_delivered": 2},
        {**at, "category": "", "template": False, **zero, "total": 1},
        {**at, "category": "marketing", "template": True, "total": 5, "sent": 4, "delivered": 3, "read": 2}
        | {"not_delivered": 1},
    ]
    assert rows == expected
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert [row["template"] is None or isinstance(row["template"], bool) for row in rows] == [True] * 3


def test_conversations_have_the_promised_keys_and_values(seeded: Database) -> None:
    """Conversations are summed over the categories of their openers."""
    day = date(2026, 10, 5)
    rows = run_query(seeded.client, "conversations", Filters(day, day, ("A",), ("2",)))
    expected = {"day": "2026-10-05", "account": "A", "number": "2", "country": "FR", "type": "service"}
    assert rows == [{**expected, "total": 6, "free": 4, "charged": 2}]
    assert list(rows[0]) == [*expected, "total", "free", "charged"]


def test_incoming_has_the_promised_keys_and_values(seeded: Database) -> None:
    """Incoming messages have a count and nothing else."""
    rows = run_query(seeded.client, "incoming", Filters(accounts=("B",), first_day=date(2026, 10, 5)))
    assert rows == [{"day": "2026-10-05", "account": "B", "number": "3", "country": "DE", "count": 7}]
    assert list(rows[0]) == ["day", "account", "number", "country", "count"]


def test_active_users_are_by_whole_months(seeded: Database) -> None:
    """A day in the middle asks for its whole month; the whole account has a row of its own, number "".

    The phones are the people and what corrects them, in that scope; a number that comes to nothing has no row.
    """
    middle = date(2026, 10, 3)
    rows = run_query(seeded.client, "active-users", Filters(middle, middle, ("A",)))
    october = {"month": "2026-10", "account": "A"}
    assert rows == [
        {**october, "number": "", "mau": 10, "mau_both": 0, "mau_phones": 7},
        {**october, "number": "1", "mau": 6, "mau_both": 2, "mau_phones": 7},
        {**october, "number": "2", "mau": 6, "mau_both": 2, "mau_phones": 4},
    ]
    assert list(rows[0]) == ["month", "account", "number", "mau", "mau_both", "mau_phones"]
    both = run_query(seeded.client, "active-users", Filters(date(2026, 9, 29), middle, ("A",), ("1",)))
    found = [(row["month"], row["mau"], row["mau_phones"]) for row in both]
    assert found == [("2026-09", 3, 3), ("2026-10", 6, 7)]


def test_active_users_of_one_country_are_not_those_of_all(seeded: Database) -> None:
    """One country has its own distinct users; several together were never counted, and that is said."""
    filters = Filters(date(2026, 10, 1), None, ("A",), (), ("FR",))
    assert run_query(seeded.client, "active-users", filters) == [
        {"month": "2026-10", "account": "A", "number": "2", "mau": 4, "mau_both": 0, "mau_phones": 3}
    ]
    with pytest.raises(ValueError, match="one country at a time"):
        run_query(seeded.client, "active-users", Filters(countries=("DE", "FR")))


@pytest.mark.parametrize("name", ["usage", "conversations", "incoming"])
@pytest.mark.parametrize(
    ("filters", "expected_places"),
    [
        (Filters(), 12),
        (Filters(first_day=date(2026, 10, 1)), 8),
        (Filters(last_day=date(2026, 10, 1)), 8),
        (Filters(date(2026, 10, 1), date(2026, 10, 1)), 4),
        (Filters(date(2026, 10, 2), date(2026, 10, 1)), 0),
        (Filters(date(1, 1, 1), date(9999, 12, 31)), 12),
        (Filters(accounts=("A",)), 6),
        (Filters(accounts=("A", "B", "none")), 9),
        (Filters(accounts=(_QUOTES,)), 3),
        (Filters(accounts=("') OR 1=1 --",)), 0),
        (Filters(numbers=("2", "3")), 6),
        (Filters(countries=("DE",)), 6),
        (Filters(countries=("",)), 3),
        (Filters(date(2026, 10, 1), None, ("A",), ("1",), ("DE", "FR")), 2),
    ],
)
def test_filters_are_inclusive_and_combine(
    seeded: Database, name: str, filters: Filters, expected_places: int
) -> None:
    """Days are both included, lists mean any of them, and no value is ever read as SQL."""
    places = {(row["day"], row["account"], row["number"]) for row in run_query(seeded.client, name, filters)}
    assert len(places) == expected_places


@pytest.mark.parametrize("name", QUERY_NAMES)
def test_rows_are_sorted_by_their_keys(seeded: Database, name: str) -> None:
    """Rows come in the order of the listed keys, whatever the order of flushing."""
    keys = [_sort_key([*row.values()]) for row in run_query(seeded.client, name, Filters())]
    assert len(keys) > 3
    assert all(earlier < later for earlier, later in pairwise(keys))


def _sort_key(values: Sequence[object]) -> tuple[tuple[str, int], ...]:
    """Make values comparable: text as it is, null before false before true."""
    order = {None: 0, False: 1, True: 2}
    return tuple(
        (v, 0) if isinstance(v, str) else ("", order[v] if v is None or v is True or v is False else 9)
        for v in values
        if isinstance(v, str) or v is None or isinstance(v, bool)
    )


def test_an_unknown_query_is_a_fault(seeded: Database) -> None:
    """A name that is not one of the queries never reaches a file."""
    with pytest.raises(KeyError, match=r"\.\./migrations/0001_messages"):
        run_query(seeded.client, "../migrations/0001_messages", Filters())
