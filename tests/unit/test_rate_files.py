"""Our own rate files: every fault with its line, nothing lost on the way, and who replaces whom."""

from __future__ import annotations

import tomllib
from datetime import date
from glob import glob
from pathlib import Path

import pytest

from schemas.money import parse_micros
from schemas.rate_cards import Band, RateCard, TierTable
from schemas.rate_files import RateFaults, load_rate_book, read_rate_file, tiers_beside_cards, write_rate_file

OCTOBER = date(2026, 10, 1)
HEADER = "effective,currency,market,category,lower,upper,rate\n"
ROOT = Path(__file__).parents[2]

AMOUNT = "an amount such as 0.0037, with at most 12 digits before the point and 6 behind it"


def faults_of(text: str) -> list[str]:
    """Return the faults of a file that must have some."""
    with pytest.raises(RateFaults) as caught:
        read_rate_file(text, "f.csv")
    return [fault.replace(AMOUNT, "AMOUNT") for fault in caught.value.faults]


def test_a_file_may_hold_several_cards_and_tier_tables() -> None:
    """Rows belong to the card of their date and currency; rows with a lower bound are tiers."""
    cards, tables = read_rate_file(
        '# what follows is ours\n"# source: one,",,,,,,\n# source: two\n'
        + HEADER
        + "2026-10-01,USD,India,utility,,,0.0014\n\n"
        + "2026-10-01,USD,India,utility,26,,0.0012\n"
        + "2026-10-01,USD,India,utility,1,25,0.0014\n"
        + "# source: three\n"
        + "2026-07-01,EUR,Other,marketing,,,0\n",
        "f.csv",
    )
    assert cards == (
        RateCard("EUR", date(2026, 7, 1), {("Other", "marketing"): 0}, "three"),
        RateCard("USD", OCTOBER, {("India", "utility"): 1_400}, "one, two"),
    )
    bands = (Band(1, 25, 1_400), Band(26, 0, 1_200))
    assert tables == (TierTable("USD", OCTOBER, {("India", "utility"): bands}, "one, two"),)


def test_byte_order_marks_foreign_line_ends_and_spaces_change_nothing() -> None:
    """What editors and spreadsheets add to a file is not part of it."""
    plain = HEADER + "2026-10-01,USD,India,utility,,,0.0014\n"
    dressed = (
        "\ufeff"
        + plain.replace("\n", "\r\n").replace(",India,", ', "India" ,').replace(' "India" ', "India ")
        + ",,,,,,\r\n"
    )
    assert read_rate_file(dressed, "f.csv") == read_rate_file(plain, "f.csv")


def test_every_fault_of_a_file_is_told_with_its_line() -> None:
    """One reading tells all that is wrong: dates, currencies, names, amounts, doubles and fields."""
    found = faults_of(
        "# comment\n"
        + HEADER
        + "2026-10-1,USD,India,utility,,,0.1\n"
        + "2026-10-01,GBD,India,utility,,,0.1\n"
        + "2026-10-01,USD,Indai,utility,,,0.1\n"
        + "2026-10-01,USD,India,utilty,,,0.1\n"
        + "2026-10-01,USD,India,service,,,0.0000001\n"
        + "2026-10-01,USD,India,marketing,,,-1\n"
        + "2026-10-01,USD,Peru,utility,,,0.1\n"
        + "2026-10-01,USD,Peru,utility,,,0.2\n"
        + "2026-10-01,USD,Peru\n"
        + '2026-10-01,USD,"Peru,service,,,1\n'
        + "20261001,usd,Atlantis,,,,x\n"
    )
    assert [fault.split(": ", 1)[0] for fault in found] == [
        f"f.csv:{line}" for line in (3, 4, 5, 6, 7, 8, 10, 11, 12)
    ] + ["f.csv:13"] * 5
    assert found[:6] == [
        "f.csv:3: effective: found '2026-10-1', expected a date such as 2026-10-01",
        "f.csv:4: found the currency 'GBD', expected an ISO 4217 code such as USD",
        "f.csv:5: found the market 'Indai', which is not in the market mapping; did you mean India?",
        (
            "f.csv:6: found the category 'utilty', expected marketing or utility or authentication or "
            "authentication_international or service"
        ),
        "f.csv:7: rate: expected AMOUNT; found '0.0000001'",
        "f.csv:8: rate: expected AMOUNT; found '-1'",
    ]
    assert found[6] == "f.csv:10: USD 2026-10-01, Peru, utility has a list rate on line 9 already"
    assert "3 fields, expected 7" in found[7]
    assert "not CSV" in found[8]


