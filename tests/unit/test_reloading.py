"""Reading the settings again: what counts as a change, and that a faulty file changes nothing."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from runtime.clock import ManualClock
from runtime.metrics import Metrics
from runtime.reloading import Reloader, SettingsSource
from runtime.settings import Settings, load_settings
from runtime.settings_in_force import SettingsInForce
from tests.support.commands import eventually

OLD, NEW = "an-old-app-secret", "a-new-app-secret"


def toml(*secrets: str, more: str = "") -> str:
    """Return a settings file with app secrets."""
    return f"{more}\n[gateway]\napp_secrets = {list(secrets)}\n"


class Subject:
    """A reloader over a file, looked at by hand."""

    def __init__(self, file: Path | None) -> None:
        """Load the file as a start does."""
        self.source = SettingsSource(file, lambda: load_settings(file))
        self.in_force = SettingsInForce(self.source.load(), "sole")
        self.metrics = Metrics(CollectorRegistry())
        self.clock = ManualClock(1_000_000)
        self.reloader = Reloader(self.source, self.in_force, self.metrics, self.clock, poll_seconds=0.01)

    def look(self, times: int = 1, *, asked: bool = False) -> None:
        """Look at the file so many times."""
        for _ in range(times):
            asyncio.run(self.reloader.look(asked=asked))

    @property
    def secrets(self) -> list[str]:
        """The app secrets in force."""
        return [secret.get_secret_value() for secret in self.in_force.settings.gateway.app_secrets]

    def sample(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        value = self.metrics.registry.get_sample_value(f"convometer_settings_{name}", labels)
        assert value is not None
        return value

    def reloads(self) -> dict[str, float]:
        """Return how often which outcome was counted, without zeros."""
        outcomes = ("applied", "unchanged", "refused", "failed")
        counts = {outcome: self.sample("reloads_total", outcome=outcome) for outcome in outcomes}
        return {outcome: count for outcome, count in counts.items() if count}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CONVOMETER_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file with the old secret."""
    path = tmp_path / "convometer.toml"
    path.write_text(toml(OLD))
    return path


@contextmanager
def logged(caplog: pytest.LogCaptureFixture, level: int) -> Iterator[list[logging.LogRecord]]:
    """Give what the block logs at a level or above."""
    records: list[logging.LogRecord] = []
    with caplog.at_level(logging.INFO, logger="runtime.reloading"):
        before = len(caplog.records)
        yield records
        records += [record for record in caplog.records[before:] if record.levelno >= level]


def test_a_change_counts_once_it_stands_still(file: Path) -> None:
    """A new content is taken at its second look, once; until then, and for one that comes and goes, nothing happens."""
    subject = Subject(file)
    subject.look(3)
    file.write_text(toml(NEW)[:10])
    subject.look()
    file.write_text(toml(NEW))
    subject.look()
    assert (subject.secrets, subject.reloads()) == ([OLD], {})
    file.write_text(toml(OLD))
    subject.look()
    file.write_text(toml(NEW))
    subject.look()
    assert subject.secrets == [OLD]
    subject.clock.advance(60_000)
    subject.look(5)
    assert (subject.secrets, subject.reloads()) == ([NEW], {"applied": 1})
    assert subject.sample("last_reload_timestamp_seconds") == 1_060


def test_a_hangup_reads_at_once(file: Path) -> None:
    """Whoever asks has written all of it; asked again, nothing has changed, and that is told too."""
    subject = Subject(file)
    file.write_text(toml(NEW))
    subject.look(2, asked=True)
    assert (subject.secrets, subject.reloads()) == ([NEW], {"applied": 1, "unchanged": 1})


def test_a_swapped_symbolic_link_is_a_change(tmp_path: Path) -> None:
    """A ConfigMap is renewed by pointing a link of a directory elsewhere; the file's path stays what it was."""
    for name, secret in (("..1", OLD), ("..2", NEW)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "convometer.toml").write_text(toml(secret))
    (tmp_path / "..data").symlink_to("..1")
    config = tmp_path / "convometer.toml"
    config.symlink_to("..data/convometer.toml")
    subject = Subject(config)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    subject.look(2)
    assert subject.secrets == [NEW]


def test_a_file_renamed_over_the_old_one_is_a_change(file: Path) -> None:
    """Editors write another file and rename it; the same size and times do not hide it."""
    subject = Subject(file)
    times = file.stat().st_mtime_ns
    other = file.with_suffix(".new")
    other.write_text(toml(OLD[:-1] + "X"))
    os.utime(other, ns=(times, times))
    other.rename(file)
    subject.look(2)
    assert subject.secrets == [OLD[:-1] + "X"]


