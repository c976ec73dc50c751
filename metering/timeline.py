"""The deliveries of one (account, number, user) in order, with the conversations that follow from them.

Owns the short cut of the conversation scan: deliveries lie in short segments, each with the state in which the scan
leaves it. After a change the scan resumes at the changed segment and stops where it comes to the state it came to
before. Does not own the rules of the scan (``metering.conversations``) nor what is counted on which day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from itertools import chain

import msgspec

from metering.conversations import Conversation, Delivery, Scanner, ScanState, end_of_free_entry
from metering.rules import DAY_SECONDS
from metering.user import AccountRules

SEGMENT_DELIVERIES_MAX = 64
"""A change in the middle scans half a segment on average; at the end, only what is new."""

OPENED_FREE, OPENED_CHARGED, TURNED_CHARGED = range(3)


class Count(msgspec.Struct, frozen=True, gc=False):
    """A segment opened a conversation, free or charged, or turned one that another opened free into a charged one."""

    opened_at: int
    country: str
    type: str
    category: str
    word: int
    """``OPENED_FREE``, ``OPENED_CHARGED`` or ``TURNED_CHARGED``."""


class Segment:
    """Consecutive deliveries, and what the last scan of them came to."""

    __slots__ = ("counts", "deliveries", "dirty", "end", "inside", "scanned")

    def __init__(self, deliveries: list[Delivery]) -> None:
        """Take deliveries that are still to be scanned."""
        self.deliveries = deliveries
        self.counts: tuple[Count, ...] = ()
        self.inside: tuple[bytes, ...] = ()
        """Items delivered inside a free entry point."""
        self.end: ScanState | None = None
        self.scanned = 0
        """How many deliveries, from the first, the last scan still holds for, as far as this segment knows."""
        self.dirty = False


class Rescan:
    """What a rescan changed."""

    __slots__ = ("counts", "inside_gone", "inside_new")

    def __init__(self) -> None:
        """Start with no change."""
        self.counts: dict[Count, int] = {}
        """How many more, or fewer, there are of a count; 0 is possible."""
        self.inside_gone: list[bytes] = []
        self.inside_new: list[bytes] = []

    def take_back(self, segment: Segment) -> None:
        """Take back what the last scan of a segment came to."""
        for count in segment.counts:
            self.add(count, -1)
        self.inside_gone += segment.inside

    def add(self, count: Count, times: int) -> None:
        """Count more, or fewer."""
        self.counts[count] = self.counts.get(count, 0) + times


class Timeline:
    """The deliveries of one number, scanned."""

    __slots__ = ("_dirty", "_gone", "_referrals", "_rules", "_start", "segments")

    def __init__(self, start: ScanState, referrals: list[int], rules: AccountRules) -> None:
        """Start without deliveries, from the state of a checkpoint.

        Args:
            start: where the scan stands.
            referrals: times of the unused referrals of the checkpoint.
            rules: of the account.
        """
        self._start = start
        self._referrals = sorted(referrals)
        """Times of the incoming messages that came from an ad, ascending."""
        self._rules = rules
        self.segments = [Segment([])]
        """Never empty; only a sole segment may have no deliveries."""
        self._dirty: list[Segment] = []
        self._gone: tuple[Segment, ...] = ()
        """Segments that lost their last delivery since the last scan."""

    @property
    def is_dirty(self) -> bool:
        """Tell whether anything changed since the last scan."""
        return bool(self._dirty or self._gone)

    def add(self, delivery: Delivery) -> None:
        """Insert a delivery."""
        index = self._index(delivery)
        segment = self.segments[index]
        if len(segment.deliveries) >= SEGMENT_DELIVERIES_MAX:
            segment = self._make_room(index, delivery)
        deliveries = segment.deliveries
        if not deliveries or deliveries[-1] < delivery:
            deliveries.append(delivery)
            self._mark(segment, resume=True)
        else:
            insort(deliveries, delivery)
            self._mark(segment)
        if delivery.says_free_entry:
            self._mark_second(delivery.at)

    def remove(self, delivery: Delivery) -> None:
        """Take out a delivery that was added."""
        index = self._index(delivery)
        segment = self.segments[index]
        position = bisect_left(segment.deliveries, delivery)
        assert segment.deliveries[position] == delivery, "only what was added can be removed"
        del segment.deliveries[position]
        if segment.deliveries or len(self.segments) == 1:
            self._mark(segment)
        else:
            self._drop(index)
        if delivery.says_free_entry:
            self._mark_second(delivery.at)

    def add_referral(self, at: int) -> None:
        """Add an incoming message that came from an ad."""
        insort(self._referrals, at)
        self._mark_day_after(at)

    def remove_referral(self, at: int) -> None:
        """Take out a referral that was added."""
        del self._referrals[bisect_left(self._referrals, at)]
        self._mark_day_after(at)

    def rescan(self) -> Rescan:
        """Bring the conversations up to date and return what that changes."""
        change = Rescan()
        for segment in self._gone:
            change.take_back(segment)
        pending = self._dirty_indexes()
        while pending:
            index = pending.pop()
            goes_on = self._scan(index, change)
            following = index + 1
            if goes_on and following < len(self.segments):
                self.segments[following].scanned = 0
                if not pending or pending[-1] != following:
                    pending.append(following)
        self._dirty.clear()
        self._gone = ()
        return change

    def counts(self) -> Iterator[Count]:
        """Yield all counts as of the last scan, the conversations of the checkpoint first."""
        return chain(
            map(_opened, self._start.open), chain.from_iterable(segment.counts for segment in self.segments)
        )

    def _scan(self, index: int, change: Rescan) -> bool:
        """Scan what a segment has not scanned; tell whether the scan leaves it in another state than before."""
        segment = self.segments[index]
        segment.dirty = False
        before = segment.end
        if not segment.scanned or before is None:
            before = (self.segments[index - 1].end if index else None) or self._start
            change.take_back(segment)
            segment.counts, segment.inside = (), ()
        scanner = Scanner(before, self._referrals, self._end_of_free_entry)
        deliveries = segment.deliveries
        for position in range(segment.scanned, len(deliveries)):
            scanner.take(deliveries[position])
        counts = [_opened(conversation) for conversation in scanner.opened]
        counts += [_count(conversation, TURNED_CHARGED) for conversation in scanner.turned]
        for count in counts:
            change.add(count, 1)
        change.inside_new += scanner.inside
        segment.counts += tuple(counts)
        segment.inside += tuple(scanner.inside)
        segment.scanned = len(deliveries)
        end = scanner.state(deliveries[-1].at) if deliveries else None
        goes_on = end != segment.end
        segment.end = end
        return goes_on

    def _index(self, delivery: Delivery) -> int:
        """Return the segment where a delivery lies or would lie."""
        last = len(self.segments) - 1
        if not last or delivery >= self.segments[last].deliveries[0]:
            return last
        return max(0, bisect_right(self.segments, delivery, key=_first_delivery) - 1)

    def _index_at(self, at: int) -> int:
        """Return the segment where the first delivery of an instant lies or would lie."""
        if len(self.segments) == 1:
            return 0
        return max(0, bisect_left(self.segments, at, key=_first_at) - 1)

    def _end_of_free_entry(self, opener: Delivery) -> int:
        seconds = self._rules.regime_at(opener.at).free_entry_point_seconds
        return end_of_free_entry(self._from(opener), seconds)

    def _from(self, opener: Delivery) -> Iterator[Delivery]:
        """Yield a delivery and all after it."""
        index = self._index(opener)
        deliveries = self.segments[index].deliveries
        for position in range(bisect_left(deliveries, opener), len(deliveries)):
            yield deliveries[position]
        for later in range(index + 1, len(self.segments)):
            yield from self.segments[later].deliveries

    def _make_room(self, index: int, delivery: Delivery) -> Segment:
        """Divide a full segment and return the part where a delivery belongs."""
        segment = self.segments[index]
        if delivery > segment.deliveries[-1]:
            # Traffic comes mostly in order: leave full segments behind rather than half-full ones.
            later = Segment([])
            later.end = segment.end
        else:
            half = len(segment.deliveries) // 2
            later = Segment(segment.deliveries[half:])
            del segment.deliveries[half:]
            later.end = segment.end
            self._mark(segment)
            self._mark(later)
        self.segments.insert(index + 1, later)
        return segment if later.deliveries and delivery < later.deliveries[0] else later

    def _drop(self, index: int) -> None:
        """Let go of a segment without deliveries. The next one finds another state before it."""
        segment = self.segments.pop(index)
        if segment.dirty:
            self._dirty.remove(segment)
        self._gone += (segment,)
        if index < len(self.segments):
            self._mark(self.segments[index])

    def _mark(self, segment: Segment, *, resume: bool = False) -> None:
        """Note that a segment must be scanned, unless told to ``resume`` all of it."""
        if not resume:
            segment.scanned = 0
        if not segment.dirty:
            segment.dirty = True
            self._dirty.append(segment)

    def _mark_day_after(self, at: int) -> None:
        """Note that a referral at this instant came or went: deliveries of the day after it may see it."""
        final = self.segments[-1].deliveries
        if not final or final[-1].at < at:
            return
        for segment in self.segments[self._index_at(at) : self._index_at(at + DAY_SECONDS) + 1]:
            self._mark(segment)

    def _mark_second(self, at: int) -> None:
        """Note that the expiries of a second may have changed: its first delivery looks at all of them."""
        index = self._index_at(at)
        self._mark(self.segments[index])
        if index + 1 < len(self.segments):
            self._mark(self.segments[index + 1])

    def _dirty_indexes(self) -> list[int]:
        """Return the places of the segments to scan, in descending order."""
        if not self._dirty:
            return []
        if self._dirty == self.segments[-1:]:
            return [len(self.segments) - 1]
        return sorted((self._index(segment.deliveries[0]) for segment in self._dirty), reverse=True)


def _first_delivery(segment: Segment) -> Delivery:
    return segment.deliveries[0]


def _first_at(segment: Segment) -> int:
    return segment.deliveries[0].at


def _opened(conversation: Conversation) -> Count:
    return _count(conversation, OPENED_CHARGED if conversation.charged else OPENED_FREE)


def _count(conversation: Conversation, word: int) -> Count:
    return Count(conversation.opened_at, conversation.country, conversation.type, conversation.category, word)
