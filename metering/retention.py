"""Forgetting without changing a number (metering.md §6): fold what is old into checkpoints, drop what is older.

Owns the fold of one user. Does not own when a cut moves (the worker's sweep does) nor the 400-day hashes
of dropped items (it only names them).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from metering.conversations import Checkpoint, checkpoint_at
from metering.head import NOBODY, FoldedActivity, FoldedPerson, Head
from metering.household import persons_of
from metering.identity import profile_of
from metering.rules import DAY_SECONDS, WINDOW_SECONDS
from metering.state import Mention, earliest, incoming_mentions, mentions_of
from metering.user import AccountRules, User, unfolded_activity, view_number, window_open

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
    head = user.head
    folded: list[FoldedPerson] = []
    activity: list[FoldedActivity] = []
    for key, person in persons_of(user).items():
        checkpoints: dict[int, Checkpoint] = {}
        for number in range(len(head.numbers)):
            checkpoint = _fold_number(person, number, cut.folded_until, rules)
            if checkpoint != Checkpoint():
                checkpoints[number] = checkpoint
        if checkpoints:
            folded.append(FoldedPerson(profile_of(head, key), checkpoints))
        activity += _fold_activity(person, cut.folded_until, rules, head)
    first, head.others = (folded[0], folded[1:]) if folded else (FoldedPerson(0, {}), [])
    head.profile, head.checkpoints = first.profile, first.checkpoints
    head.activity = activity
    head.folded_until = cut.folded_until
    return _drop_items(user, cut.items_until)


def _fold_number(user: User, number: int, until: int, rules: AccountRules) -> Checkpoint:
    view = view_number(user, number, rules, until)
    for message in user.messages.values():
        if message.number == number and 0 < message.sent_at < until and message.service_window < 0:
            message.service_window = int(window_open(view.incoming_times, message.sent_at))
    for delivery in view.deliveries:
        user.messages[delivery.item].inside_free_entry = int(delivery.item in view.outcome.inside_free_entry)
    return checkpoint_at(until, view.outcome)


def _fold_activity(user: User, until: int, rules: AccountRules, head: Head) -> list[FoldedActivity]:
    calendar = rules.calendar
    oldest_month = calendar.month(max(0, until - ACTIVITY_KEPT_SECONDS))
    merged: dict[tuple[int, int, str, int, int], FoldedActivity] = {}
    for entry in [*user.head.activity, *unfolded_activity(user, calendar, until)]:
        if entry.month < oldest_month:
            head.gone_month = max(head.gone_month, entry.month)
            continue
        key = (entry.month, entry.number, entry.country, entry.profile, entry.phone)
        known = merged.setdefault(key, entry)
        known.incoming_at = earliest(known.incoming_at, entry.incoming_at)
        known.delivered_at = earliest(known.delivered_at, entry.delivered_at)
    return [merged[key] for key in sorted(merged)]


def _drop_items(user: User, until: int) -> list[bytes]:
    messages = [item for item, message in user.messages.items() if message.last < until]
    incoming = [item for item, entry in user.incoming.items() if entry.last < until]
    if not (messages or incoming):
        return []
    head = user.head
    mentions: set[Mention] = set(head.seen)
    for item in messages:
        message = user.messages.pop(item)
        head.last_at = max(head.last_at, message.last)
        mentions |= mentions_of(message)
    for item in incoming:
        entry = user.incoming.pop(item)
        head.last_at = max(head.last_at, entry.last)
        mentions |= incoming_mentions(entry)
    head.seen = _first_and_last(head, mentions, until)
    return messages + incoming


def _first_and_last(head: Head, mentions: set[Mention], until: int) -> list[Mention]:
    """Return what is kept of when phones and BSUIDs were seen together: of each pair, before ``until``, two times."""
    pairs = sorted(
        (profile, at)
        for at, profile in mentions
        if profile < len(head.profiles) and NOBODY not in head.profiles[profile]
    )
    kept: set[Mention] = set()
    for profile, group in groupby(pairs, key=itemgetter(0)):
        times = [at for _, at in group]
        old = [at for at in times if at < until]
        kept.update((at, profile) for at in (*old[:1], *old[-1:], *times[len(old) :]))
    return sorted(kept)


def is_empty(user: User, names_since: int = 0) -> bool:
    """Tell whether nothing is left to remember, so that the user's record can go.

    Args:
        user: folded.
        names_since: names that belong together are kept while an event after this (UTC seconds) named them.
    """
    head = user.head
    if user.messages or user.incoming or head.checkpoints or head.others or head.activity:
        return False
    return head.key_count <= 1 or head.last_at < names_since
