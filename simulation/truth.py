"""The numbers that metering the simulated world must come to.

An independent implementation of the metering rules (messages, conversations, incoming, active users) that has it
easy: it is handed every contact once, with all its messages, and so may simply play each thread from its beginning.
A contact is one person, under whatever names: nothing has to be found out about who is who. It reads what was *said*
on statuses and which phone they showed, never what the story meant. It knows nothing of arrival, repeats or batches.

Owns its own reading of the rules on purpose and shares no code with the product's metering: two implementations
that agree are worth more than one that is used twice.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from schemas.events import TEMPLATE_CATEGORIES
from schemas.time_zones import ZoneInfo
from simulation.accounts import DEFAULT_ZONE
from simulation.world import DAY_SECONDS, HOUR_SECONDS, Contact, Identity, Outgoing, Said, Status, Thread

Row = dict[str, str | int | bool | None]

_WINDOW_SECONDS = 24 * HOUR_SECONDS
_ENTRY_POINT_SECONDS = 72 * HOUR_SECONDS
_EXPIRY_SECONDS_MAX = 8 * DAY_SECONDS

# Local days on which a utility template inside an open customer service window is free.
_UTILITY_FREE_FROM_DAY = "2025-07-01"
_UTILITY_CHARGED_AGAIN_FROM_DAY = "2026-10-01"

_MEASURES = ("total", "sent", "delivered", "read", "not_delivered")
_TEMPLATE_RANK = {None: 0, False: 1, True: 2}

_UsageKey = tuple[str, str, str, str, str, bool | None]


class LocalCalendar:
    """Local days of one time zone."""

    def __init__(self, zone: str) -> None:
        """Take an IANA zone name."""
        self._zone = ZoneInfo(zone)
        self._days: dict[int, str] = {}

    def day(self, at: int) -> str:
        """Return the local day ``YYYY-MM-DD`` of ``at`` (UTC seconds)."""
        # All offsets in force since 1972 are whole quarters of an hour, and so are all days' beginnings.
        quarter = at // 900
        found = self._days.get(quarter)
        if found is None:
            found = datetime.fromtimestamp(at, UTC).astimezone(self._zone).date().isoformat()
            self._days[quarter] = found
        return found


class Ladder(msgspec.Struct):
    """What the statuses of one message come to."""

    first_at: int
    sent_at: int | None
    delivered_at: int | None
    read_at: int | None
    not_delivered_at: int | None
    category: str
    template: bool | None
    billable: bool | None
    """As the earliest word on pricing says; None = nothing was said."""
    free_entry_point: bool
    entry_point_ends: list[int]
    """Ends that were stated by statuses which themselves say free entry point."""
    country: str
    phone: str | None


class _Conversation(msgspec.Struct):
    type_name: str
    country: str
    day: str
    opened_at: int
    charged: bool = False

    def covers(self, at: int) -> bool:
        return at < self.opened_at + _WINDOW_SECONDS


class _Months(msgspec.Struct):
    """What made one person active, by month: somewhere, or anywhere in an account."""

    received: set[str] = msgspec.field(default_factory=set)
    delivered: set[str] = msgspec.field(default_factory=set)
    phones: dict[str, set[str]] = msgspec.field(default_factory=dict)

    def add_phone(self, month: str, phone: str | None) -> None:
        if phone is not None:
            self.phones.setdefault(month, set()).add(phone)

    def add(self, other: _Months) -> None:
        self.received |= other.received
        self.delivered |= other.delivered
        for month, phones in other.phones.items():
            self.phones.setdefault(month, set()).update(phones)


class _Active(msgspec.Struct):
    """The active users of one month and number."""

    people: int = 0
    people_both: int = 0
    people_without_phone: int = 0
    phones: set[str] = msgspec.field(default_factory=set)


class Truth:
    """Adds up contacts, each given once and complete."""

    def __init__(self, zones: Mapping[str, str]) -> None:
        """Take the accounts' time zones; an account without one is in UTC."""
        self._zones = zones
        self._calendars: dict[str, LocalCalendar] = {}
        self._usage: dict[_UsageKey, list[int]] = {}
        self._conversations: dict[tuple[str, str, str, str, str], list[int]] = {}
        self._incoming: Counter[tuple[str, str, str, str]] = Counter()
        self._active: dict[tuple[str, str, str], _Active] = {}

    def add(self, contact: Contact) -> None:
        """Count everything of one contact."""
        account = contact.account.account_id
        calendar = self._calendar(self._zones.get(account, DEFAULT_ZONE))
        anywhere = _Months()
        for thread in contact.threads:
            months = self._add_thread(contact, thread, calendar)
            self._add_active(account, thread.number.number_id, months)
            anywhere.add(months)
        self._add_active(account, "", anywhere)

    def rows(self) -> Iterator[Row]:
        """Yield all rows, by query and then by keys."""
        for month, account, number in sorted(self._active):
            active = self._active[month, account, number]
            yield {
                "query": "active-users", "month": month, "account": account, "number": number,
                "mau": active.people, "mau_both": active.people_both,
                "mau_phones": len(active.phones) + active.people_without_phone,
            }  # fmt: skip
        for key in sorted(self._conversations):
            day, account, number, country, type_name = key
            free, charged = self._conversations[key]
            yield {
                "query": "conversations", "day": day, "account": account, "number": number, "country": country,
                "type": type_name, "total": free + charged, "free": free, "charged": charged,
            }  # fmt: skip
        for day, account, number, country in sorted(self._incoming):
            yield {
                "query": "incoming", "day": day, "account": account, "number": number, "country": country,
                "count": self._incoming[day, account, number, country],
            }  # fmt: skip
        for usage_key in sorted(self._usage, key=lambda key: (*key[:5], _TEMPLATE_RANK[key[5]])):
            day, account, number, country, category, template = usage_key
            yield {
                "query": "usage", "day": day, "account": account, "number": number, "country": country,
                "category": category, "template": template,
                **dict(zip(_MEASURES, self._usage[usage_key], strict=True)),
            }  # fmt: skip

    def _calendar(self, zone: str) -> LocalCalendar:
        if zone not in self._calendars:
            self._calendars[zone] = LocalCalendar(zone)
        return self._calendars[zone]

    def _add_active(self, account: str, number: str, months: _Months) -> None:
        for month in months.received | months.delivered:
            active = self._active.setdefault((month, account, number), _Active())
            active.people += 1
            active.people_both += month in months.received and month in months.delivered
            phones = months.phones.get(month, ())
            active.phones.update(phones)
            active.people_without_phone += not phones

    def _add_thread(self, contact: Contact, thread: Thread, calendar: LocalCalendar) -> _Months:
        """Count one thread; return the months in which the user was active there."""
        account, number = contact.account.account_id, thread.number.number_id
        months = _Months()
        for message in thread.incoming:
            who = message.shown or contact.identity
            day = calendar.day(message.at)
            self._incoming[day, account, number, who.country] += 1
            months.received.add(day[:7])
            months.add_phone(day[:7], who.phone)
        ladders = [climb(message, contact.identity) for message in thread.outgoing]
        for ladder in ladders:
            self._add_usage((account, number, ladder.country), ladder, calendar)
            if ladder.delivered_at is not None:
                month = calendar.day(ladder.delivered_at)[:7]
                months.delivered.add(month)
                months.add_phone(month, ladder.phone)
        for conversation in play(thread, ladders, calendar):
            key = (conversation.day, account, number, conversation.country, conversation.type_name)
            self._conversations.setdefault(key, [0, 0])[conversation.charged] += 1
        return months

    def _add_usage(self, place: tuple[str, str, str], ladder: Ladder, calendar: LocalCalendar) -> None:
        times = (
            ladder.first_at,
            ladder.sent_at,
            ladder.delivered_at,
            ladder.read_at,
            ladder.not_delivered_at,
        )
        for measure, at in enumerate(times):
            if at is not None:
                key = (calendar.day(at), *place, ladder.category, ladder.template)
                self._usage.setdefault(key, [0] * len(_MEASURES))[measure] += 1


