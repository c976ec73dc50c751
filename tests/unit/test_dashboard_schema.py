"""Everything that the API's document allows, and much that it does not, over a real connection: no server error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cli.serving import App
from dashboard.access.permissions import Permission
from dashboard.api.routes import router
from tests.support.dashboard_background import BackgroundDashboard
from tests.support.dashboards import serving_dashboard

EXAMPLES = int(os.environ.get("CONVOMETER_TEST_HISTORIES", "400")) // 10


@pytest.fixture(scope="module")
def background(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackgroundDashboard]:
    """Return a dashboard over tables in memory."""
    directory = tmp_path_factory.mktemp("dashboard")

    @asynccontextmanager
    async def opening() -> AsyncIterator[tuple[App, str]]:
        async with serving_dashboard(directory, users={"root": ("admin", None)}) as served:
            yield served.dashboard.app, served.token("root", *Permission)

    with BackgroundDashboard(opening) as serving:
        yield serving


@pytest.fixture(scope="module")
def api(background: BackgroundDashboard) -> Any:
    """Return the API by its own document."""
    return schemathesis.openapi.from_url(f"{background.url}/api/openapi.json")


PATHS = [route.path for route in router.routes if isinstance(route, APIRoute)]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_a_server_error(
    api: Any, background: BackgroundDashboard, path: str, mode: schemathesis.GenerationMode
) -> None:
    """Whatever is asked, fitting or not, the answer is documented in status, type and shape, and no server error."""
    headers = {"Authorization": f"Bearer {background.token}"}
    statuses: Counter[int] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=api[path]["GET"].as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        response = case.call(headers=headers)
        statuses[response.status_code] += 1
        case.validate_response(response, checks=CHECKS)

    ask()
    assert statuses, "something was asked"
    assert not [status for status in statuses if status >= 500]
