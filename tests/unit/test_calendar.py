"""Local days in effective-dated zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from metering.calendar import Calendar, day_number, rules_agree_until

ZONES = ("UTC", "Asia/Kolkata", "America/Sao_Paulo", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia")


def instant(text: str) -> int:
    """Return the UTC seconds of an ISO time with its offset."""
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize("zone", ZONES)
def test_days_equal_those_of_the_zone_database(zone: str) -> None:
    """The cache by hours never shows: every instant, asked in any order, has the day that the zone says."""
    random, calendar = Random(zone), Calendar((("", zone),))
    start = instant("2023-01-01T00:00:00+00:00")
    for _ in range(4000):
        moment = start + random.randrange(4 * 365 * 86_400)
        moment -= moment % random.choice((1, 900, 1800, 3600))
        local = datetime.fromtimestamp(moment, ZoneInfo(zone)).date()
        assert calendar.day(moment) == day_number(local)


@pytest.mark.parametrize(
    ("old", "new"), [("UTC", "Asia/Tokyo"), ("Asia/Tokyo", "America/New_York"), ("UTC", "UTC")]
)
def test_days_never_run_backwards_over_a_change_of_zone(old: str, new: str) -> None:
    """Around the 1st of the month of a change, each later instant is on the same day or a later one."""
    calendar = Calendar((("", old), ("2026-12", new)))
    start = instant("2026-11-29T00:00:00+00:00")
    days = [calendar.day(start + 600 * step) for step in range(6 * 144)]
    assert days == sorted(days)
    assert days[0] >= day_number(date(2026, 11, 28))
    assert days[-1] <= day_number(date(2026, 12, 5))


def test_a_change_takes_force_at_midnight_of_the_new_zone() -> None:
    """A second before the 1st in the new zone the old zone decides, from then on the new one."""
    calendar = Calendar((("", "UTC"), ("2026-12", "America/New_York")))
    change = instant("2026-12-01T00:00:00-05:00")
    first = day_number(date(2026, 12, 1))
    assert calendar.day(change - 1) == first  # 04:59:59 on the 1st in UTC
    assert calendar.day(change) == first
    assert calendar.day(change + 86_400 - 1) == first
    assert calendar.day(change + 86_400) == first + 1


@pytest.mark.parametrize(
    ("new", "agrees"),
    [
        ((("", "UTC"),), True),
        ((("", "Asia/Tokyo"),), False),
        ((("", "UTC"), ("2027-01", "Asia/Tokyo")), True),
        ((("", "UTC"), ("2026-11", "Asia/Tokyo")), False),
        ((("", "UTC"), ("2026-10", "UTC")), True),
    ],
)
def test_rules_may_only_differ_from_a_month_that_has_not_begun(
    new: tuple[tuple[str, str], ...], agrees: bool
) -> None:
    """What was counted up to an instant in November 2026 may be kept exactly when the rules agree until then."""
    counted_until = int((datetime(2026, 11, 20, tzinfo=UTC)).timestamp())
    assert rules_agree_until((("", "UTC"),), new, counted_until) is agrees


def test_a_month_begins_a_day_early_where_any_zone_may_have_begun_it() -> None:
    """On the last day of a month the next one counts as begun."""
    last_day = int((datetime(2026, 11, 30, tzinfo=UTC) + timedelta(hours=12)).timestamp())
    assert not rules_agree_until((("", "UTC"),), (("", "UTC"), ("2026-12", "Asia/Tokyo")), last_day)


def test_rules_out_of_order_are_refused() -> None:
    """A calendar needs a rule, and ascending months."""
    with pytest.raises(ValueError, match="ascending"):
        Calendar(())
    with pytest.raises(ValueError, match="ascending"):
        Calendar((("2026-02", "UTC"), ("2026-01", "UTC")))