def test_a_deleted_file_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without its file the process goes on with what it has, says so once, and takes the file when it is back."""
    subject = Subject(file)
    file.unlink()
    with logged(caplog, logging.ERROR) as records:
        subject.look(6)
    assert len(records) == 1
    assert "expected a readable file" in records[0].getMessage()
    assert (subject.secrets, subject.reloads(), subject.sample("faults")) == ([OLD], {"refused": 1}, 1)
    file.write_text(toml(NEW))
    subject.look(2)
    assert (subject.secrets, subject.sample("faults")) == ([NEW], 0)


def test_an_emptied_file_changes_nothing(file: Path) -> None:
    """A full disk leaves an empty file, which would take every secret away: it is refused, though a start takes it."""
    subject = Subject(file)
    file.write_text("")
    subject.look(3)
    assert (subject.secrets, subject.reloads()) == ([OLD], {"refused": 1})


def test_every_fault_is_told_once_and_none_tells_a_secret(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A faulty file keeps all old settings, each fault is one line with its key, and no line has a secret."""
    subject = Subject(file)
    before = subject.in_force.settings
    faulty = (
        'partitions = 0\nclickhouse = "http://u:pass-in-address@"\n[gateway]\napp_secrets = ["short-1", 87654321]\n'
        "verify_token = 12345678\n[kafka]\npassword = 24681357\n[accounts.900100200300400]\ntime_zone = 'Mars/Base'\n"
    )
    file.write_text(faulty)
    with logged(caplog, logging.ERROR) as records:
        subject.look(6)
    keys = [vars(record)["settings"] for record in records]
    assert sorted(keys) == [
        "accounts.900100200300400.time_zone", "clickhouse", "gateway.app_secrets.0", "gateway.app_secrets.1",
        "gateway.verify_token", "kafka.password", "partitions",
    ]  # fmt: skip
    text = " ".join(f"{record.getMessage()} {vars(record)}" for record in records)
    for secret in ("short-1", "87654321", "12345678", "24681357", "pass-in-address"):
        assert secret not in text
    assert subject.in_force.settings is before
    assert (subject.reloads(), subject.sample("faults")) == ({"refused": 1}, 7)


def test_a_broken_file_is_told_again_when_asked(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A hang-up is a question, so that it is answered each time; the same file alone is not told twice."""
    subject = Subject(file)
    file.write_text("[gateway\n")
    with logged(caplog, logging.ERROR) as records:
        subject.look(4)
        subject.look(asked=True)
        subject.look(4)
    assert len(records) == 2


def test_keys_that_need_a_restart_are_told_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Their names are one warning and a gauge, without values; what can change changes all the same."""
    subject = Subject(file)
    file.write_text(toml(NEW, more='partitions = 7\nclickhouse = "http://u:pass-in-address@h/d"'))
    with logged(caplog, logging.WARNING) as records:
        subject.look(2)
        subject.look(asked=True)
    assert [vars(record)["settings"] for record in records] == ["clickhouse, partitions"]
    assert "pass-in-address" not in str([vars(record) for record in caplog.records])
    assert (subject.secrets, subject.in_force.settings.partitions) == ([NEW], 4)
    assert subject.sample("restart_pending") == 2
    file.write_text(toml(NEW))
    subject.look(2)
    assert subject.sample("restart_pending") == 0


def test_the_environment_overrides_the_file_as_at_the_start(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that the environment gives does not change with the file."""
    monkeypatch.setenv("CONVOMETER_GATEWAY__APP_SECRETS", OLD)
    subject = Subject(file)
    file.write_text(toml(NEW, more='[accounts.9001]\napp_secrets = ["its-own-secret"]'))
    subject.look(2)
    assert subject.secrets == [OLD]
    assert list(subject.in_force.settings.accounts) == ["9001"]


def test_without_a_file_a_hangup_changes_nothing() -> None:
    """Where all settings come from the environment, there is nothing to change, and nothing breaks."""
    subject = Subject(None)
    subject.look(3)
    subject.look(asked=True)
    assert subject.reloads() == {"unchanged": 1}


def test_a_pipe_is_read_once_only(tmp_path: Path) -> None:
    """A pipe has given all it had at the start: looking does not wait for it, asking is refused."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    source = SettingsSource(pipe, lambda: Settings(partitions=3))
    in_force = SettingsInForce(source.load())
    metrics = Metrics(CollectorRegistry())
    reloader = Reloader(source, in_force, metrics, ManualClock(0))
    asyncio.run(reloader.look())
    assert metrics.registry.get_sample_value("convometer_settings_faults") == 0
    asyncio.run(reloader.look(asked=True))
    assert metrics.registry.get_sample_value("convometer_settings_faults") == 1


def test_a_file_that_changes_while_it_is_read_is_read_again(file: Path) -> None:
    """What was read while somebody wrote may be half of it: it is not taken, the next looks find the whole."""
    moments = iter([toml(OLD, NEW), toml(NEW)])

    def load() -> Settings:
        settings = load_settings(file)
        file.write_text(next(moments, toml(NEW)))
        return settings

    source = SettingsSource(file, lambda: load_settings(file))
    in_force = SettingsInForce(source.load())
    source = SettingsSource(file, load)
    source.loaded = source.fingerprint()
    reloader = Reloader(source, in_force, Metrics(CollectorRegistry()), ManualClock(0))
    before = in_force.settings
    file.write_text(toml("half-a-new-secret"))
    asyncio.run(reloader.look(asked=True))
    assert in_force.settings is before
    for _ in range(6):
        asyncio.run(reloader.look())
    assert [secret.get_secret_value() for secret in in_force.settings.gateway.app_secrets] == [NEW]


def test_watching_goes_on_after_a_fault_of_ours(file: Path) -> None:
    """An error nobody thought of is counted and logged, and the next change is taken all the same."""
    subject = Subject(file)
    failing = [RuntimeError("unthought of")]
    load = subject.source._load

    def load_or_fail() -> Settings:
        if failing:
            raise failing.pop()
        return load()

    subject.source._load = load_or_fail

    def after_the_failure() -> None:
        eventually("it failed", lambda: "failed" in subject.reloads())
        file.write_text(toml(NEW))
        eventually("it was applied", lambda: subject.secrets == [NEW])

    async def watched() -> None:
        asked = asyncio.Event()
        task = asyncio.create_task(subject.reloader.watch(asked))
        asked.set()
        await asyncio.to_thread(after_the_failure)
        task.cancel()

    asyncio.run(watched())
    assert subject.reloads() == {"failed": 1, "applied": 1}