def climb(message: Outgoing, usual: Identity) -> Ladder:
    """Return what the statuses of ``message`` come to; ``usual`` is who they name if they do not say."""
    sent_at = delivered_at = read_at = failed_at = None
    first_at = message.statuses[0].at
    for status in message.statuses:
        at, name = status.at, status.name
        first_at = min(first_at, at)
        if name == "failed":
            failed_at = at if failed_at is None else min(failed_at, at)
            continue
        sent_at = at if sent_at is None else min(sent_at, at)
        if name == "sent":
            continue
        delivered_at = at if delivered_at is None else min(delivered_at, at)
        if name != "delivered":
            read_at = at if read_at is None else min(read_at, at)
    spoken = [(status, status.said) for status in message.statuses if status.said is not None]
    category = min(
        ((s.at, said.category) for s, said in spoken if said.category is not None), default=(0, "")
    )[1]
    entry_point = [said for _, said in spoken if said.free_entry_point]
    return Ladder(
        first_at,
        sent_at,
        delivered_at,
        read_at,
        failed_at if delivered_at is None else None,
        category,
        True if category in TEMPLATE_CATEGORIES else False if category == "service" else None,
        _billable(spoken),
        bool(entry_point),
        [said.expires_at for said in entry_point if said.expires_at is not None],
        *_country_and_phone((status.at, status.shown or usual) for status in message.statuses),
    )


