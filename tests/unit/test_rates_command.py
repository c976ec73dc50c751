"""The verb ``rates``: what is in force, which files are good, and how a card gets into the installation."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import rate_import, rates
from cli.main import main
from runtime.clock import ManualClock
from schemas.rate_files import load_rate_book

HEADER = "effective,currency,market,category,lower,upper,rate\n"
META = (
    'Rates,,\n"Cost per message in USD, effective January 1, 2027",,\nMarket,Currency,Marketing,Utility,Tokens\n'
    "India,$US,$0.0118,$0.0020,$2\nGermany,$US,$0.1365,$0.0550,\nOther,$US,$0.0604,n/a,\n"
)
TIERS = (
    "Market,Currency" + ",From,To,Rate type,Rate,vs. List" * 3 + "\n"
    "Rest of Africa,$US,0,--,List,$0.0040,--" + "," * 10 + "\n"
)  # fmt: skip


def run(data: Path, *arguments: str | Path) -> Result:
    """Run ``rates`` over a data directory, with nothing of the machine's environment."""
    return CliRunner(env={"CONVOMETER_CONFIG": ""}).invoke(
        main, ["rates", *map(str, arguments), "--data", str(data)]
    )


def rows_of(result: Result) -> list[dict[str, object]]:
    """Return the rows of a good answer in ndjson."""
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def written(path: Path, text: str) -> Path:
    """Return a file with a text in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_show_gives_list_rates_and_tiers_with_their_source(tmp_path: Path) -> None:
    """Rates are text, so that nobody reads them as binary fractions; bounds are numbers or nothing."""
    rows = rows_of(
        run(tmp_path, "show", "--on", "2026-11-01", "--market", "rest of africa", "--currency", "usd")
    )
    assert [list(row) for row in rows] == [
        ["effective", "currency", "market", "category", "lower", "upper", "rate", "source"]
    ] * len(rows)
    utility = [(row["lower"], row["upper"], row["rate"]) for row in rows if row["category"] == "utility"]
    assert utility[:2] == [(None, None, "0.0040"), (1, 100_000, "0.0040")]
    assert utility[-1] == (80_000_001, None, "0.0030")
    assert {row["effective"] for row in rows} == {"2026-10-01"}
    assert all("not checked with the provider" in str(row["source"]) for row in rows)
    whole = run(tmp_path, "show", "--on", "2026-11-01", "--format", "csv").stdout
    assert len(list(csv.DictReader(io.StringIO(whole)))) == 191 + 6


def test_show_on_a_terminal_says_the_source_once(tmp_path: Path) -> None:
    """The table has the figures; below it stands where each card comes from."""
    shown = run(tmp_path, "show", "--on", "2026-11-01", "--market", "Nigeria", "--format", "table").stdout
    assert "0.0750" in shown
    assert shown.count("collected 2026-11-22") == 1


def test_show_takes_the_cards_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a day it is today by the clock, in UTC."""
    clock = ManualClock(int(datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC).timestamp() * 1000))
    monkeypatch.setattr(rates, "SystemClock", lambda: clock)
    assert rows_of(run(tmp_path, "show")) == []
    clock.advance(1_000)
    assert len(rows_of(run(tmp_path, "show"))) == 197


def test_show_refuses_names_that_no_card_has(tmp_path: Path) -> None:
    """A slip of the pen is an error with similar names, not an empty answer."""
    result = run(tmp_path, "show", "--market", "Nigera")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "did you mean Nigeria" in result.stderr
    assert run(tmp_path, "show", "--currency", "EUR").exit_code == 2


