"""Plan files: what passes, and that every fault is named at once."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from schemas.plan_files import PlanFaults, load_plans, read_plans

MARKETS = frozenset({"Spain", "Germany", "Other"})
GOOD = """
[[plans]]
account   = "9001"
activated = 2026-01-15
licence   = "annual"
price     = "1200.00"
currency  = "EUR"
"""


def entry(**keys: str) -> str:
    """Return an entry as TOML; values are TOML too. What is not given is as in ``GOOD``; an empty value leaves out."""
    known = {
        "account": '"9001"',
        "activated": "2026-01-15",
        "licence": '"annual"',
        "price": '"1200.00"',
        "currency": '"EUR"',
    }
    return "[[plans]]\n" + "".join(f"{key} = {value}\n" for key, value in (known | keys).items() if value)


def faults(*entries: str) -> list[str]:
    """Return what is wrong with a file."""
    with pytest.raises(PlanFaults) as caught:
        read_plans("\n".join(entries), "plans.toml", MARKETS)
    return caught.value.faults


def test_an_entry_has_defaults() -> None:
    """Terms begin with the activation, for the whole account, without a package, by the union of activities."""
    [own] = read_plans(GOOD, "plans.toml").plans
    assert (own.number, own.effective, own.activated) == ("", date(2026, 1, 15), date(2026, 1, 15))
    assert (own.price, own.mau_package, own.mau_rule, own.amau_price) == (1_200_000_000, 0, "any", None)
    assert (own.card_currency, own.volume_tiers, own.until, own.vat_percent) == ("EUR", "none", None, None)


def test_everything_can_be_said() -> None:
    """Every key arrives where it belongs, amounts to the micro-unit."""
    text = entry(
        number='"77"',
        vat_percent='"19"',
        mau_package="5000",
        mau_rule='"both"',
        amau_price='"0.000001"',
        rate_currency='"USD"',
        volume_tiers='"counted"',
        until='"2026-12-31"',
        effective='"2026-01-15"',
        conversation_prices='{ marketing = "0.08" }',
        conversation_market_prices="{ Spain = { marketing = 1 } }",
    )
    [own] = read_plans(text, "plans.toml", MARKETS).plans
    assert (own.number, own.vat_percent, own.mau_package, own.mau_rule) == ("77", 19_000_000, 5000, "both")
    assert (own.amau_price, own.card_currency, own.volume_tiers) == (1, "USD", "counted")
    assert own.conversation_price("Germany", "marketing") == 80_000
    assert own.conversation_price("Spain", "marketing") == 1_000_000
    assert own.conversation_price("Spain", "utility") is None
    assert own.until == date(2026, 12, 31)


def test_an_id_without_quotes_is_the_id() -> None:
    """Ids are long numbers; TOML takes one without quotes as an integer."""
    assert read_plans(entry(account="900100200300400"), "plans.toml").plans[0].account == "900100200300400"


def test_no_file_is_no_plans_and_an_unreadable_one_is_a_fault(tmp_path: Path) -> None:
    """A name that leads nowhere must not be taken for "no plans"."""
    assert load_plans(None).plans == ()
    with pytest.raises(PlanFaults, match="readable file"):
        load_plans(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'x = "\xe9"')
    with pytest.raises(PlanFaults, match="UTF-8"):
        load_plans(tmp_path / "latin.toml")
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert len(load_plans(tmp_path / "marked.toml").plans) == 1


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"account": ""}, "account: found nothing"),
        ({"acount": '"1"'}, "acount: found an unknown key, expected account?"),
        ({"price": "0.1"}, "binary fraction"),
        ({"price": '"1e3"'}, "an amount such as"),
        ({"price": '"-5"'}, "an amount such as"),
        ({"price": '"1.001"'}, "more than the 2 decimals that EUR has"),
        ({"price": ""}, "expected the price of the annual licence"),
        ({"licence": '"weekly"'}, "licence: found 'weekly'"),
        ({"licence": '"none"'}, "a price without a licence"),
        ({"currency": '"EURO"'}, "code of a currency"),
        ({"vat_percent": '"101"'}, "at most 100"),
        ({"mau_package": "-1"}, "mau_package: found -1"),
        ({"mau_package": '"5"'}, "mau_package: found '5'"),
        ({"mau_rule": '"or"'}, "mau_rule: found 'or'"),
        ({"amau_price": '"0.0000001"'}, "amau_price"),
        ({"activated": '"2026-02-30"'}, "a day as YYYY-MM-DD"),
        ({"activated": "2026-01-15T00:00:00"}, "a day as YYYY-MM-DD"),
        ({"activated": ""}, "expected the day on which the licence was activated"),
        ({"until": "2026-06-15"}, "expected the last day of a month"),
        ({"until": "2025-12-31"}, "expected no day before effective"),
        ({"effective": "2026-01-01"}, "expected no day after effective"),
        ({"effective": "2026-02-01"}, "expected the activation 2026-01-15"),
        ({"conversation_prices": '{ free_entry_point = "1" }'}, "free_entry_point"),
        ({"conversation_market_prices": '{ Spian = { utility = "1" } }'}, "unknown market, expected Spain?"),
    ],
)
def test_a_fault_of_one_entry_is_named(keys: dict[str, str], fault: str) -> None:
    """The sentence says where, what was found and what is expected."""
    found = faults(entry(**keys))
    assert any(fault in each for each in found), found
    assert all(each.startswith("plans[1]") for each in found)


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"activated": "2026-01-15"}, "found 2026-01-15 twice"),
        ({"activated": "", "effective": "2026-03-15"}, "expected the 1st of a month"),
        ({"activated": "2026-02-01", "effective": "2026-03-01"}, "expected 2026-01-15 (the licence goes on)"),
        (
            {"activated": "2026-01-15", "effective": "2026-03-01", "licence": '"monthly"'},
            "expected activated = 2026-03-01 with it",
        ),
        ({"activated": "", "effective": "2026-03-01", "currency": '"USD"'}, "within a year paid in EUR"),
    ],
)
def test_a_fault_between_entries_is_named(keys: dict[str, str], fault: str) -> None:
    """Each entry is right by itself; the second does not fit the first."""
    [found] = faults(GOOD, entry(**keys))
    assert fault in found
    assert found.startswith("plans[2] (account 9001):")


def test_a_licence_that_ended_needs_a_new_activation() -> None:
    """After its end it cannot go on; with an activation of its own, any day will do."""
    ended = entry(until="2026-06-30", licence='"monthly"')
    [found] = faults(ended, entry(activated="2026-01-15", effective="2026-09-01", licence='"monthly"'))
    assert "the licence before ended 2026-06-30" in found
    assert (
        len(read_plans(ended + entry(activated="2026-09-10", licence='"monthly"'), "plans.toml").plans) == 2
    )


def test_all_faults_are_listed_at_once() -> None:
    """Those of the file, of its entries and between them."""
    found = faults("surprise = 1", entry(price="0.5", currency='"EURO"'), GOOD, entry())
    assert len(found) == 4
    assert found[0].startswith("surprise")


def test_terms_go_on_with_the_activation_of_the_licence_before() -> None:
    """Three entries, one licence: the activation is said once."""
    later = [entry(activated="", effective=f"2026-{month:02}-01", mau_package=f"{month}") for month in (3, 5)]
    book = read_plans("\n".join([GOOD, *later]), "plans.toml")
    assert {each.activated for each in book.plans} == {date(2026, 1, 15)}
    for day, users in ((date(2026, 2, 28), 0), (date(2026, 3, 1), 3), (date(2026, 12, 31), 5)):
        in_force = book.in_force("9001", "", day)
        assert in_force is not None
        assert in_force.mau_package == users
    assert book.in_force("9001", "", date(2026, 1, 14)) is None
    assert book.in_force("9001", "77", date(2026, 5, 1)) is None


@pytest.mark.parametrize("text", ["plans = 3", "[plans]\naccount = 1", "plans = [1]", "x ="])
def test_what_is_no_list_of_plans_is_refused(text: str) -> None:
    """Also where TOML itself is broken."""
    assert faults(text)
