"""Forgetting without changing a number (metering.md §6): fold what is old into checkpoints, drop what is older.

Owns the fold of one user. Does not own when a cut moves (the worker's sweep does) nor the 400-day hashes
of dropped items (it only names them).
"""

from __future__ import annotations

from dataclasses import dataclass

from metering.conversations import Checkpoint, checkpoint_at
from metering.rules import DAY_SECONDS, WINDOW_SECONDS
from metering.state import earliest
from metering.user import AccountRules, FoldedActivity, User, unfolded_activity, view_number, window_open

ACTIVITY_KEPT_SECONDS = 70 * DAY_SECONDS
"""How long before the cut folded activity stays: a month and the message retention, so that linking two
identities can still restate a month whose messages are kept."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Up to where an account's state is forgotten, in UTC seconds.

    ``folded_until``: conversations and activity before it are final. ``items_until``: messages whose last event is
    before it are dropped; at least a day before ``folded_until``, for the customer service windows.
    """

    folded_until: int
    items_until: int

    def __post_init__(self) -> None:
        """Refuse a cut that would drop a message before its conversation is final."""
        if self.items_until + WINDOW_SECONDS > self.folded_until:
            raise ValueError(
                "items must stay at least a day longer than conversations: windows look back on them"
            )


def fold(user: User, cut: Cut, rules: AccountRules) -> list[bytes]:
    """Fold a user's state up to the cut and return the keys of the items dropped. Changes no number.

    A cut that is not later than the user's own does nothing: folding is idempotent.
    """
    if cut.folded_until <= user.head.folded_until:
        return []
    checkpoints: dict[int, Checkpoint] = {}
    for number in range(len(user.head.numbers)):
        checkpoint = _fold_number(user, number, cut.folded_until, rules)
        if checkpoint != Checkpoint():
            checkpoints[number] = checkpoint
    user.head.activity = _fold_activity(user, cut.folded_until, rules)
    user.head.checkpoints = checkpoints
    user.head.folded_until = cut.folded_until
    return _drop_items(user, cut.items_until)


def _fold_number(user: User, number: int, until: int, rules: AccountRules) -> Checkpoint:
    view = view_number(user, number, rules, until)
    for message in user.messages.values():
        if message.number == number and 0 < message.sent_at < until and message.service_window < 0:
            message.service_window = int(window_open(view.incoming_times, message.sent_at))
    for delivery in view.deliveries:
        user.messages[delivery.item].inside_free_entry = int(delivery.item in view.outcome.inside_free_entry)
    return checkpoint_at(until, view.outcome)


def _fold_activity(user: User, until: int, rules: AccountRules) -> list[FoldedActivity]:
    calendar = rules.calendar
    oldest_month = calendar.month(max(0, until - ACTIVITY_KEPT_SECONDS))
    merged: dict[tuple[int, int, str], FoldedActivity] = {}
    for entry in [*user.head.activity, *unfolded_activity(user, calendar, until)]:
        if entry.month < oldest_month:
            continue
        known = merged.setdefault((entry.month, entry.number, entry.country), entry)
        known.incoming_at = earliest(known.incoming_at, entry.incoming_at)
        known.delivered_at = earliest(known.delivered_at, entry.delivered_at)
    return [merged[key] for key in sorted(merged)]


def _drop_items(user: User, until: int) -> list[bytes]:
    dropped = [item for item, message in user.messages.items() if message.last < until]
    for item in dropped:
        del user.messages[item]
    incoming = [item for item, entry in user.incoming.items() if entry.last < until]
    for item in incoming:
        del user.incoming[item]
    return dropped + incoming


def is_empty(user: User) -> bool:
    """Tell whether nothing is left to remember, so that the user's record can go."""
    return not (user.messages or user.incoming or user.head.checkpoints or user.head.activity)
