"""The provider's own rate files, with every quirk they are known for."""

from __future__ import annotations

import hashlib
import io
from datetime import date, datetime

import pytest
from openpyxl import Workbook

from schemas.meta_rate_files import Imported, import_meta_file
from schemas.rate_cards import Band, MarketRow, RateCard, TierTable
from schemas.rate_faults import RateFaults

OCTOBER = date(2026, 10, 1)
MARKETS = tuple(
    MarketRow(country, market)
    for country, market in (
        ("IN", "India"), ("ID", "Indonesia"), ("GB", "United Kingdom"), ("TR", "Turkey"),
        ("BG", "Rest of Central & Eastern Europe"), ("KE", "Rest of Africa"),
    )
)  # fmt: skip
NOTES = (
    'WhatsApp Business Platform rates,,,,,,\n"Cost per message in USD (list rates), effective October 1, 2026",,,,,,\n'
    "All rates are per delivered message.,,,,,,\n,,,,,,\nSee the documentation for volume tiers.,,,,,,\n"
)
HEADER = 'Market,Currency,Marketing,Utility,Authentication,"Authentication-\nInternational",Service\n'
CARD = (
    "India,$US,$0.0118,$0.0014,$0.0014,n/a,$0.0014\n"
    "INDONESIA,$US,0.0411,0.0250,0.0250,--,\n"
    "Rest of Central and Eastern Europe,$US,$0.0860,$0.0212,$0.0212,n/a,$0.0212\n"
    'Rest of Africa,$US,"$1,022.5",$0.0040,$0.0040,$0.0750,$0.0040\n'
    "United  Kingdom,$US,$0.0635,$0.0220,$0.0220,N/A,$0.0220\n"
    "Türkiye,$US,$0.0109,$0.0009,$0.0009,n/a,$0.0009\n"
    "Other,$US,$0.0604,$0.0077,$0.0077,n/a,$0.0077\n"
)


def imported(
    text: str | bytes,
    *,
    effective: date | None = None,
    currency: str | None = None,
    name: str = "dir/card.csv",
) -> Imported:
    """Import a file with a small market mapping."""
    data = text.encode() if isinstance(text, str) else text
    return import_meta_file(data, name, effective, currency, MARKETS)


AMOUNT = "an amount such as 0.0037, with at most 12 digits before the point and 6 behind it"


def faults_of(text: str | bytes, *, effective: date | None = None, currency: str | None = None) -> list[str]:
    """Return the faults of a file that must have some."""
    with pytest.raises(RateFaults) as caught:
        imported(text, effective=effective, currency=currency, name="f")
    return [fault.replace(AMOUNT, "AMOUNT") for fault in caught.value.faults]


def test_a_card_with_all_its_quirks() -> None:
    """Notes, line breaks in the header, currency signs, thousands commas, other spellings, three ways of none."""
    text = NOTES + HEADER + CARD
    held = imported("\ufeff" + text.replace("\n", "\r\n"))
    (card,) = held.cards
    expected: dict[tuple[str, str], int] = {}
    for market, marketing, utility, service in (
        ("India", 11_800, 1_400, True), ("Indonesia", 41_100, 25_000, False),
        ("Rest of Central & Eastern Europe", 86_000, 21_200, True), ("Rest of Africa", 1_022_500_000, 4_000, True),
        ("United Kingdom", 63_500, 22_000, True), ("Turkey", 10_900, 900, True), ("Other", 60_400, 7_700, True),
    ):  # fmt: skip
        expected |= {(market, "marketing"): marketing, (market, "utility"): utility}
        expected[market, "authentication"] = utility
        if service:
            expected[market, "service"] = utility
    expected["Rest of Africa", "authentication_international"] = 75_000
    digest = hashlib.sha256(("\ufeff" + text.replace("\n", "\r\n")).encode()).hexdigest()
    assert card == RateCard("USD", OCTOBER, expected, f"the provider's file card.csv, SHA-256 {digest}")
    assert (held.tables, held.notes) == ((), ())


