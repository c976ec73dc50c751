"""The summary against sums made by hand from the same rows."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from dashboard.periods import Duration, Period, previous_period
from dashboard.usage import FREE, Change, Counted, Row, summary_of
from metering.pricing import charges_of
from tests.support.prices import counts_of, delivered, opened, plan, prices

FIRST = date(2026, 3, 1)
TYPES = [
    "marketing",
    "utility",
    "authentication",
    "authentication_international",
    "service",
    "free_entry_point",
    "unknown",
]
CATEGORIES = [
    "",
    "marketing",
    "marketing_lite",
    "utility",
    "authentication",
    "service",
    "referral_conversion",
]
DAYS = st.integers(-10, 20).map(lambda offset: str(FIRST + timedelta(days=offset)))
COUNTS = st.integers(0, 1000)


@st.composite
def conversations(draw: st.DrawFn) -> Row:
    """Return a row of ``conversations``."""
    free, charged = draw(COUNTS), draw(COUNTS)
    return {
        "day": draw(DAYS),
        "number": draw(st.sampled_from("12")),
        "country": draw(st.sampled_from(["BR", "ZZ"])),
        "type": draw(st.sampled_from(TYPES)),
        "total": free + charged,
        "free": free,
        "charged": charged,
    }


def usage_rows() -> st.SearchStrategy[Row]:
    """Return rows of ``usage``."""
    return st.fixed_dictionaries(
        {
            "day": DAYS,
            "number": st.sampled_from("12"),
            "country": st.sampled_from(["BR", "ZZ"]),
            "category": st.sampled_from(CATEGORIES),
            "template": st.sampled_from([True, False, None]),
            "total": COUNTS,
            "sent": COUNTS,
            "delivered": COUNTS,
            "read": COUNTS,
            "not_delivered": COUNTS,
        }
    )


def incoming_rows() -> st.SearchStrategy[Row]:
    """Return rows of ``incoming``."""
    return st.fixed_dictionaries(
        {"day": DAYS, "number": st.sampled_from("12"), "country": st.just("BR"), "count": COUNTS}
    )


def total(rows: list[Row], column: str, period: Period, **where: str) -> int:
    """Add a column up, the plain way."""
    found = 0
    for row in rows:
        day = date.fromisoformat(str(row["day"]))
        if period.first <= day <= period.last and all(row[key] == value for key, value in where.items()):
            value = row[column]
            assert isinstance(value, int)
            found += value
    return found


@given(
    st.lists(conversations(), max_size=30),
    st.lists(usage_rows(), max_size=30),
    st.lists(incoming_rows(), max_size=10),
    st.integers(1, 8),
)
def test_every_figure_is_a_sum_of_rows(
    talks: list[Row], usage: list[Row], incoming: list[Row], length_days: int
) -> None:
    """Tiles, days, numbers and countries are the sums of their rows, and all of them come to the same totals."""
    period = Period(FIRST, FIRST + timedelta(days=length_days - 1))
    previous = previous_period(Duration.CUSTOM, period)
    assert previous is not None
    summary = summary_of(Counted(talks, usage, incoming, None), period, previous)
    tiles = {tile.key: tile for tile in summary.tiles}
    for key, types in {
        "marketing": ["marketing"],
        "utility": ["utility"],
        "authentication": ["authentication", "authentication_international"],
        "service": ["service"],
    }.items():
        assert tiles[key].conversations == sum(total(talks, "total", period, type=each) for each in types)
        assert tiles[key].free == sum(total(talks, "free", period, type=each) for each in types)
        assert tiles[key].previous == sum(total(talks, "total", previous, type=each) for each in types)
    assert tiles[FREE].conversations == total(talks, "free", period)
    everything = total(talks, "total", period)
    assert summary.total.conversations == everything
    assert sum(tile.conversations for tile in summary.tiles if tile.key != FREE) == everything
    assert sum(line.total for line in summary.days) == everything
    assert [line.day for line in summary.days] == period.days
    for lines in (summary.numbers, summary.countries):
        assert sum(line.total for line in lines) == everything
        assert sum(line.messages for line in lines) == total(usage, "delivered", period)
        assert sum(line.incoming for line in lines) == total(incoming, "count", period) == summary.incoming
    assert sum(line.messages for line in summary.days) == total(usage, "delivered", period)
    assert tiles[FREE].messages is None, "without the charges nobody knows which of them are free"
    assert sum(tile.messages or 0 for tile in summary.tiles) == summary.total.messages
    for column in ("total", "sent", "delivered", "read", "not_delivered"):
        assert sum(getattr(line, column) for line in summary.messages) == total(usage, column, period)


def test_changes_are_rounded_half_away_from_zero() -> None:
    """12.5 % of a thousandth rounds up on both sides; a change from nothing has no percentage."""
    assert Change(2001, 2000).percent_tenths == 1
    assert Change(1999, 2000).percent_tenths == -1
    assert Change(5, 0).percent_tenths is None
    assert Change(0, 3).percent_tenths == -1000


def test_free_form_messages_are_service_messages() -> None:
    """Messages without a category are service messages unless they are said to be templates."""
    base: Row = {"day": "2026-03-01", "number": "1", "country": "BR", "category": ""}
    counts: Row = {"total": 1, "sent": 1, "delivered": 1, "read": 0, "not_delivered": 0}
    rows: list[Row] = [{**base, "template": template, **counts} for template in (True, False, None)]
    summary = summary_of(Counted([], rows, [], None), Period(FIRST, FIRST), None)
    assert {line.key: line.total for line in summary.messages} == {"service": 2, "unclassified": 1}


def test_messages_that_nothing_is_charged_for_stand_in_their_tile() -> None:
    """Free by the rules of their day, whatever their category; conversations of another time are no messages."""
    day = date(2026, 10, 2)
    counted = counts_of(
        delivered(day, 5, "marketing"),
        delivered(day, 3, "marketing", in_free_entry_point=True),
        delivered(day, 2, "utility", country="ES"),
        delivered(day, 4, "service", country="ES"),
        opened(date(2024, 12, 1), 7, "service"),
    )
    charges = charges_of(counted, prices(plan()))
    period = Period(date(2024, 12, 1), day)
    summary = summary_of(Counted([], [], [], charges), period, None)
    [free] = [tile for tile in summary.tiles if tile.key == FREE]
    # The month's first service messages are free.
    assert (free.messages, free.costs) == (3 + 4, [])
