"""A notice in words, for people: one subject, some lines. Owns wording only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from schemas.alerts import LimitName, Notice

LIMIT_WORDS: Final[dict[LimitName, str]] = {
    "mau_package": "monthly active users",
    "free_service": "free service messages",
    "conversation_budget": "charged conversations",
}
_LIMITS: Final[dict[LimitName, str]] = {
    "mau_package": "MAU package",
    "free_service": "free service allotment",
    "conversation_budget": "conversation budget",
}


def subject_of(notice: Notice) -> str:
    """Return a notice as a line that says the most important first."""
    place = f"{notice.account}{f', number {notice.number}' if notice.number else ''}"
    limit, month = _LIMITS[notice.limit_name], notice.month
    if notice.kind == "recovered":
        return f"{limit} back below {notice.threshold}: {place}, {month}"
    if notice.level == "exhausted":
        return f"{limit} used up ({_share(notice)}): {place}, {month}"
    return f"{limit} at {_share(notice)}: {place}, {month}"


def text_of(notice: Notice) -> str:
    """Return a notice as the lines of a mail."""
    counted = datetime.fromtimestamp(notice.received_until_ms / 1000, UTC)
    noticed = datetime.fromtimestamp(notice.noticed_at_ms / 1000, UTC)
    verb = "has reached" if notice.kind == "crossed" else "is back below"
    why = "" if notice.cause == "count" else " Plans or thresholds were changed; the count was not."
    lines = [
        f"The count of {LIMIT_WORDS[notice.limit_name]} {verb} {notice.threshold}.{why}",
        "",
        f"Account:    {notice.account}",
        *([f"Number:     {notice.number}"] if notice.number else []),
        f"Month:      {notice.month} (in the account's time zone)",
        f"Used:       {notice.used:,}{_of_limit(notice)}",
        *([f"Left:       {max(0, notice.limit - notice.used):,}"] if notice.limit else []),
        f"Threshold:  {notice.threshold} = {notice.threshold_count:,}",
        f"State:      {notice.level} (before: {notice.level_before})",
        f"Counted:    webhooks received until {counted:%Y-%m-%d %H:%M:%S} UTC",
        f"Noticed:    {noticed:%Y-%m-%d %H:%M:%S} UTC",
        f"Id:         {notice.id} (the same in every copy of this notice)",
    ]
    return "\n".join(lines) + "\n"


def _share(notice: Notice) -> str:
    return f"{notice.used_percent} %" if notice.used_percent else f"{notice.used:,}"


def _of_limit(notice: Notice) -> str:
    return f" of {notice.limit:,} ({notice.used_percent} %)" if notice.limit else ""
