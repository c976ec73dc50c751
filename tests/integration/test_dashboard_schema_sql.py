"""What the API's document allows, and much that it does not, over the SQL of a real ClickHouse: no server error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dashboard.api.routes import router
from sinks.clickhouse.client import open_client
from sinks.clickhouse.migrations import migrate
from tests.support.dashboard_background import BackgroundDashboard
from tests.support.dashboard_tables import MONTH, OverTables, fill
from tests.support.grafana_rows import COUNTRIES, EUR, NUMBERS, QUOTED, USD

EXAMPLES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 16
PATHS = [
    route.path
    for route in router.routes
    # A user's windows are with the workers: in no table.
    if isinstance(route, APIRoute) and route.path != "/api/v1/windows"
]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
DAYS = (
    ("2026-09-26", "2026-10-06"),
    ("2025-06-27", "2025-07-04"),
    ("2026-10-01", None),
    # Beyond what ClickHouse can hold as a day.
    ("0001-01-01", "0001-01-31"),
    ("9999-12-01", "9999-12-31"),
)
HOSTILE = ("x') OR ('1' = '1", "9001\x00", "\\", "{day:Date}", "%s", "9001'--")
"""Values that SQL must never take for a part of itself."""
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
"""Always the same requests, and so many that each run of the tests can spend the time."""
Query = dict[str, Any]


@pytest.fixture(scope="module")
def tables(embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverTables]:
    """Return a dashboard over seeded tables, not opened yet."""
    address, name = f"chdb://{embedded_directory}", "dashboard_schema"
    with closing(open_client(address, database=name)) as client:
        migrate(client)
        fill(client)
        yield OverTables(address, name, tmp_path_factory.mktemp("dashboard"))
        client.command(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="module")
def background(tables: OverTables) -> Iterator[BackgroundDashboard]:
    """Return that dashboard on a free port of this machine."""
    with BackgroundDashboard(tables.opened) as serving:
        yield serving


@pytest.fixture(scope="module")
def api(background: BackgroundDashboard) -> Any:
    """Return the API by its own document."""
    return schemathesis.openapi.from_url(f"{background.url}/api/openapi.json")


@st.composite
def aims(draw: st.DrawFn) -> Query:
    """Return parameters that lead to seeded rows, some of them narrowed to what may not be there."""
    account = draw(st.sampled_from((USD, EUR, QUOTED)))
    first, last = draw(st.sampled_from(DAYS))
    query: Query = {"account": account, "from": first, "to": last, "month": MONTH, "limit": 2}
    if draw(st.booleans()):
        query["number"] = draw(st.sampled_from((*NUMBERS[account], *HOSTILE)))
    if draw(st.booleans()):
        query["country"] = draw(st.sampled_from((*COUNTRIES, *HOSTILE)))
    return {name: value for name, value in query.items() if value is not None}


def aimed(case: Any, aim: Query) -> Any:
    """Return a request of the document with those parameters replaced that it has."""
    known = {parameter.name for parameter in case.operation.query}
    case.query = {**(case.query or {}), **{name: value for name, value in aim.items() if name in known}}
    case.query.pop("duration", None)
    case.query.pop("after", None)
    if case.path_parameters:
        case.path_parameters = {"account": aim["account"]}
    return case


FILLED: dict[str, Callable[[Any], bool]] = {
    "/api/v1/accounts": lambda answer: {USD, EUR, QUOTED} <= {each["account"] for each in answer},
    "/api/v1/accounts/{account}": lambda answer: bool(answer["numbers"]),
    "/api/v1/summary": lambda answer: bool(answer["total"]["conversations"]),
    "/api/v1/report": lambda answer: bool(answer["freshness"]),
    "/api/v1/live": lambda answer: bool(answer["freshness"] and answer["ladder"]),
}
"""Tells whether an answer is made of seeded rows; of the others, ``data`` is."""


class Conversation:
    """Asks, checks each answer against the document, and remembers what came of it."""

    def __init__(self, path: str, token: str) -> None:
        self.statuses: Counter[int] = Counter()
        self.filled = self.pages = 0
        self._is_filled = FILLED.get(path, lambda answer: bool(answer["data"]))
        self._authorization = {"Authorization": f"Bearer {token}"}

    def ask(self, case: Any, **headers: str) -> Any:
        """Return the answer."""
        response = case.call(headers=self._authorization | headers)
        self.statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)
        return response

    def ask_all(self, case: Any) -> None:
        """Ask as JSON and as csv, and for the page behind the first."""
        self.ask(case, Accept="text/csv")
        response = self.ask(case, Accept="application/json")
        if response.status_code != 200:
            return
        answer = response.json()
        self.filled += self._is_filled(answer)
        if isinstance(answer, dict) and answer.get("next"):
            case.query = {**case.query, "after": answer["next"]}
            assert self.ask(case).status_code == 200
            self.pages += 1


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_a_server_error(
    api: Any, background: BackgroundDashboard, path: str, mode: schemathesis.GenerationMode
) -> None:
    """Whatever is asked of whomever, fitting or not, the SQL answers, or the question is refused."""
    talk = Conversation(path, background.token)

    @bounded
    @given(case=api[path]["GET"].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        talk.ask(case)

    ask()
    assert talk.statuses, "something was asked"
    assert not [status for status in talk.statuses if status >= 500]


@pytest.mark.parametrize("path", PATHS)
def test_what_leads_to_rows_is_answered_with_rows(
    api: Any, background: BackgroundDashboard, path: str
) -> None:
    """Requests about seeded accounts and days reach rows, as JSON and csv, page by page, with no server error."""
    talk, operation = Conversation(path, background.token), api[path]["GET"]
    strategy = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)

    @bounded
    @given(case=strategy, aim=aims())
    def ask(case: Any, aim: Query) -> None:
        talk.ask_all(aimed(case, aim))

    ask()
    assert not [status for status in talk.statuses if status >= 500]
    assert talk.filled, "some of the answers were made of rows"
    has_pages = "after" in {parameter.name for parameter in operation.query}
    assert bool(talk.pages) is has_pages