def test_columns_and_rows_that_are_skipped_are_told() -> None:
    """A price by token, a missing category, a footnote, markets without rates or without a row: each has its note."""
    text = (
        'x,"effective 1 October 2026"\nMARKET,currency, marketing ,UTILITY,"Auth\u2011Intl","Meta Business\nAgent"\n'
        'India,USD,1,2,3,"$2.00 USD / 1 M (million) tokens"\nIndonesia,USD,n/a,--,\u2013,\n'
        "Other,USD,0,0,0,\n* A footnote.\n"
    )
    held = imported(text)
    assert held.cards[0].rates["India", "authentication_international"] == 3_000_000
    assert held.cards[0].rates["Other", "marketing"] == 0
    assert held.notes == (
        "the column 'Meta Business Agent' was skipped: it is no rate per message that we know",
        "no column for authentication, service: no rates for that",
        "Indonesia has no rate in USD at all",
        "line 7 was skipped: * A footnote.",
        "no rates in USD for Indonesia, Rest of Africa, Rest of Central & Eastern Europe, Turkey, United Kingdom",
    )


@pytest.mark.parametrize(
    ("sign", "rate", "code"),
    [
        ("$US", "$0.5", "USD"), ("US$", "US$0.5", "USD"), ("usd", "0.5 USD", "USD"), ("A$", "A$0.5", "AUD"),
        ("A$", "$0.5", "AUD"), ("\u00a3", "\u00a30.5", "GBP"), ("GBD", "\u00a3 0.5", "GBP"),
        ("\u20b9", "\u20b90.5", "INR"),
        ("RP", "Rp 0.5", "IDR"), ("Rp", "0.5", "IDR"), ("R$", "R$ 0.5", "BRL"), ("\u20ac", "0.5 \u20ac", "EUR"),
        ("MXN", "$0.5", "MXN"), ("AED", "AED 0.5", "AED"),
    ],
)  # fmt: skip
def test_currencies_are_known_by_their_signs_and_codes(sign: str, rate: str, code: str) -> None:
    """Each spelling seen leads to one code, and the rate may carry a sign of the same currency."""
    held = imported(f"effective 2026-10-01\nMarket,Currency,Marketing\nIndia,{sign},{rate}\n")
    assert [(card.currency, card.rates) for card in held.cards] == [(code, {("India", "marketing"): 500_000})]


def test_a_file_with_several_currencies_becomes_several_cards() -> None:
    """Rows are put together by their currency."""
    held = imported(
        "effective 2026-10-01\nMarket,Currency,Utility\nIndia,USD,1\nIndia,\u20ac,2\nOther,USD,3\n"
    )
    assert [(card.currency, len(card.rates)) for card in held.cards] == [("EUR", 1), ("USD", 2)]


def test_a_currency_that_nothing_says_is_taken_as_told() -> None:
    """A bare dollar sign or a missing column needs the caller's word; without it, it is a fault."""
    bare = "effective 2026-10-01\nMarket,Currency,Utility\nIndia,$,$1\n"
    assert imported(bare, currency="AUD").cards[0].currency == "AUD"
    assert "the currency '$' was taken as AUD, as told" in imported(bare, currency="AUD").notes
    assert faults_of(bare) == ["f:3: found the currency '$', which names none; give it by --currency"]
    none = "effective 2026-10-01\nMarket,Utility\nIndia,1\n"
    assert imported(none, currency="GBP").cards[0].currency == "GBP"
    assert faults_of(none) == ["f:3: found no currency; give it by --currency"]
    named = "effective 2026-10-01\nMarket,Currency,Utility\nIndia,EUR,1\n"
    assert faults_of(named, currency="USD") == ["f:3: found the currency 'EUR' (EUR), expected USD as told"]


@pytest.mark.parametrize(
    "line",
    [
        "Cost per message in USD, effective October 1, 2026", "Rates EFFECTIVE from 1 October 2026.",
        "Effective date: Oct 1 2026", "(effective as of October 1st, 2026)", "Effective date,2026-10-01,,",
        '"effective on\nOctober 1, 2026"',
    ],
)  # fmt: skip
def test_the_effective_day_is_read_off_the_notes(line: str) -> None:
    """However the notes write the day, also where a comma without quotes splits it."""
    assert imported(f"{line}\nMarket,Currency,Utility\nIndia,USD,1\n").cards[0].effective == OCTOBER


