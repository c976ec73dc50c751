"""The deliveries of one (account, number, user) in order, with the conversations that follow from them.

Owns the short cut of the conversation scan: deliveries lie in short segments, each with the state in which the scan
leaves it. After a change the scan resumes at the changed segment and stops where it comes to the state it came to
before. Does not own the rules of the scan (``metering.conversations``) nor what is counted on which day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import NamedTuple

from metering.conversations import Conversation, Delivery, Scanner, ScanState, end_of_free_entry
from metering.rules import DAY_SECONDS

SEGMENT_DELIVERIES_MAX = 64
"""A change in the middle scans half a segment on average; at the end, only what is new."""

OPENED_FREE, OPENED_CHARGED, TURNED_CHARGED = range(3)

Count = tuple[int, str, str, str, int]
"""``(opened_at, country, type, category, word)``: a segment opened a conversation, free or charged, or it turned one
that was opened free by an earlier segment into a charged one."""


class Segment:
    """Consecutive deliveries, and what the last scan of them came to."""

    __slots__ = ("counts", "deliveries", "dirty", "end", "inside", "scanned")

    def __init__(self, deliveries: list[Delivery]) -> None:
        """Take deliveries that are still to be scanned."""
        self.deliveries = deliveries
        self.counts: list[Count] = []
        self.inside: list[bytes] = []
        """Items delivered inside a free entry point."""
        self.end: ScanState | None = None
        self.scanned = 0
        """How many deliveries, from the first, the last scan still holds for, as far as this segment knows."""
        self.dirty = False


class Rescan(NamedTuple):
    """What a rescan took back and what it put in its place."""

    counts_gone: list[Count]
    counts_new: list[Count]
    inside_gone: list[bytes]
    inside_new: list[bytes]


class Timeline:
    """The deliveries of one number, scanned."""

    __slots__ = ("_dirty", "_gone", "_start", "segments")

    def __init__(self, start: ScanState) -> None:
        """Start without deliveries, from the state of a checkpoint."""
        self._start = start
        self.segments = [Segment([])]
        """Never empty; only a sole segment may have no deliveries."""
        self._dirty: list[Segment] = []
        self._gone: list[Segment] = []
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

    def mark_referral(self, at: int) -> None:
        """Note that a referral at this instant came or went: deliveries of the day after it may see it."""
        final = self.segments[-1].deliveries
        if not final or final[-1].at < at:
            return
        first = self._index((at,))
        last = self._index((at + DAY_SECONDS,))
        for segment in self.segments[first : last + 1]:
            self._mark(segment)

    def rescan(self, referrals: list[int], free_entry_seconds_at: Callable[[int], int]) -> Rescan:
        """Bring the conversations up to date.

        Args:
            referrals: times of the incoming messages that came from an ad, ascending.
            free_entry_seconds_at: gives the length of a free entry point opened at an instant.
        """
        change = Rescan([], [], [], [])
        for segment in self._gone:
            change.counts_gone.extend(segment.counts)
            change.inside_gone.extend(segment.inside)
        pending = self._dirty_indexes()
        while pending:
            index = pending.pop()
            before = (self.segments[index - 1].end if index else None) or self._start
            ends = partial(self._end_of_free_entry, index, free_entry_seconds_at)
            goes_on = _scan_segment(self.segments[index], before, referrals, ends, change)
            following = index + 1
            if goes_on and following < len(self.segments):
                self.segments[following].scanned = 0
                if not pending or pending[-1] != following:
                    pending.append(following)
        self._dirty.clear()
        self._gone.clear()
        return change

    def counts(self) -> Iterator[Count]:
        """Yield all counts as of the last scan, the conversations of the checkpoint first."""
        brought = (_opened(Conversation(*fields)) for fields in self._start.open)
        return chain(brought, chain.from_iterable(segment.counts for segment in self.segments))

    def _index(self, place: Delivery | tuple[int]) -> int:
        """Return the segment where a delivery, or the first of an instant, lies or would lie."""
        if len(self.segments) == 1:
            return 0
        return max(0, bisect_right(self.segments, place, key=_first_delivery) - 1)

    def _end_of_free_entry(self, index: int, seconds_at: Callable[[int], int], opener: Delivery) -> int:
        return end_of_free_entry(self._from(index, opener), seconds_at(opener.at))

    def _from(self, index: int, opener: Delivery) -> Iterator[Delivery]:
        """Yield a delivery of a segment and all after it."""
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
        self._gone.append(segment)
        if index < len(self.segments):
            self._mark(self.segments[index])

    def _mark(self, segment: Segment, *, resume: bool = False) -> None:
        """Note that a segment must be scanned, unless told to ``resume`` all of it."""
        if not resume:
            segment.scanned = 0
        if not segment.dirty:
            segment.dirty = True
            self._dirty.append(segment)

    def _mark_second(self, at: int) -> None:
        """Note that the expiries of a second may have changed: its first delivery looks at all of them."""
        index = self._index((at,))
        self._mark(self.segments[index])
        if index + 1 < len(self.segments):
            self._mark(self.segments[index + 1])

    def _dirty_indexes(self) -> list[int]:
        """Return the places of the segments to scan, in descending order."""
        if len(self.segments) == 1:
            return [0] if self._dirty else []
        return sorted((self._index(segment.deliveries[0]) for segment in self._dirty), reverse=True)


def _first_delivery(segment: Segment) -> Delivery:
    return segment.deliveries[0]


def _scan_segment(
    segment: Segment,
    before: ScanState,
    referrals: list[int],
    end_of_opened: Callable[[Delivery], int],
    change: Rescan,
) -> bool:
    """Scan what a segment has not scanned; tell whether the scan leaves it in another state than before."""
    segment.dirty = False
    if not segment.scanned:
        change.counts_gone.extend(segment.counts)
        change.inside_gone.extend(segment.inside)
        segment.counts, segment.inside = [], []
    elif segment.end is not None:
        before = segment.end
    scanner = Scanner(before, referrals, end_of_opened)
    brought = list(scanner.conversations)
    was_free = [conversation for conversation in brought if not conversation.charged]
    for delivery in islice(segment.deliveries, segment.scanned, None):
        scanner.take(delivery)
    counts = [_opened(conversation) for conversation in scanner.conversations[len(brought) :]]
    counts += [_count(conversation, TURNED_CHARGED) for conversation in was_free if conversation.charged]
    change.counts_new.extend(counts)
    change.inside_new.extend(scanner.inside)
    segment.counts += counts
    segment.inside += scanner.inside
    segment.scanned = len(segment.deliveries)
    end = scanner.state(segment.deliveries[-1].at) if segment.deliveries else None
    goes_on = end != segment.end
    segment.end = end
    return goes_on


def _opened(conversation: Conversation) -> Count:
    return _count(conversation, OPENED_CHARGED if conversation.charged else OPENED_FREE)


def _count(conversation: Conversation, word: int) -> Count:
    return (conversation.opened_at, conversation.country, conversation.type, conversation.category, word)
