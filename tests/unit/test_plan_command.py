"""``convometer plan``: every fault at once, and what is in force in a month."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main

GOOD = """
[[plans]]
account = "9001"
activated = 2026-04-15
licence = "annual"
price = "120"
currency = "EUR"
mau_package = 5
amau_price = "0.05"
[plans.conversation_market_prices.Spain]
marketing = "0.07"

[[plans]]
account = "9001"
number = "7"
activated = 2026-10-01
licence = "none"
currency = "CLP"
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Return what runs the verb in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("CONVOMETER_CONFIG", "CONVOMETER_DATA", "CONVOMETER_PLANS"):
        monkeypatch.delenv(name, raising=False)
    return Runner(tmp_path)


class Runner:
    """Runs ``plan`` with a file."""

    def __init__(self, directory: Path) -> None:
        """Take the directory."""
        self.file = directory / "plans.toml"

    def __call__(self, *arguments: str, text: str = GOOD, with_plans: bool = True) -> Result:
        """Run it."""
        self.file.write_text(text)
        environment = {"CONVOMETER_PLANS": str(self.file)} if with_plans else {}
        return CliRunner().invoke(main, ["plan", *arguments], env=environment)


def test_a_file_without_faults_is_summed_up(run: Runner) -> None:
    """One line for each account and number."""
    done = run("check", "plans.toml")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "account 9001: 1 entry, from 2026-04-15: annual licence, EUR, 5 users in the package",
        "account 9001, number 7: 1 entry, from 2026-10-01: no licence, CLP, 0 users in the package",
    ]


def test_every_fault_is_named_and_the_exit_code_is_1(run: Runner) -> None:
    """Of both entries, and of a market that no rate card knows."""
    text = GOOD.replace("Spain", "Spian").replace('"120"', "1.5").replace('"none"', '"weekly"')
    done = run("check", "plans.toml", text=text)
    assert done.exit_code == 1
    for fault in ("binary fraction", "weekly"):
        assert fault in done.stderr
    done = run("check", "plans.toml", text=GOOD.replace("Spain", "Spian"))
    assert (done.exit_code, "unknown market, expected Spain?" in done.stderr) == (1, True)


def test_a_missing_file_and_an_empty_one(run: Runner) -> None:
    """The one is an error, the other no plans."""
    assert run("check", "nowhere.toml").exit_code == 1
    assert run("check", "plans.toml", text="").stdout == "no plans\n"


def test_show_says_what_is_in_force_in_a_month(run: Runner) -> None:
    """In April the activation, 120 x (11 + 16/30) / 12; in October the number's terms, too."""
    [april] = [
        json.loads(line)
        for line in run("show", "--month", "2026-04", "--format", "ndjson").stdout.splitlines()
    ]
    assert (april["charged"], april["plan_cost"], april["period"]) == ("115.33", "120.00", "activation")
    assert (april["valid_from"], april["valid_until"], april["amau_price"]) == (
        "2026-04-15",
        "2027-03-31",
        "0.05",
    )
    october = [
        json.loads(line)
        for line in run("show", "--month", "2026-10", "--format", "ndjson").stdout.splitlines()
    ]
    assert [(row["number"], row["licence"], row["currency"]) for row in october] == [
        ("", "annual", "EUR"), ("7", "none", "CLP"),
    ]  # fmt: skip
    one = run("show", "--month", "2026-10", "--number", "7", "--format", "csv").stdout.splitlines()
    assert len(one) == 2
    assert one[0].startswith("account,number,effective,activated,licence,period,valid_from")


def test_what_is_warned_of_is_shown(run: Runner) -> None:
    """A budget, and where notices are given: a count is not taken for a share, nor "none" for those of the settings."""
    more = 'conversation_budget = 3000\nalert_thresholds = ["80%", 4500]\n[plans.conversation_market_prices.Spain]'
    text = GOOD.replace("[plans.conversation_market_prices.Spain]", more)
    text += "alert_thresholds = []\n"
    shown = run("show", "--month", "2026-10", "--format", "ndjson", text=text).stdout.splitlines()
    assert [(row["conversation_budget"], row["alert_thresholds"]) for row in map(json.loads, shown)] == [
        (3000, "80%, 4500 users"),
        (None, "none"),
    ]
    whole, number = run("check", "plans.toml").stdout.splitlines()
    assert run("check", "plans.toml", text=text).stdout.splitlines() == [
        f"{whole}, 3000 conversations in the budget, notices at 80%, 4500 users",
        f"{number}, no notices",
    ]
    unsaid = run("show", "--month", "2026-10", "--number", "7", "--format", "csv").stdout.splitlines()
    assert unsaid[0].endswith(",volume_tiers,conversation_budget,alert_thresholds")
    assert unsaid[1].endswith(",none,,")


def test_a_share_without_its_sign_is_a_fault(run: Runner) -> None:
    """Notices at 80 users of 5,000 would come all at once, and nobody would be warned at 80 %."""
    text = GOOD + 'alert_thresholds = ["80"]\n'
    done = run("check", "plans.toml", text=text)
    assert done.exit_code == 1
    assert 'alert_thresholds: found a list, expected "80%" for a share, or 80 without quotes' in done.stderr


def test_show_without_plans_has_no_rows(run: Runner) -> None:
    """Neither before the first activation, nor where no file is set."""
    assert run("show", "--month", "2026-03", "--format", "ndjson").stdout == ""
    done = run("show", "--month", "2026-10", "--format", "table", with_plans=False)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no rows\n")