def _country_and_phone(named: Iterable[tuple[int, Identity]]) -> tuple[str, str | None]:
    """Return those of the earliest that names a phone, else of the earliest; alphabetically in the same second."""
    looks = list(named)
    if all(who is looks[0][1] for _, who in looks):  # most messages; a generated world has millions
        return looks[0][1].country, looks[0][1].phone
    with_phone = [(at, who) for at, who in looks if who.phone is not None] or looks
    earliest = min(at for at, _ in with_phone)
    first = [who for at, who in with_phone if at == earliest]
    phones = [who.phone for who in first if who.phone is not None]
    return min(who.country for who in first), min(phones, default=None)


def _billable(spoken: list[tuple[Status, Said]]) -> bool | None:
    """Return the earliest word on pricing; in the same second free comes before billable."""
    words = [
        (status.at, said.pricing_type == "regular" if said.pricing_type is not None else said.billable)
        for status, said in spoken
    ]
    return min(((at, word) for at, word in words if word is not None), default=(0, None))[1]


def play(thread: Thread, ladders: list[Ladder], calendar: LocalCalendar) -> list[_Conversation]:
    """Return the conversations and free entry points of one thread, by playing its deliveries in order."""
    stage = _Stage(thread, calendar)
    deliveries = [(ladder.delivered_at, ladder) for ladder in ladders if ladder.delivered_at is not None]
    deliveries.sort(key=lambda delivery: (delivery[0], *_rank(delivery[1]), delivery[1].country))
    for at, ladder in deliveries:
        # Only the message that opens a free entry point looks at the others of its second.
        if not stage.inside_entry_point(at) and stage.opens_entry_point(at, ladder):
            ends = [end for other_at, other in deliveries if other_at == at for end in other.entry_point_ends]
            stage.open_entry_point(at, ladder.country, ends)
        elif not stage.inside_entry_point(at):
            stage.deliver(at, ladder)
    return stage.conversations


def _rank(ladder: Ladder) -> tuple[int, str]:
    if ladder.free_entry_point:
        return 0, ""
    return (1, ladder.category) if ladder.template else (2, "")


class _Stage:
    """What is open while one thread is played."""

    def __init__(self, thread: Thread, calendar: LocalCalendar) -> None:
        self.conversations: list[_Conversation] = []
        self._calendar = calendar
        self._received = sorted(message.at for message in thread.incoming)
        self._referrals = sorted(message.at for message in thread.incoming if message.referral)
        self._open: dict[str, _Conversation] = {}
        self._entry_point_opened_at: int | None = None
        self._entry_point_end: int | None = None

    def inside_entry_point(self, at: int) -> bool:
        return self._entry_point_end is not None and at < self._entry_point_end

    def opens_entry_point(self, at: int, ladder: Ladder) -> bool:
        used_until = -1 if self._entry_point_opened_at is None else self._entry_point_opened_at
        oldest = max(at - _WINDOW_SECONDS, used_until)
        position = bisect_right(self._referrals, at)
        if position > 0 and self._referrals[position - 1] > oldest:
            return True
        straggler = self._entry_point_end is not None and at < self._entry_point_end + _WINDOW_SECONDS
        return ladder.free_entry_point and not straggler

    def open_entry_point(self, at: int, country: str, stated_ends: list[int]) -> None:
        stated = min(stated_ends, default=0)
        believable = at < stated <= at + _EXPIRY_SECONDS_MAX
        self._entry_point_opened_at = at
        self._entry_point_end = stated if believable else at + _ENTRY_POINT_SECONDS
        self._open.clear()
        self.conversations.append(_Conversation("free_entry_point", country, self._calendar.day(at), at))

    def deliver(self, at: int, ladder: Ladder) -> None:
        """A message outside of any open free entry point, which opens none."""
        if ladder.free_entry_point:
            return  # a straggler: it belongs to the free entry point that has just ended
        self._open = {name: held for name, held in self._open.items() if held.covers(at)}
        if ladder.template:
            type_name = "marketing" if ladder.category == "marketing_lite" else ladder.category
            conversation = self._open.get(type_name) or self._opened(type_name, ladder.country, at)
        elif self._open:
            conversation = min(self._open.values(), key=lambda held: (held.opened_at, held.type_name))
        else:
            conversation = self._opened("service", ladder.country, at)
        conversation.charged |= self._is_billable(ladder, at)

    def _opened(self, type_name: str, country: str, at: int) -> _Conversation:
        conversation = _Conversation(type_name, country, self._calendar.day(at), at)
        self._open[type_name] = conversation
        self.conversations.append(conversation)
        return conversation

    def _is_billable(self, ladder: Ladder, at: int) -> bool:
        if ladder.billable is not None:
            return ladder.billable
        if not ladder.template:
            return False
        free_day = _UTILITY_FREE_FROM_DAY <= self._calendar.day(at) < _UTILITY_CHARGED_AGAIN_FROM_DAY
        return not (ladder.category == "utility" and free_day and self._in_service_window(ladder.sent_at))

    def _in_service_window(self, at: int | None) -> bool:
        assert at is not None  # a delivered message was sent
        position = bisect_right(self._received, at)
        return position > 0 and at - self._received[position - 1] < _WINDOW_SECONDS