@pytest.mark.parametrize(
    ("notes", "told"),
    [
        ("Rates\n", "no line above the header says from when"),
        ("effective 10/1/2026\n", "no line above the header says from when"),
        ("effective September 31, 2026\n", "no line above the header says from when"),
        (
            "effective October 1, 2026 (before: effective July 1, 2026)\n",
            "the notes of the file say effective 2026-07-01 and 2026-10-01",
        ),
    ],
)
def test_a_day_that_is_not_said_clearly_has_to_be_told(notes: str, told: str) -> None:
    """Without a day, with two of them, or with one that depends on the reader, the file is refused."""
    text = notes + "Market,Currency,Utility\nIndia,USD,1\n"
    assert faults_of(text) == [f"f: {told}; give the day by --effective"]
    assert imported(text, effective=date(2027, 1, 1)).cards[0].effective == date(2027, 1, 1)


def test_the_callers_day_goes_before_the_files() -> None:
    """That the file says another one is told."""
    held = imported(NOTES + HEADER + CARD, effective=date(2026, 11, 1))
    assert held.cards[0].effective == date(2026, 11, 1)
    assert held.notes == ("the notes of the file say effective 2026-10-01; taken as 2026-11-01, as told",)


def test_every_fault_of_a_card_is_told_with_its_line() -> None:
    """Unknown markets and currencies, rates that are none, rows of other widths, doubles."""
    text = (
        "effective 2026-10-01\nMarket,Currency,Marketing,Utility,Utility\n"
        "Indai,USD,1,2,\nIndia,XX,1,2,\nIndia,USD,0,0118,2,\nIndia,USD,1\n"
        'India,USD,"0,012",abc,\nindia,USD,-1,\u20ac1,\nOther,USD,"1,2345",0.0000001,\nTurkey,USD,"12,34.5",1.,\n'
        "Rest of Africa,USD,0118,1,\nUnited Kingdom,GBP,$1,1,\n"
    )
    assert faults_of(text) == [
        "f:2: found the column 'Utility' twice",
        "f:3: found the market 'Indai', which is not in the market mapping; did you mean India?",
        "f:4: found the currency 'XX', which names none; give it by --currency",
        "f:5: found 6 columns, expected 5 as in the header",
        "f:6: found 3 columns, expected 5 as in the header",
        "f:7: marketing: expected AMOUNT; found '0,012'",
        "f:7: utility: found 'abc', expected a rate such as $0.0625",
        "f:8: India in USD is on line 7 already",
        "f:8: marketing: found '-1', expected a rate in USD",
        "f:8: utility: found '\u20ac1', expected a rate in USD",
        "f:9: marketing: expected AMOUNT; found '1,2345'",
        "f:9: utility: expected AMOUNT; found '0.0000001'",
        "f:10: marketing: expected AMOUNT; found '12,34.5'",
        "f:10: utility: found '1.', expected a rate such as $0.0625",
        "f:11: marketing: found '0118', expected a rate such as $0.0625",
        "f:12: marketing: found '$1', expected a rate in GBP",
    ]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "found no header"),
        (b"a,b\n1,2\n", "found no header"),
        (b"effective 2026-10-01\nMarket,Currency,Utility\n", "found no rates below the header"),
        (
            b"effective 2026-10-01\nMarket,Currency,Utility\nIndia,USD,n/a\n",
            "found no rates below the header",
        ),
        (b'Market,Currency,Utility\nIndia,"USD\n', "not CSV"),
        ("Market,Currency\n£,1\n".encode("cp1252"), "not UTF-8"),
        (b"PK\x03\x04 not a workbook", "workbook that cannot be read"),
    ],
)
def test_a_file_that_says_nothing_is_a_fault(data: bytes, word: str) -> None:
    """Nothing that cannot be read is taken for a card without rates."""
    (fault,) = faults_of(data)
    assert word in fault


