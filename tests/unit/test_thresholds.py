"""Thresholds as people write them: a share is never taken for a count, nor the other way round."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runtime.settings import Settings, SettingsError, load_settings
from schemas.thresholds import DEFAULT_THRESHOLDS, THRESHOLDS_MAX, in_words, read_thresholds

NAME = "CONVOMETER_ALERTS__THRESHOLDS"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CONVOMETER_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("written", "thresholds"),
    [
        (["80%", "100%", 4500], ("80%", "100%", "4500")),
        (("80 %", " 99.50% "), ("80%", "99.5%")),
        (["1000%", "0.001%"], ("1000%", "0.001%")),
        ([], ()),
    ],
)
def test_each_has_one_form(written: object, thresholds: tuple[str, ...]) -> None:
    """Shares without needless digits, counts as they are, in the order given."""
    assert read_thresholds(written) == thresholds


@pytest.mark.parametrize(
    ("written", "part"),
    [
        (["80"], '"80%" for a share, or 80 without quotes for a count of users'),
        (["80%", "4500"], '"4500%" for a share, or 4500 without quotes'),
        ([80.0], "or a count above 0"),
        ([True], "or a count above 0"),
        ([0], "or a count above 0"),
        (["0%"], "above 0"),
        (["1001%"], "at most 1000%"),
        (["eighty"], '"80%"'),
        (["80%", "80.0%"], "each threshold once"),
        ("80%", "a list of at most"),
        (["1%"] * (THRESHOLDS_MAX + 1), "a list of at most"),
    ],
)
def test_what_may_be_a_slip_is_refused(written: object, part: str) -> None:
    """Digits in quotes above all: a share without its sign would be a handful of users."""
    with pytest.raises(ValueError, match=re.escape(part)):
        read_thresholds(written)


@pytest.mark.parametrize(
    ("text", "thresholds"),
    [
        ("80%, 4500", ("80%", "4500")),
        ("4500", ("4500",)),
        ('["80%", 4500]', ("80%", "4500")),
        ("[]", ()),
    ],
)
def test_the_environment_has_words_or_json(
    monkeypatch: pytest.MonkeyPatch, text: str, thresholds: tuple[str, ...]
) -> None:
    """There everything is a text: between commas digits alone are a count, in JSON what has no quotes is."""
    assert loaded(monkeypatch, text).alerts.thresholds == thresholds


@pytest.mark.parametrize("text", ['["80"]', "eighty", "80%,", "80%,80 %", "0"])
def test_the_environment_has_slips_too(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """In JSON there are quotes to leave out, so that digits in them are a slip there too."""
    with pytest.raises(SettingsError) as caught:
        loaded(monkeypatch, text)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [NAME]


def loaded(monkeypatch: pytest.MonkeyPatch, text: str) -> Settings:
    """Return settings under an environment."""
    monkeypatch.setenv(NAME, text)
    return load_settings()


def test_the_file_has_numbers_for_counts(tmp_path: Path) -> None:
    """A list of the settings file is read as one of a plan is."""
    config = tmp_path / "convometer.toml"
    config.write_text('[alerts]\nthresholds = ["80%", 4500]\n')
    assert load_settings(config).alerts.thresholds == ("80%", "4500")
    config.write_text('[alerts]\nthresholds = ["80%", "4500"]\n')
    with pytest.raises(SettingsError, match="4500 without quotes for a count"):
        load_settings(config)


def test_in_words_a_count_is_not_a_share() -> None:
    """Counts say of what."""
    assert in_words(("80%", "4500")) == "80%, 4500 users"
    assert in_words(DEFAULT_THRESHOLDS) == "80%, 90%, 100%"
    assert in_words(()) == "none"
