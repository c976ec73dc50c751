"""Bodies of Meta webhooks for tests, and what the parser makes of them."""

from __future__ import annotations

import orjson

from schemas import meta
from schemas.events import Event, Parsed

RECEIVED_AT_MS = 1_793_664_000_000

STATUS: dict[str, object] = {
    "id": "wamid.S1",
    "status": "delivered",
    "timestamp": "1793577600",
    "recipient_id": "5511900000001",
}
MESSAGE: dict[str, object] = {
    "id": "wamid.M1",
    "from": "5511900000001",
    "timestamp": "1793577600",
    "type": "text",
    "text": {"body": "Hello"},
}
ADA = {"wa_id": "5511900000001", "user_id": "BR.1"}
"""A contact: who sent the message."""


def body(entry_id: object = "9001", **value: object) -> bytes:
    """Return a webhook body with one ``messages`` change."""
    content = {"metadata": {"display_phone_number": "1555", "phone_number_id": "7001"}, **value}
    changes = [{"field": "messages", "value": content}]
    return orjson.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": entry_id, "changes": changes}]}
    )


def parse(content: bytes, *, keep_text: bool = False) -> Parsed:
    """Return what a body holds at the tests' clock."""
    return meta.parse(content, RECEIVED_AT_MS, keep_text=keep_text)


def only_event(content: bytes) -> Event:
    """Return the one event of a body that holds nothing else."""
    parsed = parse(content)
    assert (len(parsed.events), parsed.refusals, parsed.ignored) == (1, [], [])
    return parsed.events[0]


def only_reason(content: bytes) -> str:
    """Return the reason of the one refusal of a body that holds nothing else."""
    parsed = parse(content)
    assert (parsed.events, len(parsed.refusals), parsed.ignored) == ([], 1, [])
    return parsed.refusals[0].reason
