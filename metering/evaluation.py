"""What one user contributes to the totals, kept up to date: only what a change can reach is evaluated again.

Owns the short cuts across items: which messages a customer service window or a free entry point reaches, and what
of a message's rows differs from before. ``metering.user.contribution`` is the definition; a property test holds
the two together. Does not own the state, nor anything that is stored: an evaluation can be made anew at any time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator

import msgspec

from metering.activity import DELIVERED, INCOMING, Activity, Sign
from metering.conversations import Checkpoint, Delivery, state_of
from metering.ladder import Differences, Ladder, add_count, add_ladder, replace_ladder
from metering.rules import ATTRIBUTE_SECONDS, WINDOW_SECONDS
from metering.state import UNSAID, Incoming, Message, earliest
from metering.timeline import OPENED_CHARGED, TURNED_CHARGED, Count, Timeline
from metering.user import (
    AccountRules,
    RowKey,
    User,
    country_until,
    delivery_of,
    window_open,
    wording_of,
)
from schemas.rows import Family

# Plain numbers: an enumeration's members cost more to reach than all else about a row's key.
CONVERSATIONS, INCOMING_MESSAGES = int(Family.CONVERSATIONS), int(Family.INCOMING)

# Views are kept for every item of every cached user. As structs outside of the garbage collection they are small,
# and nothing has to be looked through again and again.


class MessageView(msgspec.Struct, gc=False):
    """A message as last evaluated. At first it counts nowhere."""

    ladder: Ladder | None = None
    delivery: Delivery | None = None
    """Its part in the conversations not folded yet."""
    sent_at: int = 0
    """``sent_at`` while a customer service window can still reach it, else 0."""
    inside: bool = False


class IncomingView(msgspec.Struct, frozen=True, gc=False):
    """An incoming message as last evaluated."""

    at: int
    country: str
    is_referral: bool
    """It is an unfolded referral."""
    is_unfolded: bool


class Sent(msgspec.Struct, frozen=True, order=True, gc=False):
    """When an item was sent. Without an item: the beginning of that second."""

    at: int
    item: bytes = b""


class NumberView:
    """One number of the user: its windows and its conversations."""

    __slots__ = ("name", "sent", "timeline", "times")

    def __init__(self, name: str, timeline: Timeline) -> None:
        """Start without messages."""
        self.name = name
        self.times: list[int] = []
        """Of all incoming messages, ascending."""
        self.sent: list[Sent] = []
        """The messages that a customer service window can still reach, ascending."""
        self.timeline = timeline

    def add_time(self, at: int) -> list[bytes]:
        """Add an incoming message; return the items whose service window opens by it."""
        position = bisect_right(self.times, at)
        reached = self._reached(position, position, at)
        self.times.insert(position, at)
        return reached

    def remove_time(self, at: int) -> list[bytes]:
        """Remove an incoming message; return the items whose service window closes by that."""
        position = bisect_left(self.times, at)
        assert self.times[position] == at, "only what was added can be removed"
        del self.times[position]
        return self._reached(position, position, at)

    def _reached(self, before: int, after: int, at: int) -> list[bytes]:
        """Return the items sent in the window of ``at`` and in that of no other: the neighbours' are left out."""
        if not self.sent or self.sent[-1].at < at:
            return []
        since, until = at, at + WINDOW_SECONDS
        if before > 0:
            since = max(since, self.times[before - 1] + WINDOW_SECONDS)
        if after < len(self.times):
            until = min(until, self.times[after])
        if since >= until:
            return []
        first, last = bisect_left(self.sent, Sent(since)), bisect_left(self.sent, Sent(until))
        return [sent.item for sent in self.sent[first:last]]


