"""All state of one user of one account, and what it contributes to the totals if it is one person.

``contribution(user)`` is a pure function of the state; what an event changes is the difference of two contributions
(design decision 1). A user whose names may be those of several persons is taken apart by ``metering.household``.
Everything before ``folded_until`` is represented by checkpoints and folded activity; items (messages and incoming
messages) stay longer, because late statuses still restate their own rows.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from metering.calendar import Calendar, month_of_day
from metering.conversations import (
    RANK_FREE_ENTRY,
    RANK_FREE_FORM,
    RANK_TEMPLATE,
    SERVICE,
    UNKNOWN_TYPE,
    Checkpoint,
    Conversation,
    Delivery,
    Scan,
    scan,
)
from metering.head import FoldedActivity, Head
from metering.identity import deciding_profile, phone_of
from metering.rules import ATTRIBUTE_SECONDS, WINDOW_SECONDS, RegimeRow, Regimes
from metering.state import (
    CATEGORY_BY_CODE,
    NO_CATEGORY,
    PRICING_TYPE_BY_CODE,
    UNSAID,
    Incoming,
    Message,
    earliest,
    incoming_mentions,
    mentions_of,
    word_says_billable,
)
from schemas.events import TEMPLATE_CATEGORIES
from schemas.rows import Family

RowKey = tuple[int | str, ...]
"""``(family, measure index, day, number, *further dimensions)``: one unit in one cell; the account is implied."""

CONVERSATION_TYPE = {"marketing_lite": "marketing", "": UNKNOWN_TYPE, "referral_conversion": UNKNOWN_TYPE}
"""Folding of template categories into conversation types; the others name their type themselves."""


@dataclass(slots=True)
class User:
    """One user's state, decoded."""

    head: Head = field(default_factory=Head)
    messages: dict[bytes, Message] = field(default_factory=dict)
    incoming: dict[bytes, Incoming] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What turns an account's state into rows: its calendar and the price regimes."""

    calendar: Calendar
    regimes: Regimes

    def regime_at(self, instant: int) -> RegimeRow:
        """Return the regime in force at an instant."""
        return self.regimes.at(self.calendar.day(instant))


@dataclass(slots=True)
class NumberView:
    """One number of a user, evaluated: the scan's outcome and the customer service windows."""

    incoming_times: list[int]
    deliveries: list[Delivery]
    outcome: Scan

    def window_open_at(self, instant: int) -> bool:
        """Tell whether an instant lies in [t, t + 24 h) of an incoming message at t."""
        return window_open(self.incoming_times, instant)


def window_open(incoming_times: list[int], instant: int) -> bool:
    """Tell whether the latest incoming message at or before ``instant`` is less than 24 hours old."""
    position = bisect_right(incoming_times, instant)
    return position > 0 and instant < incoming_times[position - 1] + WINDOW_SECONDS


def country_until(message: Message, limit: int) -> str:
    """Return the message's country by its events up to ``limit`` (0 = all).

    That of the earliest event with a phone, else of the earliest event; ties alphabetically.
    """
    if message.phone_at and not (limit and message.phone_at > limit):
        return message.phone_country
    return message.any_country


def template_of(category: str, said: bool | None) -> bool | None:
    """Return the template flag: the one said, else what the category implies (metering.md §2)."""
    if said is not None:
        return said
    if category in TEMPLATE_CATEGORIES:
        return True
    return False if category == "service" else None


def is_template(category: str, template: bool | None) -> bool:
    """Tell templates from free-form messages (metering.md §3, rules 3 and 4)."""
    return category in TEMPLATE_CATEGORIES or (category != "service" and template is True)


class Wording(NamedTuple):
    """What a message is by its category and its template word."""

    category: str
    """"" = none."""
    template: int
    """1 = template, 0 = chat, ``UNSAID`` = unknown."""
    conversation_type: str
    """The type of conversation that it opens; ``service`` for free-form."""
    rank: int
    """Its order within a second, unless it says free entry point."""


@lru_cache(maxsize=64)
def wording_of(category_code: int, said: int) -> Wording:
    """Return what a message is by the code of its category and the template word said (``UNSAID`` = none)."""
    category = CATEGORY_BY_CODE[category_code]
    template = template_of(category, None if said == UNSAID else bool(said))
    templated = is_template(category, template)
    return Wording(
        category,
        UNSAID if template is None else int(template),
        CONVERSATION_TYPE.get(category, category) if templated else SERVICE,
        RANK_TEMPLATE if templated else RANK_FREE_FORM,
    )