def workbook(rows: list[list[object]], sheet: str = "List rates") -> bytes:
    """Return a workbook with a cover sheet and one with rows."""
    book = Workbook()
    assert book.active is not None
    book.active.title = "Cover"
    written = book.create_sheet(sheet)
    for row in rows:
        written.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def test_a_workbook_is_read_like_the_csv_file() -> None:
    """Numbers are what the sheet shows, not their binary noise; other sheets and the token price are told."""
    held = imported(
        workbook(
            [
                ["Cost per message in USD, effective October 1, 2026"],
                [None],
                ["Market", "Currency", "Marketing", "Utility", "Meta Business Agent"],
                ["India", "$US", 0.0118, 0.1 + 0.2, "$2.00 USD / 1 M (million) tokens"],
                ["Other", "$US", 1, "n/a", None],
                ["Turkey", "$US", 0.00001, "$0.0009", None],
            ],
            " list RATES",
        ),
        name="card.xlsx",
    )
    assert held.cards[0].rates == {
        ("India", "marketing"): 11_800, ("India", "utility"): 300_000, ("Other", "marketing"): 1_000_000,
        ("Turkey", "marketing"): 10, ("Turkey", "utility"): 900,
    }  # fmt: skip
    assert held.cards[0].effective == OCTOBER
    assert held.notes[:2] == (
        "the sheet 'Cover' was skipped",
        "the column 'Meta Business Agent' was skipped: it is no rate per message that we know",
    )


def test_the_day_of_a_workbook_may_be_a_date_of_its_own() -> None:
    """A cell that holds a date is read as that day."""
    rows: list[list[object]] = [["Effective", datetime(2026, 10, 1)], ["Market", "Currency", "Utility"]]  # noqa: DTZ001
    assert imported(workbook([*rows, ["India", "USD", 1]])).cards[0].effective == OCTOBER


def test_a_workbook_without_the_sheet_or_with_open_formulas_is_refused() -> None:
    """A formula that was never computed has no value, which must not look like "no rate"."""
    assert faults_of(workbook([["x"]], "Rates")) == [
        "f: found the sheets Cover, Rates, expected one called 'List rates'"
    ]
    rows: list[list[object]] = [
        ["effective 2026-10-01"],
        ["Market", "Currency", "Utility"],
        ["India", "USD", "=1/8"],
    ]
    assert faults_of(workbook(rows)) == [
        "f:3: found a formula without a value; open the workbook and save it again"
    ]


TIER_HEADER = "Market,Currency" + ",From,To,Rate type,Rate,vs. List" * 3 + "\n"
GROUPS = ",,Utility,,,,,Authentication,,,,,Auth-International,,,,\n"
TIERS = (
    'India,$US,0,"25,000,000",List,$0.0014,--,0,"750,000",List,$0.0014,--,n/a,,,,\n'
    ',,"25,000,001","50,000,000",Tier,$0.0013,-5%,"750,001",--,Tier,$0.0012,-10%,,,,,\n'
    ',,"50,000,001",--,Tier,$0.0010,-30%,,,,,,,,,,\n'
    "Rest of Africa,,0,--,List,$0.0040,--,1,--,List,$0.0040,--,0,--,List,$0.0750,--\n"
)
INDIA_UTILITY = (Band(1, 25_000_000, 1_400), Band(25_000_001, 50_000_000, 1_300), Band(50_000_001, 0, 1_000))
TIER_BANDS = {
    ("India", "utility"): INDIA_UTILITY,
    ("India", "authentication"): (Band(1, 750_000, 1_400), Band(750_001, 0, 1_200)),
    ("Rest of Africa", "utility"): (Band(1, 0, 4_000),),
    ("Rest of Africa", "authentication"): (Band(1, 0, 4_000),),
    ("Rest of Africa", "authentication_international"): (Band(1, 0, 75_000),),
}


def test_a_tier_file_with_all_its_quirks() -> None:
    """Three groups side by side, the market on its first row only, 0 as the first message, -- for no limit."""
    held = imported("Volume tiers in USD\n" + GROUPS + TIER_HEADER + TIERS, effective=OCTOBER)
    (table,) = held.tables
    assert (table.currency, table.effective, dict(table.bands)) == ("USD", OCTOBER, TIER_BANDS)
    assert (held.cards, held.notes) == ((), ())


