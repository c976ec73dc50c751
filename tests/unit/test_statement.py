"""Worked examples of the final report, with their arithmetic (metering.md §8)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec

from metering.charges import ConversationCount, Counts, DeliveryCount
from metering.month_counts import Circumstances, IncomingCount, MauCount, MonthCounts, OutgoingCount
from metering.statement import final_report
from schemas.final_report import FinalReport, Total
from schemas.money import parse_micros
from schemas.plans import Plan
from tests.support.prices import ACCOUNT, counts_of, delivered, opened, plan, prices

OCTOBER = date(2026, 10, 1)
FIFTH = date(2026, 10, 5)


def report(
    *rows: DeliveryCount | ConversationCount,
    plans: tuple[Plan, ...] = (),
    number: str = "",
    mau: tuple[MauCount, ...] = (MauCount("", 5, 2, 6),),
    outgoing: tuple[OutgoingCount, ...] = (),
    incoming: tuple[IncomingCount, ...] = (),
    today: date = date(2026, 11, 2),
) -> FinalReport:
    """Return October's report."""
    month = MonthCounts(OCTOBER, counts_of(*rows), mau, outgoing, incoming)
    made = Circumstances("Europe/Berlin", datetime(2026, 11, 2, 9, tzinfo=UTC), today)
    return final_report(month, prices(*plans), made, number)


def totals(made: FinalReport, section: str) -> list[Total]:
    """Return a section's totals."""
    return [total for total in made.totals if total.section == section]


def test_licence_and_package_of_a_month() -> None:
    """Monthly, 310 EUR, activated on 11 October: 310 x 21/31 = 210. 7 users in a package of 5 at 0.05: 0.10."""
    own = plan(
        effective=date(2026, 10, 11), price=parse_micros("310"), currency="EUR", mau_package=5,
        amau_price=parse_micros("0.05"), vat_percent=parse_micros("19"),
    )  # fmt: skip
    made = report(plans=(own,), mau=(MauCount("", 7, 3, 9),))
    [licence], [users] = made.licences, made.mau
    assert (licence.period, str(licence.charged), str(licence.plan_cost)) == (
        "activation",
        "210.00",
        "310.00",
    )
    assert licence.vat_percent == 19
    assert (users.mau, users.mau_any, users.mau_both, users.mau_phones) == (7, 7, 3, 9)
    assert (users.package, users.balance, users.amau, str(users.amau_total)) == (5, 0, 2, "0.10")
    assert users.licence_cost == licence.plan_cost
    assert [str(total.amount) for total in totals(made, "licence") + totals(made, "amau")] == [
        "210.00",
        "0.10",
    ]


def test_the_plan_says_which_reading_of_the_word_and_counts() -> None:
    """Under `both` the package is held against the 3 who wrote and were written to."""
    made = report(plans=(plan(mau_package=5, mau_rule="both"),), mau=(MauCount("", 7, 3, 9),))
    assert (made.mau[0].rule, made.mau[0].mau, made.mau[0].balance) == ("both", 3, 2)


def test_an_account_and_its_numbers_with_plans_stand_side_by_side() -> None:
    """The account has a package, number 2 a plan of its own in another currency, number 1 only its count."""
    mau = MauCount("", 7, 3, 9), MauCount("1", 4, 1, 4), MauCount("2", 5, 2, 5)
    made = report(plans=(plan(mau_package=10), plan(number="2", currency="EUR", mau_package=1)), mau=mau)
    assert [(line.number, line.mau, line.package) for line in made.mau] == [
        ("", 7, 10),
        ("1", 4, None),
        ("2", 5, 1),
    ]
    assert [line.number for line in made.licences] == ["", "2"]
    assert [total.currency for total in totals(made, "licence")] == ["EUR", "USD"]


