"""The gateway with the real parsers: Meta's webhooks and canonical events end as the same events."""

from __future__ import annotations

import asyncio

import httpx
import orjson
from prometheus_client import CollectorRegistry

from gateway.app import create_app
from gateway.batching import BatchingAppender, BatchingLimits
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from runtime.settings import Settings
from schemas.codec import partition_of
from tests.unit.gateway_fakes import NOW_MS, TOKEN, MemoryLog, gateway_settings, sign

STATUS = {
    "id": "wamid.S1",
    "status": "delivered",
    "timestamp": str(NOW_MS // 1000),
    "recipient_id": "5511900000001",
    "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
}
TIMELESS = {"id": "wamid.S2", "status": "sent", "recipient_id": "5511900000001"}


def webhook(account: str) -> bytes:
    """Return a Meta body with one good status and one without a time."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": "7001"},
        "statuses": [STATUS, TIMELESS],
    }
    entry = {"id": account, "changes": [{"field": "messages", "value": value}]}
    return orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})


def post(
    settings: Settings,
    path: str,
    body: bytes,
    headers: dict[str, str],
    registry: CollectorRegistry | None = None,
) -> tuple[httpx.Response, MemoryLog]:
    """Send one request to a gateway with its own parsers; return the answer and the log."""
    log = MemoryLog()

    async def send() -> httpx.Response:
        metrics, clock = Metrics(registry or CollectorRegistry()), ManualClock(NOW_MS)
        port = BatchingAppender(log.append_record, 4, BatchingLimits(1, 500, 1000), metrics, clock)
        transport = httpx.ASGITransport(create_app(port, settings, metrics, clock))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(send()), log


def test_meta_webhook() -> None:
    """A status becomes an event; one without a time becomes a dead letter; 200 covers both."""
    body = webhook("9001")
    response, log = post(Settings(gateway=gateway_settings()), "/webhooks/meta", body, sign(body))
    assert response.json() == {"status": "ok", "accepted": 1, "refused": 1, "ignored": 0}
    [event] = log.events()
    assert (event.account, event.kind, event.country, event.category) == (
        "9001",
        "delivered",
        "BR",
        "utility",
    )
    assert [(letter.reason, letter.account) for letter in log.dead_letters()] == [("no_time", "9001")]


def test_refused_account_can_be_replayed_as_canonical() -> None:
    """The dead letter of an unknown account holds the event in a form that POST /events takes."""
    body = webhook("9999")
    refusing = Settings(gateway=gateway_settings(), unknown_accounts="refuse")
    _, log = post(refusing, "/webhooks/meta", body, sign(body))
    [letter] = [letter for letter in log.dead_letters() if letter.reason == "unknown_account"]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    response, replayed = post(Settings(gateway=gateway_settings()), "/events", letter.payload, headers)
    assert (response.status_code, response.json()["accepted"]) == (200, 1)
    [event] = replayed.events()
    assert (event.account, event.message_id, event.user_phone) == ("9999", "wamid.S1", "5511900000001")


def test_identity_updates_are_accepted_in_the_partition_of_the_current_id() -> None:
    """A changed user id is an event, counted as such, and is where the events of the current id are."""
    update = {"user_id": {"previous": "BR.1", "current": "BR.2"}, "timestamp": NOW_MS // 1000}
    entry = {"id": "9001", "changes": [{"field": "user_id_update", "value": {"user_id_update": [update]}}]}
    body = orjson.dumps({"object": "whatsapp_business_account", "entry": [entry]})
    registry = CollectorRegistry()
    settings = Settings(gateway=gateway_settings())
    response, log = post(settings, "/webhooks/meta", body, sign(body), registry)
    assert response.json() == {"status": "ok", "accepted": 1, "refused": 0, "ignored": 0}
    [event] = log.events()
    assert (event.kind, event.user_previous_bsuid, event.user_bsuid) == ("identity", "BR.1", "BR.2")
    labels = {"kind": "identity", "outcome": "accepted"}
    assert registry.get_sample_value("convometer_events_total", labels) == 1
    assert [record[1] for record in log.records] == [partition_of("9001", "BR.2", 4)]


def test_unparseable_meta_body() -> None:
    """The real parser's refusal of a body is 400 too."""
    response, log = post(Settings(gateway=gateway_settings()), "/webhooks/meta", b"{", sign(b"{"))
    assert (response.status_code, log.records) == (400, [])