def test_check_says_what_good_files_hold_and_writes_nothing(tmp_path: Path) -> None:
    """Files of both formats and a market mapping are summed up; what is skipped goes to standard error."""
    data = tmp_path / "data"
    own = written(
        tmp_path / "own.csv",
        HEADER + "2027-01-01,EUR,India,utility,,,0.1\n2027-01-01,EUR,India,utility,1,,0.1\n",
    )
    meta = written(tmp_path / "meta.csv", META)
    markets = written(tmp_path / "markets.csv", "country,market,effective\nDE,Mine,\n")
    result = run(data, "check", own, meta, markets)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{own}: card EUR 2027-01-01: 1 market, 1 rate",
        f"{own}: tiers EUR 2027-01-01: 1 market, 1 tier table",
        f"{meta}: card USD 2027-01-01: 3 markets, 5 rates",
        f"{markets}: 1 rows of the market mapping",
    ]
    assert "column 'Tokens' was skipped" in result.stderr
    assert not data.exists()


def test_check_tells_all_faults_of_all_files(tmp_path: Path) -> None:
    """The exit code is 1, and no file hides the faults of another."""
    own = written(tmp_path / "own.csv", HEADER + "2027-01-01,EUR,Indai,utility,,,x\n")
    meta = written(tmp_path / "meta.csv", "Market,Currency,Utility\nIndia,?,1\n")
    markets = written(tmp_path / "markets.csv", "country,market,effective\nd,Mine,\n")
    good = written(tmp_path / "good.csv", META)
    result = run(tmp_path, "check", own, meta, good, markets)
    assert result.exit_code == 1
    assert "5 faults" in result.stderr
    for told in (
        f"{own}:2: rate",
        f"{own}:2: found the market",
        f"{meta}: no line",
        f"{meta}:2: found the currency",
        f"{markets}:2",
    ):
        assert told in result.stderr
    assert f"{good}: card USD" in result.stdout


def test_import_puts_a_card_into_force_and_says_what_changes(tmp_path: Path) -> None:
    """The card is there for whoever reads the book, and compared with the one that it follows."""
    meta = written(tmp_path / "meta.csv", META)
    result = run(tmp_path, "import", meta)
    path = tmp_path / "rate-cards" / "2027-01-01-USD.csv"
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].startswith(
        "card USD 2027-01-01: 3 markets; against 2026-10-01: 0 added, 44 removed (Argentina, Bangladesh,"
    )
    assert result.stdout.splitlines()[0].endswith("3 changed (Germany, India, Other)")
    assert result.stdout.splitlines()[1:] == [f"wrote {path}"]
    assert "tiers of Rest of Africa, utility begin with 0.0040, but there is no list rate" in result.stderr
    book = load_rate_book(tmp_path / "rate-cards")
    assert book.rate("USD", "India", "utility", date(2027, 1, 1)) == 2_000
    assert book.rate("USD", "Other", "utility", date(2027, 1, 1)) is None
    assert book.rate("USD", "India", "utility", date(2026, 12, 31)) == 1_400
    assert [entry.name for entry in path.parent.iterdir()] == ["2027-01-01-USD.csv"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    assert "SHA-256" in path.read_text()


def test_importing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    """The file stays as it is, and the answer says so."""
    meta = written(tmp_path / "meta.csv", META)
    run(tmp_path, "import", meta)
    path = tmp_path / "rate-cards" / "2027-01-01-USD.csv"
    before = path.stat().st_ino, path.read_bytes()
    result = run(tmp_path, "import", meta)
    assert (result.exit_code, result.stdout.splitlines()[1]) == (0, f"is there already: {path}")
    assert "0 added, 0 removed, 0 changed" in result.stdout
    assert (path.stat().st_ino, path.read_bytes()) == before


def test_a_different_card_is_only_replaced_on_demand(tmp_path: Path) -> None:
    """Without --replace the old card stays; with it, the new one is there and the difference was told."""
    run(tmp_path, "import", written(tmp_path / "meta.csv", META))
    path = tmp_path / "rate-cards" / "2027-01-01-USD.csv"
    before = path.read_bytes()
    other = written(tmp_path / "other.csv", META.replace("0.0020", "0.0030"))
    refused = run(tmp_path, "import", other)
    assert refused.exit_code == 1
    assert "--replace" in refused.stderr
    assert path.read_bytes() == before
    replaced = run(tmp_path, "import", other, "--replace")
    assert "0 added, 0 removed, 1 changed (India)" in replaced.stdout
    assert "2027-01-01,USD,India,utility,,,0.0030" in path.read_text()


def test_a_card_that_another_file_holds_is_not_written_twice(tmp_path: Path) -> None:
    """Two files with one card would make every later reading fail; neither would a file with more cards be cut down."""
    mine = written(tmp_path / "rate-cards" / "mine.csv", HEADER + "2027-01-01,USD,India,utility,,,1\n")
    meta = written(tmp_path / "meta.csv", META)
    result = run(tmp_path, "import", meta, "--replace")
    assert result.exit_code == 1
    assert f"{mine} holds what 2027-01-01-USD.csv would" in result.stderr
    both = mine.read_text() + "2027-04-01,USD,India,utility,,,2\n"
    mine.unlink()
    larger = written(mine.parent / "2027-01-01-USD.csv", both)
    result = run(tmp_path, "import", meta, "--replace")
    assert result.exit_code == 1
    assert "also holds what belongs into 2027-04-01-USD.csv" in result.stderr
    assert larger.read_text() == both


def test_tiers_go_into_a_file_of_their_own(tmp_path: Path) -> None:
    """Their day has to be told, as the file does not; they are compared like cards."""
    tiers = written(tmp_path / "tiers.csv", TIERS)
    assert "--effective" in run(tmp_path, "import", tiers).stderr
    result = run(tmp_path, "import", tiers, "--effective", "2027-01-01")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "tiers USD 2027-01-01: 1 market; against 2026-10-01: 0 added, 0 removed, 1 changed (Rest of Africa)",
        f"wrote {tmp_path / 'rate-cards' / '2027-01-01-USD-tiers.csv'}",
    ]