def test_groups_are_known_by_the_row_above_by_their_columns_or_by_the_documented_order() -> None:
    """Names above may stand in another order; names may be part of the columns; without any, it is told."""

    def table(header: str) -> TierTable:
        return imported("effective 2026-10-01\n" + header + TIERS).tables[0]

    swapped = (
        GROUPS.replace("Utility", "x").replace("Authentication", "Utility").replace("x", "Authentication")
    )
    assert table(swapped + TIER_HEADER).bands["India", "authentication"] == INDIA_UTILITY
    fields = ("From", "To", "Rate type", "Rate", "vs. List")
    groups = ("Utility", "Authentication", "Authentication-International")
    own = ",".join(["Market", "Currency", *(f"{group} {name}" for group in groups for name in fields)])
    assert table(own + "\n").bands == TIER_BANDS
    above = "Market,Currency" + GROUPS[1:]
    assert table(above + ",," + TIER_HEADER.removeprefix("Market,Currency,")).bands == TIER_BANDS
    unnamed = imported("effective 2026-10-01\n" + TIER_HEADER + TIERS)
    assert unnamed.tables[0].bands == TIER_BANDS
    assert "nothing names the three groups" in unnamed.notes[0]


def test_a_market_alone_on_its_line_names_the_rows_below_it() -> None:
    """Other lines with one cell only are footnotes, and are told."""
    text = (
        "effective 2026-10-01\n"
        + GROUPS
        + TIER_HEADER
        + "India\n* footnote\n"
        + TIERS.replace("India", "", 1)
    )
    held = imported(text)
    assert held.tables[0].bands == TIER_BANDS
    assert held.notes == ("line 5 was skipped: * footnote",)


def test_every_fault_of_a_tier_file_is_told_with_its_line() -> None:
    """Gaps, rate types, bounds, unknown markets and widths; the rows of a market with a fault stay quiet."""
    none = ",n/a,,,," * 2
    text = (
        "effective 2026-10-01\n" + GROUPS + TIER_HEADER
        + f",$US,0,--,List,1,--{none}\n"
        + f"India,$US,0,10,List,1,--{none}\n"
        + f",,12,--,Tier,1,--{none}\n"
        + f"Indai,$US,0,10,List,1,--{none}\n"
        + f",,11,--,Tier,1,--{none}\n"
        + f"Turkey,$US,0,10,Gift,x,--{none}\n"
        + f",,11,,Tier,1,--{none}\n"
        + f"Other,$US,0,1,000,List,1,--{none}\n"
        + "Indonesia,$US,0,--,List,1\n"
        + f"United Kingdom,$US,x,--,List,1,--{none}\n"
    )  # fmt: skip
    assert faults_of(text) == [
        "f:4: found a row before the first market",
        "f:6: between the bands of USD, India, utility there is a gap from 11 to 11",
        "f:7: found the market 'Indai', which is not in the market mapping; did you mean India?",
        "f:9: rate type of Turkey, utility: found 'Gift', expected List or Tier",
        "f:9: rate of Turkey, utility: found 'x', expected a rate such as $0.0625",
        "f:10: to of Turkey, utility: found '', expected a number of messages such as 1,000,000, or -- for no limit",
        "f:11: found 18 columns, expected 17 as in the header",
        "f:12: found 6 columns, expected 17 as in the header",
        "f:13: from of United Kingdom, utility: found 'x', expected a number of messages such as 1,000,000",
    ]


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (
            "Market,Currency,From,To,Rate\n",
            "f:2: expected Market, Currency and three times From, To, Rate type, Rate, vs. List",
        ),
        (
            GROUPS.replace("Utility", "Marketing") + TIER_HEADER,
            "f:3: expected the groups Utility, Authentication and Auth-International, each once",
        ),
        (
            GROUPS.replace("Utility", "Authentication") + TIER_HEADER,
            "f:3: expected the groups Utility, Authentication and Auth-International, each once",
        ),
    ],
)
def test_tier_columns_in_another_layout_are_a_fault(header: str, told: str) -> None:
    """Groups that are not the three known ones are not guessed at."""
    assert faults_of("effective 2026-10-01\n" + header + TIERS) == [told]
