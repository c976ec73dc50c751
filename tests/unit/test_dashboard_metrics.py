"""What a dashboard shows of itself: requests, their time, the audit log, exports; and no word of a visitor."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from starlette.types import Message, Receive, Scope, Send

from dashboard.counting import OTHER, Counted
from runtime.dashboard_metrics import NOTICED_EVENTS, DashboardMetrics
from sinks.exports.pool import ExportPool
from tests.support.dashboards import FOREIGN, OWN, Served, serving_dashboard

pytestmark = pytest.mark.anyio
USERS = {"ann": ("finance", (OWN,))}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """Return a dashboard."""
    async with serving_dashboard(tmp_path, users=USERS) as opened:
        yield opened


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Return what a metric says now."""
    return registry.get_sample_value(f"convometer_dashboard_{name}", labels)


async def test_requests_are_counted_by_route_and_status(served: Served) -> None:
    """Each under the first part of its path; probes are not visitors, and are left out."""
    client = await served.signed_in("ann")
    await client.get(f"/overview?account={OWN}")
    await client.get(f"/overview?account={FOREIGN}")
    await client.get(f"/downloads/usage.csv?account={OWN}")
    await client.get(f"/api/v1/summary?account={OWN}")
    await client.get("/healthz")
    await client.get("/readyz")
    counted = {
        (route, status): value(served.registry, "requests_total", route=route, status=status)
        for route, status in (
            ("/sign-in", "303"),
            ("/overview", "200"),
            ("/overview", "404"),
            ("/downloads", "200"),
            ("/api", "200"),
        )
    }
    assert counted == dict.fromkeys(counted, 1)
    assert value(served.registry, "request_seconds_count", route="/overview") == 2
    assert b"/readyz" not in generate_latest(served.registry)


async def test_labels_are_ours_alone(served: Served) -> None:
    """Invented paths are counted together; no account, user, address or text of a visitor is in any metric."""
    client = await served.signed_in("ann")
    for number in range(50):
        await client.get(f"/invented{number}/x?account={OWN}")
    await client.get(f"/api/v1/windows?account={FOREIGN}&user=4915112345678")
    await client.get(f"/link/{'s' * 43}")
    await served.client().post("/sign-in", data={"name": "mallory", "password": "hunter2"})
    await served.client(Authorization="Bearer cvm_nothing").get("/overview")
    assert value(served.registry, "requests_total", route=OTHER, status="404") == 50
    shown = generate_latest(served.registry).decode()
    for word in (OWN, FOREIGN, "4915112345678", "ann", "mallory", "hunter2", "cvm_", "sss", "invented"):
        assert not re.search(rf"[=\"/]{word}", shown), word


async def test_entries_of_the_audit_log_are_counted(served: Served) -> None:
    """By event; those that alarms go by are there from the start, as 0."""
    assert {value(served.registry, "audited_total", event=event) for event in NOTICED_EVENTS} == {0}
    await served.client().post("/sign-in", data={"name": "ann", "password": "wrong"})
    await served.client(Authorization="Bearer cvm_nothing").get("/overview")
    client = await served.signed_in("ann")
    await client.get(f"/windows?account={OWN}")
    await client.get(f"/downloads/usage.csv?account={OWN}")
    events = [entry.event for entry in served.dashboard.gate.audit.tail(100)]
    assert sorted(events) == ["denied", "export", "sign_in", "sign_in_failed", "token_refused"]
    assert [value(served.registry, "audited_total", event=event) for event in events] == [1] * len(events)


async def test_exports_that_wait_are_shown() -> None:
    """As many as have a place in the queue, and none once they are done."""
    registry = CollectorRegistry()
    pool = ExportPool(3, 60)
    DashboardMetrics(registry).show_exports(lambda: pool.pending)
    jobs = [asyncio.create_task(pool.run(abs, -number)) for number in range(3)]
    await asyncio.sleep(0)
    assert value(registry, "exports_pending") == 3
    assert await asyncio.gather(*jobs) == [0, 1, 2]
    assert value(registry, "exports_pending") == 0
    await pool.close()


@pytest.mark.parametrize(("begins", "status"), [(False, "500"), (True, "200")])
async def test_an_answer_that_breaks_is_counted(begins: bool, status: str) -> None:
    """Before it begins it is a 500, as the server answers then; afterwards its status is what was sent."""
    registry = CollectorRegistry()

    async def breaks(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken")

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_message: Message) -> None:
        return

    counted = Counted(breaks, ["/overview"], DashboardMetrics(registry))
    with pytest.raises(RuntimeError, match="broken"):
        await counted({"type": "http", "path": "/overview"}, receive, send)
    assert value(registry, "requests_total", route="/overview", status=status) == 1