@pytest.mark.parametrize(
    ("bands", "told"),
    [
        (["2,,1"], ["f.csv:2: the first band of OF is from 2, expected from 1"]),
        (["1,10,1", "12,,1"], ["f.csv:3: between the bands of OF there is a gap from 11 to 11"]),
        (["1,10,1", "10,,1"], ["f.csv:3: the band of OF from 10 overlaps the band before it"]),
        (["1,10,1", "1,10,1", "11,,1"], ["f.csv:3: the band of OF from 1 overlaps the band before it"]),
        (["1,,1", "11,,1"], ["f.csv:3: the band of OF from 11 overlaps the band before it"]),
        (["1,10,1"], ["f.csv:2: the last band of OF ends at 10, expected no limit: more messages would have no rate"]),
        (["1,10,1", "11,5,1", "12,,1"], ["f.csv:3: a band of OF ends at 5, before its beginning at 11",
                                         "f.csv:4: between the bands of OF there is a gap from 11 to 11"]),
        (["0,10,1", "11,,1"], ["f.csv:2: lower: found '0', expected a whole number from 1"]),
        ([",10,1", "11,,1"], ["f.csv:2: lower: found '', expected a whole number from 1"]),
        (["1,x,1", "11,,1"], ["f.csv:2: upper: found 'x', expected a whole number, or nothing"]),
        (["1,10,x", "11,,1"], ["f.csv:2: rate: expected AMOUNT; found 'x'"]),
        (['1,"1,000",1', "1001,,1"], ["f.csv:2: upper: found '1,000', expected a whole number, or nothing"]),
    ],
)  # fmt: skip
def test_bands_cover_every_number_once(bands: list[str], told: list[str]) -> None:
    """Gaps, overlaps and a missing beginning or end are faults; one faulty cell does not make others look faulty."""
    rows = "".join(f"2026-10-01,USD,India,utility,{band}\n" for band in bands)
    assert faults_of(HEADER + rows) == [text.replace("OF", "USD 2026-10-01, India, utility") for text in told]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "found no rates"),
        ("# only a comment\n", "found no rates"),
        (HEADER, "found no rates"),
        ("2026-10-01,USD,India,utility,,,0.1\n", "expected the header"),
        ("Cost per message\nMarket,Currency\n", "convometer rates import"),
    ],
)
def test_a_file_without_rates_or_header_is_a_fault(text: str, word: str) -> None:
    """A file that says nothing is never taken for a card without rates."""
    (fault,) = faults_of(text)
    assert word in fault


def test_what_cannot_be_told_apart_in_a_file_is_not_written() -> None:
    """Empty cards and doubles are refused."""
    card = RateCard("USD", OCTOBER, {("India", "utility"): 1})
    with pytest.raises(ValueError, match="twice"):
        write_rate_file([card, card], [])
    with pytest.raises(ValueError, match="empty"):
        write_rate_file([RateCard("USD", OCTOBER, {})], [])


def test_the_shipped_card_is_the_one_of_october() -> None:
    """A few figures of the published list, the categories that cost the same, and what has no rate."""
    book = load_rate_book(None)

    def rate(market: str, category: str) -> int | None:
        return book.rate("USD", market, category, date(2026, 11, 23))

    assert [rate("Germany", "marketing"), rate("Germany", "utility"), rate("Other", "marketing")] == [
        parse_micros(text) for text in ("0.1365", "0.0550", "0.0604")
    ]
    card = book.card("USD", OCTOBER)
    assert card is not None
    markets = {market for market, _ in card.rates}
    assert len(markets) == 47
    for market in markets:
        assert rate(market, "utility") == rate(market, "authentication") == rate(market, "service")
    international = {market for market, category in card.rates if category == "authentication_international"}
    assert international == {"Nigeria", "Morocco", "South Africa"}
    assert rate("India", "authentication_international") is None
    assert "not checked with the provider" in card.source
    assert book.card("USD", date(2026, 9, 30)) is None


