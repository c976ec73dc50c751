"""Whatever cards and tiers there are: written and read again they are the same."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from schemas.market_files import shipped_markets
from schemas.rate_cards import RATE_CATEGORIES, Band, RateCard, RateKey, TierTable
from schemas.rate_faults import names_of_markets
from schemas.rate_files import read_rate_file, write_rate_file

KEYS = st.tuples(
    st.sampled_from(sorted(names_of_markets(shipped_markets()))), st.sampled_from(RATE_CATEGORIES)
)
RATES = st.integers(0, 10**18 - 1)
SOURCES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
IDENTITIES = st.tuples(
    st.dates(date(2023, 1, 1), date(2030, 1, 1)), st.sampled_from(["USD", "EUR", "INR", "CLP", "KWD"])
)


@st.composite
def bands(draw: st.DrawFn) -> tuple[Band, ...]:
    """Give bands from 1 on, without gaps and without an end."""
    ends = sorted(draw(st.sets(st.integers(1, 10**12), max_size=5)))
    lowers = [1, *(end + 1 for end in ends)]
    return tuple(Band(lower, upper, draw(RATES)) for lower, upper in zip(lowers, [*ends, 0], strict=True))


def one_line(text: str) -> str:
    """Return a source as it is promised to be written."""
    return " ".join(text.split())


@given(
    cards=st.dictionaries(
        IDENTITIES, st.tuples(st.dictionaries(KEYS, RATES, min_size=1, max_size=8), SOURCES), max_size=4
    ),
    tables=st.dictionaries(
        IDENTITIES, st.tuples(st.dictionaries(KEYS, bands(), min_size=1, max_size=4), SOURCES), max_size=3
    ),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_was_written_is_read_back_the_same(
    cards: dict[tuple[date, str], tuple[dict[RateKey, int], str]],
    tables: dict[tuple[date, str], tuple[dict[RateKey, tuple[Band, ...]], str]],
    line_end: str,
) -> None:
    """Every rate, band, date and source comes back, in the order of dates and currencies."""
    if not cards and not tables:
        return
    wanted_cards = tuple(
        RateCard(currency, effective, rates, one_line(source))
        for (effective, currency), (rates, source) in sorted(cards.items(), key=lambda item: item[0])
    )
    wanted_tables = tuple(
        TierTable(currency, effective, by_key, one_line(source))
        for (effective, currency), (by_key, source) in sorted(tables.items(), key=lambda item: item[0])
    )
    text = write_rate_file(wanted_cards, wanted_tables)
    assert read_rate_file(text.replace("\n", line_end), "f.csv") == (wanted_cards, wanted_tables)
    assert write_rate_file(*read_rate_file(text, "f.csv")) == text
