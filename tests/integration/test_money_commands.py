"""Plans, charges, reports and limits through the real commands, over a generated month and by way of the oracles.

The traffic is parsed and counted by the oracle and priced unit by unit; what the commands print must be that.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pypdf import PdfReader

from metering.charges import ConversationCount, Counts, DeliveryCount, PriceData, WhatIf
from schemas import meta
from schemas.events import Event
from schemas.money import decimal_of
from schemas.plan_files import load_plans
from schemas.rate_files import load_rate_book
from schemas.regimes import load_regimes
from schemas.rows import CounterKey, Family
from tests.oracle.pricing import Priced, price_everything
from tests.oracle.totals import expected_totals
from tests.support.commands import Running, convometer, query

ACCOUNT, NUMBER = "900100200300400", "700800900100200"
ZONE = "Asia/Kolkata"
PLANS = f"""
[[plans]]
account       = "{ACCOUNT}"
activated     = 2026-09-11
licence       = "monthly"
price         = "310"
currency      = "EUR"
vat_percent   = "19"
mau_package   = 100
amau_price    = "0.05"
rate_currency = "USD"
volume_tiers  = "counted"
[plans.conversation_prices]
marketing = "0.08"

[[plans]]
account     = "{ACCOUNT}"
number      = "{NUMBER}"
activated   = 2026-10-01
licence     = "annual"
price       = "1200"
currency    = "USD"
mau_package = 20
mau_rule    = "both"
"""
CONFIG = f"""
plans = "plans.toml"
[accounts.{ACCOUNT}]
time_zone = "{ZONE}"
"""
# Tiers that this little traffic comes to.
TIERS = """effective,currency,market,category,lower,upper,rate
2026-10-01,USD,Brazil,utility,1,10,0.0068
2026-10-01,USD,Brazil,utility,11,25,0.0060
2026-10-01,USD,Brazil,utility,26,,0.0050
"""
DAY_ZERO = date(1970, 1, 1)


@dataclass(frozen=True)
class World:
    """A data directory with two months of traffic, and what the oracle says of it."""

    directory: Path
    data: Path
    rows: dict[CounterKey, tuple[int, ...]]
    prices: PriceData

    def run(self, *arguments: str, check: bool = True) -> Any:
        """Run a verb beside the settings file."""
        return convometer(
            *arguments, "--data", self.data, "--config", self.directory / "convometer.toml", check=check
        )

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the rows that a verb prints."""
        return [json.loads(line) for line in self.run(*arguments, "--format", "ndjson").stdout.splitlines()]

    def counts(self, account: str = ACCOUNT) -> Counts:
        """Return what the oracle counted, as pricing takes it."""
        deliveries: list[DeliveryCount] = []
        conversations: list[ConversationCount] = []
        for (family, day, of, number, *rest), values in self.rows.items():
            if of != account:
                continue
            assert isinstance(day, int)
            local = DAY_ZERO + timedelta(days=day)
            if family == Family.DELIVERIES:
                deliveries.append(DeliveryCount(local, str(number), *rest, *values))  # type: ignore[arg-type]
            elif family == Family.CONVERSATIONS:
                country, type_, _category = rest
                conversations.append(ConversationCount(local, str(number), str(country), str(type_), *values))
        return Counts(account, tuple(deliveries), tuple(conversations))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Feed two months to a data directory."""
    directory = tmp_path_factory.mktemp("money")
    (directory / "convometer.toml").write_text(CONFIG.replace("plans.toml", str(directory / "plans.toml")))
    (directory / "plans.toml").write_text(PLANS)
    data = directory / "data"
    (data / "rate-cards").mkdir(parents=True)
    (data / "rate-cards" / "tiers.csv").write_text(TIERS)
    world_of = ("--users", "260", "--days", "45", "--start", "2026-09-16", "--accounts", "2", "--seed", "5")
    traffic = convometer("generate", *world_of, "--messages-per-user-day", "1.2").stdout
    lines = directory / "traffic.ndjson"
    lines.write_bytes(traffic)
    convometer("ingest", lines, "--wait", "--data", data, "--config", directory / "convometer.toml")
    events: list[Event] = []
    for body in traffic.splitlines():
        events += meta.parse(body, 2_000_000_000_000).events
    rows = expected_totals(events, lambda account: ZONE if account == ACCOUNT else "UTC")
    plans, rates = load_plans(directory / "plans.toml"), load_rate_book(data / "rate-cards")
    return World(directory, data, rows, PriceData(load_regimes(), rates, plans))


def by_line(priced: list[Priced], *, provider: bool) -> Counter[tuple[object, ...]]:
    """Return how many units are charged at each rate, by day, number, country and category."""
    counted: Counter[tuple[object, ...]] = Counter()
    for each in priced:
        unit, rate = each.unit, each.provider_rate if provider else each.rate
        if (unit.word == "charged") if provider else not each.is_free:
            key = (str(unit.day), unit.number, unit.country, unit.unit, unit.category)
            counted[(*key, each.market, each.currency, None if rate is None else str(decimal_of(rate)))] += 1
    return counted


def printed(lines: list[dict[str, Any]], column: str) -> Counter[tuple[object, ...]]:
    """Return the same of rows of ``charges``."""
    counted: Counter[tuple[object, ...]] = Counter()
    for line in lines:
        names = ("day", "number", "country", "unit", "category", "market", "currency", "rate")
        counted[tuple(line[name] for name in names)] += line[column] or 0
    return +counted


def test_charges_are_those_of_every_single_message(world: World) -> None:
    """By the rule and by the provider's word, to each day, number, country, category, market and rate."""
    lines = world.lines("charges", "--account", ACCOUNT)
    expected = price_everything(world.counts(), world.prices)
    assert printed(lines, "charged") == by_line(expected, provider=False)
    assert printed(lines, "provider_charged") == by_line(expected, provider=True)
    assert sum(line["free"] for line in lines) == sum(each.is_free for each in expected)
    assert sum(line["allotted"] for line in lines) == sum(each.by_allotment for each in expected) > 0
    assert {line["rate"] for line in lines} >= {"0.0068", "0.006", "0.005"}, "the tiers were reached"
    for line in lines:
        if line["amount"] is not None:
            assert Decimal(line["amount"]) == line["charged"] * Decimal(line["rate"] or 0)


