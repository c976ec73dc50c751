"""Local days: which calendar day, in an account's own zone, an instant falls on (metering.md §1, "Local time").

Owns effective-dated zones and day arithmetic. Days count from 1970-01-01, months are ``year * 12 + month - 1``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from schemas.time_zones import ZoneInfo

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
LATENESS_DAYS = 7
"""Webhooks are repeated for so long; later nothing but a backfill changes a month (facts: the provider's own words)."""
HOUR_SECONDS = 3600
_OFFSET_STEP_SECONDS = 6 * HOUR_SECONDS
"""No zone has changed its offset twice within so short a time, nor will any that people live by."""
_CACHED_HOURS_MAX = 1 << 16

ZoneRules = tuple[tuple[str, str], ...]
"""``((month "YYYY-MM" or "" for the beginning, IANA zone), ...)`` in ascending order of months."""


def zones_within(rules: ZoneRules, first: date, last: date) -> ZoneRules:
    """Return those of the rules that local days from the first to the last were counted by: at least one."""
    # The first of them also covers everything before it.
    start = max((place for place, (since, _) in enumerate(rules) if since <= f"{first:%Y-%m}"), default=0)
    return (rules[start], *(rule for rule in rules[start + 1 :] if rule[0] <= f"{last:%Y-%m}"))


def zone_on(rules: ZoneRules, day: date) -> str:
    """Return the zone that a local day was counted by."""
    return zones_within(rules, day, day)[-1][1]


@lru_cache(maxsize=1 << 14)
def month_of_day(day: int) -> int:
    """Return the month (``year * 12 + month - 1``) of a day."""
    local = date_of(day)
    return local.year * 12 + local.month - 1


def day_number(local: date) -> int:
    """Return the days from 1970-01-01 to a date."""
    return local.toordinal() - EPOCH_ORDINAL


def date_of(day: int) -> date:
    """Return the date of a day."""
    return date.fromordinal(day + EPOCH_ORDINAL)


def first_of(month: str) -> date:
    """Return the 1st of a month "YYYY-MM"."""
    return date.fromisoformat(f"{month}-01")


def month_after(first: date) -> date:
    """Return the 1st of the next month from the 1st of a month."""
    return (first + timedelta(days=31)).replace(day=1)


def month_before(first: date) -> date:
    """Return the 1st of the month before from the 1st of a month."""
    return (first - timedelta(days=1)).replace(day=1)


def last_day_of(first: date) -> date:
    """Return the last day of a month from its 1st."""
    return month_after(first) - timedelta(days=1)


def final_from(first: date) -> date:
    """Return the day from which on a month, given by its 1st, can only be changed by what comes very late (§8)."""
    return month_after(first) + timedelta(days=LATENESS_DAYS)


def days_of(first: date) -> list[date]:
    """Return the days of a month from its 1st."""
    return [first + timedelta(days=offset) for offset in range((month_after(first) - first).days)]


class Calendar:
    """The calendar of one account.

    A change of zone takes force at 00:00 of the first day of its month *in the new zone*; local days never run
    backwards over a change, because both zones are at most a day apart and the change is on the 1st.
    """

    def __init__(self, rules: ZoneRules = (("", "UTC"),)) -> None:
        """Take the zones in force; the first rule also covers everything before it.

        Raises:
            zoneinfo.ZoneInfoNotFoundError: a zone is not known.
            ValueError: no rule, or the months are not ascending.
        """
        if not rules or [month for month, _ in rules] != sorted({month for month, _ in rules}):
            raise ValueError(f"zone rules must be one or more, in ascending order of months: {rules!r}")
        self.rules = rules
        self._zones = [ZoneInfo(zone) for _, zone in rules]
        self._starts = [
            _month_start(month, zone) for (month, _), zone in zip(rules[1:], self._zones[1:], strict=True)
        ]
        self._day_by_hour: dict[int, int] = {}

    def day(self, instant: int) -> int:
        """Return the local day of an instant (UTC seconds)."""
        hour = instant // HOUR_SECONDS
        try:
            return self._day_by_hour[hour]
        except KeyError:
            return self._take_up(hour, instant)

    def _take_up(self, hour: int, instant: int) -> int:
        day, whole_hour = self._look_up(instant, hour)
        if whole_hour:
            if len(self._day_by_hour) >= _CACHED_HOURS_MAX:
                self._day_by_hour.clear()
            self._day_by_hour[hour] = day
        return day

    def month(self, instant: int) -> int:
        """Return the local month of an instant."""
        return month_of_day(self.day(instant))

    def offset_changes(self, since: int, until: int) -> tuple[tuple[int, int], ...]:
        """Return ``(instant, seconds east of UTC from then on)`` for [``since``, ``until``), the first at ``since``."""
        return _offset_changes(tuple(self._zones), tuple(self._starts), since, until)

    def _look_up(self, instant: int, hour: int) -> tuple[int, bool]:
        """Return the day, and whether every instant of the UTC hour falls on that day.

        A zone changes its offset at most once an hour, so an hour with one zone, one offset and one day at both
        ends has that day throughout; other hours are looked up each time.
        """
        first, last = hour * HOUR_SECONDS, hour * HOUR_SECONDS + HOUR_SECONDS - 1
        local = self._local(instant)
        local_first, local_last = self._local(first), self._local(last)
        whole_hour = (
            local_first.date() == local_last.date()
            and local_first.utcoffset() == local_last.utcoffset()
            and self._zone_index(first) == self._zone_index(last)
        )
        return day_number(local.date()), whole_hour

    def _zone_index(self, instant: int) -> int:
        return bisect_right(self._starts, instant)

    def _local(self, instant: int) -> datetime:
        return datetime.fromtimestamp(instant, self._zones[self._zone_index(instant)])


def _month_start(month: str, zone: ZoneInfo) -> int:
    year, month_number = month.split("-")
    return int(datetime(int(year), int(month_number), 1, tzinfo=zone).timestamp())


@lru_cache(maxsize=1 << 12)
def _offset_changes(
    zones: tuple[ZoneInfo, ...], starts: tuple[int, ...], since: int, until: int
) -> tuple[tuple[int, int], ...]:
    # Cached by the zones themselves, not by their names: most accounts share them.
    def offset(instant: int) -> int:
        local = datetime.fromtimestamp(instant, zones[bisect_right(starts, instant)])
        distance = local.utcoffset()
        assert distance is not None, "a time in a zone has an offset"
        return int(distance.total_seconds())

    changes = [(since, offset(since))]
    for unchanged in range(since, until, _OFFSET_STEP_SECONDS):
        last = min(unchanged + _OFFSET_STEP_SECONDS, until - 1)
        while offset(last) != changes[-1][1]:
            known = changes[-1][1]
            # The first instant of another offset lies after the known one and not after the last.
            change = bisect_left(
                range(last), True, max(unchanged, changes[-1][0]), key=lambda at: offset(at) != known
            )
            changes.append((change, offset(change)))
    return tuple(changes)


def rules_agree_until(old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]], instant: int) -> bool:
    """Tell whether two rule lists name the same zones for everything up to an instant (UTC seconds).

    What has been counted was put on days by the old rules; new ones may only differ from a later month on. A
    month counts as begun a day early, so that no zone's local month has begun where this says it has not.
    """
    begun = datetime.fromtimestamp(instant + 86_400, UTC).strftime("%Y-%m")
    return _effective(old, begun) == _effective(new, begun)


def _effective(rules: Sequence[tuple[str, str]], begun: str) -> list[tuple[str, str]]:
    """Return the rules in force up to a month, without changes that change nothing."""
    result: list[tuple[str, str]] = []
    for month, zone in rules:
        if month > begun and result:
            break
        if not result:
            result.append(("", zone))
        elif result[-1][1] != zone:
            result.append((month, zone))
    return result