def delivery_of(
    item: bytes, message: Message, delivered_at: int, service_window: bool, exempt: bool
) -> Delivery:
    """Return what the conversation scan needs of a delivered message.

    Args:
        item: the message's key.
        message: its state.
        delivered_at: when it was delivered.
        service_window: whether its ``sent_at`` lies in an open customer service window.
        exempt: whether the regime of its delivery frees utility templates inside that window.
    """
    limit = delivered_at + ATTRIBUTE_SECONDS
    category, _, conversation_type, rank = wording_of(
        message.category if message.category_at <= limit else NO_CATEGORY,
        message.template if 0 < message.template_at <= limit else UNSAID,
    )
    entries = message.free_entry and [entry for entry in message.free_entry if entry[0] <= limit]
    if 0 < message.pricing_at <= limit:
        billable = word_says_billable(message.pricing_type, message.billable)
    else:
        billable = rank == RANK_TEMPLATE and not (category == "utility" and exempt and service_window)
    return Delivery(
        delivered_at,
        RANK_FREE_ENTRY if entries else rank,
        category or UNKNOWN_TYPE,
        country_until(message, limit),
        item,
        conversation_type,
        category,
        bool(entries),
        min((expires for _, expires in entries if expires), default=0) if entries else 0,
        billable,
    )


class NumberScan(NamedTuple):
    """What of one number the scan takes, in order."""

    incoming_times: list[int]
    checkpoint: Checkpoint
    deliveries: list[Delivery]
    referrals: list[int]
    free_entry_seconds_at: list[int]


def number_scan(user: User, number: int, rules: AccountRules, until: int = 1 << 62) -> NumberScan:
    """Return everything of one number not folded yet that was delivered before ``until``, for the scan."""
    since = user.head.folded_until
    times = sorted(entry.at for entry in user.incoming.values() if entry.number == number)
    referrals = sorted(
        entry.at
        for entry in user.incoming.values()
        if entry.number == number
        and since <= entry.at < until
        and 0 < entry.referral_at <= entry.at + ATTRIBUTE_SECONDS
    )
    deliveries: list[Delivery] = []
    seconds: dict[int, int] = {}
    for item, message in user.messages.items():
        at = message.delivered_at
        if message.number == number and at and since <= at < until:
            regime = rules.regime_at(at)
            seconds[at] = regime.free_entry_point_seconds
            in_window = message.service_window
            deliveries.append(
                delivery_of(
                    item,
                    message,
                    at,
                    window_open(times, message.sent_at) if in_window == UNSAID else bool(in_window),
                    regime.utility_free_in_service_window,
                )
            )
    deliveries.sort()
    checkpoint = user.head.checkpoints.get(number) or Checkpoint()
    return NumberScan(times, checkpoint, deliveries, referrals, [seconds[each.at] for each in deliveries])


def view_number(user: User, number: int, rules: AccountRules, until: int = 1 << 62) -> NumberView:
    """Evaluate one number of a user: everything not folded yet that was delivered before ``until``."""
    scanned = number_scan(user, number, rules, until)
    outcome = scan(scanned.checkpoint, scanned.deliveries, scanned.referrals, scanned.free_entry_seconds_at)
    return NumberView(scanned.incoming_times, scanned.deliveries, outcome)


def contribution(user: User, rules: AccountRules) -> dict[RowKey, int]:
    """Return everything one person adds to the totals, from the state alone.

    This is the definition; ``metering.evaluation`` takes short cuts that must come to the same.
    """
    result: dict[RowKey, int] = {}
    views = {number: view_number(user, number, rules) for number in range(len(user.head.numbers))}
    for key in contribution_keys(user, rules, views):
        result[key] = result.get(key, 0) + 1
    return result


def contribution_keys(user: User, rules: AccountRules, views: dict[int, NumberView]) -> Iterator[RowKey]:
    """Yield one key per counted unit."""
    for item, message in user.messages.items():
        view = views[message.number]
        yield from message_keys(message, user.head.numbers[message.number], rules.calendar, view, item)
    for entry in user.incoming.values():
        yield incoming_key(entry, user.head.numbers[entry.number], rules.calendar)
    for number, view in views.items():
        yield from conversation_keys(view.outcome.conversations, user.head.numbers[number], rules.calendar)
    yield from activity_keys(user, rules.calendar)