def test_september_under_octobers_rules(world: World) -> None:
    """One command answers it, by October's card; what the provider said is left out."""
    span = ("--from", "2026-09-01", "--to", "2026-09-30", "--account", ACCOUNT)
    lines = world.lines("charges", *span, "--regime", "2026-10-01")
    what_if = WhatIf(regime=date(2026, 10, 1))
    priced = [
        each for each in price_everything(world.counts(), world.prices, what_if) if each.unit.day.month == 9
    ]
    assert printed(lines, "charged") == by_line(priced, provider=False)
    assert {line["provider_charged"] for line in lines} == {None}
    known = world.lines("charges", *span)
    assert sum(line["charged"] for line in lines) > sum(line["charged"] for line in known)
    assert all(line["rate"] is None for line in known), "no card of before October is known"


def test_filters_leave_what_they_show_as_it_was(world: World) -> None:
    """A number, a country and a span in the middle of a month: allotments and tiers were used up by all."""
    everything = world.lines("charges", "--account", ACCOUNT)
    span = ("--from", "2026-10-10", "--to", "2026-10-20", "--number", NUMBER, "--country", "BR")
    expected = [
        line
        for line in everything
        if "2026-10-10" <= line["day"] <= "2026-10-20" and (line["number"], line["country"]) == (NUMBER, "BR")
    ]
    assert world.lines("charges", "--account", ACCOUNT, *span) == expected != []


def test_months_and_sums_add_up_to_the_days(world: World) -> None:
    """Every column, and the sum on stderr, to the last digit."""
    by_day = world.lines("charges", "--account", ACCOUNT)
    done = world.run("charges", "--account", ACCOUNT, "--by", "month", "--format", "ndjson")
    by_month = [json.loads(line) for line in done.stdout.splitlines()]
    for column in (
        "count",
        "free",
        "allotted",
        "charged",
        "provider_free",
        "provider_charged",
        "provider_unsaid",
    ):
        assert sum(line[column] for line in by_day) == sum(line[column] for line in by_month)
    total = sum((Decimal(line["amount"] or 0) for line in by_day), Decimal(0))
    assert total == sum(Decimal(line["amount"] or 0) for line in by_month)
    assert f"USD {total.normalize():f} for " in done.stderr.decode()