def test_a_numbers_report_says_whose_the_plan_is() -> None:
    """The account's licence is not the number's: no licence line, and a note."""
    made = report(plans=(plan(mau_package=10),), number="1", mau=(MauCount("1", 4, 1, 4),))
    assert (made.licences, made.mau[0].package) == ([], None)
    assert any("those of the whole account" in note for note in made.notes)


def test_conversations_by_ednas_types() -> None:
    """Ours are renamed, authentication joins its international kind, and an unknown one has a line of its own."""
    rows = [
        opened(FIFTH, 1, "free_entry_point", charged=0),
        opened(FIFTH, 2, "service", charged=0),
        opened(FIFTH, 3, "utility", charged=1),
        opened(FIFTH, 4, "authentication"),
        opened(FIFTH, 5, "authentication_international", country="ES"),
        opened(FIFTH, 6, "marketing"),
    ]
    lines = {line.type: (line.total, line.free, line.charged) for line in report(*rows).conversations}
    assert lines == {
        "free_entry_point": (1, 1, 0), "incoming": (2, 2, 0), "service": (3, 2, 1), "authentication": (9, 0, 9),
        "marketing": (6, 0, 6),
    }  # fmt: skip
    assert [line.type for line in report(opened(FIFTH, 1, "unknown")).conversations][-1] == "unknown"
    assert len(report().conversations) == 5


def test_conversations_are_priced_by_country_and_rounded_on_each_line() -> None:
    """Marketing at 0.085, 0.07 in Spain: 3 x 0.085 = 0.255 -> 0.26, 5 x 0.07 = 0.35; their sum is that of the lines."""
    own = plan(
        currency="EUR", conversation_prices={"marketing": parse_micros("0.085")},
        conversation_market_prices={("Spain", "marketing"): parse_micros("0.07")},
    )  # fmt: skip
    made = report(opened(FIFTH, 3), opened(FIFTH, 5, country="ES"), plans=(own,))
    [line] = [line for line in made.conversations if line.type == "marketing"]
    assert [(each.country, each.market, str(each.price), str(each.amount)) for each in line.details] == [
        ("DE", "Germany", "0.085", "0.26"),
        ("ES", "Spain", "0.07", "0.35"),
    ]
    assert (str(line.amount), line.currency) == ("0.61", "EUR")
    assert [(str(total.amount), total.unpriced) for total in totals(made, "conversations")] == [("0.61", 0)]


def test_a_conversation_without_a_price_is_named_and_never_0() -> None:
    """Marketing has a price, utility has none: 4 utility conversations are named, the total is marketing's."""
    own = plan(conversation_prices={"marketing": parse_micros("0.1")})
    made = report(opened(FIFTH, 2), opened(FIFTH, 4, "utility"), plans=(own,))
    [line] = [line for line in made.conversations if line.type == "service"]
    assert line.amount is None
    assert [(str(total.amount), total.unpriced) for total in totals(made, "conversations")] == [("0.20", 4)]
    assert any(note.startswith("4 charged conversations (USD)") for note in made.notes)


def test_conversations_without_any_agreed_price_have_no_total() -> None:
    """A plan that prices no conversations does not owe them."""
    made = report(opened(FIFTH, 2), plans=(plan(),))
    assert totals(made, "conversations") == []


def test_outgoing_messages_by_type() -> None:
    """Pending is what is neither delivered nor failed; unclassified stands there only if there is any."""
    rows = (
        OutgoingCount("1", 1, 10, 9, 7, 5, 1),
        OutgoingCount("2", 1, 1, 1, 1, 0, 0),
        OutgoingCount("1", 0, 4, 4, 4, 4, 0),
    )
    lines = report(outgoing=rows).outgoing
    assert [msgspec.structs.astuple(line) for line in lines] == [
        ("chat", 4, 4, 4, 4, 0, 0),
        ("hsm", 11, 10, 8, 5, 1, 2),
    ]  # fmt: skip
    assert [line.type for line in report(outgoing=(OutgoingCount("1", -1, 1, 0, 0, 0, 0),)).outgoing][
        -1
    ] == "unclassified"
    only_second = report(outgoing=rows, number="2").outgoing
    assert [line.total for line in only_second] == [0, 1]


