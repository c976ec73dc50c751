"""Loads settings from a text and variables, with nothing else of the environment in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.settings import Settings, SettingsError, load_settings


class Loader:
    """Writes the file, sets the environment, loads."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take where to write and what to set variables with."""
        self.file = file
        self._monkeypatch = monkeypatch

    def __call__(self, toml: str = "", **environment: str) -> Settings:
        """Return the settings; keywords are variables without their prefix."""
        self.file.write_text(toml, encoding="utf-8")
        for name, value in environment.items():
            self._monkeypatch.setenv(f"CONVOMETER_{name}", value)
        return load_settings(self.file)

    def faults(self, toml: str = "", **environment: str) -> list[str]:
        """Return the faults of settings that must not load."""
        with pytest.raises(SettingsError) as raised:
            self(toml, **environment)
        assert all(fault in str(raised.value) for fault in raised.value.faults)
        return raised.value.faults


@pytest.fixture
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take our variables out of the environment."""
    for name in os.environ:
        if name.startswith("CONVOMETER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_environment: None) -> Loader:  # noqa: ARG001
    """Return a loader of TOML text under an environment."""
    return Loader(tmp_path / "convometer.toml", monkeypatch)
