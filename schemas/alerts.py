"""The contracts of the topics ``mau.counts`` and ``mau.alerts``: what was counted of a month, and notices about it.

Owns their values and ids; their JSON is ``schemas.alert_codec``. Does not own when a notice is given
(``metering.alerts``).
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, NamedTuple

import msgspec
import orjson

LimitName = Literal["mau_package", "free_service", "conversation_budget"]
LIMIT_NAMES: Final[tuple[LimitName, ...]] = ("mau_package", "free_service", "conversation_budget")
NoticeKind = Literal["crossed", "recovered"]
Level = Literal["ok", "warning", "exhausted"]
Cause = Literal["count", "plan"]
"""What brought it about: what was counted, or terms and thresholds that were changed."""
_ID_BYTES = 16


class MonthTotals(NamedTuple):
    """What counts towards the limits of one account or number in one local month; sums of absolute values."""

    mau_any: int = 0
    mau_both: int = 0
    service_messages: int = 0
    """Delivered as service, free entry points left out; what the allotment is used up by since 2026-10-01."""
    service_conversations: int = 0
    charged_conversations: int = 0


class MonthCount(msgspec.Struct, frozen=True, kw_only=True):
    """One record of ``mau.counts``: what one partition of ``events`` has counted of a month, as of one commit.

    Its key is (account, number, month, partition).
    """

    account: str
    number: str
    """Empty = the whole account."""
    month: str
    """"YYYY-MM", local."""
    partition: int
    """Of ``events``. The totals of a month are the sum over all partitions."""
    sequence: int
    """Commit of that partition which these values are of."""
    received_until_ms: int
    """Time of the newest webhook counted, UTC milliseconds."""
    totals: MonthTotals
    is_closed: bool = False
    """The partition has forgotten days of that month, and will say nothing of it any more; there are no totals."""


class CountKey(NamedTuple):
    """The key of a record of ``mau.counts``."""

    account: str
    number: str
    month: str
    partition: int


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One record of ``mau.alerts``: a threshold was crossed, or the count is back below it. Given once for each id."""

    id: str
    """Of account, number, month, limit, threshold and n; see ``notice_id``."""
    kind: NoticeKind
    level: Level
    """The limit's state from now on: exhausted = a threshold at or above the limit is crossed."""
    level_before: Level
    account: str
    number: str
    month: str
    limit_name: LimitName
    threshold: str
    """As the plan writes it: "80%", or a count."""
    threshold_count: int
    """What the threshold came to."""
    n: int
    """Number of this notice among those of its threshold in the month: odd = crossed, even = recovered."""
    limit: int
    used: int
    used_percent: str
    """With one decimal, rounded half-up; empty = the limit is 0."""
    cause: Cause
    received_until_ms: int
    """Time of the newest webhook counted when it was noticed, UTC milliseconds."""
    noticed_at_ms: int
    """UTC milliseconds."""
    is_past: bool
    """The month was final already (a backfill, a late correction): it is kept, and nobody is woken by it."""


def notice_id(account: str, number: str, month: str, limit_name: str, threshold: str, n: int) -> str:
    """Return the id of a notice: the same for the same parts, and safe in every header."""
    parts = orjson.dumps([account, number, month, limit_name, threshold, n])
    return hashlib.blake2b(parts, digest_size=_ID_BYTES).hexdigest()
