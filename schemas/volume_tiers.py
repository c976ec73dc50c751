"""The provider's word that an account has reached a volume tier: what it says, and how it is read.

Owns the reading of those fields. Source: Meta's documentation of ``account_update`` with the event
``VOLUME_BASED_PRICING_TIER_UPDATE`` (tiers since 2025-07-01, webhooks since 2025-10-01). Does not own what is made of
it (metering.md §5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from schemas.events import MONTH_PATTERN, VolumeTier
from schemas.refusing import Refused, check_encodable, required_key, shown

EVENT_NAME: Final = "VOLUME_BASED_PRICING_TIER_UPDATE"
_MONTH = re.compile(MONTH_PATTERN)
_TIER = re.compile(r"(\d{1,15}):(\d{1,15}|MAX|--)", re.ASCII)
_NO_LIMIT = frozenset({"MAX", "--"})


def tier_of(fields: Mapping[str, object], names: tuple[str, str, str]) -> VolumeTier:
    """Return the tier that fields name.

    Args:
        fields: with the text "LOWER:UPPER" (or "LOWER:MAX") as ``tier``.
        names: those of the fields for month, region and category.

    Raises:
        Refused: one of them is missing, or says something else than it should.
    """
    month, region, category = (required_key(fields.get(name), name, "invalid_field") for name in names)
    if not _MONTH.fullmatch(month):
        raise Refused("invalid_field", f"{names[0]}: found {shown(month)}, expected a month as YYYY-MM")
    tier = fields.get("tier")
    found = _TIER.fullmatch(tier) if isinstance(tier, str) else None
    lower = int(found[1]) if found else 0
    upper = 0 if not found or found[2] in _NO_LIMIT else int(found[2])
    if not found or (found[2] not in _NO_LIMIT and upper <= lower):
        raise Refused("invalid_field", f"tier: found {shown(tier)}, expected LOWER:UPPER or LOWER:MAX")
    check_encodable(region, names[1])
    check_encodable(category, names[2])
    return VolumeTier(month, region, category.lower().replace("-", "_"), lower, upper)