def message_keys(
    message: Message, number: str, calendar: Calendar, view: NumberView, item: bytes
) -> Iterator[RowKey]:
    """Yield the ladder of one message, its delivery in detail, and its failure (metering.md §2)."""
    category, template, _, _ = wording_of(
        message.category, message.template if message.template_at else UNSAID
    )
    dimensions = (number, country_until(message, 0), category, template)
    delivered_at, sent_at = message.delivered_at, message.sent_at
    yield (Family.MESSAGES, 0, calendar.day(message.first_at), *dimensions)
    if sent_at:
        yield (Family.MESSAGES, 1, calendar.day(sent_at), *dimensions)
    if message.read:
        yield (Family.MESSAGES, 3, calendar.day(message.read), *dimensions)
    if delivered_at:
        day = calendar.day(delivered_at)
        yield (Family.MESSAGES, 2, day, *dimensions)
        inside = message.inside_free_entry
        in_window = message.service_window
        yield (
            Family.DELIVERIES,
            0,
            day,
            *dimensions,
            PRICING_TYPE_BY_CODE[message.pricing_type],
            message.billable,
            int(view.window_open_at(sent_at)) if in_window == UNSAID else in_window,
            int(item in view.outcome.inside_free_entry) if inside == UNSAID else inside,
        )
    elif message.failed:
        day = calendar.day(message.failed)
        yield (Family.MESSAGES, 4, day, *dimensions)
        yield (Family.FAILURES, 0, day, *dimensions, message.error_code)


def incoming_key(entry: Incoming, number: str, calendar: Calendar) -> RowKey:
    """Return the row of one incoming message."""
    return (Family.INCOMING, 0, calendar.day(entry.at), number, entry.country)


def conversation_keys(
    conversations: Iterable[Conversation], number: str, calendar: Calendar
) -> Iterator[RowKey]:
    """Yield each conversation twice: in the total, and as free or charged."""
    for conversation in conversations:
        dimensions = (
            calendar.day(conversation.opened_at),
            number,
            conversation.country,
            conversation.type,
            conversation.category,
        )
        yield (Family.CONVERSATIONS, 0, *dimensions)
        yield (Family.CONVERSATIONS, 2 if conversation.charged else 1, *dimensions)


def unfolded_activity(user: User, calendar: Calendar, until: int = 1 << 62) -> Iterator[FoldedActivity]:
    """Yield the activity of items not folded yet, one entry per item."""
    since = user.head.folded_until

    for entry in user.incoming.values():
        at = entry.at
        if since <= at < until:
            named = incoming_mentions(entry)
            by = (deciding_profile(user.head, named), phone_of(user.head, named))
            yield FoldedActivity(calendar.month(at), entry.number, entry.country, at, 0, *by)
    for message in user.messages.values():
        at = message.delivered_at
        if at and since <= at < until:
            limit, mentions = at + ATTRIBUTE_SECONDS, mentions_of(message)
            settled = [mention for mention in mentions if mention[0] <= limit]
            by = (deciding_profile(user.head, mentions), phone_of(user.head, settled))
            country = country_until(message, limit)
            yield FoldedActivity(calendar.month(at), message.number, country, 0, at, *by)


def activity_keys(user: User, calendar: Calendar) -> Iterator[RowKey]:
    """Yield the months in which the user is active, in all four scopes under both rules (metering.md §4)."""
    by_month: dict[int, list[tuple[str, str, int, int]]] = {}
    for entry in [*user.head.activity, *unfolded_activity(user, calendar)]:
        times = (user.head.numbers[entry.number], entry.country, entry.incoming_at, entry.delivered_at)
        by_month.setdefault(entry.month, []).append(times)
    for month, activity in by_month.items():
        for key in first_activity_keys(activity, calendar):
            assert month_of_day(day_of(key)) == month, "activity must be counted in its own month"
            yield key


def first_activity_keys(
    activity: Iterable[tuple[str, str, int, int]], calendar: Calendar
) -> Iterator[RowKey]:
    """Yield the keys of one month from its activity.

    Args:
        activity: ``(number, country, first incoming, first delivery)`` in any order and number; 0 = none.
        calendar: the account's.
    """
    first: dict[tuple[str, str], tuple[int, int]] = {}
    for number, country, incoming_at, delivered_at in activity:
        for scope in (("", ""), (number, ""), ("", country), (number, country)):
            known = first.get(scope)
            if known is None:
                first[scope] = (incoming_at, delivered_at)
            else:
                first[scope] = (earliest(known[0], incoming_at), earliest(known[1], delivered_at))
    for (number, country), (incoming_at, delivered_at) in first.items():
        day = calendar.day(earliest(incoming_at, delivered_at))
        yield (Family.ACTIVE_USERS, 0, day, number, country, "any")
        if incoming_at and delivered_at:
            both_day = calendar.day(max(incoming_at, delivered_at))
            yield (Family.ACTIVE_USERS, 0, both_day, number, country, "both")


def day_of(key: RowKey) -> int:
    """Return the day of a row key."""
    day = key[2]
    assert isinstance(day, int)
    return day
