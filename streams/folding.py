"""Folding a stored user up to its account's cut: the records that this writes and removes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metering.meter import fold_metered
from metering.retention import is_empty
from metering.rules import DAY_SECONDS
from metering.storage import Writes, expired_key
from metering.user import AccountRules
from streams.users import CachedUser

if TYPE_CHECKING:
    from streams.step import Retention


def fold_cached(cached: CachedUser, cut: int, retention: Retention, rules: AccountRules) -> Writes:
    """Fold a user up to its account's cut and return the marks of dropped items.

    The user's own records are written by the caller, together with whatever else changes. Folding may happen long
    after the cut moved: it changes no number, so a user is folded when it is next looked at, by an event or by
    the sweep.
    """
    if cut <= cached.metered.user.head.folded_until:
        return {}
    dropped = fold_metered(cached.metered, retention.cut_at(cut), rules)
    day = (cut // DAY_SECONDS).to_bytes(4)
    return {expired_key(cached.record.prefix, item): day for item in dropped}


def removal_if_empty(cached: CachedUser, names_since: int) -> Writes:
    """Return the writes that remove a user of whom nothing is left to remember, else none.

    Names that belong together are remembered if an event named them after ``names_since`` (UTC seconds).
    """
    return cached.record.removal() if is_empty(cached.metered.user, names_since) else {}
