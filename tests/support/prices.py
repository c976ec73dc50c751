"""Price data for tests: small cards whose arithmetic can be done by heart, and counts to price."""

from __future__ import annotations

from datetime import date

from metering.charges import ConversationCount, Counts, DeliveryCount, PriceData
from schemas.money import parse_micros
from schemas.plans import Plan, PlanBook
from schemas.rate_cards import Band, MarketRow, RateBook, RateCard, TierTable
from schemas.regimes import load_regimes

ACCOUNT = "9001"
MARKETS = (
    MarketRow("DE", "Germany"),
    MarketRow("ES", "Spain"),
    MarketRow("HK", "Rest of Asia Pacific"),
    MarketRow("HK", "Hong Kong", date(2026, 7, 1)),
    MarketRow("KE", "Rest of Africa"),
)


def card(currency: str, effective: date, rates: dict[tuple[str, str], str]) -> RateCard:
    """Return a card from rates as text."""
    return RateCard(currency, effective, {key: parse_micros(rate) for key, rate in rates.items()})


OLD = card(
    "USD",
    date(2023, 6, 1),
    {
        ("Germany", "marketing"): "0.10", ("Germany", "utility"): "0.05", ("Germany", "service"): "0.04",
        ("Spain", "marketing"): "0.06", ("Spain", "utility"): "0.03", ("Spain", "service"): "0.02",
    },
)  # fmt: skip
NEW = card(
    "USD",
    date(2026, 10, 1),
    {
        ("Germany", "marketing"): "0.1365", ("Germany", "utility"): "0.0550", ("Germany", "authentication"): "0.0550",
        ("Germany", "service"): "0.0550",
        ("Spain", "marketing"): "0.0707", ("Spain", "utility"): "0.0200", ("Spain", "authentication"): "0.0200",
        ("Spain", "service"): "0.0200",
        ("Rest of Africa", "utility"): "0.0040", ("Rest of Africa", "service"): "0.0040",
        ("Other", "marketing"): "0.0604",
    },
)  # fmt: skip
EUROS = card("EUR", date(2026, 10, 1), {("Spain", "marketing"): "0.0585", ("Spain", "utility"): "0.0166"})
TIERS = TierTable(
    "USD",
    date(2026, 10, 1),
    {
        ("Rest of Africa", "utility"): (
            Band(1, 100, parse_micros("0.0040")),
            Band(101, 1000, parse_micros("0.0038")),
            Band(1001, 0, parse_micros("0.0030")),
        )
    },
)
RATES = RateBook((OLD, NEW, EUROS), (TIERS,), MARKETS)


def prices(*plans: Plan, rates: RateBook = RATES) -> PriceData:
    """Return price data with these plans."""
    return PriceData(load_regimes(), rates, PlanBook(plans))


def plan(
    account: str = ACCOUNT, number: str = "", effective: date = date(2023, 1, 1), **terms: object
) -> Plan:
    """Return a plan with the terms given."""
    values: dict[str, object] = {
        "activated": effective,
        "licence": "monthly",
        "price": parse_micros("100"),
        "currency": "USD",
        **terms,
    }
    return Plan(account, number, effective, **values)  # type: ignore[arg-type]


def delivered(
    day: date,
    count: int,
    category: str = "marketing",
    *,
    country: str = "DE",
    number: str = "1",
    template: int | None = None,
    said: str = "",
    billable: int = -1,
    in_window: bool = False,
    in_free_entry_point: bool = False,
) -> DeliveryCount:
    known = 0 if category in ("service", "") else 1
    return DeliveryCount(
        day, number, country, category, known if template is None else template, said, billable, int(in_window),
        int(in_free_entry_point), count,
    )  # fmt: skip


def opened(
    day: date,
    total: int,
    type_: str = "marketing",
    *,
    country: str = "DE",
    number: str = "1",
    charged: int | None = None,
) -> ConversationCount:
    paid = total if charged is None else charged
    return ConversationCount(day, number, country, type_, total, total - paid, paid)


def counts_of(*rows: DeliveryCount | ConversationCount) -> Counts:
    """Return the counts of one account."""
    return Counts(
        ACCOUNT,
        tuple(row for row in rows if isinstance(row, DeliveryCount)),
        tuple(row for row in rows if isinstance(row, ConversationCount)),
    )
