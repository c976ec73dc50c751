"""Whatever cards and tiers there are, they are read again as written; whatever files there are, they are judged."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from schemas.market_files import shipped_markets
from schemas.meta_rate_files import import_meta_file
from schemas.rate_cards import RATE_CATEGORIES, Band, RateCard, RateKey, TierTable
from schemas.rate_faults import RateFaults, names_of_markets
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


META_LIST = (
    'Rates,,\n"Cost per message in USD, effective October 1, 2026",,\n'
    'Market,Currency,Marketing,Utility,"Authentication-\nInternational",Tokens\n'
    'India,$US,$0.0118,$0.0020,n/a,$2\nGermany,$US,"$1,000.5",$0.0550,--,\nOther,GBD,\u00a30.0604,n/a,,\n* note\n'
)
META_TIERS = (
    "effective 2026-10-01\n,,Utility,,,,,Authentication,,,,,Auth-International,,,,\n"
    "Market,Currency" + ",From,To,Rate type,Rate,vs. List" * 3 + "\n"
    'India,$US,0,"25,000",List,$0.0014,--,0,"750,000",List,$0.0014,--,n/a,,,,\n'
    ',,"25,001",--,Tier,$0.0013,-5%,"750,001",--,Tier,$0.0012,-10%,,,,,\n'
    "Other,,0,--,List,$0.0040,--,1,--,List,$0.0040,--,0,--,List,$0.0750,--\n"
)
OWN = (
    "# source: x\neffective,currency,market,category,lower,upper,rate\n2026-10-01,USD,India,utility,,,0.0014\n"
    "2026-10-01,USD,India,utility,1,25,0.0014\n2026-10-01,USD,India,utility,26,,0.0012\n"
)
PIECES = st.sampled_from(
    [
        "",
        ",",
        ",,",
        "\n",
        '"',
        "0",
        "1",
        "-",
        "--",
        ".",
        " ",
        "$",
        "India",
        "Other",
        "USD",
        "EUR",
        "\x00",
        "\u0664",
        "#",
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 6), PIECES), max_size=3)


def edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    """Return a text with some pieces cut out and others put in their places."""
    for place, length, piece in edits:
        start = place % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    return text


@given(st.sampled_from([META_LIST, META_TIERS, OWN]), EDITS)
def test_a_damaged_file_is_refused_or_read_as_something_that_can_be_kept(
    base: str, edits: list[tuple[int, int, str]]
) -> None:
    """Nothing but faults with the file's name comes of it; what is taken can be written, and is the same when read."""
    text = edited(base, edits)
    faults: list[str] = []
    try:
        if base is OWN:
            cards, tables = read_rate_file(text, "f.csv")
        else:
            held = import_meta_file(text.encode(), "f.csv", None, None)
            cards, tables = held.cards, held.tables
    except RateFaults as error:
        faults, cards, tables = error.faults, (), ()
    assert bool(faults) != bool(cards or tables)
    assert all(fault.startswith("f.csv:") for fault in faults)
    if not faults:
        assert read_rate_file(write_rate_file(cards, tables), "f.csv") == (cards, tables)