def test_the_shipped_tiers_begin_with_the_list_rate_and_go_down() -> None:
    """The discounts are those published: 0, 5, 10, 15, 20 and 25 percent."""
    book = load_rate_book(None)
    bands = book.bands("USD", "Rest of Africa", "utility", OCTOBER)
    assert [band.rate * 100 // 4_000 for band in bands] == [100, 95, 90, 85, 80, 75]
    assert (bands[0].lower, bands[-1].lower, bands[-1].upper) == (1, 80_000_001, 0)
    assert tiers_beside_cards(book, [("USD", OCTOBER)]) == []


def test_all_data_files_are_in_the_package() -> None:
    """The patterns of package data match every file below ``schemas/data``."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "schemas"
    ]
    shipped = {path for pattern in patterns for path in glob(str(ROOT / "schemas" / pattern), recursive=True)}
    data = {str(path) for path in (ROOT / "schemas" / "data").rglob("*") if path.is_file()}
    assert data
    assert data <= shipped


def test_the_operators_card_replaces_the_shipped_one_whole(tmp_path: Path) -> None:
    """Of the same currency and date nothing shipped is left; other dates and the tiers stay."""
    (tmp_path / "mine.csv").write_text(HEADER + "2026-10-01,USD,India,utility,,,0.0001\n")
    (tmp_path / "later.csv").write_text(HEADER + "2027-01-01,USD,Rest of Africa,utility,,,0.0002\n")
    (tmp_path / "notes.txt").write_text("not a card")
    book = load_rate_book(tmp_path)
    card = book.card("USD", date(2026, 12, 31))
    assert card is not None
    assert card.rates == {("India", "utility"): 100}
    assert book.rate("USD", "Rest of Africa", "utility", date(2027, 1, 1)) == 200
    assert book.bands("USD", "Rest of Africa", "utility", date(2027, 1, 1)) != ()
    (told,) = tiers_beside_cards(book, [("USD", date(2027, 1, 1))])
    assert told == (
        "on 2027-01-01 the USD tiers of Rest of Africa, utility begin with 0.0040, but the list rate is 0.0002"
    )


def test_two_files_with_the_same_card_are_a_fault_that_names_both(tmp_path: Path) -> None:
    """Which of them is meant cannot be known; faults of all files come together."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(HEADER + "2026-10-01,USD,India,utility,,,0.0001\n")
    (tmp_path / "c.csv").write_text(HEADER + "2026-10-01,USD,India,utility,1,,0.0001\n")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(RateFaults) as caught:
        load_rate_book(tmp_path)
    assert caught.value.faults == [
        f"{tmp_path}/b.csv: holds the USD card of 2026-10-01, which {tmp_path}/a.csv holds too",
        f"{tmp_path}/d.csv: found bytes that are not UTF-8 at offset 0, expected text in UTF-8",
    ]


def test_the_operators_markets_decide_what_a_card_may_name(tmp_path: Path) -> None:
    """With a mapping of one's own, its names are the ones that count; Other is always one of them."""
    (tmp_path / "markets.csv").write_text("country,market,effective\nDE,Mine,\n")
    (tmp_path / "card.csv").write_text(
        HEADER
        + "2027-01-01,USD,Mine,utility,,,1\n2027-01-01,USD,Other,utility,,,2\n2027-01-01,USD,India,utility,,,3\n"
    )
    with pytest.raises(RateFaults) as caught:
        load_rate_book(tmp_path)
    assert caught.value.faults == [
        f"{tmp_path}/card.csv:4: found the market 'India', which is not in the market mapping"
    ]


def test_a_directory_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    """An installation without cards of its own has those that ship; a file in its place is a fault."""
    assert load_rate_book(tmp_path / "none") == load_rate_book(None)
    (tmp_path / "file").write_text("")
    with pytest.raises(RateFaults, match="expected a directory"):
        load_rate_book(tmp_path / "file")
