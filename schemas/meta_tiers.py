"""Meta's volume tier webhooks: ``account_update`` with the event ``VOLUME_BASED_PRICING_TIER_UPDATE``.

Owns where in the change the fields stand. What they may say is ``schemas.volume_tiers``.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.events import UNKNOWN_COUNTRY, Event
from schemas.meta_updates import Origin, object_in
from schemas.refusing import NOT_NAMED, occurred_seconds
from schemas.volume_tiers import EVENT_NAME, tier_of

FIELD = "account_update"


def is_tier_update(field: str, value: object) -> bool:
    """Tell whether a change says that a tier was reached."""
    return field == FIELD and isinstance(value, dict) and value.get("event") == EVENT_NAME


def tier_event(value: Mapping[str, object], origin: Origin) -> Event:
    """Return the event of such a change.

    Raises:
        Refused: it cannot be used.
    """
    account, number = origin.identified(NOT_NAMED)
    info = object_in(value, "volume_tier_info")
    occurred_at = occurred_seconds(info.get("tier_update_time"), "tier_update_time", origin.received_at_ms)
    return Event(
        provider="meta",
        account=account,
        number=number,
        kind="tier",
        message_id=NOT_NAMED,
        occurred_at=occurred_at,
        received_at=origin.received_at_ms,
        country=UNKNOWN_COUNTRY,
        volume_tier=tier_of(info, ("effective_month", "region", "pricing_category")),
    )