def test_active_users_stand_beside_their_packages(world: World) -> None:
    """Where a plan is in force: the account by any activity, the number by both, September's number has none."""
    rows = {(row["month"], row["number"]): row for row in world.lines("active-users", "--account", ACCOUNT)}
    account, number = rows["2026-10", ""], rows["2026-10", NUMBER]
    assert account["package"] == 100
    assert account["amau"] == max(0, account["mau"] - 100) == account["mau"] - 100 + account["balance"]
    assert number["package"] == 20
    assert number["amau"] == max(0, number["mau_both"] - 20)
    assert "package" not in rows["2026-09", NUMBER]
    header = world.run("active-users", "--format", "csv").stdout.decode().splitlines()[0]
    assert header == "month,account,number,mau,mau_both,mau_phones,package,balance,amau"
    by_country = world.lines("active-users", "--account", ACCOUNT, "--country", "BR")
    assert all("package" not in row for row in by_country)


def test_the_report_says_what_the_queries_say(world: World) -> None:
    """Every section of October against usage, conversations, incoming, active-users and charges."""
    made = json.loads(world.run("report", "--month", "2026-10", "--account", ACCOUNT).stdout)
    span = ("--from", "2026-10-01", "--to", "2026-10-31", "--account", ACCOUNT)
    usage = world.lines("usage", *span)
    kinds = {"chat": False, "hsm": True, "unclassified": None}
    for line in made["outgoing"]:
        own = [row for row in usage if row["template"] is kinds[line["type"]]]
        for column in ("total", "sent", "delivered", "read", "not_delivered"):
            assert line[column] == sum(row[column] for row in own), line["type"]
        assert line["pending"] == line["total"] - line["delivered"] - line["not_delivered"]
    assert made["incoming_total"] == sum(row["count"] for row in world.lines("incoming", *span)) > 0
    counted = world.lines("conversations", *span)
    types = {"incoming": {"service"}, "service": {"utility"}}
    types |= {"authentication": {"authentication", "authentication_international"}}
    for line in made["conversations"]:
        own = [row for row in counted if row["type"] in types.get(line["type"], {line["type"]})]
        for column in ("total", "free", "charged"):
            assert line[column] == sum(row[column] for row in own)
            assert line[column] == sum(detail[column] for detail in line["details"])
    active = {row["number"]: row for row in world.lines("active-users", *span)}
    for line in made["mau"]:
        assert (line["mau_any"], line["mau_both"], line["mau_phones"]) == tuple(
            active[line["number"]][name] for name in ("mau", "mau_both", "mau_phones")
        )
    charges = world.lines("charges", *span)
    for column, name in (
        ("count", "count"),
        ("charged", "charged"),
        ("provider_charged", "provider_charged"),
    ):
        assert sum(line[column] for line in made["provider"]) == sum(line[name] for line in charges)
    assert (made["time_zone"], made["is_final"]) == (ZONE, True)
    assert all(each["received_until"] for each in made["freshness"])
    licences = {line["number"]: line["charged"] for line in made["licences"]}
    assert licences == {"": "310.00", NUMBER: "1200.00"}


def test_all_formats_of_a_report_agree(world: World) -> None:
    """json, csv, xlsx and pdf of one month, read back."""
    made: dict[str, bytes] = {}
    for name in ("json", "csv", "xlsx", "pdf"):
        path = world.directory / f"report.{name}"
        world.run("report", "--month", "2026-10", "--account", ACCOUNT, "--output", str(path))
        made[name] = path.read_bytes()
    known = json.loads(made["json"])
    rows = list(csv.DictReader(io.StringIO(made["csv"].decode())))
    sheets = openpyxl.load_workbook(io.BytesIO(made["xlsx"]), data_only=True)
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(made["pdf"])).pages)
    for line in known["outgoing"]:
        own = {
            row["item"]: row["value"]
            for row in rows
            if (row["section"], row["line"]) == ("outgoing", line["type"])
        }
        assert {name: str(line[name]) for name in line} == own
    outgoing = list(sheets["Outgoing messages"].iter_rows(min_row=2, values_only=True))
    assert [list(line.values())[1:] for line in known["outgoing"]] == [
        list(cells[1:]) for cells in outgoing[:-1]
    ]
    assert outgoing[-1][1] == sum(line["total"] for line in known["outgoing"])
    for total in known["totals"]:
        assert any(
            row["section"] == "totals" and row["line"] == total["section"] and row["value"] == total["amount"]
            for row in rows
        )
        assert f"Total {total['currency']} {Decimal(total['amount']):,f}" in text
    cells = {cell for row in sheets["Summary"].iter_rows(values_only=True) for cell in row}
    assert {float(total["amount"]) for total in known["totals"]} <= cells