def test_several_cards_of_one_file_become_one_file_each_or_go_to_one_output(tmp_path: Path) -> None:
    """With --output everything is in that one file, and the directory stays as it was."""
    own = written(
        tmp_path / "own.csv",
        HEADER + "2027-01-01,EUR,India,utility,,,1.5000\n2027-01-01,GBP,India,utility,,,1.5000\n",
    )
    out = tmp_path / "out.csv"
    result = run(tmp_path, "import", own, "--output", out)
    assert result.exit_code == 0, result.stderr
    assert "card EUR 2027-01-01: the first one, 1 market" in result.stdout
    assert out.read_text() == own.read_text()
    assert not (tmp_path / "rate-cards").exists()
    run(tmp_path, "import", own)
    names = sorted(path.name for path in (tmp_path / "rate-cards").iterdir())
    assert names == ["2027-01-01-EUR.csv", "2027-01-01-GBP.csv"]


def test_what_is_told_must_fit_a_file_that_says_it_itself(tmp_path: Path) -> None:
    """Our own files carry date and currency: another one on the command line is refused, not passed over."""
    own = written(tmp_path / "own.csv", HEADER + "2027-01-01,EUR,India,utility,,,1\n")
    assert run(tmp_path, "import", own, "--effective", "2027-02-01").exit_code == 1
    assert run(tmp_path, "check", own, "--currency", "USD").exit_code == 1
    assert run(tmp_path, "check", own, "--currency", "eur", "--effective", "2027-01-01").exit_code == 0
    assert run(tmp_path, "check", own, "--currency", "EURO").exit_code == 2


def test_a_write_that_fails_leaves_the_old_card_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the new file is on disk the old one is in its place, and no draft stays behind."""
    path = written(tmp_path / "card.csv", "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        rate_import.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.csv"]


def test_faults_of_the_operators_directory_end_in_one_message(tmp_path: Path) -> None:
    """No verb works on a book that is not whole, and none shows a traceback for it."""
    written(tmp_path / "rate-cards" / "bad.csv", HEADER + "x,EUR,India,utility,,,1\n")
    result = run(tmp_path, "show")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "bad.csv:2: effective: found 'x'" in result.stderr