def test_more_delivered_than_begun_is_explained() -> None:
    """3 begun, 5 delivered in the month: pending is -2, as the statuses have days of their own, and a note says so."""
    made = report(outgoing=(OutgoingCount("1", 1, 3, 3, 5, 0, 0),))
    assert made.outgoing[1].pending == -2
    assert any("below zero" in note for note in made.notes)


def test_incoming_messages_add_up_over_numbers() -> None:
    """3 and 4; of number 2 alone, 4."""
    rows = IncomingCount("1", 3), IncomingCount("2", 4)
    assert report(incoming=rows).incoming_total == 7
    assert report(incoming=rows, number="2").incoming_total == 4


def test_the_providers_charges_are_printed_by_rate() -> None:
    """3 x 0.1365 = 0.4095 -> 0.41 on two days together; the provider said that 2 were charged: 0.273 -> 0.27."""
    rows = delivered(FIFTH, 2, said="regular"), delivered(date(2026, 10, 6), 1)
    made = report(*rows)
    [line] = made.provider
    assert (line.count, line.charged, str(line.rate), str(line.amount)) == (3, 3, "0.1365", "0.41")
    assert (line.provider_charged, str(line.provider_amount)) == (2, "0.27")
    assert [(total.currency, str(total.amount)) for total in totals(made, "provider")] == [("USD", "0.41")]


def test_a_rate_missing_is_named_in_the_provider_section() -> None:
    """Two to a country whose market is not on the card: no amount, and counted as unpriced."""
    made = report(delivered(FIFTH, 2, "authentication", country="KE"), delivered(FIFTH, 1))
    assert [(str(total.amount), total.unpriced) for total in totals(made, "provider")] == [("0.14", 2)]


def test_the_allotment_of_a_number_does_not_depend_on_whose_report_it_is() -> None:
    """1,005 and 1,003 service messages on two numbers: 5 and 3 are charged, 8 on the account's report."""
    rows = delivered(FIFTH, 1_005, "service"), delivered(FIFTH, 1_003, "service", number="2")
    charged = [
        sum(line.charged for line in report(*rows, number=number).provider) for number in ("", "1", "2")
    ]
    assert charged == [8, 5, 3]


def test_a_month_is_final_a_week_after_its_end() -> None:
    """Webhooks are repeated for 7 days: from 8 November on."""
    assert not report(today=date(2026, 11, 7)).is_final
    assert report(today=date(2026, 11, 8)).is_final
    assert report().final_from == date(2026, 11, 8)


def test_an_account_without_plan_or_traffic_has_a_report() -> None:
    """Everything is 0, nothing is owed, and a note says that there is no plan."""
    made = report(mau=())
    assert (made.mau[0].mau, made.mau[0].package, made.licences, made.totals) == (0, None, [], [])
    assert made.notes == ["There is no plan for this account."]
    assert sum(line.total for line in made.outgoing) == 0


def test_every_total_is_the_sum_of_its_printed_lines() -> None:
    """Also where rounding each line and rounding the sum would differ: 40 lines of 0.005 are 40 x 0.01."""
    own = plan(conversation_prices={"marketing": parse_micros("0.005")})
    countries = [chr(65 + place // 26) + chr(65 + place % 26) for place in range(40)]
    made = report(*(opened(FIFTH, 1, country=country) for country in countries), plans=(own,))
    [line] = [line for line in made.conversations if line.type == "marketing"]
    assert line.amount == sum(detail.amount or Decimal(0) for detail in line.details) == Decimal("0.40")
    assert totals(made, "conversations")[0].amount == Decimal("0.40")
    assert made.account == ACCOUNT == Counts(ACCOUNT).account
