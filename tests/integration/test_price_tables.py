"""Price data in ClickHouse: what Grafana and SQL see is what the reports go by."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from metering.charges import PriceData
from metering.price_list import EVER, FOREVER, days_of_change, price_list
from schemas.money import decimal_of, parse_micros
from schemas.rate_files import load_rate_book
from schemas.regimes import load_regimes
from schemas.rows import Family
from sinks.clickhouse.price_tables import LAYOUT, load_in_force, load_prices
from sinks.clickhouse.writer import ClickHouseWriter, CounterRow, Progress
from sinks.price_data import PriceFiles, Prices, digest_of
from tests.integration.conftest import Database
from tests.support.prices import plan, prices

DAY = (date(2026, 10, 5) - date(1970, 1, 1)).days
PLANS = (
    plan(effective=date(2026, 1, 15), mau_package=5, currency="EUR", vat_percent=parse_micros("19")),
    plan(
        effective=date(2026, 10, 1),
        mau_package=2,
        mau_rule="both",
        currency="EUR",
        amau_price=parse_micros("0.000001"),
        conversation_prices={"marketing": parse_micros("0.08")},
        conversation_market_prices={("Spain", "marketing"): parse_micros("0.07")},
    ),
    plan(number="2", effective=date(2026, 9, 1), until=date(2026, 9, 30), mau_package=9),
)


def of(data: PriceData) -> Prices:
    """Return price data with its digest."""
    return Prices(data, digest_of(data))


def test_everything_is_there_once_and_can_be_read(database: Database) -> None:
    """Plans, prices, rates, markets and regimes stand in the views as they stand in the data; loading twice is once."""
    loaded = of(PriceData(load_regimes(), load_rate_book(None), prices(*PLANS).plans))
    client = database.client
    assert load_prices(client, loaded)
    assert not load_prices(client, loaded)
    rows = client.query(
        "SELECT number, effective, mau_package, price, amau_price, vat_percent, until FROM v_plans ORDER BY ALL"
    )
    assert rows == [
        ("", date(2026, 1, 15), 5, Decimal(100), None, Decimal(19), None),
        ("", date(2026, 10, 1), 2, Decimal(100), Decimal("0.000001"), None, None),
        ("2", date(2026, 9, 1), 9, Decimal(100), None, None, date(2026, 9, 30)),
    ]
    found = client.query("SELECT market, type, price FROM v_plan_conversation_prices ORDER BY ALL")
    assert found == [("", "marketing", Decimal("0.08")), ("Spain", "marketing", Decimal("0.07"))]
    rates = loaded.data.rates
    [(listed, banded)] = client.query("SELECT countIf(lower = 0), countIf(lower > 0) FROM v_rates")
    assert listed == sum(len(card.rates) for card in rates.cards) > 100
    assert banded == sum(len(bands) for table in rates.tiers for bands in table.bands.values()) > 0
    germany = (
        "SELECT rate FROM v_rates WHERE market = 'Germany' AND category = 'marketing' AND currency = 'USD'"
    )
    assert client.query(germany) == [(Decimal("0.1365"),)]
    assert client.query("SELECT count() FROM v_markets") == [(len(rates.markets),)]
    assert client.query("SELECT effective, service_allotment FROM v_price_regimes ORDER BY effective") == [
        (date(2023, 6, 1), 1000), (date(2024, 11, 1), 0), (date(2025, 7, 1), 0), (date(2026, 10, 1), 1000),
    ]  # fmt: skip


def test_the_price_list_is_there_as_it_is(database: Database) -> None:
    """Each line of it, in euros and dollars; of one market and category as the guide asks for it."""
    loaded = of(prices(*PLANS))
    load_prices(database.client, loaded)
    columns = (
        "currency, country, category, begins, ends, market, unit, is_free, is_free_in_service_window, rate"
    )
    found = database.client.query(f"SELECT {columns} FROM v_price_list ORDER BY ALL")
    expected = [
        (*line[:5], *line.terms[:4], None if line.terms.rate is None else decimal_of(line.terms.rate))
        for line in price_list(loaded.data)
    ]
    assert found == sorted(expected, key=lambda row: row[:5])
    assert {row[0] for row in found} == {"EUR", "USD"}
    lines = database.client.query(
        "SELECT begins, ends, market, unit, is_free, rate FROM v_price_list"
        " WHERE currency = 'USD' AND country = 'DE' AND category = 'utility' ORDER BY begins"
    )
    assert lines == [
        (EVER, date(2025, 6, 30), "Germany", "conversation", 0, None),
        (date(2025, 7, 1), date(2026, 9, 30), "Germany", "message", 0, Decimal("0.05")),
        (date(2026, 10, 1), FOREVER, "Germany", "message", 0, Decimal("0.055")),
    ]


def test_currencies_and_days_of_change_are_those_of_the_plans(database: Database) -> None:
    """Which card an account is charged by and until when; days of change are those of the list and of plans."""
    client, loaded = database.client, of(prices(*PLANS))
    load_prices(client, loaded)
    found = client.query("SELECT number, begins, ends, currency FROM plan_currencies ORDER BY ALL")
    assert found == [
        ("", date(2026, 1, 15), date(2026, 9, 30), "EUR"),
        ("", date(2026, 10, 1), FOREVER, "EUR"),
        ("2", date(2026, 9, 1), date(2026, 9, 30), "USD"),
    ]
    [(changes,)] = client.query("SELECT changes FROM price_loads")
    assert changes == days_of_change(loaded.data, price_list(loaded.data))
    assert {date(2026, 1, 15), date(2026, 9, 1), date(2026, 10, 1), date(2025, 7, 1)} < set(changes)


def test_an_earlier_release_changes_nothing_of_what_is_resolved(database: Database) -> None:
    """Where its mark is the newest, the same prices are loaded again, and lines it resolved otherwise are not read."""
    client, loaded = database.client, of(prices(*PLANS))
    assert load_prices(client, loaded)
    lines = client.query("SELECT count() FROM v_price_list")
    earlier = (
        loaded.digest,
        LAYOUT - 1,
        "USD",
        "DE",
        "utility",
        date(2026, 11, 5),
        FOREVER,
        "Germany",
        "message",
    )
    columns = ("digest", "layout", "currency", "country", "category", "begins", "ends", "market", "unit")
    client.insert("price_list", columns, [[value] for value in earlier])
    client.insert("price_loads", ("digest", "loaded_at"), [[loaded.digest], [datetime.now(UTC)]])
    assert client.query("SELECT count() FROM v_price_list") == [(1,)]
    assert load_prices(client, loaded)
    assert client.query("SELECT count() FROM v_price_list") == lines
    assert not load_prices(client, loaded)


def test_the_newest_load_is_in_force_and_a_former_one_can_come_back(database: Database) -> None:
    """What an earlier load brought stays, and is in force again once it is loaded again."""
    client, first, second = database.client, of(prices(*PLANS)), of(prices(PLANS[0]))
    for loaded, plans in ((first, 3), (second, 1), (first, 3)):
        assert load_prices(client, loaded)
        assert load_in_force(client) == (loaded.digest, LAYOUT)
        assert client.query("SELECT count() FROM v_plans") == [(plans,)]


def test_users_stand_beside_the_package_of_their_month(database: Database) -> None:
    """September by the first plan, October by the second and its rule; number 2 has a package in September only."""
    rows = []
    for day in (DAY, DAY - 10):
        for number, users, both in (("", 7, 3), ("1", 4, 1), ("2", 5, 2)):
            rows.append(CounterRow((Family.ACTIVE_USERS, day, "9001", number, "", "any"), (users,), 1))
            rows.append(CounterRow((Family.ACTIVE_USERS, day, "9001", number, "", "both"), (both,), 1))
    rows.append(CounterRow((Family.ACTIVE_USERS, DAY, "9001", "", "", "phones"), (2,), 1))
    ClickHouseWriter(database.pool).flush(0, rows, Progress(1, 1))
    load_prices(database.client, of(prices(*PLANS)))
    found = database.client.query(
        "SELECT toString(month), number, mau_phones, mau, package, balance, amau FROM v_mau ORDER BY month, number"
    )
    assert found == [
        ("2026-09-01", "", 7, 7, 5, 0, 2),
        ("2026-09-01", "1", 4, 4, None, None, None),
        ("2026-09-01", "2", 5, 5, 9, 4, 0),
        ("2026-10-01", "", 9, 3, 2, 0, 1),
        ("2026-10-01", "1", 4, 4, None, None, None),
        ("2026-10-01", "2", 5, 5, None, None, None),
    ]


def test_a_changed_file_is_read_again_and_the_same_content_is_the_same_data(tmp_path: Path) -> None:
    """Prices follow their files; the digest follows the content, not the order or names of files."""
    plans, cards = tmp_path / "plans.toml", tmp_path / "cards"
    entry = '[[plans]]\naccount = "{}"\nactivated = 2026-01-01\nlicence = "none"\ncurrency = "EUR"\n'
    plans.write_text(entry.format("1") + entry.format("2"))
    files = PriceFiles(plans, cards)
    first = files.read()
    assert files.read() is first
    plans.write_text(entry.format("2") + entry.format("1") + "\n")
    assert files.read().digest == first.digest
    cards.mkdir()
    header = "effective,currency,market,category,lower,upper,rate\n"
    (cards / "a.csv").write_text(f"{header}2026-10-01,EUR,Spain,marketing,,,0.0585\n")
    with_card = files.read()
    assert with_card.digest != first.digest
    assert with_card.data.rates.rate("EUR", "Spain", "marketing", date(2026, 11, 1)) == 58_500
    (cards / "a.csv").rename(cards / "b.csv")
    assert files.read().digest == with_card.digest


@pytest.mark.parametrize("missing", ["plans.toml"])
def test_a_file_that_is_gone_is_a_fault(tmp_path: Path, missing: str) -> None:
    """Plans that were there a moment ago must not turn into no plans."""
    (tmp_path / missing).write_text("")
    files = PriceFiles(tmp_path / missing, None)
    files.read()
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match="readable file"):
        files.read()
