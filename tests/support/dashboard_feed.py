"""Sends webhooks to a running dashboard's gateway, as the provider does.

Owns their shape. What can be counted never goes to ``ACCOUNT``, so that no figure of it changes while tests compare it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import httpx

from tests.support.dashboard_process import APP_SECRET, FED_ACCOUNT, FED_NUMBERS, RunningDashboard
from tests.unit.gateway_fakes import sign

Entry = Mapping[str, object]


def incoming(user: str, message_id: str, at: int) -> Entry:
    """Return a message that a user wrote."""
    return {"from": user, "id": message_id, "timestamp": str(at), "type": "text", "text": {"body": "x"}}


def status(
    user: str, message_id: str, name: str, at: int, category: str = "", pricing_type: str = "regular"
) -> Entry:
    """Return what became of a message to a user; with a category also what the provider says of its price."""
    entry: dict[str, object] = {"id": message_id, "status": name, "timestamp": str(at), "recipient_id": user}
    if category:
        entry["pricing"] = {
            "billable": pricing_type == "regular",
            "pricing_model": "PMP",
            "type": pricing_type,
            "category": category,
        }
    return entry


def feed(
    dashboard: RunningDashboard,
    *,
    messages: tuple[Entry, ...] = (),
    statuses: tuple[Entry, ...] = (),
    number: str = FED_NUMBERS[0],
    account: str = FED_ACCOUNT,
) -> None:
    """Send one signed webhook; it is taken, whether or not what it holds can be counted."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550001111", "phone_number_id": number},
        **({"messages": messages} if messages else {}),
        **({"statuses": statuses} if statuses else {}),
    }
    entry = {"id": account, "changes": [{"field": "messages", "value": value}]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    address = f"{dashboard.gateway}/webhooks/meta"
    answer = httpx.post(address, content=body, headers=sign(body, APP_SECRET))
    assert answer.status_code == 200, answer.text