def test_limits_are_burnt_down(world: World) -> None:
    """October's packages, free service messages and tiers, as the queries have them; the month is over."""
    uses = {
        (use["limit_name"], use["number"], use["market"]): use
        for use in world.lines("burn-down", "--month", "2026-10")
    }
    active = {
        row["number"]: row
        for row in world.lines(
            "active-users", "--account", ACCOUNT, "--from", "2026-10-01", "--to", "2026-10-31"
        )
    }
    whole, number = uses["mau_package", "", ""], uses["mau_package", NUMBER, ""]
    assert (whole["limit"], whole["used"], whole["method"]) == (100, active[""]["mau"], "complete")
    assert (number["limit"], number["used"]) == (20, active[NUMBER]["mau_both"])
    charges = world.lines("charges", "--account", ACCOUNT, "--from", "2026-10-01")
    service = [line for line in charges if (line["number"], line["category"]) == (NUMBER, "service")]
    free = uses["free_service", NUMBER, ""]
    assert free["used"] == sum(line["allotted"] + line["charged"] for line in service)
    assert free["left"] == max(0, 1000 - free["used"])
    tier = [line for line in charges if (line["market"], line["category"]) == ("Brazil", "utility")]
    # The number's own plan says nothing of tiers.
    tier = [line for line in tier if line["number"] != NUMBER]
    assert uses["volume_tier", "", "Brazil"]["used"] == sum(line["charged"] for line in tier)


def test_the_owner_answers_and_takes_up_changed_plans(world: World) -> None:
    """While `run` has the directory, the verbs are answered by it, from the plan file as it is then."""
    known = world.lines("charges", "--account", ACCOUNT)
    plans = world.directory / "plans.toml"
    with Running(world.data, "--config", world.directory / "convometer.toml"):
        assert world.lines("charges", "--account", ACCOUNT) == known
        plans.write_text(PLANS.replace("mau_package   = 100", "mau_package   = 90"))
        try:
            [row] = [
                row
                for row in query("active-users", world.data, "--account", ACCOUNT, "--from", "2026-10-01")
                if not row["number"]
            ]
            assert row["package"] == 90
            plans.write_text(PLANS.replace('"0.05"', "0.05"))
            failed = world.run("report", "--month", "2026-10", "--account", ACCOUNT, check=False)
            assert failed.returncode == 1
            assert b"binary fraction" in failed.stderr
        finally:
            plans.write_text(PLANS)


def test_a_faulty_plan_file_stops_the_start_with_every_fault(world: World, tmp_path: Path) -> None:
    """Nothing is metered under plans that nobody can read; the errors say where."""
    (tmp_path / "bad.toml").write_text('[[plans]]\naccount = "A"\nprice = 0.5\nlicence = "weekly"\n')
    done = convometer("usage", "--data", world.data, check=False, CONVOMETER_PLANS=str(tmp_path / "bad.toml"))
    assert done.returncode == 1
    for fault in (b"binary fraction", b"weekly", b"currency: found nothing"):
        assert fault in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "--month", "2026-13", "--account", ACCOUNT), b"--month"),
        (("report", "--month", "2026-10"), b"--account"),
        (("charges", "--from", "2026-10-02", "--to", "2026-10-01"), b"is after"),
        (("charges", "--regime", "october"), b"--regime"),
        (("burn-down", "--month", "10"), b"--month"),
    ],
)
def test_usage_errors_are_usage_errors(world: World, arguments: tuple[str, ...], said: bytes) -> None:
    """Exit code 2, naming the option."""
    done = world.run(*arguments, check=False)
    assert done.returncode == 2
    assert said in done.stderr