class Evaluation:
    """A user's contribution, kept beside the state while the user is cached."""

    __slots__ = ("_activity", "_incoming", "_messages", "_numbers", "_rules", "_user")

    def __init__(self, user: User, rules: AccountRules) -> None:
        """Evaluate all of a user."""
        self._user = user
        self._rules = rules
        self._numbers: list[NumberView] = []
        self._messages: dict[bytes, MessageView] = {}
        self._incoming: dict[bytes, IncomingView] = {}
        self._activity = Activity(user.head.activity, user.head.numbers, rules.calendar)
        if user.messages or user.incoming:
            in_order = sorted(user.messages, key=lambda item: user.messages[item].delivered_at)
            self.update([*user.incoming, *in_order])

    def update(self, items: Iterable[bytes]) -> Differences:
        """Take up that the given items changed (in any way but being dropped); return what that changes."""
        user = self._user
        if len(self._numbers) < len(user.head.numbers):
            self._take_up_numbers()
        differences: Differences = {}
        changed: dict[bytes, None] = {}
        for item in items:
            entry = user.incoming.get(item)
            if entry is None:
                changed[item] = None
            else:
                self._update_incoming(item, entry, differences, changed)
        for item in changed:
            self._update_delivery(item, user.messages[item])
        for number in self._numbers:
            if number.timeline.is_dirty:
                changed.update(dict.fromkeys(self._rescan(number, differences)))
        for item in changed:
            self._update_ladder(item, user.messages[item], differences)
        if self._activity.is_changed:
            for key, count in self._activity.settle(self._signs):
                add_count(differences, key, count)
        if 0 in differences.values():
            return {key: count for key, count in differences.items() if count}
        return differences

    def contribution(self) -> Differences:
        """Return the whole contribution, as ``metering.user.contribution`` does."""
        result: Differences = {}
        for view in self._messages.values():
            if view.ladder is not None:
                add_ladder(result, view.ladder, 1)
        # As evaluated: the state itself may be ahead.
        for item, entry in self._incoming.items():
            number = self._numbers[self._user.incoming[item].number]
            add_count(result, self._incoming_key(number.name, entry.at, entry.country), 1)
        for number in self._numbers:
            for count in number.timeline.counts():
                self._add_conversation(result, number.name, count, 1)
        for key in self._activity.all_keys():
            add_count(result, key, 1)
        return {key: count for key, count in result.items() if count}

    def _take_up_numbers(self) -> None:
        head = self._user.head
        for index in range(len(self._numbers), len(head.numbers)):
            checkpoint = head.checkpoints.get(index) or Checkpoint()
            timeline = Timeline(state_of(checkpoint), checkpoint.referrals, self._rules)
            self._numbers.append(NumberView(head.numbers[index], timeline))

    def _update_incoming(
        self, item: bytes, entry: Incoming, differences: Differences, changed: dict[bytes, None]
    ) -> None:
        number = self._numbers[entry.number]
        at, country = entry.at, entry.country
        unfolded = at >= self._user.head.folded_until
        referral = unfolded and 0 < entry.referral_at <= at + ATTRIBUTE_SECONDS
        view = IncomingView(at, country, referral, unfolded)
        old = self._incoming.get(item)
        if view == old:
            return
        self._incoming[item] = view
        if old is None:
            changed.update(dict.fromkeys(number.add_time(at)))
        else:
            if old.at != at:
                changed.update(dict.fromkeys([*number.add_time(at), *number.remove_time(old.at)]))
            if old.is_referral:
                number.timeline.remove_referral(old.at)
            add_count(differences, self._incoming_key(number.name, old.at, old.country), -1)
        if referral:
            number.timeline.add_referral(at)
        add_count(differences, self._incoming_key(number.name, at, country), 1)
        sign = (old.at, old.country) if old and old.is_unfolded else None
        self._activity.replace(INCOMING, entry.number, sign, (at, country) if unfolded else None)

    def _update_delivery(self, item: bytes, message: Message) -> None:
        view = self._messages.get(item)
        if view is None:
            view = self._messages[item] = MessageView()
        at = message.delivered_at
        if not at and view.delivery is None:
            return
        number = self._numbers[message.number]
        sent_at = message.sent_at if at and message.service_window == UNSAID else 0
        if sent_at != view.sent_at:
            if view.sent_at:
                del number.sent[bisect_left(number.sent, Sent(view.sent_at, item))]
            if sent_at:
                insort(number.sent, Sent(sent_at, item))
            view.sent_at = sent_at
        old, new = view.delivery, None
        if at and at >= self._user.head.folded_until:
            new = self._delivery(item, message, number, at)
        if new == old:
            return
        view.delivery = new
        if old:
            number.timeline.remove(old)
        if new:
            number.timeline.add(new)
        self._activity.replace(DELIVERED, message.number, _sign(old), _sign(new))

    def _delivery(self, item: bytes, message: Message, number: NumberView, at: int) -> Delivery:
        regime = self._rules.regime_at(at)
        in_window = message.service_window
        if in_window == UNSAID:
            in_window = window_open(number.times, message.sent_at)
        return delivery_of(item, message, at, bool(in_window), regime.utility_free_in_service_window)

    def _rescan(self, number: NumberView, differences: Differences) -> set[bytes]:
        """Bring a number's conversations up to date; return the items that came into or out of a free entry point."""
        change = number.timeline.rescan()
        for count, times in change.counts.items():
            if times:
                self._add_conversation(differences, number.name, count, times)
        if not (change.inside_gone or change.inside_new):
            return set()
        for item in change.inside_gone:
            self._messages[item].inside = False
        for item in change.inside_new:
            self._messages[item].inside = True
        return set(change.inside_gone).symmetric_difference(change.inside_new)

    def _update_ladder(self, item: bytes, message: Message, differences: Differences) -> None:
        view = self._messages[item]
        old, new = view.ladder, self._ladder(message, self._numbers[message.number], view.inside)
        if old == new:
            return
        view.ladder = new
        if old is None:
            add_ladder(differences, new, 1)
        else:
            replace_ladder(differences, old, new)

    def _ladder(self, message: Message, number: NumberView, inside: bool) -> Ladder:
        day = self._rules.calendar.day
        category, template, _, _ = wording_of(
            message.category, message.template if message.template_at else UNSAID
        )
        country = country_until(message, 0)
        sent_at, delivered_at = message.sent_at, message.delivered_at
        read_at, failed_at = message.read, message.failed
        if not delivered_at:
            return Ladder(
                number.name,
                country,
                category,
                template,
                day(earliest(failed_at, sent_at)),
                day(sent_at) if sent_at else None,
                None,
                None,
                day(failed_at) if failed_at else None,
                0,
                UNSAID,
                0,
                0,
                message.error_code if failed_at else 0,
            )
        in_window, is_inside = message.service_window, message.inside_free_entry
        sent_day = day(sent_at)
        return Ladder(
            number.name,
            country,
            category,
            template,
            day(failed_at) if 0 < failed_at < sent_at else sent_day,
            sent_day,
            day(delivered_at),
            day(read_at) if read_at else None,
            None,
            message.pricing_type,
            message.billable,
            int(window_open(number.times, sent_at)) if in_window == UNSAID else in_window,
            int(inside) if is_inside == UNSAID else is_inside,
            0,
        )

    def _incoming_key(self, number: str, at: int, country: str) -> RowKey:
        return (INCOMING_MESSAGES, 0, self._rules.calendar.day(at), number, country)

    def _add_conversation(self, differences: Differences, number: str, count: Count, times: int) -> None:
        day = self._rules.calendar.day(count.opened_at)
        dimensions = (day, number, count.country, count.type, count.category)
        if count.word == TURNED_CHARGED:
            add_count(differences, (CONVERSATIONS, 1, *dimensions), -times)
            add_count(differences, (CONVERSATIONS, 2, *dimensions), times)
        else:
            add_count(differences, (CONVERSATIONS, 0, *dimensions), times)
            add_count(
                differences, (CONVERSATIONS, 2 if count.word == OPENED_CHARGED else 1, *dimensions), times
            )

    def _signs(self) -> Iterator[tuple[int, int, Sign]]:
        """Yield every unfolded sign of life, as evaluated."""
        for item, incoming in self._incoming.items():
            if incoming.is_unfolded:
                yield INCOMING, self._user.incoming[item].number, (incoming.at, incoming.country)
        for item, message in self._messages.items():
            if message.delivery:
                yield (
                    DELIVERED,
                    self._user.messages[item].number,
                    (message.delivery.at, message.delivery.country),
                )


def _sign(delivery: Delivery | None) -> Sign | None:
    return (delivery.at, delivery.country) if delivery else None
