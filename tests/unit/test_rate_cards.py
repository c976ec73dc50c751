"""Looking up what is in force: cards replace each other whole, markets change on a day."""

from __future__ import annotations

from datetime import date

import pytest

from schemas.rate_cards import Band, MarketRow, RateBook, RateCard, TierTable

FIRST, SECOND = date(2026, 7, 1), date(2026, 10, 1)
INDIA, PERU = ("India", "utility"), ("Peru", "utility")
BANDS = (Band(1, 100, 14), Band(101, 0, 12))


@pytest.fixture
def book() -> RateBook:
    """Return two cards of one currency and one of another, given in no order, one tier table, a few markets."""
    return RateBook(
        cards=(
            RateCard("USD", SECOND, {INDIA: 14}),
            RateCard("USD", FIRST, {INDIA: 10, PERU: 30}),
            RateCard("EUR", SECOND, {INDIA: 13}),
        ),
        tiers=(TierTable("USD", SECOND, {INDIA: BANDS}), TierTable("USD", FIRST, {PERU: BANDS})),
        markets=(
            MarketRow("HK", "Hong Kong", FIRST),
            MarketRow("HK", "Rest of Asia Pacific"),
            MarketRow("ZW", "Rest of Africa", FIRST),
        ),
    )


def test_a_card_is_in_force_from_its_day_to_the_day_before_the_next(book: RateBook) -> None:
    """Before the first card there is none, which is not a card of zeros."""
    assert book.card("USD", date(2026, 6, 30)) is None
    assert book.rate("USD", *INDIA, date(2026, 6, 30)) is None
    assert [book.rate("USD", *INDIA, day) for day in (FIRST, date(2026, 9, 30), SECOND)] == [10, 10, 14]
    assert book.rate("EUR", *INDIA, FIRST) is None
    assert book.card("GBP", SECOND) is None


def test_a_card_replaces_the_one_before_it_whole(book: RateBook) -> None:
    """What a later card lacks has no rate, although an earlier card had one."""
    assert book.rate("USD", *PERU, FIRST) == 30
    assert book.rate("USD", *PERU, SECOND) is None


def test_tier_tables_replace_each_other_whole_too(book: RateBook) -> None:
    """A market without bands in the table in force has no tiers."""
    assert book.bands("USD", *PERU, FIRST) == BANDS
    assert book.bands("USD", *PERU, SECOND) == ()
    assert book.bands("USD", *INDIA, SECOND) == BANDS
    assert book.bands("USD", *INDIA, date(2026, 1, 1)) == ()
    assert book.tier_table("EUR", SECOND) is None


def test_a_country_changes_its_market_on_the_day(book: RateBook) -> None:
    """The last day before still belongs to the old market; a country that is not listed belongs to Other."""
    assert book.market_of("HK", date(2026, 6, 30)) == "Rest of Asia Pacific"
    assert book.market_of("HK", FIRST) == "Hong Kong"
    assert book.market_of("ZW", date(2026, 6, 30)) == "Other"
    assert book.market_of("ZW", FIRST) == "Rest of Africa"
    assert book.market_of("ZZ", SECOND) == "Other"


def test_replacing_takes_the_place_of_the_same_date_and_currency(book: RateBook) -> None:
    """The given card and table stand whole for those before them; everything else stays."""
    card = RateCard("USD", SECOND, {PERU: 7}, "new")
    table = TierTable("EUR", SECOND, {INDIA: BANDS})
    changed = book.replacing([card], [table])
    assert changed.card("USD", SECOND) == card
    assert changed.rate("USD", *INDIA, SECOND) is None
    assert (len(changed.cards), len(changed.tiers), changed.markets) == (3, 3, book.markets)
    assert changed.bands("EUR", *INDIA, SECOND) == BANDS
    assert changed.currencies() == ("EUR", "USD")
