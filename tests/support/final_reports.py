"""Final reports for tests: made by the core from counts, so that their totals are what the core makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from hypothesis import strategies as st

from metering.charges import ConversationCount, Counts, DeliveryCount
from metering.month_counts import Circumstances, IncomingCount, MauCount, MonthCounts, OutgoingCount
from metering.statement import final_report
from schemas.final_report import FinalReport, Freshness
from schemas.money import parse_micros
from schemas.plans import Plan
from tests.support.prices import delivered, opened, plan, prices

FIFTH = date(2026, 10, 5)
COUNTRIES = ("DE", "ES", "KE", "HK", "ZZ")
CONVERSATIONS = (
    "free_entry_point",
    "service",
    "utility",
    "authentication",
    "authentication_international",
    "marketing",
)


def report_of(
    rows: Sequence[DeliveryCount | ConversationCount] = (),
    plans: Sequence[Plan] = (),
    *,
    account: str = "9001",
    number: str = "",
    users: int = 0,
    messages: int = 0,
) -> FinalReport:
    """Return the report of October of an account whose plans and rows are given under any name."""
    counts = Counts(
        account,
        tuple(row for row in rows if isinstance(row, DeliveryCount)),
        tuple(row for row in rows if isinstance(row, ConversationCount)),
    )
    at = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
    month = MonthCounts(
        date(2026, 10, 1),
        counts,
        (MauCount("", users, users // 2, users + 1), MauCount("1", users, users // 3, users)),
        (
            OutgoingCount("1", 1, messages, messages, messages // 2, messages // 3, 1),
            OutgoingCount("1", -1, 3, 2, 1, 0, 2),
        ),
        (IncomingCount("1", messages),),
    )
    fresh = (Freshness(partition=0, position=77, received_until=at, flushed_at=at),)
    made = Circumstances("Europe/Berlin", at, date(2026, 11, 2), fresh, "0123456789abcdef")
    return final_report(month, prices(*plans), made, number)


def big_report(countries: int = 300) -> FinalReport:
    """Return a report with so many countries that its tables go over pages."""
    names = [f"{chr(65 + place // 26)}{chr(65 + place % 26)}" for place in range(countries)]
    rows: list[DeliveryCount | ConversationCount] = [opened(FIFTH, 3, country=name) for name in names]
    rows += [delivered(FIFTH, 2, country=name) for name in names]
    priced = plan(account="9001", currency="EUR", conversation_prices={"marketing": parse_micros("0.085")})
    return report_of(rows, [priced], users=1_234_567, messages=98_765_432)


def _conversation(type_: str, country: str, free: int, charged: int) -> ConversationCount:
    return ConversationCount(FIFTH, "1", country, type_, free + charged, free, charged)


@st.composite
def final_reports(draw: st.DrawFn) -> FinalReport:
    """Return any report: with and without plans, prices and rates, in several currencies, under any name."""
    account = draw(st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text))
    counts = st.integers(0, 10**9)
    conversations = st.builds(
        _conversation, st.sampled_from(CONVERSATIONS), st.sampled_from(COUNTRIES), counts, counts
    )
    deliveries = st.builds(
        lambda category, country, count: delivered(FIFTH, count, category, country=country, said="regular"),
        st.sampled_from(["marketing", "utility", "service", "authentication"]), st.sampled_from(COUNTRIES), counts,
    )  # fmt: skip
    amounts = st.integers(0, 10**9)
    plans = st.builds(
        lambda number, currency, package, price, conversation: plan(
            account=account, number=number, effective=date(2026, 10, 1), currency=currency, mau_package=package,
            amau_price=price, rate_currency="USD",
            conversation_prices={} if conversation is None else {"marketing": conversation},
        ),
        st.sampled_from(["", "1", "2"]), st.sampled_from(["EUR", "CLP", "KWD"]), st.integers(0, 10**6),
        st.none() | amounts, st.none() | amounts,
    )  # fmt: skip
    return report_of(
        draw(st.lists(st.one_of(conversations, deliveries), max_size=6)),
        draw(st.lists(plans, max_size=3, unique_by=lambda each: each.number)),
        account=account,
        number=draw(st.sampled_from(["", "", "1"])),
        users=draw(st.integers(0, 10**7)),
        messages=draw(counts),
    )
